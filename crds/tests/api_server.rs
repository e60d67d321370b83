//! A real API server takes the definitions, and judges the examples as [`aivonx_crds::parse_documents`] does.

use aivonx_tests::KubeApi;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn yaml_files(name: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder(name)).with_context(|| name.to_owned())? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    ensure!(!files.is_empty(), "{name} is empty");
    Ok(files)
}

async fn dry_run(api: &KubeApi, path: &Path) -> Result<Result<String, String>> {
    let path = path.display().to_string();
    let output = api.kubectl("admin", &["create", "--dry-run=server", "-o", "json", "-f", &path]).await?;
    Ok(if output.status.success() {
        Ok(String::from_utf8(output.stdout)?)
    } else {
        Err(String::from_utf8(output.stderr)?)
    })
}

#[tokio::test]
async fn the_api_server_judges_the_examples_by_the_same_sentences() -> Result<()> {
    let api = KubeApi::start().await?;
    for path in yaml_files("crds/generated")? {
        api.apply("admin", &fs::read_to_string(path)?).await?;
    }
    let wait = ["wait", "--for=condition=Established", "--timeout=30s", "crd/ollamanodes.aivonx.io"];
    api.kubectl_ok("admin", &wait).await?;
    // A rule whose type does not fit is reported here and nowhere else.
    let problems = r#"{.status.conditions[?(@.type=="NonStructuralSchema")].message}"#;
    let problems = format!("jsonpath={problems}");
    assert_eq!(api.kubectl_ok("admin", &["get", "crd/ollamanodes.aivonx.io", "-o", &problems]).await?, "");

    for path in yaml_files("crds/examples/valid")?.into_iter().chain(yaml_files("manifests/samples")?) {
        let text = fs::read_to_string(&path)?;
        if !text.contains("kind: OllamaNode") {
            continue;
        }
        let stored = match dry_run(&api, &path).await? {
            Ok(stored) => stored,
            Err(complaint) => bail!("{}: {complaint}", path.display()),
        };
        let stored: serde_json::Value = serde_json::from_str(&stored)?;
        let here = aivonx_crds::parse_documents(&text)?;
        // The same defaults are filled in on both sides.
        assert_eq!(stored["spec"], serde_json::to_value(&here[0].spec)?, "{}", path.display());
    }

    for path in yaml_files("crds/examples/invalid")? {
        let text = fs::read_to_string(&path)?;
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# expect: "));
        let expected = expected.with_context(|| path.display().to_string())?;
        match dry_run(&api, &path).await? {
            Ok(_) => bail!("{} is accepted", path.display()),
            Err(complaint) => ensure!(complaint.contains(expected), "{}: {complaint}", path.display()),
        }
    }
    Ok(())
}

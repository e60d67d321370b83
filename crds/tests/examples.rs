//! Every file of `examples/` and of the samples is read by the rules it was written for, and the committed definitions are
//! those of the code. The same files go to a real API server in the controller's tests.

#![expect(clippy::unwrap_used, reason = "in tests a panic is how a failure is told")]

use aivonx_crds::{generate, parse_documents};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn yaml_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no examples in {}", folder.display());
    files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_committed_definitions_are_those_of_the_code() {
    for file in generate::files().unwrap() {
        let path = folder("generated").join(&file.name);
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == file.text, "{} is stale: run make gen", path.display());
    }
}

#[test]
fn the_generator_says_when_the_folder_is_stale() {
    let check = |folder: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_crdgen")).arg("--check").arg(folder).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&folder("generated")), (true, String::new()));
    let stale = tempfile::tempdir().unwrap();
    let (fresh, complaint) = check(stale.path());
    assert!(!fresh && complaint.contains("is stale: run make gen"), "{complaint}");
    assert!(Command::new(env!("CARGO_BIN_EXE_crdgen")).arg(stale.path()).status().unwrap().success());
    assert!(check(stale.path()).0);
}

#[test]
fn valid_examples_are_accepted() {
    for (path, text) in yaml_files(&folder("examples/valid")) {
        let nodes = parse_documents(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(nodes.len(), 1, "{}", path.display());
        nodes[0].validate_cel().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

#[test]
fn samples_are_accepted() {
    for (path, text) in yaml_files(&folder("../manifests/samples")) {
        if text.contains("kind: OllamaNode") {
            parse_documents(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

#[test]
fn invalid_examples_are_refused_once_with_the_sentence_they_name() {
    for (path, text) in yaml_files(&folder("examples/invalid")) {
        let expected = text.lines().next().unwrap().strip_prefix("# expect: ").unwrap();
        let error = parse_documents(&text).expect_err(&format!("{} is accepted", path.display()));
        let [problem] = error.problems.as_slice() else { panic!("{}: {error}", path.display()) };
        assert!(problem.sentence.contains(expected), "{}: {problem}", path.display());
        assert!(problem.line > 0 && problem.field.starts_with("spec"), "{}: {problem}", path.display());
    }
}

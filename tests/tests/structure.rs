//! The dependency direction of the workspace. A crate that reaches for one it must not know fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate may depend on at run time (development dependencies are free).
const ALLOWED: &[(&str, &[&str])] = &[
    ("aivonx-crds", &[]),
    ("aivonx-state", &[]),
    ("aivonx-process", &[]),
    ("aivonx-simulator", &[]),
    ("aivonx-controller", &["aivonx-crds", "aivonx-state", "aivonx-process"]),
    ("aivonx-dataplane", &["aivonx-state", "aivonx-process"]),
    (
        "aivonx",
        &[
            "aivonx-crds",
            "aivonx-state",
            "aivonx-process",
            "aivonx-controller",
            "aivonx-dataplane",
            "aivonx-simulator",
        ],
    ),
    ("aivonx-tests", &[]),
    ("aivonx-bench", &["aivonx-state", "aivonx-tests"]),
];

fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The workspace's own crates, each with those of them that it depends on at run time.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let text = cargo(&["metadata", "--format-version=1", "--no-deps", "--offline"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &serde_json::Value| value["name"].as_str().expect("a name").to_owned();
    let own: BTreeSet<String> = packages.iter().map(name).collect();
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            let runtime = dependencies.iter().filter(|dependency| dependency["kind"].is_null());
            (name(package), runtime.map(name).filter(|dependency| own.contains(dependency)).collect())
        })
        .collect()
}

#[test]
fn crates_depend_only_on_those_below_them() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for (package, dependencies) in edges() {
        let allowed = allowed.get(package.as_str()).unwrap_or_else(|| {
            panic!("{package} has no place in the dependency direction: add it to ALLOWED")
        });
        for dependency in dependencies {
            assert!(
                allowed.contains(&dependency.as_str()),
                "{package} must not depend on {dependency}; it may on {allowed:?}"
            );
        }
    }
}

#[test]
fn the_data_plane_links_no_kubernetes_client() {
    let tree = cargo(&[
        "tree",
        "--package=aivonx-dataplane",
        "--edges=normal",
        "--prefix=none",
        "--format={p}",
        "--offline",
    ]);
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("hyper"), "the tree was read: {crates:?}");
    for name in &crates {
        assert!(!name.starts_with("kube") && *name != "k8s-openapi", "the data plane links {name}");
    }
}

//! Reads manifests from files and folders.

use aivonx_crds::{OllamaNode, parse_documents};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// A manifest of a thousand nodes has about half a megabyte.
const MAX_FILE_BYTES: u64 = 8 << 20;
/// In one folder.
const MAX_FILES: usize = 1_000;

/// A file and the nodes it declares.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadFile {
    /// As it was named, or the folder that was named with the file's name.
    pub path: PathBuf,
    /// In the order of the file.
    pub nodes: Vec<OllamaNode>,
}

/// Reads files, and the `*.yaml` and `*.yml` files of folders in the order of their names. Folders within folders and
/// hidden files are passed over.
///
/// # Errors
/// Everything that is wrong, one sentence each, as `file:line: sentence`.
pub fn read(paths: &[PathBuf]) -> Result<Vec<ReadFile>, Vec<String>> {
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for path in paths {
        match expand(path) {
            Ok(found) => files.extend(found),
            Err(problem) => problems.push(problem),
        }
    }
    let mut read = Vec::new();
    for path in files {
        match read_file(&path) {
            Ok(nodes) => read.push(ReadFile { path, nodes }),
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

/// The path itself if it is a file, its manifests if it is a folder.
fn expand(path: &Path) -> Result<Vec<PathBuf>, String> {
    let unreadable = |error: io::Error| format!("{}: cannot be read: {error}", path.display());
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        // A link is followed: that is how Kubernetes mounts a ConfigMap.
        if is_manifest(&file) && fs::metadata(&file).is_ok_and(|metadata| metadata.is_file()) {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(format!(
                "{}: holds more than {MAX_FILES} manifests: put several nodes in one file, with --- between them",
                path.display()
            ));
        }
    }
    files.sort();
    Ok(files)
}

fn is_manifest(file: &Path) -> bool {
    let hidden = file.file_name().and_then(OsStr::to_str).is_none_or(|name| name.starts_with('.'));
    let extension = file.extension().and_then(OsStr::to_str);
    !hidden && matches!(extension, Some("yaml" | "yml"))
}

fn read_file(path: &Path) -> Result<Vec<OllamaNode>, Vec<String>> {
    let shown = path.display();
    let text = read_text(path).map_err(|error| vec![format!("{shown}: cannot be read: {error}")])?;
    parse_documents(&text).map_err(|error| {
        let located = error.problems.into_iter().map(|problem| {
            let field = if problem.field.is_empty() { String::new() } else { format!("{}: ", problem.field) };
            let line = if problem.line > 0 { format!(":{}", problem.line) } else { String::new() };
            format!("{shown}{line}: {field}{}", problem.sentence)
        });
        located.collect()
    })
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_FILE_BYTES >> 20)));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(name: &str) -> String {
        format!(
            "apiVersion: aivonx.io/v1alpha1\nkind: OllamaNode\nmetadata:\n  name: {name}\nspec:\n  url: http://10.0.0.7:11434\n"
        )
    }

    fn names(read: &[ReadFile]) -> Vec<&str> {
        let nodes = read.iter().flat_map(|file| &file.nodes);
        nodes.filter_map(|node| node.metadata.name.as_deref()).collect()
    }

    #[test]
    fn a_folder_gives_its_manifests_in_order_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("b.yml", &manifest("second"));
        write("a.yaml", &format!("{}---\n{}", manifest("first"), manifest("first-too")));
        write("notes.txt", "not a manifest");
        write(".hidden.yaml", "not: [a manifest");
        std::fs::create_dir(folder.path().join("c.yaml")).unwrap();
        let read = read(&[folder.path().to_owned()]).unwrap();
        assert_eq!(names(&read), ["first", "first-too", "second"]);
    }

    #[test]
    fn everything_wrong_is_told_with_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        let bad = folder.path().join("bad.yaml");
        std::fs::write(&bad, manifest("gpu-1").replace("url:", "ulr:")).unwrap();
        let gone = folder.path().join("gone.yaml");
        let problems = read(&[bad.clone(), gone.clone()]).unwrap_err();
        assert!(
            problems[0].starts_with(&format!("{}: cannot be read: No such file", gone.display())),
            "{problems:?}"
        );
        assert!(problems[1].starts_with(&format!("{}:6: spec.ulr: ", bad.display())), "{problems:?}");
    }

    #[test]
    fn a_file_that_cannot_be_a_manifest_is_not_read_whole() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_FILE_BYTES + 1).unwrap();
        let problems = read(&[file.path().to_owned()]).unwrap_err();
        assert!(problems[0].ends_with("it is larger than 8 MiB"), "{problems:?}");
    }
}

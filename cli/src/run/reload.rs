//! Reads the files again when they change. A broken edit keeps the fleet as it was.

use super::sources::{Nodes, Sources};
use aivonx_controller::fleet::Fleet;
use aivonx_controller::node::DesiredNode;
use aivonx_state::NodeId;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

/// An editor writes a file in several steps: the files are read when they have been quiet for this long…
const QUIET: Duration = Duration::from_millis(150);
/// …or at the latest after this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Notices of changes are hints, and do not come from every file system: the files are also read this often.
const POLL: Duration = Duration::from_secs(10);

/// Follows the files for ever: the fleet gets what changes, and `declared` all nodes in force.
pub async fn follow(
    mut watch: Watch,
    mut reloader: Reloader,
    fleet: Fleet,
    declared: watch::Sender<Arc<Nodes>>,
) {
    loop {
        watch.changed().await;
        let reading = tokio::task::spawn_blocking(move || {
            let changes = reloader.reload();
            (reloader, changes)
        });
        let changes;
        (reloader, changes) = match reading.await {
            Ok(read) => read,
            // Only the end of the process takes it away.
            Err(_) => return,
        };
        if changes == Changes::default() {
            continue;
        }
        for node in changes.applied {
            fleet.apply(node);
        }
        for id in &changes.removed {
            fleet.remove(id);
        }
        declared.send_replace(Arc::new(reloader.nodes().clone()));
    }
}

/// What a reload changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Nodes that are new, or not as before.
    pub applied: Vec<DesiredNode>,
    /// Nodes that are declared no longer.
    pub removed: Vec<NodeId>,
}

/// Knows what is declared, and what was declared before.
#[derive(Debug)]
pub struct Reloader {
    sources: Sources,
    nodes: Nodes,
    refused: Option<String>,
}

impl Reloader {
    /// Starts from the nodes that were read at first.
    pub fn new(sources: Sources, nodes: Nodes) -> Self {
        Self { sources, nodes, refused: None }
    }

    /// Reads everything again. Blocks. Files that cannot be taken change nothing and are logged, once each time they are
    /// wrong in a new way.
    pub fn reload(&mut self) -> Changes {
        match self.sources.read() {
            Ok(wanted) => {
                let (nodes, changes) = difference(&self.nodes, wanted);
                if self.refused.take().is_some() || changes != Changes::default() {
                    info!(
                        nodes = nodes.len(),
                        applied = changes.applied.len(),
                        removed = changes.removed.len(),
                        "the files were read again"
                    );
                }
                self.nodes = nodes;
                changes
            }
            Err(refused) => {
                let sentence = refused.to_string();
                if self.refused.as_ref() != Some(&sentence) {
                    for problem in &refused.problems {
                        error!("the fleet stays as it was: {problem}");
                    }
                    self.refused = Some(sentence);
                }
                Changes::default()
            }
        }
    }

    /// The nodes in force.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }
}

/// What is in force from now on, and how it differs from before. A node that changed gets the next generation.
fn difference(before: &Nodes, wanted: Nodes) -> (Nodes, Changes) {
    let removed = before.keys().filter(|id| !wanted.contains_key(id)).cloned().collect();
    let mut changes = Changes { applied: Vec::new(), removed };
    let nodes = wanted
        .into_iter()
        .map(|(id, mut node)| {
            match before.get(&id) {
                Some(old) => {
                    node.generation = old.generation;
                    if *old != node {
                        node.generation += 1;
                        changes.applied.push(node.clone());
                    }
                }
                None => changes.applied.push(node.clone()),
            }
            (id, node)
        })
        .collect();
    (nodes, changes)
}

/// Tells when files may have changed.
pub struct Watch {
    hints: mpsc::Receiver<()>,
    /// Stops when dropped.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches files and folders. Where that is not possible, says so and lets polling do.
    pub fn start(paths: &[PathBuf]) -> Self {
        let (sender, hints) = mpsc::channel(1);
        let watcher = watcher(paths, sender)
            .inspect_err(|error| {
                warn!(%error, "changes of files are not told at once, and seen within {POLL:?} instead");
            })
            .ok();
        Self { hints, _watcher: watcher }
    }

    /// Waits until the files may have changed and have then been quiet for a moment.
    pub async fn changed(&mut self) {
        match timeout(POLL, self.hints.recv()).await {
            Ok(Some(())) => settle(&mut self.hints).await,
            // Nobody gives hints.
            Ok(None) => tokio::time::sleep(POLL).await,
            Err(_) => {}
        }
    }
}

fn watcher(paths: &[PathBuf], hints: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if tells_of_a_change(&event) {
            // One hint waiting is as good as two.
            let _ = hints.try_send(());
        }
    })?;
    for folder in folders(paths) {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Reading a file is an event too, and would lead to the next reading. An error may stand for events that were lost.
fn tells_of_a_change(event: &notify::Result<Event>) -> bool {
    event.as_ref().map_or(true, |event| !event.kind.is_access())
}

/// The folders to watch. A file is watched through its folder: editors replace a file by another of the same name.
fn folders(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    paths
        .iter()
        .map(|path| match path.parent() {
            _ if path.is_dir() => path.clone(),
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        })
        .collect()
}

/// Waits until no hint came for [`QUIET`], but no longer than [`PATIENCE`].
async fn settle(hints: &mut mpsc::Receiver<()>) {
    let quiet = async { while let Ok(Some(())) = timeout(QUIET, hints.recv()).await {} };
    drop(timeout(PATIENCE, quiet).await);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::NodeArgs;
    use tokio::time::Instant;

    fn manifest(name: &str, weight: u32) -> String {
        format!(
            "apiVersion: aivonx.io/v1alpha1\nkind: OllamaNode\nmetadata: {{name: {name}}}\nspec: {{url: 'http://10.0.0.7:1', weight: {weight}}}\n---\n"
        )
    }

    fn reloader(file: &Path) -> Reloader {
        let sources = Sources::new(&NodeArgs { files: vec![file.to_owned()], nodes: Vec::new() }).unwrap();
        let nodes = sources.read().unwrap();
        Reloader::new(sources, nodes)
    }

    #[test]
    fn a_reload_tells_what_is_new_changed_and_gone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: String| std::fs::write(file.path(), text).unwrap();
        write(manifest("same", 1) + &manifest("changed", 1) + &manifest("gone", 1));
        let mut reloader = reloader(file.path());
        assert_eq!(reloader.reload(), Changes::default());

        write(manifest("same", 1) + &manifest("changed", 2) + &manifest("new", 1));
        let changes = reloader.reload();
        let applied: Vec<_> = changes.applied.iter().map(|node| (node.id.name(), node.weight)).collect();
        assert_eq!(applied, [("changed", 2), ("new", 1)]);
        assert_eq!(changes.removed, [NodeId::new("default", "gone")]);
        assert_eq!(reloader.reload(), Changes::default());
    }

    #[test]
    fn each_change_of_a_node_is_a_new_generation() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest("gpu", 1)).unwrap();
        let mut reloader = reloader(file.path());
        let first = reloader.nodes()[&NodeId::new("default", "gpu")].generation;
        for weight in [2, 3] {
            std::fs::write(file.path(), manifest("gpu", weight)).unwrap();
            assert_eq!(reloader.reload().applied[0].generation, first + i64::from(weight) - 1);
        }
    }

    #[test]
    fn a_broken_edit_changes_nothing_and_a_cure_is_taken() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), manifest("one", 1) + &manifest("two", 1)).unwrap();
        let mut reloader = reloader(file.path());
        let before = reloader.nodes().clone();
        for broken in ["spec: [".to_owned(), manifest("one", 1) + "kind: OllamaNode\n", manifest("one", 5000)]
        {
            std::fs::write(file.path(), broken).unwrap();
            assert_eq!(reloader.reload(), Changes::default());
            assert_eq!(*reloader.nodes(), before);
        }
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(reloader.reload(), Changes::default());

        std::fs::write(file.path(), manifest("one", 1)).unwrap();
        assert_eq!(reloader.reload().removed, [NodeId::new("default", "two")]);
    }

    #[test]
    fn a_file_is_watched_through_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned(), folder.path().join("fleet.yaml"), PathBuf::from("fleet.yaml")];
        assert_eq!(folders(&paths), [PathBuf::from("."), folder.path().to_owned()].into());
    }

    #[test]
    fn reading_is_no_change() {
        use notify::event::{AccessKind, CreateKind, EventKind};
        assert!(!tells_of_a_change(&Ok(Event::new(EventKind::Access(AccessKind::Read)))));
        assert!(tells_of_a_change(&Ok(Event::new(EventKind::Create(CreateKind::File)))));
        assert!(tells_of_a_change(&Err(notify::Error::generic("the queue overflowed"))));
    }

    #[tokio::test]
    async fn a_write_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::start(&[folder.path().to_owned()]);
        std::fs::write(folder.path().join("fleet.yaml"), "").unwrap();
        timeout(POLL / 2, watch.hints.recv()).await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn many_writes_are_one_reload_and_endless_ones_do_not_put_it_off() {
        let (sender, mut hints) = mpsc::channel(1);
        let start = Instant::now();
        settle(&mut hints).await;
        assert_eq!(start.elapsed(), QUIET);

        let writing = tokio::spawn(async move {
            while sender.send(()).await.is_ok() {
                tokio::time::sleep(QUIET / 3).await;
            }
        });
        let start = Instant::now();
        timeout(2 * PATIENCE, settle(&mut hints)).await.unwrap();
        assert_eq!(start.elapsed(), PATIENCE);
        writing.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_read_again_even_if_no_notice_comes() {
        let (_silent, hints) = mpsc::channel(1);
        let (gone, nobody) = mpsc::channel(1);
        drop(gone);
        for hints in [hints, nobody] {
            let mut watch = Watch { hints, _watcher: None };
            let start = Instant::now();
            watch.changed().await;
            assert_eq!(start.elapsed(), POLL);
        }
    }
}

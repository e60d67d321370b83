//! Where the standalone gateway's nodes come from: flags, files, `OLLAMA_HOST`.

use super::{files, ollama_host};
use crate::args::NodeArgs;
use aivonx_controller::node::DesiredNode;
use aivonx_controller::reconcile::node::{Resolution, validate};
use aivonx_crds::{OllamaNode, parse_documents};
use aivonx_process::settings::SettingsError;
use aivonx_state::NodeId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use url::Url;

/// All nodes that are declared.
pub type Nodes = BTreeMap<NodeId, DesiredNode>;

/// What is wrong with a declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct Refused {
    setting: &'static str,
    /// One sentence each, with file and line where there are any.
    pub problems: Vec<String>,
}

impl From<Refused> for SettingsError {
    fn from(refused: Refused) -> Self {
        Self::new(refused.setting, refused.to_string())
    }
}

impl Refused {
    fn one(setting: &'static str, problem: String) -> Self {
        Self { setting, problems: vec![problem] }
    }
}

/// Nodes that stay as they are, and files that are read again when they change.
#[derive(Clone, Debug)]
pub struct Sources {
    fixed: Nodes,
    files: Vec<PathBuf>,
}

impl Sources {
    /// The sources that the flags name.
    ///
    /// # Errors
    /// When a URL cannot be a node.
    pub fn new(args: &NodeArgs) -> Result<Self, Refused> {
        let mut sources = Self { fixed: Nodes::new(), files: args.files.clone() };
        for url in args.nodes() {
            let node = from_url("AIVONX_NODE", &format!("--node {}", shown(url)), &name_of(url), url)?;
            sources.fixed.insert(node.id.clone(), node);
        }
        Ok(sources)
    }

    /// Adds the Ollama that `OLLAMA_HOST` names, or the one on this machine.
    ///
    /// # Errors
    /// When the value cannot be a node.
    pub fn add_local_ollama(&mut self, ollama_host: Option<&str>) -> Result<(), Refused> {
        const SETTING: &str = "OLLAMA_HOST";
        let url = ollama_host::base_url(ollama_host).map_err(|sentence| Refused::one(SETTING, sentence))?;
        let node = from_url(SETTING, SETTING, &name_of(&url), &url)?;
        self.fixed.insert(node.id.clone(), node);
        Ok(())
    }

    /// Adds a node that this process itself serves.
    ///
    /// # Errors
    /// When the URL cannot be a node.
    pub fn add_simulated(&mut self, name: &str, url: &str) -> Result<(), Refused> {
        let node = from_url("AIVONX_DEMO", "--demo", name, url)?;
        self.fixed.insert(node.id.clone(), node);
        Ok(())
    }

    /// Whether nothing was named.
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.files.is_empty()
    }

    /// The files and folders that are read.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads the files and gives all nodes. Blocks.
    ///
    /// # Errors
    /// Everything that is wrong with the files; then none of them counts.
    pub fn read(&self) -> Result<Nodes, Refused> {
        const SETTING: &str = "AIVONX_FILE";
        let mut nodes = self.fixed.clone();
        let mut origins: BTreeMap<NodeId, String> =
            self.fixed.keys().map(|id| (id.clone(), "--node".to_owned())).collect();
        let mut problems = Vec::new();
        for read in files::read(&self.files).map_err(|problems| Refused { setting: SETTING, problems })? {
            let path = read.path.display();
            for resource in &read.nodes {
                match desired(resource) {
                    Ok(node) => match origins.insert(node.id.clone(), path.to_string()) {
                        None => drop(nodes.insert(node.id.clone(), node)),
                        Some(other) => {
                            problems
                                .push(format!("{path}: OllamaNode {} is also declared by {other}", node.id));
                        }
                    },
                    Err(sentence) => {
                        let name = resource.metadata.name.as_deref().unwrap_or_default();
                        problems.push(format!("{path}: OllamaNode {name}: {sentence}"));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(nodes) } else { Err(Refused { setting: SETTING, problems }) }
    }
}

/// A node that is nothing but a URL, by the same rules as one from a manifest.
fn from_url(setting: &'static str, origin: &str, name: &str, url: &str) -> Result<DesiredNode, Refused> {
    let manifest = serde_json::json!({
        "apiVersion": "aivonx.io/v1alpha1",
        "kind": "OllamaNode",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "url": url },
    });
    let refused = |sentence: String| Refused::one(setting, format!("{origin}: {sentence}"));
    let resources = parse_documents(&manifest.to_string()).map_err(|error| {
        let sentences: Vec<_> = error.problems.into_iter().map(|problem| problem.sentence).collect();
        refused(sentences.join("; "))
    })?;
    let resource = resources.first().ok_or_else(|| refused("names no node".to_owned()))?;
    desired(resource).map_err(refused)
}

fn desired(resource: &OllamaNode) -> Result<DesiredNode, String> {
    validate(resource, &Resolution::NoCluster).map_err(|rejection| rejection.message)
}

/// Host and port of a URL as the name of a resource: `http://10.0.0.7:11434` is `10.0.0.7-11434`.
///
/// A URL that cannot be read gets some valid name; the rules of the resource then refuse the URL itself.
fn name_of(url: &str) -> String {
    const MAX: usize = 200;
    let parsed = Url::parse(url).ok();
    let host = parsed.as_ref().and_then(Url::host_str).unwrap_or_default().to_lowercase();
    let port = parsed.as_ref().and_then(Url::port_or_known_default).unwrap_or_default();
    let host: String = host
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .take(MAX)
        .collect();
    // Each part between dots begins and ends with a letter or a digit.
    let parts: Vec<_> =
        host.split('.').map(|part| part.trim_matches('-')).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { format!("node-{port}") } else { format!("{}-{port}", parts.join(".")) }
}

/// A URL without what may be a password.
fn shown(url: &str) -> &str {
    if url.contains('@') { "URL" } else { url }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(nodes: &[&str], files: &[PathBuf]) -> Result<Sources, Refused> {
        let nodes = nodes.iter().map(|&node| node.to_owned()).collect();
        Sources::new(&NodeArgs { files: files.to_vec(), nodes })
    }

    fn ids(nodes: &Nodes) -> Vec<&str> {
        nodes.keys().map(NodeId::as_str).collect()
    }

    fn manifest(name: &str, url: &str) -> String {
        format!(
            "apiVersion: aivonx.io/v1alpha1\nkind: OllamaNode\nmetadata: {{name: {name}}}\nspec: {{url: {url}}}\n"
        )
    }

    #[test]
    fn a_url_is_a_node_named_by_host_and_port() {
        let urls = [
            "http://10.0.0.7:11434",
            "https://GPU.example",
            "http://[2001:db8::7]:8080",
            "http://ollama_1:11434",
        ];
        let nodes = sources(&urls, &[]).unwrap().read().unwrap();
        let expected = [
            "default/10.0.0.7-11434",
            "default/2001-db8--7-8080",
            "default/gpu.example-443",
            "default/ollama-1-11434",
        ];
        assert_eq!(ids(&nodes), expected);
        assert_eq!(nodes[&NodeId::from("default/10.0.0.7-11434")].url.as_str(), "http://10.0.0.7:11434/");
    }

    #[test]
    fn a_url_keeps_the_rules_of_the_resource() {
        for (url, expected) in [
            ("ftp://gpu", "url must start with http:// or https://"),
            ("http://gpu/ollama", "url must end after the port"),
            ("http://169.254.169.254", "link-local"),
            ("gpu:11434", "url must start with http:// or https://"),
        ] {
            let refused = sources(&[url], &[]).unwrap_err();
            assert!(refused.to_string().starts_with(&format!("--node {url}: ")), "{refused}");
            assert!(refused.to_string().contains(expected), "{refused}");
            assert_eq!(SettingsError::from(refused).setting, "AIVONX_NODE");
        }
        let refused = sources(&["http://me:hunter2@gpu"], &[]).unwrap_err().to_string();
        assert!(refused.contains("must not hold a user name") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn the_local_ollama_is_where_its_own_client_looks() {
        let mut sources = sources(&[], &[]).unwrap();
        assert!(sources.is_empty());
        sources.add_local_ollama(Some("0.0.0.0:8080")).unwrap();
        assert_eq!(ids(&sources.read().unwrap()), ["default/127.0.0.1-8080"]);
        let refused = sources.add_local_ollama(Some("ftp://gpu")).unwrap_err();
        assert_eq!(SettingsError::from(refused).setting, "OLLAMA_HOST");
    }

    #[test]
    fn files_and_urls_add_up_and_a_node_is_declared_once() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one.yaml"), folder.path().join("two.yml"));
        std::fs::write(&one, manifest("gpu-1", "http://10.0.0.1:11434")).unwrap();
        std::fs::write(&two, manifest("gpu-2", "http://10.0.0.2:11434")).unwrap();
        let all = sources(&["http://10.0.0.3:1"], &[folder.path().to_owned()]).unwrap();
        assert_eq!(ids(&all.read().unwrap()), ["default/10.0.0.3-1", "default/gpu-1", "default/gpu-2"]);

        std::fs::write(&two, manifest("gpu-1", "http://10.0.0.2:11434")).unwrap();
        let refused = all.read().unwrap_err();
        assert_eq!(
            refused.problems,
            [format!("{}: OllamaNode default/gpu-1 is also declared by {}", two.display(), one.display())]
        );
        assert_eq!(SettingsError::from(refused).setting, "AIVONX_FILE");
    }

    #[test]
    fn what_only_a_cluster_can_give_is_refused_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleet.yaml");
        let text = manifest("gpu-1", "http://a:1")
            .replace("{url: http://a:1}", "{serviceRef: {name: ollama, port: 11434}}");
        std::fs::write(&file, text).unwrap();
        let refused = sources(&[], &[file]).unwrap().read().unwrap_err().to_string();
        assert!(
            refused.contains("fleet.yaml: OllamaNode gpu-1: serviceRef needs a Kubernetes cluster"),
            "{refused}"
        );
    }
}

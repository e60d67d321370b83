//! What is answered from the routing table, without a node.

use super::answer::Content;
use super::routes::{Local, Unknown};
use crate::error::{BARE_JSON, JSON, ProxyError};
use crate::table::{Index, OpenAiModel, json_line};
use aivonx_state::ModelName;
use bytes::Bytes;
use http::{HeaderValue, Response, header};

/// Answers about the fleet as a whole. `rest` is the name of the model where the path has one. `index` is absent before
/// the first table.
pub(crate) fn answer(
    local: Local,
    rest: &str,
    index: Option<&Index>,
) -> Result<Response<Content>, ProxyError> {
    let index = || index.ok_or(ProxyError::NoTable);
    Ok(match local {
        Local::Root => {
            let text = Bytes::from_static(b"Ollama is running");
            with_type(HeaderValue::from_static("text/plain; charset=utf-8"), text)
        }
        Local::Version => with_type(JSON, index()?.answers.version.clone()),
        Local::Tags => with_type(JSON, index()?.answers.tags.clone()),
        Local::Loaded => with_type(JSON, index()?.answers.loaded.clone()),
        Local::Models => with_type(BARE_JSON, index()?.answers.models.clone()),
        Local::Model => with_type(BARE_JSON, model(rest, index()?)?),
    })
}

fn with_type(kind: HeaderValue, body: Bytes) -> Response<Content> {
    let mut response = Response::new(Content::whole(body));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn model(asked: &str, index: &Index) -> Result<Bytes, ProxyError> {
    let name = ModelName::parse(asked).map_err(ProxyError::BadName)?;
    if name.is_cloud() {
        return Err(ProxyError::CloudModel { details: true });
    }
    let entry = index.model(&name.key()).ok_or_else(|| ProxyError::UnknownModel {
        name: name.display_shortest().to_owned(),
        form: Unknown::Tagged,
    })?;
    if entry.candidates.is_empty() {
        return Err(ProxyError::NoHealthyNode);
    }
    Ok(json_line(&OpenAiModel::new(asked, entry.created, &entry.owned_by)))
}

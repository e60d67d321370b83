//! Which handler a request reaches, as Go's ServeMux and gin decide it: paths that are not clean are redirected
//! as they stand, then the *decoded* path is matched literally, so `/api/%70s` is `/api/ps` and
//! `/api/%2e%2e/x` is nothing.

use http::Method;

/// A handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET`, `HEAD /`
    Root,
    /// `GET`, `HEAD /api/version`
    Version,
    /// `GET`, `HEAD /api/tags`
    Tags,
    /// `GET /api/ps`
    Ps,
    /// `POST /api/show`
    Show,
    /// `POST /api/generate`
    Generate,
    /// `POST /api/chat`
    Chat,
    /// `POST /api/embed`
    Embed,
    /// `POST /api/embeddings`
    Embeddings,
    /// `POST /v1/chat/completions`
    OpenAiChat,
    /// `POST /v1/completions`
    OpenAiCompletions,
    /// `POST /v1/embeddings`
    OpenAiEmbeddings,
    /// `GET /v1/models`
    OpenAiModels,
    /// `GET /v1/models/{model}`
    OpenAiModel(String),
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routed {
    /// To a handler.
    To(Route),
    /// By the mux, before anything else looks at the request: 307 to this path.
    Clean(String),
    /// By gin: 301 for GET, 307 otherwise, to this path.
    Redirect(String),
    /// 400: an escape that is none. The connection ends.
    BadEscape,
    /// 400 without a word, 200 for OPTIONS: `*` is no path.
    Star,
    /// 405 with these methods allowed.
    MethodNotAllowed(&'static str),
    /// 404
    NotFound,
}

/// Decides by method and path (without query).
pub fn route(method: &Method, path: &str) -> Routed {
    if path == "*" {
        return Routed::Star;
    }
    let Some(decoded) = percent_decode(path) else { return Routed::BadEscape };
    let clean = clean(path);
    if clean != path {
        return Routed::Clean(clean);
    }
    let path = decoded;
    if let Some((route, methods)) = find(&path) {
        return if methods.split(", ").any(|allowed| allowed == method.as_str()) {
            Routed::To(route)
        } else {
            Routed::MethodNotAllowed(methods)
        };
    }
    // A slash too many or too few is redirected when the method has the other spelling.
    let other = match path.strip_suffix('/') {
        Some(without) => without.to_owned(),
        None => format!("{path}/"),
    };
    match find(&other) {
        Some((_, methods)) if methods.split(", ").any(|allowed| allowed == method.as_str()) => {
            Routed::Redirect(other)
        }
        _ => Routed::NotFound,
    }
}

fn find(path: &str) -> Option<(Route, &'static str)> {
    Some(match path {
        "/" => (Route::Root, "HEAD, GET"),
        "/api/version" => (Route::Version, "HEAD, GET"),
        "/api/tags" => (Route::Tags, "HEAD, GET"),
        "/api/ps" => (Route::Ps, "GET"),
        "/api/show" => (Route::Show, "POST"),
        "/api/generate" => (Route::Generate, "POST"),
        "/api/chat" => (Route::Chat, "POST"),
        "/api/embed" => (Route::Embed, "POST"),
        "/api/embeddings" => (Route::Embeddings, "POST"),
        "/v1/chat/completions" => (Route::OpenAiChat, "POST"),
        "/v1/completions" => (Route::OpenAiCompletions, "POST"),
        "/v1/embeddings" => (Route::OpenAiEmbeddings, "POST"),
        "/v1/models" => (Route::OpenAiModels, "GET"),
        other => {
            let model = other.strip_prefix("/v1/models/").filter(|m| !m.is_empty() && !m.contains('/'))?;
            (Route::OpenAiModel(model.to_owned()), "GET")
        }
    })
}

/// Go's `path.Clean` for a rooted path, with a final slash kept.
fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    let mut out = String::with_capacity(path.len());
    for part in &kept {
        out.push('/');
        out.push_str(part);
    }
    if out.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

/// `None` when an escape is none.
fn percent_decode(path: &str) -> Option<String> {
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let code = hex(bytes.get(at + 1))? * 16 + hex(bytes.get(at + 2))?;
            out.push(u8::try_from(code).ok()?);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        for (method, path, want) in [
            (Method::GET, "/", Routed::To(Route::Root)),
            (Method::HEAD, "/api/tags", Routed::To(Route::Tags)),
            (Method::HEAD, "/api/ps", Routed::MethodNotAllowed("GET")),
            (Method::GET, "/api/chat", Routed::MethodNotAllowed("POST")),
            (Method::POST, "/api/version", Routed::MethodNotAllowed("HEAD, GET")),
            (Method::POST, "/api/%70s", Routed::MethodNotAllowed("GET")),
            (Method::POST, "/api%2fchat", Routed::To(Route::Chat)),
            (Method::POST, "/api/%2e%2e/api/chat", Routed::NotFound),
            (Method::POST, "/API/chat", Routed::NotFound),
            (Method::GET, "/metrics", Routed::NotFound),
            (Method::POST, "/v1/images/generations", Routed::NotFound),
            (Method::GET, "/v1/models/a:b", Routed::To(Route::OpenAiModel("a:b".into()))),
            (Method::GET, "/v1/models/u/m", Routed::NotFound),
            (Method::GET, "/v1/models/u%2Fm", Routed::NotFound),
            (Method::GET, "/v1/models/", Routed::Redirect("/v1/models".into())),
            (Method::GET, "/api/tags/", Routed::Redirect("/api/tags".into())),
            (Method::POST, "/api/tags/", Routed::NotFound),
            (Method::POST, "//api/chat", Routed::Clean("/api/chat".into())),
            (Method::POST, "/api/../api/./chat", Routed::Clean("/api/chat".into())),
            (Method::GET, "/..", Routed::Clean("/".into())),
            (Method::GET, "/api/tags%zz", Routed::BadEscape),
            (Method::GET, "/api/tags%2", Routed::BadEscape),
            (Method::GET, "*", Routed::Star),
        ] {
            assert_eq!(route(&method, path), want, "{method} {path}");
        }
    }
}

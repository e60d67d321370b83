//! What a server says about itself, and paths.

use http::Method;
use serde_json::json;

use super::Target;
use super::expect::{GIN_JSON, body, ensure, head, keys, native_error, positive, send, text, time};
use crate::client::{Call, get, post};

pub async fn root(target: &Target) -> Result<(), String> {
    let answer = send(get(&target.base, "/")).await?;
    head(&answer, 200, "text/plain; charset=utf-8")?;
    body(&answer, "Ollama is running")?;
    let answer = send(Call::new(Method::HEAD, &target.base, "/")).await?;
    head(&answer, 200, "text/plain; charset=utf-8")?;
    body(&answer, "")
}

pub async fn version(target: &Target) -> Result<(), String> {
    let answer = send(get(&target.base, "/api/version")).await?;
    head(&answer, 200, GIN_JSON)?;
    keys(&answer.json(), &["version"], &[])?;
    ensure!(!text(&answer.json(), "version")?.is_empty(), "empty version");
    let answer = send(Call::new(Method::HEAD, &target.base, "/api/version")).await?;
    head(&answer, 200, GIN_JSON)
}

pub async fn tags(target: &Target) -> Result<(), String> {
    let answer = send(get(&target.base, "/api/tags")).await?;
    head(&answer, 200, GIN_JSON)?;
    let value = answer.json();
    keys(&value, &["models"], &[])?;
    let models = value["models"].as_array().ok_or("models is no array")?;
    let mut newest = None;
    for model in models {
        let needed = ["name", "model", "modified_at", "size", "digest", "details", "capabilities"];
        keys(model, &needed, &["remote_model", "remote_host"])?;
        let details =
            ["parent_model", "format", "family", "families", "parameter_size", "quantization_level"];
        keys(&model["details"], &details, &["context_length", "embedding_length"])?;
        ensure!(text(model, "name")? == text(model, "model")?, "name and model differ in {model}");
        let digest = text(model, "digest")?;
        ensure!(digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()), "digest {digest}");
        positive(model, "size")?;
        let modified = time(model, "modified_at")?.as_second();
        ensure!(newest.is_none_or(|newest| modified <= newest), "not newest first: {value}");
        newest = Some(modified);
    }
    for name in [&target.completion, &target.embedding] {
        let shown = format!("{name}:latest");
        ensure!(models.iter().any(|model| model["name"] == shown), "no {shown} in {value}");
    }
    let answer = send(Call::new(Method::HEAD, &target.base, "/api/tags")).await?;
    head(&answer, 200, GIN_JSON)
}

pub async fn unknown_paths_are_404(target: &Target) -> Result<(), String> {
    for path in ["/metrics", "/health", "/api", "/api/nothing", "/v1/images/generations", "/API/tags"] {
        let answer = send(get(&target.base, path)).await?;
        head(&answer, 404, "text/plain")?;
        body(&answer, "404 page not found")?;
    }
    Ok(())
}

pub async fn wrong_methods_are_405(target: &Target) -> Result<(), String> {
    for (method, path, allow) in [
        (Method::GET, "/api/generate", "POST"),
        (Method::GET, "/api/chat", "POST"),
        (Method::DELETE, "/api/embed", "POST"),
        (Method::POST, "/api/ps", "GET"),
        (Method::GET, "/v1/chat/completions", "POST"),
        (Method::POST, "/v1/models", "GET"),
    ] {
        let answer = send(Call::new(method.clone(), &target.base, path)).await?;
        head(&answer, 405, "text/plain").map_err(|problem| format!("{method} {path}: {problem}"))?;
        body(&answer, "405 method not allowed")?;
        ensure!(answer.header("allow") == allow, "{method} {path}: allow {}", answer.header("allow"));
    }
    Ok(())
}

pub async fn paths_are_matched_decoded_and_literally(target: &Target) -> Result<(), String> {
    for (path, status) in [
        ("/api/%76ersion", 200),
        ("/api%2fversion", 200),
        ("/api/%2e%2e/api/version", 404),
        ("/api/version?x=y", 200),
        ("/api/version/", 301),
    ] {
        let answer = send(get(&target.base, path)).await?;
        ensure!(answer.status == status, "{path}: want {status}, got {}", answer.status);
    }
    for path in ["//api/version", "/api/./version", "/api/x/../version"] {
        let answer = send(get(&target.base, path)).await?;
        // Older Go says 301, newer 307.
        let redirected = matches!(answer.status, 301 | 307) && answer.header("location") == "/api/version";
        ensure!(redirected, "{path}: {} to {:?}", answer.status, answer.header("location"));
    }
    Ok(())
}

pub async fn foreign_origins_are_refused(target: &Target) -> Result<(), String> {
    let answer = send(get(&target.base, "/api/version").header("origin", "https://evil.example")).await?;
    ensure!(answer.status == 403, "want 403, got {}", answer.status);
    body(&answer, "")?;
    let answer = send(get(&target.base, "/api/version").header("origin", "http://localhost:3000")).await?;
    ensure!(answer.status == 200, "want 200, got {}", answer.status);
    let allowed = answer.header("access-control-allow-origin");
    ensure!(allowed == "http://localhost:3000", "allows {allowed:?}");
    Ok(())
}

pub async fn show(target: &Target) -> Result<(), String> {
    for (field, name) in [("model", &target.completion), ("name", &target.embedding)] {
        let answer = send(post(&target.base, "/api/show", &json!({ field: name }))).await?;
        head(&answer, 200, GIN_JSON)?;
        let value = answer.json();
        let optional = [
            "license",
            "modelfile",
            "parameters",
            "template",
            "system",
            "renderer",
            "parser",
            "messages",
            "remote_model",
            "remote_host",
            "projector_info",
            "tensors",
            "requires",
        ];
        keys(&value, &["details", "model_info", "capabilities", "modified_at"], &optional)?;
        let family = text(&value["model_info"], "general.architecture")?;
        positive(&value["model_info"], &format!("{family}.context_length"))?;
        time(&value, "modified_at")?;
        let want = if field == "model" { "completion" } else { "embedding" };
        let capabilities = value["capabilities"].as_array().ok_or("capabilities is no array")?;
        ensure!(capabilities.iter().any(|it| it == want), "no {want} in {}", value["capabilities"]);
        ensure!(value["tensors"][0]["name"].is_string(), "tensors without names");
    }
    Ok(())
}

pub async fn show_of_an_unknown_model(target: &Target) -> Result<(), String> {
    let answer = send(post(&target.base, "/api/show", &json!({"model": "no-such-model"}))).await?;
    native_error(&answer, 404, "model 'no-such-model:latest' not found")
}

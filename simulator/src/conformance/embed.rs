//! `/api/embed`, `/api/embeddings`.

use serde_json::{Value, json};

use super::Target;
use super::expect::{GIN_JSON, ensure, head, keys, positive, send};
use crate::client::post;

async fn ask(target: &Target, path: &str, request: &Value) -> Result<Value, String> {
    let answer = send(post(&target.base, path, request)).await?;
    head(&answer, 200, GIN_JSON)?;
    ensure!(answer.text().ends_with('}'), "ends with more than the object");
    Ok(answer.json())
}

fn vector(value: &Value) -> Result<Vec<f64>, String> {
    let numbers = value.as_array().ok_or_else(|| format!("no vector: {value}"))?;
    numbers.iter().map(|x| x.as_f64().ok_or_else(|| format!("no number: {x}"))).collect()
}

async fn vectors(target: &Target, input: Value) -> Result<Vec<Vec<f64>>, String> {
    let value = ask(target, "/api/embed", &json!({"model": target.embedding, "input": input})).await?;
    let vectors = value["embeddings"].as_array().ok_or("no embeddings")?;
    vectors.iter().map(vector).collect()
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn close(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3)
}

pub async fn embed_one(target: &Target) -> Result<(), String> {
    let value = ask(target, "/api/embed", &json!({"model": target.embedding, "input": "apple"})).await?;
    let needed = ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"];
    keys(&value, &needed, &[])?;
    ensure!(value["model"] == target.embedding, "model is not echoed");
    for key in ["total_duration", "load_duration", "prompt_eval_count"] {
        positive(&value, key)?;
    }
    let vectors = value["embeddings"].as_array().ok_or("no embeddings")?;
    ensure!(vectors.len() == 1, "{} vectors for one text", vectors.len());
    let length = length(&vector(&vectors[0])?);
    ensure!((length - 1.0).abs() < 1e-3, "length {length}");
    Ok(())
}

pub async fn embed_many_in_order(target: &Target) -> Result<(), String> {
    let both = vectors(target, json!(["apple", "zebra"])).await?;
    let first = vectors(target, json!("apple")).await?;
    let second = vectors(target, json!(["zebra"])).await?;
    ensure!(both.len() == 2 && first.len() == 1 && second.len() == 1, "wrong number of vectors");
    ensure!(close(&both[0], &first[0]) && close(&both[1], &second[0]), "not in the order of the input");
    ensure!(!close(&both[0], &both[1]), "two texts, one vector");
    Ok(())
}

pub async fn embed_fewer_dimensions(target: &Target) -> Result<(), String> {
    let request = json!({"model": target.embedding, "input": "apple", "dimensions": 8});
    let short = vector(&ask(target, "/api/embed", &request).await?["embeddings"][0])?;
    ensure!(short.len() == 8, "{} dimensions", short.len());
    ensure!((length(&short) - 1.0).abs() < 1e-3, "length {}", length(&short));
    Ok(())
}

pub async fn embed_nothing_loads(target: &Target) -> Result<(), String> {
    for request in [
        json!({"model": target.embedding}),
        json!({"model": target.embedding, "input": ""}),
        json!({"model": target.embedding, "input": []}),
    ] {
        let value = ask(target, "/api/embed", &request).await?;
        ensure!(value == json!({"model": target.embedding, "embeddings": []}), "{request}: {value}");
    }
    let value = ask(target, "/api/embeddings", &json!({"model": target.embedding})).await?;
    ensure!(value == json!({"embedding": []}), "{value}");
    Ok(())
}

pub async fn embeddings(target: &Target) -> Result<(), String> {
    let request = json!({"model": target.embedding, "prompt": "apple"});
    let value = ask(target, "/api/embeddings", &request).await?;
    keys(&value, &["embedding"], &[])?;
    let long = vector(&value["embedding"])?;
    let request = json!({"model": target.embedding, "input": "apple"});
    let short = vector(&ask(target, "/api/embed", &request).await?["embeddings"][0])?;
    ensure!(long.len() == short.len(), "{} and {} dimensions", long.len(), short.len());
    Ok(())
}

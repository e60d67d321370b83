//! What checks are made of.

use serde_json::Value;

use crate::client::{Answer, Call};

/// Fails the check unless it holds.
macro_rules! ensure {
    ($holds:expr, $($told:tt)+) => {
        let holds: bool = $holds;
        if !holds {
            return Err(format!($($told)+));
        }
    };
}
pub(super) use ensure;

/// Sends a request.
pub async fn send(call: Call) -> Result<Answer, String> {
    call.send().await.map_err(|error| error.to_string())
}

/// A status and a content type, exactly.
pub fn head(answer: &Answer, status: u16, content_type: &str) -> Result<(), String> {
    ensure!(
        answer.status == status && answer.content_type() == content_type,
        "want {status} {content_type}, got {} {}: {}",
        answer.status,
        answer.content_type(),
        answer.text()
    );
    Ok(())
}

/// A body, exactly.
pub fn body(answer: &Answer, want: &str) -> Result<(), String> {
    ensure!(answer.body == want.as_bytes(), "want body {want:?}, got {:?}", answer.text());
    Ok(())
}

/// What gin's `c.JSON` sends.
pub const GIN_JSON: &str = "application/json; charset=utf-8";

/// A native error, byte for byte.
pub fn native_error(answer: &Answer, status: u16, message: &str) -> Result<(), String> {
    head(answer, status, GIN_JSON)?;
    body(answer, &serde_json::json!({ "error": message }).to_string())
}

/// An OpenAI error. From the handler it ends with a newline and has no charset.
pub fn openai_error(
    answer: &Answer,
    status: u16,
    kind: &str,
    message: &str,
    from_handler: bool,
) -> Result<(), String> {
    let (content_type, end) = if from_handler { ("application/json", "\n") } else { (GIN_JSON, "") };
    head(answer, status, content_type)?;
    let message = Value::from(message);
    let want =
        format!(r#"{{"error":{{"message":{message},"type":"{kind}","param":null,"code":null}}}}{end}"#);
    body(answer, &want)
}

/// An object with these keys, all of them, and none but these and the optional ones.
pub fn keys(value: &Value, needed: &[&str], optional: &[&str]) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| format!("want an object, got {value}"))?;
    for key in needed {
        ensure!(object.contains_key(*key), "no {key} in {value}");
    }
    for key in object.keys() {
        ensure!(needed.contains(&key.as_str()) || optional.contains(&key.as_str()), "{key} in {value}");
    }
    Ok(())
}

/// A text.
pub fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("{key} is no text in {value}"))
}

/// An integer above zero.
pub fn positive(value: &Value, key: &str) -> Result<u64, String> {
    let number = value[key].as_u64().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{key} is no integer above zero in {value}"))
}

/// A time as RFC 3339.
pub fn time(value: &Value, key: &str) -> Result<jiff::Timestamp, String> {
    text(value, key)?.parse().map_err(|error| format!("{key} is no time in {value}: {error}"))
}

/// The numbers a finished native generation ends with.
pub fn metrics(value: &Value) -> Result<(), String> {
    for key in [
        "total_duration",
        "load_duration",
        "prompt_eval_count",
        "prompt_eval_duration",
        "eval_count",
        "eval_duration",
    ] {
        positive(value, key)?;
    }
    Ok(())
}

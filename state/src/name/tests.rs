use super::*;
use proptest::prelude::*;

/// What is asked for, the key it must have, how it is shown, and its source.
const VALID: &[(&str, &str, &str, Source)] = &[
    ("llama3.2", "registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest", Source::Unspecified),
    ("llama3.2:latest", "registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest", Source::Unspecified),
    ("  llama3.2\n", "registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest", Source::Unspecified),
    (
        "library/Llama3.2",
        "registry.ollama.ai/library/llama3.2:latest",
        "Llama3.2:latest",
        Source::Unspecified,
    ),
    (
        "registry.ollama.ai/library/llama3.2:LATEST",
        "registry.ollama.ai/library/llama3.2:latest",
        "llama3.2:LATEST",
        Source::Unspecified,
    ),
    (
        "https://registry.ollama.ai/library/llama3.2",
        "registry.ollama.ai/library/llama3.2:latest",
        "llama3.2:latest",
        Source::Unspecified,
    ),
    ("REGISTRY.Ollama.AI/Library/m", "registry.ollama.ai/library/m:latest", "m:latest", Source::Unspecified),
    ("user/m", "registry.ollama.ai/user/m:latest", "user/m:latest", Source::Unspecified),
    ("hf.co/U/m-GGUF:Q4_K_M", "hf.co/u/m-gguf:q4_k_m", "hf.co/U/m-GGUF:Q4_K_M", Source::Unspecified),
    (
        "huggingface.co/u/m-GGUF:Q4_K_M",
        "huggingface.co/u/m-gguf:q4_k_m",
        "huggingface.co/u/m-GGUF:Q4_K_M",
        Source::Unspecified,
    ),
    ("hf.co/library/m", "hf.co/library/m:latest", "hf.co/library/m:latest", Source::Unspecified),
    ("localhost:5000/ns/m", "localhost:5000/ns/m:latest", "localhost:5000/ns/m:latest", Source::Unspecified),
    ("http://localhost:5000/ns/m:1", "localhost:5000/ns/m:1", "localhost:5000/ns/m:1", Source::Unspecified),
    ("https:m", "registry.ollama.ai/library/https:m", "https:m", Source::Unspecified),
    ("_m-1.x:t-2.y_", "registry.ollama.ai/library/_m-1.x:t-2.y_", "_m-1.x:t-2.y_", Source::Unspecified),
    ("llama3.2:local", "registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest", Source::Local),
    ("llama3.2:1b:Local", "registry.ollama.ai/library/llama3.2:1b", "llama3.2:1b", Source::Local),
    ("gpt-oss:cloud", "registry.ollama.ai/library/gpt-oss:latest", "gpt-oss:latest", Source::Cloud),
    ("gpt-oss: CLOUD", "registry.ollama.ai/library/gpt-oss:latest", "gpt-oss:latest", Source::Cloud),
    ("gpt-oss:120b-Cloud", "registry.ollama.ai/library/gpt-oss:120b", "gpt-oss:120b", Source::Cloud),
    ("gpt-oss:120b:cloud", "registry.ollama.ai/library/gpt-oss:120b", "gpt-oss:120b", Source::Cloud),
    // Not suffixes: a model's own name, and a path behind a port.
    ("my-cloud", "registry.ollama.ai/library/my-cloud:latest", "my-cloud:latest", Source::Unspecified),
    ("h:5/n/m-cloud", "h:5/n/m-cloud:latest", "h:5/n/m-cloud:latest", Source::Unspecified),
];

const INVALID: &[&str] = &[
    "m:",
    ":t",
    "/m",
    "n/",
    "/n/m",
    "h//m",
    "http:///n/m",
    "http://m",
    "http://h/m",
    "-m",
    ".m",
    "m:-t",
    "m:.t",
    "-n/m",
    "n.o/m",
    "a:b:c",
    "h/n:o/m",
    "a/b/c/d",
    "m@sha256",
    "m@sha256:00",
    "m m",
    "m\u{e9}",
    "m\0",
    "m:t/",
    "m :cloud",
    "m:-cloud",
    "m:\u{3000}x",
    "..",
    "h/../m",
    "%2e/m",
    "\u{ff4d}",
];

#[test]
fn names_are_read_as_a_node_reads_them() {
    for (text, key, shown, source) in VALID {
        let name = ModelName::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(name.key().as_str(), *key, "key of {text:?}");
        assert_eq!(name.display_shortest(), *shown, "display of {text:?}");
        assert_eq!(name.source(), *source, "source of {text:?}");
        assert_eq!(name.is_cloud(), *source == Source::Cloud, "{text:?}");
    }
}

#[test]
fn what_a_node_refuses_is_refused() {
    for text in INVALID {
        assert_eq!(ModelName::parse(text).err(), Some(NameError::Invalid), "{text:?}");
    }
    for text in ["", "  ", "\n\t"] {
        assert_eq!(ModelName::parse(text).err(), Some(NameError::Missing), "{text:?}");
    }
}

#[test]
fn each_part_has_its_limit() {
    let of = |length: usize| "a".repeat(length);
    for (limit, shape) in [(80, "h/n/{}:t"), (80, "h/{}/m:t"), (80, "h/n/m:{}"), (350, "{}/n/m:t")] {
        let name = |length| ModelName::parse(&shape.replace("{}", &of(length)));
        assert!(name(limit).is_ok(), "{shape} of {limit}");
        assert_eq!(name(limit + 1).err(), Some(NameError::Invalid), "{shape} of {}", limit + 1);
    }
}

#[test]
fn two_suffixes_are_refused_in_a_nodes_words() {
    let words = |text| ModelName::parse(text).unwrap_err().to_string();
    assert_eq!(words("a:local:cloud"), r#"use either :local or :cloud, not both: "a:local:cloud""#);
    for text in ["a:cloud:local", "a:cloud:cloud", "a:8b-cloud:cloud", "a:cloud-cloud", "a:local :cloud"] {
        assert!(matches!(ModelName::parse(text), Err(NameError::TwoSources(_))), "{text:?}");
    }
    let long = format!("{}:local:cloud", "a".repeat(1 << 20));
    assert!(words(&long).len() < 300, "an error repeats a bounded part of the name");
    assert_eq!(words("@"), "invalid model name");
    assert_eq!(words(" "), "model is required");
}

#[test]
fn the_parts_keep_the_case_they_were_written_in() {
    let name = ModelName::parse("HF.co/User/Model:Q4").unwrap();
    assert_eq!((name.host(), name.namespace(), name.model(), name.tag()), ("HF.co", "User", "Model", "Q4"));
}

fn names() -> impl Strategy<Value = String> {
    let part = "[A-Za-z0-9_][A-Za-z0-9_-]{0,8}";
    let scheme = proptest::option::of(prop_oneof![Just("http://".to_owned()), Just("https://".to_owned())]);
    let host = (scheme, "[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}(:[0-9]{1,4})?")
        .prop_map(|(scheme, host)| format!("{}{host}/", scheme.unwrap_or_default()));
    let owner = prop_oneof![
        Just(String::new()),
        part.prop_map(|namespace| format!("{namespace}/")),
        (host, part).prop_map(|(host, namespace)| format!("{host}{namespace}/")),
    ];
    let tag = proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}");
    let suffix = prop_oneof![Just(""), Just(""), Just(":cloud"), Just(":local")];
    (owner, "[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}", tag, suffix).prop_map(|(owner, model, tag, suffix)| {
        format!("{owner}{model}{}{suffix}", tag.map(|tag| format!(":{tag}")).unwrap_or_default())
    })
}

proptest! {
    #[test]
    fn a_name_shown_and_read_again_is_the_same_model(text in names()) {
        if let Ok(name) = ModelName::parse(&text) {
            let again = ModelName::parse(name.display_shortest()).unwrap();
            prop_assert_eq!(again.key(), name.key());
            prop_assert_eq!(again.source(), Source::Unspecified);
            let canonical = ModelName::parse(name.key().as_str()).unwrap();
            prop_assert_eq!(canonical.key(), name.key());
        }
    }

    #[test]
    fn case_blanks_and_scheme_make_no_other_model(text in names()) {
        if let Ok(name) = ModelName::parse(&text) {
            let shouted = ModelName::parse(&format!("\t{} ", name.full.to_ascii_uppercase())).unwrap();
            prop_assert_eq!(shouted.key(), name.key());
            let with_scheme = ModelName::parse(&format!("https://{}", name.full)).unwrap();
            prop_assert_eq!(with_scheme.key(), name.key());
        }
    }

    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in any::<String>()) {
        let _ = ModelName::parse(&text).map(|name| name.key());
    }

    #[test]
    fn text_near_the_grammar_is_read_or_refused_without_a_panic(
        text in "[a-c:/@. \u{3000}\u{e9}-]{0,12}(:cloud|:local|-cloud|-CLOUD[\u{a0}\u{3000} ]{0,3}){0,3}[ \u{3000}]{0,3}",
    ) {
        if let Ok(name) = ModelName::parse(&text) {
            prop_assert!(name.key().as_str().is_ascii());
            prop_assert_eq!(ModelName::parse(name.display_shortest()).unwrap().key(), name.key());
        }
    }
}

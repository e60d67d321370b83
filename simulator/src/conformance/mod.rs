//! What an Ollama node answers, as checks that run against any URL: against the simulator, and, word for word the
//! same, against a real server. Only what is deterministic on both.
//!
//! A real server needs a completion model without thinking whose replies are longer than three tokens, and an
//! embedding model. Checks load and unload both; run them one after the other, on a server nobody else uses.

mod embed;
mod errors;
mod expect;
mod native;
mod openai;
mod plain;

use std::pin::Pin;

/// The server to be checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// `http://host:port`
    pub base: String,
    /// A model that generates, without a tag.
    pub completion: String,
    /// A model that embeds, without a tag.
    pub embedding: String,
}

type Checking<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// One check.
#[derive(Clone, Copy)]
pub struct Check {
    /// Its name: the area, a slash, and what holds.
    pub name: &'static str,
    run: for<'a> fn(&'a Target) -> Checking<'a>,
}

impl std::fmt::Debug for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Check {
    /// Runs it; an error says what is not as it should be.
    pub async fn run(&self, target: &Target) -> Result<(), String> {
        (self.run)(target).await
    }
}

/// Names checks after their functions.
macro_rules! checks {
    ($($module:ident :: $function:ident),+ $(,)?) => {
        &[$(Check {
            name: concat!(stringify!($module), "/", stringify!($function)),
            run: |target| Box::pin($module::$function(target)),
        }),+]
    };
}

/// All checks, in an order that makes sense.
pub fn checks() -> &'static [Check] {
    checks![
        plain::root,
        plain::version,
        plain::tags,
        plain::unknown_paths_are_404,
        plain::wrong_methods_are_405,
        plain::paths_are_matched_decoded_and_literally,
        plain::foreign_origins_are_refused,
        plain::show,
        plain::show_of_an_unknown_model,
        native::generate_streams_by_default,
        native::generate_whole,
        native::generate_says_the_same_in_both_modes,
        native::generate_obeys_num_predict,
        native::generate_raw_has_no_context,
        native::generate_loads_and_unloads,
        native::chat_streams_by_default,
        native::chat_whole,
        native::chat_loads_and_unloads,
        native::ps_shows_what_is_loaded,
        native::num_ctx_is_what_the_model_runs_with,
        native::names_are_read_loosely_and_echoed_exactly,
        native::bodies_are_read_as_go_reads_them,
        native::keep_alive_forms,
        errors::bodies,
        errors::missing_models,
        errors::illegal_names,
        errors::unknown_models,
        errors::wrong_capabilities,
        errors::wrong_types,
        errors::cloud_names_without_cloud,
        embed::embed_one,
        embed::embed_many_in_order,
        embed::embed_fewer_dimensions,
        embed::embed_nothing_loads,
        embed::embeddings,
        openai::models,
        openai::model,
        openai::chat_whole,
        openai::chat_stream,
        openai::chat_stream_with_usage,
        openai::completions_whole,
        openai::completions_stream,
        openai::completions_stream_with_usage,
        openai::embeddings_in_both_encodings,
        openai::errors_from_the_translation,
        openai::errors_from_the_handler,
    ]
}

/// Runs all checks one after the other; what failed, and why.
pub async fn run_all(target: &Target) -> Vec<(&'static str, String)> {
    let mut failed = Vec::new();
    for check in checks() {
        if let Err(problem) = check.run(target).await {
            failed.push((check.name, problem));
        }
    }
    failed
}

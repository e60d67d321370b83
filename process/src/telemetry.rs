//! Logs and traces of the process.
//!
//! Logs are lines on standard output, and with a log folder also files: `<program>.json` with everything, `proxy.json`
//! with one line a request, `error.log` with errors alone, `debug.log` when the filter lets debug lines through. Traces go
//! to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names. Both fail open: a full disk or a collector that is away
//! loses lines, never requests.

use crate::settings::{LogArgs, LogFormat, SettingsError};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::io::IsTerminal as _;
use std::path::Path;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing::{Subscriber, warn};
use tracing_appender::non_blocking::{NonBlocking, WorkerGuard};
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::{EnvFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

/// The target of the one line that each request leaves.
pub const PROXY_TARGET: &str = "proxy";
/// Rotated files kept of each kind; one is begun each day.
const KEPT_FILES: usize = 7;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

type BoxedLayer<S> = Box<dyn Layer<S> + Send + Sync>;

/// Keeps logs and traces flowing. Dropping it writes out what is still held back.
pub struct TelemetryGuard {
    _writers: Vec<WorkerGuard>,
    tracer: Option<SdkTracerProvider>,
}

impl Drop for TelemetryGuard {
    fn drop(&mut self) {
        let Some(tracer) = self.tracer.take() else { return };
        // The exporter may wait for a collector that is away, and not on a thread that drives the runtime.
        let flush = std::thread::spawn(move || tracer.shutdown_with_timeout(FLUSH_TIMEOUT));
        drop(flush.join());
    }
}

/// Starts logs and traces for `program` (`controller`, `dataplane`, `aivonx`). Call it inside the runtime.
///
/// # Errors
/// When the filter cannot be read or the log folder cannot be written to.
pub fn init(args: &LogArgs, program: &'static str) -> Result<TelemetryGuard, SettingsError> {
    let filter = parse_filter(&args.log_level)?;
    let mut writers = Vec::new();
    let mut layers = vec![stdout(args.log_format, filter, &mut writers)];
    if let Some(folder) = &args.log_dir {
        let files = Files { folder, program, filter: &args.log_level };
        files.add_to(&mut layers, &mut writers)?;
    }
    let (tracer, trace_error) = match tracer(program) {
        Ok(tracer) => (tracer, None),
        Err(error) => (None, Some(error)),
    };
    if let Some(tracer) = &tracer {
        layers.push(
            tracing_opentelemetry::layer()
                .with_tracer(tracer.tracer(program))
                .with_filter(LevelFilter::INFO)
                .boxed(),
        );
    }
    if let Err(error) = tracing_subscriber::registry().with(layers).try_init() {
        // Only a second call in one process comes here; the first one's layers stay.
        warn!(%error, "telemetry was already started");
    }
    if let Some(error) = trace_error {
        warn!(%error, "traces are off: OTEL_EXPORTER_OTLP_ENDPOINT cannot be used");
    }
    Ok(TelemetryGuard { _writers: writers, tracer })
}

fn parse_filter(text: &str) -> Result<EnvFilter, SettingsError> {
    EnvFilter::try_new(text).map_err(|error| {
        SettingsError::new(
            "AIVONX_LOG_LEVEL",
            format!(
                "AIVONX_LOG_LEVEL cannot be read ({error}): write a level such as info, or a list such as info,proxy=warn"
            ),
        )
    })
}

fn stdout<S>(format: LogFormat, filter: EnvFilter, writers: &mut Vec<WorkerGuard>) -> BoxedLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let (writer, guard) = NonBlocking::new(std::io::stdout());
    writers.push(guard);
    match format {
        LogFormat::Json => json(writer).with_filter(filter).boxed(),
        LogFormat::Text => {
            fmt::layer().with_ansi(wants_colour()).with_writer(writer).with_filter(filter).boxed()
        }
    }
}

/// Colour is for a terminal, and for people who have not said no (https://no-color.org).
fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn json<S>(writer: NonBlocking) -> BoxedLayer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(writer).boxed()
}

struct Files<'a> {
    folder: &'a Path,
    program: &'a str,
    filter: &'a str,
}

impl Files<'_> {
    fn add_to<S>(
        &self,
        layers: &mut Vec<BoxedLayer<S>>,
        writers: &mut Vec<WorkerGuard>,
    ) -> Result<(), SettingsError>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut file = |stem: &str, suffix: &str| {
            self.file(stem, suffix).map(|(writer, guard)| {
                writers.push(guard);
                json(writer)
            })
        };
        layers.push(file(self.program, "json")?.with_filter(parse_filter(self.filter)?).boxed());
        let requests = Targets::new().with_target(PROXY_TARGET, LevelFilter::INFO);
        layers.push(file("proxy", "json")?.with_filter(requests).boxed());
        layers.push(file("error", "log")?.with_filter(LevelFilter::ERROR).boxed());
        let filter = parse_filter(self.filter)?;
        if filter.max_level_hint().is_none_or(|level| level >= LevelFilter::DEBUG) {
            let debug = filter_fn(|metadata| *metadata.level() >= tracing::Level::DEBUG);
            layers.push(file("debug", "log")?.with_filter(debug).with_filter(filter).boxed());
        }
        Ok(())
    }

    fn file(&self, stem: &str, suffix: &str) -> Result<(NonBlocking, WorkerGuard), SettingsError> {
        let appender = RollingFileAppender::builder()
            .rotation(Rotation::DAILY)
            .filename_prefix(stem)
            .filename_suffix(suffix)
            .max_log_files(KEPT_FILES)
            .build(self.folder)
            .map_err(|error| {
                SettingsError::new(
                    "AIVONX_LOG_DIR",
                    format!(
                        "AIVONX_LOG_DIR: cannot write to {}: {error}; name a folder that this user may write to",
                        self.folder.display()
                    ),
                )
            })?;
        Ok(NonBlocking::new(appender))
    }
}

/// The exporter of traces, if the standard variable names a collector. The sampler and its ratio follow the standard
/// variables `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.
fn tracer(
    program: &'static str,
) -> Result<Option<SdkTracerProvider>, opentelemetry_otlp::ExporterBuildError> {
    let named = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        .iter()
        .any(|variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty()));
    if !named {
        return Ok(None);
    }
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic().build()?;
    let resource = opentelemetry_sdk::Resource::builder()
        .with_service_name(format!("aivonx-{program}"))
        .with_attribute(opentelemetry::KeyValue::new("service.version", crate::build::VERSION))
        .build();
    Ok(Some(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_names_its_variable() {
        let error = parse_filter("proxy=loud").unwrap_err();
        assert_eq!(error.setting, "AIVONX_LOG_LEVEL");
        assert!(parse_filter("info,proxy=warn").is_ok());
    }

    #[test]
    fn each_file_gets_its_own_lines() {
        let folder = tempfile::tempdir().unwrap();
        let (mut layers, mut writers) = (Vec::new(), Vec::new());
        Files { folder: folder.path(), program: "dataplane", filter: "debug" }
            .add_to(&mut layers, &mut writers)
            .unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layers), || {
            tracing::info!(target: PROXY_TARGET, status = 200, "request");
            tracing::error!("the sky fell");
            tracing::debug!("a detail");
        });
        drop(writers);
        let mut lines = std::collections::BTreeMap::new();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let stem = name.split('.').next().unwrap().to_owned();
            lines.insert(stem, std::fs::read_to_string(entry.path()).unwrap().lines().count());
        }
        let expected = [("dataplane", 3), ("debug", 1), ("error", 1), ("proxy", 1)];
        assert_eq!(lines, expected.map(|(name, count)| (name.to_owned(), count)).into());
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_names_its_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = Files { folder: file.path(), program: "dataplane", filter: "info" };
        let error =
            files.add_to::<tracing_subscriber::Registry>(&mut Vec::new(), &mut Vec::new()).unwrap_err();
        assert_eq!(error.setting, "AIVONX_LOG_DIR");
    }
}

//! A span for each request, when traces are on.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Whether requests have spans. Without, `traceparent` passes to the node as the client sent it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traces {
    on: bool,
}

impl Traces {
    /// On when the process exports traces: then, and only then, it has said how their context travels.
    pub(crate) fn detect() -> Self {
        Self {
            on: opentelemetry::global::get_text_map_propagator(|propagator| propagator.fields().count() > 0),
        }
    }

    /// The span of a request, a child of the client's if it sent one; disabled when traces are off.
    pub(crate) fn span(self, parts: &Parts) -> Span {
        if !self.on {
            return Span::none();
        }
        let span = tracing::info_span!(
            "request",
            otel.kind = "server",
            http.request.method = parts.method.as_str(),
            http.response.status_code = tracing::field::Empty,
            aivonx.outcome = tracing::field::Empty,
            aivonx.node = tracing::field::Empty,
            aivonx.model = tracing::field::Empty,
            aivonx.attempts = tracing::field::Empty,
        );
        let parent = opentelemetry::global::get_text_map_propagator(|propagator| {
            propagator.extract(&Carrier(&parts.headers))
        });
        // It fails only where the span is filtered out, and then nobody looks at it.
        drop(span.set_parent(parent));
        span
    }

    /// Makes the node's work a child of the span.
    pub(crate) fn inject(self, span: &Span, headers: &mut HeaderMap) {
        if self.on && !span.is_disabled() {
            opentelemetry::global::get_text_map_propagator(|propagator| {
                propagator.inject_context(&span.context(), &mut CarrierMut(headers));
            });
        }
    }
}

struct Carrier<'a>(&'a HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct CarrierMut<'a>(&'a mut HeaderMap);

impl Injector for CarrierMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::from_str(&value)) {
            self.0.insert(name, value);
        }
    }
}

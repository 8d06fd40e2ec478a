//! Sending finished spans to an OpenTelemetry collector, by OTLP over gRPC.
//!
//! It is off unless the standard `OTEL_*` variables name an endpoint. What it costs is bounded: spans
//! wait in one queue, those that find it full are dropped, and everything is sent by threads of
//! its own. A collector that is away, slow or refusing is told of once, and slows nothing.

mod limits;

use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithTonicConfig as _,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{SdkTracer, SdkTracerProvider},
};
use tokio::runtime::Runtime;
use tracing::warn;

use self::limits::{Limited, Telling, Waiting};
use crate::variable;

/// What the last spans may take at the end of a program: enough for a collector nearby, too little
/// to be noticed by whoever waits for the exit code.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where the endpoint may stand; the first one wins.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// Where the protocol may stand.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
/// Where a PEM file of the collector's authority may stand.
const CERTIFICATES: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];

/// How many spans are sent at once.
const BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";

/// Why there are no traces although somebody wants them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OtlpError {
    /// The address may hold a password and is not repeated.
    #[error("follow {0}: it is no address of a collector, such as \"http://127.0.0.1:4317\"")]
    Endpoint(&'static str),
    #[error(
        "follow {variable}: it is {protocol:?}, and only \"grpc\" is spoken here (port 4317 of \
         most collectors)"
    )]
    Protocol { variable: &'static str, protocol: String },
    #[error("read {path}, named by {variable}: {source}")]
    Certificate { variable: &'static str, path: PathBuf, source: std::io::Error },
    /// What is wrong may be quoted in the reason, and be a secret.
    #[error("follow the OTEL_EXPORTER_OTLP_ variables: the value for {0} cannot be used")]
    Setting(String),
    #[error("start its thread: {0}")]
    Runtime(std::io::Error),
}

impl OtlpError {
    /// Without the reason, which quotes what it is about.
    fn of_exporter(error: &ExporterBuildError, endpoint: &'static str) -> Self {
        let text = match error {
            ExporterBuildError::InvalidConfiguration(text) => text.as_str(),
            _ => "",
        };
        match text.split_once(':').map(|(name, _)| name) {
            Some(name) if name != "endpoint" => Self::Setting(name.to_owned()),
            _ => Self::Endpoint(endpoint),
        }
    }
}

/// The way to the collector. It must outlive the spans.
#[derive(Debug)]
pub(crate) struct Export {
    provider: SdkTracerProvider,
    waiting: Waiting,
    /// The exporter's connection lives here, and nowhere near a build.
    runtime: Option<Runtime>,
}

/// Sets the export up if the environment asks for it. `program` is the service's name unless
/// `OTEL_SERVICE_NAME` gives another one.
pub(crate) fn start(program: &'static str) -> Result<Option<(Export, SdkTracer)>, OtlpError> {
    let is =
        |name: &str, value: &str| variable(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    let off = is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none");
    let Some((variable, endpoint)) = first(ENDPOINTS).filter(|_| !off) else { return Ok(None) };
    if !has_scheme(&endpoint) {
        return Err(OtlpError::Endpoint(variable));
    }
    let other = |(_, it): &(_, String)| !it.eq_ignore_ascii_case("grpc");
    if let Some((variable, protocol)) = first(PROTOCOLS).filter(other) {
        return Err(OtlpError::Protocol { variable, protocol });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()
        .map_err(OtlpError::Runtime)?;
    let exporter = {
        let _inside = runtime.enter();
        let builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
        let built = match tls()? {
            Some(tls) => builder.with_tls_config(tls).build(),
            None => builder.build(),
        };
        built.map_err(|error| OtlpError::of_exporter(&error, variable))?
    };
    let waiting = Waiting::default();
    let exporter = Telling::new(exporter, waiting.clone());
    let batch = variable_number(BATCH);
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(program))
        .with_span_processor(Limited::new(exporter, waiting.clone(), batch))
        .build();
    let tracer = provider.tracer("nix-build-pool");
    Ok(Some((Export { provider, waiting, runtime: Some(runtime) }, tracer)))
}

impl Drop for Export {
    fn drop(&mut self) {
        let ended = self.provider.shutdown_with_timeout(LAST_WORDS);
        // A collector that refuses them is told of by the exporter, and then none waits.
        let lost = self.waiting.load(Ordering::Relaxed);
        if ended.is_err() && lost > 0 {
            let patience = LAST_WORDS.as_secs();
            warn!(
                "at least {lost} spans are lost: the collector did not take them within {patience} s"
            );
        }
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What the environment says (`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`) wins over ours.
fn resource(program: &'static str) -> Resource {
    let builder = Resource::builder_empty()
        .with_service_name(program)
        .with_attribute(KeyValue::new("service.namespace", "nix-build-pool"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    match first(["OTEL_SERVICE_NAME"]) {
        Some((_, name)) => builder.with_service_name(name).build(),
        None => builder.build(),
    }
}

fn tls() -> Result<Option<ClientTlsConfig>, OtlpError> {
    let Some((variable, path)) = first(CERTIFICATES) else { return Ok(None) };
    let path = PathBuf::from(path);
    match std::fs::read(&path) {
        Ok(pem) => {
            let authority = Certificate::from_pem(pem);
            Ok(Some(ClientTlsConfig::new().ca_certificate(authority)))
        }
        Err(source) => Err(OtlpError::Certificate { variable, path, source }),
    }
}

/// Without one the exporter would make a guess, and a port of plain text look like a broken one of
/// TLS.
fn has_scheme(endpoint: &str) -> bool {
    let of = |scheme: &str| {
        let (begin, rest) = endpoint.split_at_checked(scheme.len()).unwrap_or_default();
        begin.eq_ignore_ascii_case(scheme) && !rest.is_empty()
    };
    of("http://") || of("https://")
}

/// A positive number; anything else counts as none, as OpenTelemetry wants it.
fn variable_number(name: &str) -> Option<usize> {
    variable(name)?.parse().ok().filter(|number| *number > 0)
}

/// The first of these variables that says anything.
fn first<const N: usize>(names: [&'static str; N]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, variable(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_collector_says_how_it_is_spoken_to() {
        for good in ["http://x", "https://me:secret@x:4317/", "HTTP://127.0.0.1:4317"] {
            assert!(has_scheme(good), "{good}");
        }
        for bad in ["127.0.0.1:4317", "x", "http://", "ftp://x", "http:/x", "é", "unix:///tmp/x"] {
            assert!(!has_scheme(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_not_quoted() {
        let check = |text: &str, expected: &str| {
            let error = ExporterBuildError::InvalidConfiguration(text.to_owned());
            let said = OtlpError::of_exporter(&error, "VARIABLE").to_string();
            assert!(said.contains(expected) && !said.contains("hunter2"), "{said}");
        };
        check("endpoint: invalid endpoint 'http://me:hunter2@[': no", "follow VARIABLE: it is no");
        check("tls_config: hunter2", "the value for tls_config cannot");
        check("hunter2", "follow VARIABLE: it is no");
    }
}

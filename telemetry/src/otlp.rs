//! Sending finished spans to an OpenTelemetry collector, by OTLP over gRPC.
//!
//! It is off unless the standard `OTEL_*` variables name an endpoint. What it costs is bounded: spans
//! wait in one queue, those that find it full are dropped, and everything is sent by threads of
//! its own. A collector that is away, slow or refusing is told of once, and slows nothing.

mod limits;

use std::{path::PathBuf, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithTonicConfig as _,
    tonic_types::transport::{Certificate, ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{BatchSpanProcessor, SdkTracer, SdkTracerProvider},
};
use tokio::runtime::Runtime;

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

/// Why there are no traces although somebody wants them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OtlpError {
    #[error(
        "{variable} is {protocol:?}; only \"grpc\" is spoken here (port 4317 of most collectors)"
    )]
    Protocol { variable: &'static str, protocol: String },
    #[error("read {path}, named by {variable}: {source}")]
    Certificate { variable: &'static str, path: PathBuf, source: std::io::Error },
    #[error("set up the exporter: {0}")]
    Exporter(#[from] ExporterBuildError),
    #[error("start its thread: {0}")]
    Runtime(std::io::Error),
}

/// The way to the collector. It must outlive the spans.
#[derive(Debug)]
pub(crate) struct Export {
    provider: SdkTracerProvider,
    /// The exporter's connection lives here, and nowhere near a build.
    runtime: Option<Runtime>,
}

/// Sets the export up if the environment asks for it. `program` is the service's name unless
/// `OTEL_SERVICE_NAME` gives another one.
pub(crate) fn start(program: &'static str) -> Result<Option<(Export, SdkTracer)>, OtlpError> {
    let is =
        |name: &str, value: &str| variable(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    let wanted = first(ENDPOINTS).is_some()
        && !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none");
    if !wanted {
        return Ok(None);
    }
    if let Some((variable, protocol)) = first(PROTOCOLS).filter(|(_, it)| it.as_str() != "grpc") {
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
        let builder = SpanExporter::builder().with_tonic();
        match tls()? {
            Some(tls) => builder.with_tls_config(tls).build()?,
            None => builder.build()?,
        }
    };
    let waiting = Waiting::default();
    let batches = BatchSpanProcessor::builder(Telling::new(exporter, waiting.clone())).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource(program))
        .with_span_processor(Limited::new(batches, waiting))
        .build();
    let tracer = provider.tracer("nix-build-pool");
    Ok(Some((Export { provider, runtime: Some(runtime) }, tracer)))
}

impl Drop for Export {
    fn drop(&mut self) {
        // What a collector does not take by now is lost, as was said when it began to fail.
        self.provider.shutdown_with_timeout(LAST_WORDS).ok();
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

/// The first of these variables that says anything.
fn first<const N: usize>(names: [&'static str; N]) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, variable(name)?)))
}

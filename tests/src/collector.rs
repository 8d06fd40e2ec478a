//! A real OTLP receiver: gRPC on loopback, which keeps the spans that it is sent.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::status::StatusCode,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::eventually;

/// What a collector does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Takes,
    Refuses,
    /// Takes a call and never answers it.
    Hangs,
}

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// The `service.name` that sent it.
    pub service: String,
    pub name: String,
    pub trace: Vec<u8>,
    pub span: Vec<u8>,
    /// Empty for a root.
    pub parent: Vec<u8>,
    /// Trace and span of each link.
    pub links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Those that are text.
    pub attributes: BTreeMap<String, String>,
    /// Those that are whole numbers.
    pub numbers: BTreeMap<String, i64>,
    /// Why it failed, if it says that it did.
    pub failed: Option<String>,
}

/// A collector that ends with its test.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Kept,
    _runtime: Runtime,
}

#[derive(Clone, Debug)]
struct Kept {
    manner: Manner,
    spans: Arc<Mutex<Vec<Arrived>>>,
    calls: Arc<Mutex<usize>>,
}

impl Collector {
    #[track_caller]
    pub fn start(manner: Manner) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let kept = Kept { manner, spans: Arc::default(), calls: Arc::default() };
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let service = TraceServiceServer::new(kept.clone());
        runtime.spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        Self { address, kept, _runtime: runtime }
    }

    /// What makes programs send their spans here, soon.
    pub fn env(&self) -> Vec<(String, String)> {
        env_for(self.address)
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        *self.kept.calls.lock().expect("no panic while it is held")
    }

    pub fn spans(&self) -> Vec<Arrived> {
        self.kept.spans.lock().expect("no panic while it is held").clone()
    }

    /// Waits for as many spans of this name, and gives them in the order in which they ended.
    #[track_caller]
    pub fn wait_for(&self, name: &str, number: usize, deadline: Duration) -> Vec<Arrived> {
        eventually(&format!("{number} spans named {name:?}"), deadline, || {
            let mut spans = self.spans();
            spans.retain(|span| span.name == name);
            (spans.len() >= number).then_some(spans)
        })
    }
}

/// What makes programs send their spans to this address, soon.
pub fn env_for(address: SocketAddr) -> Vec<(String, String)> {
    let endpoint = format!("http://{address}");
    [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "100")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        *self.calls.lock().expect("no panic while it is held") += 1;
        match self.manner {
            Manner::Takes => {}
            Manner::Refuses => return Err(Status::permission_denied("not\u{1b}[31m you")),
            Manner::Hangs => std::future::pending().await,
        }
        let mut spans = self.spans.lock().expect("no panic while it is held");
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            let resource = texts(resource.attributes);
            let service = resource.get("service.name").cloned().unwrap_or_default();
            let found = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(found.map(|span| {
                Arrived {
                    service: service.clone(),
                    name: span.name,
                    trace: span.trace_id,
                    span: span.span_id,
                    parent: span.parent_span_id,
                    links: span.links.into_iter().map(|it| (it.trace_id, it.span_id)).collect(),
                    numbers: numbers(&span.attributes),
                    attributes: texts(span.attributes),
                    failed: span
                        .status
                        .filter(|status| status.code() == StatusCode::Error)
                        .map(|status| status.message),
                }
            }));
        }
        Ok(Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |it: KeyValue| match it.value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => Some((it.key, text)),
        Some(any_value::Value::IntValue(_)) => None,
        other => Some((it.key, format!("{other:?}"))),
    };
    attributes.into_iter().filter_map(text).collect()
}

fn numbers(attributes: &[KeyValue]) -> BTreeMap<String, i64> {
    let number = |it: &KeyValue| match it.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::IntValue(number)) => Some((it.key.clone(), *number)),
        _ => None,
    };
    attributes.iter().filter_map(number).collect()
}

//! What a binary of the pool tells: its log on stderr, its traces to a collector, and foreign text
//! made safe for a terminal.
//!
//! It does not know when anything happens, and it never writes to stdout, which belongs to data.

mod context;
mod otlp;
mod plain;
pub mod screen;
pub mod span;

use std::io::IsTerminal as _;

use tracing::{level_filters::LevelFilter, warn};
use tracing_subscriber::{filter::Targets, fmt, prelude::*};

pub use context::context;
pub use plain::{plain, plain_lines};

/// When the log is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The target of the spans that are traced. The log leaves them out, and traces have nothing else.
pub(crate) const TRACES: &str = "nbp::trace";

/// What must live as long as the program: dropped, it sends the last spans, for at most two
/// seconds.
#[derive(Debug)]
#[must_use = "dropped, it ends the traces"]
pub struct Telemetry {
    _export: Option<otlp::Export>,
}

/// Sends the log to stderr, and traces to where the `OTEL_*` variables say, if they do. `program` is
/// the name of the service; `base` is the log's level without `-v` and `-q`; `verbosity` is how
/// often `-v` was given, less how often `-q` was. A second call changes nothing.
pub fn init(program: &'static str, base: LevelFilter, verbosity: i8, color: Color) -> Telemetry {
    let layer = fmt::layer().compact().with_writer(|| screen::AboveRows).with_target(verbosity > 0);
    let layer = match color {
        Color::Always => layer.with_ansi(true),
        // Left alone, the layer looks at NO_COLOR itself.
        Color::Auto if std::io::stderr().is_terminal() => layer,
        Color::Auto | Color::Never => layer.with_ansi(false),
    };
    // The client tells each connect and ping at info: one step quieter than our own words.
    let targets = Targets::new()
        .with_default(level(base, verbosity))
        .with_target("async_nats", level(base, verbosity.saturating_sub(1)));
    let targets = targets.with_target(TRACES, LevelFilter::OFF);
    let (export, tracer, trouble) = match otlp::start(program) {
        Ok(Some((export, tracer))) => (Some(export), Some(tracer), None),
        Ok(None) => (None, None, None),
        Err(error) => (None, None, Some(error)),
    };
    let traces = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_target(false)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACES, LevelFilter::INFO))
    });
    let log = layer.with_filter(targets);
    tracing_subscriber::registry().with(log).with(traces).try_init().ok();
    if let Some(error) = trouble {
        // Nobody's build fails for it.
        warn!("there will be no traces: failed to {}", plain(&error.to_string()));
    }
    Telemetry { _export: export }
}

/// What one of the standard variables of OpenTelemetry says, if anything.
#[expect(clippy::disallowed_methods, reason = "the environment is where OpenTelemetry is set up")]
pub(crate) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// The level `steps` louder than `base`.
fn level(base: LevelFilter, steps: i8) -> LevelFilter {
    const LEVELS: [LevelFilter; 6] = [
        LevelFilter::OFF,
        LevelFilter::ERROR,
        LevelFilter::WARN,
        LevelFilter::INFO,
        LevelFilter::DEBUG,
        LevelFilter::TRACE,
    ];
    let at = LEVELS.iter().position(|level| *level == base).unwrap_or_default();
    let at = at.saturating_add_signed(steps.into()).min(LEVELS.len() - 1);
    LEVELS[at]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_is_one_level_and_the_ends_hold() {
        let check = |base, steps, expected| assert_eq!(level(base, steps), expected);
        check(LevelFilter::WARN, 0, LevelFilter::WARN);
        check(LevelFilter::WARN, 2, LevelFilter::DEBUG);
        check(LevelFilter::INFO, -1, LevelFilter::WARN);
        check(LevelFilter::INFO, 100, LevelFilter::TRACE);
        check(LevelFilter::INFO, -100, LevelFilter::OFF);
    }
}

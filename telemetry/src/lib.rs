//! What a binary of the pool tells a person on a terminal: its log, and foreign text made safe.
//!
//! It does not know what is told, and it never writes to stdout, which belongs to data.

mod plain;

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, prelude::*};

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

/// Sends the log to stderr. `base` is the level without `-v` and `-q`; `verbosity` is how often
/// `-v` was given, less how often `-q` was. A second call changes nothing.
pub fn init(base: LevelFilter, verbosity: i8, color: Color) {
    let layer = fmt::layer().compact().with_writer(std::io::stderr).with_target(verbosity > 0);
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
    tracing_subscriber::registry().with(targets).with(layer).try_init().ok();
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

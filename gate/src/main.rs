//! The binary: arguments, log, runtime, exit code.

use std::{io::Write as _, process::ExitCode};

use gate::Cli;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = match options::parse::<Cli>(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    cli.global.voice.start_log(LevelFilter::WARN);
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(gate::Error::Runtime)
        .and_then(|runtime| runtime.block_on(gate::run(cli)));
    let code = done.unwrap_or_else(|error| {
        let text = telemetry::plain_lines(&error.to_string());
        writeln!(std::io::stderr(), "gate: failed to {text}").ok();
        error.exit_code()
    });
    code.into()
}

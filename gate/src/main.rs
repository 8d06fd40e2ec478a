//! The binary: arguments, log, runtime, exit code.

use std::{io::Write as _, process::ExitCode};

use gate::Cli;

fn main() -> ExitCode {
    let cli = match Cli::from_args() {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    cli.global.start_log();
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

//! The binary: arguments, log, runtime, exit code.

use std::process::ExitCode;

use gate::Cli;
use options::Console;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = match options::parse::<Cli>(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    let _telemetry = cli.global.voice.start("nbp-gate", LevelFilter::WARN);
    let console = Console::new(&cli.global.voice);
    // It waits for answers: a second thread would only have to be woken for each of them.
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(gate::Error::Runtime)
        .and_then(|runtime| runtime.block_on(gate::run(cli, &console)));
    let code = done.unwrap_or_else(|error| {
        console.failed("gate", &error);
        error.exit_code()
    });
    code.into()
}

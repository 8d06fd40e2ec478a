//! The binary: arguments, log, runtime, exit code.

use std::process::ExitCode;

use options::Console;
use producer::Cli;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = match options::parse::<Cli>(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    let _telemetry = cli.global.voice.start("nbp-producer", LevelFilter::WARN);
    let mut console = Console::new(&cli.global.voice);
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(producer::Error::Runtime)
        .and_then(|runtime| runtime.block_on(producer::run(cli, &mut console)));
    let code = done.unwrap_or_else(|error| {
        if !error.is_broken_pipe() {
            console.failed("producer", &error);
        }
        error.exit_code()
    });
    code.into()
}

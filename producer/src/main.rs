//! The binary: arguments, log, runtime, exit code.

use std::process::ExitCode;

use options::Console;
use producer::Cli;
use tokio::runtime::Builder;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = match options::parse::<Cli>(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    let _telemetry = cli.global.voice.start("nbp-producer", LevelFilter::WARN);
    let mut console = Console::new(&cli.global.voice);
    // A page is served to many; everything else waits for answers, and a second thread would only
    // have to be woken for each of them.
    let mut runtime = match cli.serves() {
        true => Builder::new_multi_thread(),
        false => Builder::new_current_thread(),
    };
    let done = runtime
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

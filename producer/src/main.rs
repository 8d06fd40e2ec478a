//! The binary: arguments, log, runtime, exit code.

use std::process::ExitCode;

use producer::{Cli, Console};

fn main() -> ExitCode {
    let cli = match Cli::from_args() {
        Ok(cli) => cli,
        Err(code) => return code.into(),
    };
    cli.global.start_log();
    let mut console = Console::new(cli.global.is_quiet());
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(producer::Error::Runtime)
        .and_then(|runtime| runtime.block_on(producer::run(cli, &mut console)));
    let code = done.unwrap_or_else(|error| {
        console.failed(&error);
        error.exit_code()
    });
    code.into()
}

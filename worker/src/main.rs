//! The `worker` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next();
    let rest: Vec<_> = args.collect();
    // Before anything else: this is the small process between the worker and each of its children.
    if rest.first().is_some_and(|arg| arg == "supervise") {
        let code = worker::supervise::main(rest.into_iter().skip(1));
        return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(worker::main(program.into_iter().chain(rest))),
        Err(_) => proto::ExitCode::Undecided.into(),
    }
}

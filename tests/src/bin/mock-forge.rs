//! The mock forge as a program of its own, for `scripts/try-units`: serves one bare repository until it
//! is killed, and writes the token of its bot to stdout.

use std::{
    env::args,
    io::{Write as _, stdout},
    path::PathBuf,
};

use tests::{MockForge, forge::Persona};

fn main() {
    let args: Vec<String> = args().skip(1).collect();
    let [dir, name, address] = &args[..] else {
        panic!("usage: mock-forge DIR OWNER/NAME ADDRESS");
    };
    let name = name.split_once('/').expect("OWNER/NAME");
    let address = address.parse().expect("an address and a port");
    let forge = MockForge::serving(Persona::Gitea126, PathBuf::from(dir), name, address);
    writeln!(stdout(), "{}", forge.token()).expect("somebody reads the token");
    loop {
        std::thread::park();
    }
}

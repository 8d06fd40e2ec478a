//! A client of the broker that writes the protocol byte by byte, and so may say what no library
//! would.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

/// For the broker to take what was said, on a machine busy with other tests.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Stranger {
    stream: BufReader<TcpStream>,
}

impl Stranger {
    /// Connects to the broker at `nats://host:port`.
    pub fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("nats://")).expect("connects");
        stream.set_read_timeout(Some(ANSWER_DEADLINE)).expect("a socket option");
        let mut stranger = Self { stream: BufReader::new(stream) };
        stranger.line();
        stranger.say(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n");
        stranger
    }

    /// Publishes any bytes on any bytes.
    pub fn publish(&mut self, subject: &[u8], payload: &[u8]) {
        let size = payload.len().to_string();
        self.say(&[b"PUB ", subject, b" ", size.as_bytes(), b"\r\n", payload, b"\r\n"].concat());
    }

    /// The same with any bytes in place of headers.
    pub fn publish_with(&mut self, headers: &[u8], subject: &[u8], payload: &[u8]) {
        let sizes = format!(" {} {}\r\n", headers.len(), headers.len() + payload.len());
        let message = [b"HPUB ", subject, sizes.as_bytes(), headers, payload, b"\r\n"].concat();
        self.say(&message);
    }

    /// Says it and waits until the broker has taken it.
    fn say(&mut self, words: &[u8]) {
        self.stream.get_mut().write_all(&[words, b"PING\r\n"].concat()).expect("a broker");
        let answer = self.line();
        assert_eq!(answer, "PONG\r\n", "the broker refuses {:?}", String::from_utf8_lossy(words));
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("an answer of the broker");
        line
    }
}

//! HTTP by hand, so that a test can say exactly what a client sends: any method, any `Host`.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// For an answer to come, on a machine busy with other tests.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// An answer, its body decoded.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// A header by its name in lower case; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value.trim())
    }
}

/// Asks as a browser on this machine does.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, "GET", path, &format!("Host: {address}\r\n"), "")
}

/// Sends a request with these header lines, and reads its whole answer.
#[track_caller]
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    try_send(address, method, path, headers, body).expect("an answer over HTTP")
}

/// The same, of a server that may not be there.
pub fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_DEADLINE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\
         \r\n{body}"
    )?;
    let mut bytes = Vec::new();
    let mut answer = loop {
        let mut more = [0; 64 << 10];
        let read = stream.read(&mut more)?;
        bytes.extend_from_slice(&more[..read]);
        let answer = head_of(&bytes);
        match answer {
            // Not everybody closes the connection when asked to.
            Some(answer) if read == 0 || bytes.len() == answer.whole() => break answer,
            None if read == 0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Some(_) | None => {}
        }
    };
    let body = &bytes[answer.head.len() + END.len()..];
    answer.body = match answer.header("transfer-encoding") {
        "chunked" => unchunked(body),
        _ => String::from_utf8_lossy(body).into_owned(),
    };
    Ok(answer)
}

/// What ends the head of an answer.
const END: &str = "\r\n\r\n";

fn head_of(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(END.len()).position(|part| part == END.as_bytes())?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: String::new() })
}

impl Answer {
    /// Bytes of the answer, where its head says how many there are.
    fn whole(&self) -> usize {
        let length = self.header("content-length").parse();
        length.map_or(usize::MAX, |length: usize| self.head.len() + END.len() + length)
    }
}

fn unchunked(mut bytes: &[u8]) -> String {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok();
        let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).unwrap_or(0);
        let Some(chunk) = bytes.get(end + 2..end + 2 + size).filter(|it| !it.is_empty()) else {
            break;
        };
        whole.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + size..).unwrap_or_default();
    }
    String::from_utf8_lossy(&whole).into_owned()
}

//! The whole log of a host as a file to attach: compressed, without secrets, within a limit.

use std::io::Write;

use flate2::{Compression, GzBuilder};

use super::{foreign::Foreign, scrub::Scrub};

/// Largest log before compression. Forges take files of 100 MiB and less; a browser shows far less.
pub(crate) const LOG_BYTES_MAX: usize = 16 << 20;

/// A file to attach.
pub(crate) struct Attachment {
    /// `<host>.log.gz`.
    pub(crate) name: String,
    /// The same for the same log.
    pub(crate) bytes: Vec<u8>,
}

/// The log of a host, by its label. The end counts: of a longer one the beginning is cut, and the
/// first line says so.
pub(crate) fn attachment<'a>(
    label: &str,
    lines: impl IntoIterator<Item = &'a str>,
    scrub: &Scrub,
) -> Attachment {
    // Secrets are looked for before anything is cut, or half of one could be left.
    let log = Foreign { scrub }.text(lines);
    let kept = tail(&log, LOG_BYTES_MAX);
    let mut text = String::with_capacity(kept.len() + 100);
    if kept.len() < log.len() {
        let cut = log.len() - kept.len();
        text += &format!("[the first {cut} bytes of this log are left out]\n");
    }
    text += kept;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    // Neither a time nor a name goes into the header, so that the bytes depend on the log alone.
    let mut file = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    file.write_all(text.as_bytes()).expect("a vector takes all bytes");
    Attachment { name: file_name(label), bytes: file.finish().expect("a vector takes all bytes") }
}

/// The name of the file, from a host's label: `repo/host` becomes `repo.host.log.gz`.
pub(crate) fn file_name(label: &str) -> String {
    const CHARS_MAX: usize = 150;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name = label.replace('/', ".");
    let name: String =
        name.chars().map(|c| if legal(c) { c } else { '_' }).take(CHARS_MAX).collect();
    // No hidden file, and none that is all dots.
    let name = name.trim_start_matches('.');
    format!("{}.log.gz", if name.is_empty() { "host" } else { name })
}

/// The end of a text, from the beginning of a line.
fn tail(text: &str, bytes_max: usize) -> &str {
    let from = text.len().saturating_sub(bytes_max);
    if from == 0 {
        return text;
    }
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let line = text[from..].find('\n').map_or(from, |at| from + at + 1);
    &text[line..]
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read(attachment: &Attachment) -> String {
        let mut text = String::new();
        let mut file = flate2::read::GzDecoder::new(&attachment.bytes[..]);
        file.read_to_string(&mut text).expect("a gzip file of text");
        text
    }

    #[test]
    fn the_log_comes_back_clean() {
        let lines = ["one\u{1b}[31m", "token hunter22", "", "é"];
        let attached = attachment("web1", lines, &Scrub::new(["hunter22"]));
        assert_eq!(attached.name, "web1.log.gz");
        assert_eq!(read(&attached), "one\ntoken [secret-removed]\n\né\n");
        // Magic, deflate, no name, no time.
        assert_eq!(&attached.bytes[..8], &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        let again = attachment("web1", lines, &Scrub::new(["hunter22"]));
        assert_eq!(again.bytes, attached.bytes);
    }

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let line = "é".repeat(500);
        let lines = std::iter::repeat_n(line.as_str(), LOG_BYTES_MAX / 1001 + 10).chain(["end"]);
        let text = read(&attachment("a", lines, &Scrub::default()));
        assert!(text.len() <= LOG_BYTES_MAX + 100, "{}", text.len());
        let (first, rest) = text.split_once('\n').expect("lines");
        assert!(first.starts_with("[the first 10") && first.ends_with("are left out]"), "{first}");
        assert!(rest.starts_with(&line) && rest.ends_with("\nend\n"));
        assert_eq!(tail("ab\ncd", 3), "cd");
        assert_eq!(tail("aéé", 3), "é");
        assert_eq!(tail("ab", 2), "ab");
    }

    #[test]
    fn a_file_name_is_one_word() {
        let check = |label: &str, name: &str| assert_eq!(file_name(label), name);
        check("nixos/gunter", "nixos.gunter.log.gz");
        check("../../etc/passwd", "etc.passwd.log.gz");
        check("a b\"\r\n;é", "a_b____é.log.gz".replace('é', "_").as_str());
        check("...", "host.log.gz");
        assert_eq!(file_name(&"x".repeat(999)).len(), 157);
    }
}

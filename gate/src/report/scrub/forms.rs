//! How a secret looks after a tool has encoded it.

use std::ops::Range;

/// Shortest secret that is looked for by its bytes.
pub(super) const SECRET_BYTES_MIN: usize = 4;
/// Shortest piece of base64 that is looked for: 48 bits, which no hash holds by chance.
const BASE64_CHARS_MIN: usize = 8;
/// How far around such a piece the rest of the encoded text is taken along. Tokens and
/// `user:password` pairs are far shorter.
const BASE64_AROUND_MAX: usize = 512;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// One spelling of a secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) text: String,
    /// A piece out of a longer encoded text: what stands around it belongs to it.
    piece: bool,
}

/// Every spelling of a secret: as it is, percent-encoded and decoded, inside JSON, and in base64 at
/// each of the three places that it can have in a longer text (`user:<secret>`).
pub(super) fn of(secret: &str) -> Vec<Form> {
    let secret = secret.trim_matches(['\n', '\r']);
    if secret.len() < SECRET_BYTES_MIN {
        return Vec::new();
    }
    let mut raw = vec![secret.to_owned()];
    // A credentials file has it percent-encoded.
    raw.extend(percent_decoded(secret).filter(|it| it != secret && it.len() >= SECRET_BYTES_MIN));
    let mut forms = Vec::new();
    for secret in raw {
        let json = serde_json::to_string(&secret).unwrap_or_default();
        let json = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
        let whole = [
            percent_encoded(&secret, "0123456789ABCDEF"),
            percent_encoded(&secret, "0123456789abcdef"),
            json.unwrap_or_default().to_owned(),
        ];
        let pieces = (0..3).flat_map(|before| base64_pieces(secret.as_bytes(), before));
        forms.extend(pieces.map(|text| Form { text, piece: true }));
        forms.extend(whole.into_iter().map(|text| Form { text, piece: false }));
        forms.push(Form { text: secret, piece: false });
    }
    // Line breaks are looked through, so that a form must not have any.
    forms.iter_mut().for_each(|form| form.text.retain(|c| !matches!(c, '\n' | '\r')));
    forms.retain(|form| form.text.len() >= SECRET_BYTES_MIN);
    forms
}

impl Form {
    /// A match with what belongs to it on its lines.
    pub(super) fn whole(&self, text: &str, found: Range<usize>) -> Range<usize> {
        if !self.piece {
            return found;
        }
        let encoded = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        let bytes = text.as_bytes();
        let (before, after) = (bytes[..found.start].iter().rev(), bytes[found.end..].iter());
        let before = before.take(BASE64_AROUND_MAX).take_while(encoded).count();
        let after = after.take(BASE64_AROUND_MAX).take_while(encoded).count();
        found.start - before..found.end + after
    }
}

fn percent_encoded(text: &str, digits: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let digit = |n: u8| char::from(digits.as_bytes()[usize::from(n)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let pair = after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        let coded = pair.filter(|_| *byte == b'%').map(|pair| u8::from_str_radix(pair, 16));
        let taken = matches!(coded, Some(Ok(_)));
        decoded.push(coded.and_then(Result::ok).unwrap_or(*byte));
        rest = if taken { &after[2..] } else { after };
    }
    String::from_utf8(decoded).ok()
}

/// The characters of base64 that depend on the secret alone when `before` bytes stand before it,
/// in both alphabets.
fn base64_pieces(secret: &[u8], before: usize) -> Vec<String> {
    let bits: Vec<u8> = std::iter::repeat_n(0, before).chain(secret.iter().copied()).collect();
    let encoded: String = bits
        .chunks_exact(3)
        .flat_map(|three| {
            let group = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
            [18, 12, 6, 0].map(|shift| char::from(BASE64[(group >> shift & 63) as usize]))
        })
        .collect();
    // The first characters hold bits of what stands before; an unfinished group at the end hangs
    // on what follows, and is left out above.
    let own = encoded.get((before * 8).div_ceil(6)..).unwrap_or_default();
    if own.len() < BASE64_CHARS_MIN {
        return Vec::new();
    }
    vec![own.to_owned(), own.replace('+', "-").replace('/', "_")]
}

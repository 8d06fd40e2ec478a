//! Sizes as people read them. Pure.

/// With one digit after the point, in the largest unit that leaves something before it.
pub(super) fn bytes(bytes: u64) -> String {
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        None => format!("{bytes} B"),
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

/// `1 host`, `2 hosts`.
pub(super) fn count(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Up to four of them; of more, how many there are besides.
pub(super) fn some_of(all: &[String]) -> String {
    const SHOWN: usize = 4;
    let (shown, rest) = all.split_at(all.len().min(SHOWN));
    match rest.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (size, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (100 << 30, "100.0 GiB")]
        {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        let names = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(some_of(&names), "a, b, c, d and 1 more");
        assert_eq!(some_of(&names[..2]), "a, b");
    }
}

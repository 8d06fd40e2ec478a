//! Foreign text inside Markdown. All of it stands in code, inline or fenced: there Gitea, Forgejo
//! and GitHub make no links, mentions or references, neither while they parse nor afterwards. An
//! escaped `@` is not enough for that: mentions are looked for in what was parsed.

/// Foreign text of one line, inline or in a table.
pub(crate) fn code(text: &str) -> String {
    // A code span ends at a backtick and a table's cell at a bar, whatever stands before them. In
    // text that has one, everything that could mean something is spelt as a number.
    if !text.is_empty() && !text.contains(['`', '|']) && !text.contains(char::is_control) {
        return format!("`{text}`");
    }
    let spelt = text.chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() || c == ' ' => c.to_string(),
        c if c.is_control() => " ".to_owned(),
        c => format!("&#{};", u32::from(c)),
    });
    format!("<code>{}</code>", spelt.collect::<String>())
}

/// Foreign lines as a block that they cannot end.
pub(crate) fn fence<'a>(lines: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let ticks = lines.clone().into_iter().map(longest_run).max().unwrap_or(0);
    let fence = "`".repeat(ticks.max(2) + 1);
    let mut block = format!("{fence}text\n");
    for line in lines {
        block.extend(line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
        block.push('\n');
    }
    block + &fence + "\n"
}

fn longest_run(line: &str) -> usize {
    line.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A word for a POSIX shell.
pub(crate) fn shell(word: &str) -> String {
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"_./:@%+,-".contains(&b);
    if !word.is_empty() && word.bytes().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_in_code() {
        let check = |text: &str, expected: &str| assert_eq!(code(text), expected, "{text:?}");
        check("web1", "`web1`");
        check("@user #1 <img src=x> [a](b) \\", "`@user #1 <img src=x> [a](b) \\`");
        check("a`b", "<code>a&#96;b</code>");
        check("a|@b\n.", "<code>a&#124;&#64;b &#46;</code>");
        check("`</code>", "<code>&#96;&#60;&#47;code&#62;</code>");
        check("", "<code></code>");
    }

    #[test]
    fn a_fence_is_longer_than_any_inside() {
        assert_eq!(fence(["a", "b"]), "```text\na\nb\n```\n");
        assert_eq!(fence(["```", "x ````` y"]), "``````text\n```\nx ````` y\n``````\n");
        assert_eq!(fence(["a\n```\r"]), "````text\na ``` \n````\n");
        assert_eq!(fence([]), "```text\n```\n");
    }

    #[test]
    fn a_shell_reads_one_word() {
        assert_eq!(shell("flake-update/2026-11-22"), "flake-update/2026-11-22");
        assert_eq!(shell("a'b $(c)"), "'a'\\''b $(c)'");
        assert_eq!(shell(""), "''");
    }
}

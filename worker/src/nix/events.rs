//! Nix's `--log-format internal-json`: one line of stderr to one event.
//!
//! Pure, and tolerant by design: the format has no version and drifts. What is not understood is
//! kept apart, never an error. What the events mean together is the watcher's.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

/// Activity: one derivation is being built.
pub const ACTIVITY_BUILD: u64 = 105;
/// Activity: one store path is being fetched from a cache.
pub const ACTIVITY_SUBSTITUTE: u64 = 108;
/// Activity: all builds of this call; its progress results count derivations.
pub const ACTIVITY_BUILDS: u64 = 104;
/// Activity: waiting for a lock that another build holds, or for a free builder.
pub const ACTIVITY_BUILD_WAITING: u64 = 111;

const RESULT_BUILD_LOG_LINE: u64 = 101;
const RESULT_SET_PHASE: u64 = 104;
const RESULT_PROGRESS: u64 = 105;
const RESULT_POST_BUILD_LOG_LINE: u64 = 107;

/// What a line of stderr says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// An activity begins.
    Start {
        /// Unique in this call; Nix composes it of process id and counter.
        id: u64,
        /// Its kind: one of the `ACTIVITY_` numbers or one that we do not know.
        kind: u64,
        /// Verbosity, 0 (error) to 7 (vomit).
        level: u64,
        /// For people.
        text: Cow<'a, str>,
        /// Its first field, when that is text: the derivation, of a build.
        subject: Option<Cow<'a, str>>,
    },
    /// An activity ends.
    Stop {
        /// Which.
        id: u64,
    },
    /// A builder wrote a line.
    LogLine {
        /// Its activity.
        id: u64,
        /// The line.
        text: Cow<'a, str>,
    },
    /// An activity came forward, by count.
    Progress {
        /// Which.
        id: u64,
        /// Done.
        done: u64,
        /// Expected in all.
        expected: u64,
    },
    /// An activity shows another sign of life, e.g. a new build phase.
    Sign {
        /// Which.
        id: u64,
    },
    /// Nix itself says something.
    Message {
        /// Verbosity, 0 (error) to 7 (vomit).
        level: u64,
        /// The text, with terminal control sequences.
        text: Cow<'a, str>,
    },
    /// A line that is not in this format: from a program that Nix ran, or from before it parsed
    /// its arguments.
    Plain(&'a str),
    /// Understood and of no use, or not understood at all.
    Other,
}

/// The superset of all actions, every field optional.
#[derive(Deserialize)]
struct Raw {
    action: String,
    #[serde(default)]
    id: Value,
    #[serde(default)]
    r#type: Value,
    #[serde(default)]
    level: Value,
    #[serde(default)]
    text: Value,
    #[serde(default)]
    msg: Value,
    #[serde(default)]
    fields: Vec<Value>,
}

/// Parses one line without its newline.
pub fn parse(line: &str) -> Event<'_> {
    let Some(json) = line.strip_prefix("@nix ") else { return Event::Plain(line) };
    log_line(json).unwrap_or_else(|| parse_json(json))
}

/// A builder's line as Nix writes it, which nearly all are: found by its form, and not copied. None
/// when it is anything else.
fn log_line(json: &str) -> Option<Event<'_>> {
    let fields = json.strip_prefix(r#"{"action":"result","fields":["#)?;
    let text = fields.strip_prefix('"')?;
    let mut bytes = text.bytes().enumerate();
    let mut escaped = false;
    let end = loop {
        match bytes.next()? {
            (at, b'"') => break at,
            (_, b'\\') => {
                escaped = true;
                bytes.next()?;
            }
            (_, 0..=0x1f) => return None,
            _ => {}
        }
    };
    let id = text[end..].strip_prefix(r#""],"id":"#)?;
    let (id, kind) = id.split_once(',')?;
    // What is no number here may be one that JSON knows.
    let digits = id.bytes().all(|byte| byte.is_ascii_digit()) && !id.starts_with('0');
    let id = id.parse().ok().filter(|_| digits)?;
    matches!(kind, r#""type":101}"# | r#""type":107}"#).then_some(())?;
    let text = match escaped {
        false => Cow::Borrowed(&text[..end]),
        true => Cow::Owned(serde_json::from_str(&fields[..end + 2]).ok()?),
    };
    Some(Event::LogLine { id, text })
}

fn parse_json(json: &str) -> Event<'_> {
    // Cut or broken JSON is no text for people either.
    let Ok(raw) = serde_json::from_str::<Raw>(json) else { return Event::Other };
    let number = |value: &Value| value.as_u64();
    let text =
        |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned).map(Cow::Owned);
    // A message at a level that is no number is shown rather than hidden.
    let level = number(&raw.level).unwrap_or_default();
    if raw.action == "msg" {
        return Event::Message { level, text: text(Some(&raw.msg)).unwrap_or_default() };
    }
    let Some(id) = number(&raw.id) else { return Event::Other };
    let kind = number(&raw.r#type);
    let field = |at: usize| raw.fields.get(at).and_then(Value::as_u64);
    match (raw.action.as_str(), kind) {
        ("start", kind) => Event::Start {
            id,
            kind: kind.unwrap_or_default(),
            level,
            text: text(Some(&raw.text)).unwrap_or_default(),
            subject: text(raw.fields.first()),
        },
        ("stop", _) => Event::Stop { id },
        ("result", Some(RESULT_BUILD_LOG_LINE | RESULT_POST_BUILD_LOG_LINE)) => {
            text(raw.fields.first()).map_or(Event::Other, |text| Event::LogLine { id, text })
        }
        ("result", Some(RESULT_PROGRESS)) => match (field(0), field(1)) {
            (Some(done), Some(expected)) => Event::Progress { id, done, expected },
            _ => Event::Other,
        },
        ("result", Some(RESULT_SET_PHASE)) => Event::Sign { id },
        _ => Event::Other,
    }
}

/// Takes terminal control sequences (ECMA-48 CSI, OSC) and other control characters out.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // Parameters and intermediates, then one final byte.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // Up to the bell or the string terminator `ESC \`.
                Some(']') => {
                    while let Some(c) = chars.next() {
                        if c == '\u{7}' || (c == '\u{1b}' && chars.next().is_some()) {
                            break;
                        }
                    }
                }
                _ => {}
            },
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(line: &str, wanted: &Event<'_>) {
        assert_eq!(&parse(line), wanted, "{line}");
    }

    /// Pieces of log lines and of what comes near to being one.
    fn near_a_log_line() -> impl Strategy<Value = String> {
        let text = r#"([a-z\u{e9}\u{1}"]|\\\\|\\"|\\u00e9|\\ud83d\\ude00|\\ud83d|\\x| ){0,6}"#;
        let id = "7|0|07|-1|1.5|1e3|[0-9]{18,22}|true|\"7\"| 7|";
        let kind = "101|107|105|104|1010|\"101\"| 101|";
        (text, id, kind, any::<prop::sample::Index>(), 0_u8..10).prop_map(
            |(text, id, kind, at, cut)| {
                let mut line =
                    format!(r#"{{"action":"result","fields":["{text}"],"id":{id},"type":{kind}}}"#);
                let at = line.floor_char_boundary(at.index(line.len()));
                match cut {
                    0 => line.truncate(at),
                    1 => line.insert(at, ' '),
                    _ => {}
                }
                line
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_short_way_says_what_a_json_parser_says(json in near_a_log_line()) {
            if let Some(event) = log_line(&json) {
                prop_assert_eq!(event, parse_json(&json));
            }
        }
    }

    #[test]
    fn a_builders_line_is_read_the_short_way() {
        for text in ["one", "", "\u{e9}", r#"a \"b\" \\"#, r"\u001b[1m"] {
            let json = format!(r#"{{"action":"result","fields":["{text}"],"id":7,"type":101}}"#);
            assert_eq!(log_line(&json), Some(parse_json(&json)));
        }
    }

    #[test]
    fn lines_of_nix_are_read() {
        check(
            r#"@nix {"action":"start","fields":["/nix/store/x.drv","",1,1],"id":48717814038533,"level":3,"text":"building 'x'","type":105}"#,
            &Event::Start {
                id: 48_717_814_038_533,
                kind: ACTIVITY_BUILD,
                level: 3,
                text: "building 'x'".into(),
                subject: Some("/nix/store/x.drv".into()),
            },
        );
        check(r#"@nix {"action":"stop","id":7}"#, &Event::Stop { id: 7 });
        let line = r#"@nix {"action":"result","fields":["one"],"id":7,"type":101}"#;
        check(line, &Event::LogLine { id: 7, text: "one".into() });
        let line = r#"@nix {"action":"result","fields":[1,2,0,0],"id":7,"type":105}"#;
        check(line, &Event::Progress { id: 7, done: 1, expected: 2 });
        let line = r#"@nix {"action":"msg","level":0,"msg":"no","raw_msg":"no","line":null}"#;
        check(line, &Event::Message { level: 0, text: "no".into() });
        check("error: no daemon", &Event::Plain("error: no daemon"));
    }

    #[test]
    fn the_unknown_and_the_hostile_are_put_aside() {
        for line in [
            "@nix ",
            "@nix {",
            "@nix []",
            "@nix null",
            r#"@nix {"action":5}"#,
            r#"@nix {"action":"dance","id":1}"#,
            r#"@nix {"action":"stop","id":-1}"#,
            r#"@nix {"action":"stop","id":99999999999999999999999999}"#,
            r#"@nix {"action":"stop"}"#,
            r#"@nix {"action":"result","id":1,"type":999,"fields":[]}"#,
            r#"@nix {"action":"result","id":1,"type":101,"fields":[]}"#,
            r#"@nix {"action":"result","id":1,"type":105,"fields":["a","b"]}"#,
            r#"@nix {"action":"result","id":1,"type":105,"fields":{}}"#,
        ] {
            check(line, &Event::Other);
        }
        let line = r#"@nix {"action":"start","id":1,"type":"x","new":{"a":[]}}"#;
        let text = Cow::Borrowed("");
        check(line, &Event::Start { id: 1, kind: 0, level: 0, text, subject: None });
        let deep = format!("@nix {}", "[".repeat(100_000));
        check(&deep, &Event::Other);
    }

    #[test]
    fn control_sequences_are_taken_out() {
        assert_eq!(plain("\u{1b}[31;1merror:\u{1b}[0m a\n\tb\0\r"), "error: a\n\tb");
        assert_eq!(plain("\u{1b}]0;title\u{7}x\u{1b}]8;;u\u{1b}\\y\u{1b}"), "xy");
        assert_eq!(plain("\u{1b}["), "");
    }
}

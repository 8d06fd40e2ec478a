//! Whatever flakes, builders and servers say, a body stays within its limit, and their words stay
//! in code.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::report::{body, comment, json, status, terminal};

/// Stands in every foreign text of these tests, and in none of ours.
const FOREIGN: char = 'Ж';

/// What is left when everything in code is taken away. Rows of a table have as many bars as its
/// head, those in code included: a cell ends at each.
fn outside(markdown: &str) -> String {
    let (mut outside, mut fence) = (String::new(), None::<usize>);
    let mut head = None;
    for line in markdown.lines() {
        let ticks = line.len() - line.trim_start_matches('`').len();
        match fence {
            Some(open) if ticks >= open && line.len() == ticks => fence = None,
            Some(_) => {}
            None if ticks >= 3 => {
                assert_eq!(&line[ticks..], "text", "{line:?}");
                fence = Some(ticks);
            }
            None => {
                outside += &(text_of(line) + "\n");
                let bars = line.starts_with('|').then(|| line.matches('|').count());
                assert!(bars.is_none() || head.is_none() || head == bars, "{line}");
                head = bars;
            }
        }
    }
    assert_eq!(fence, None, "a fence is open at the end");
    outside
}

/// A line without its inline code.
fn text_of(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some(at) = rest.find(['`', '<']) {
        text += &rest[..at];
        let inside = &rest[at..];
        let end = if let Some(inside) = inside.strip_prefix('`') {
            1 + inside.find('`').expect("the end of a code span") + 1
        } else if inside.starts_with("<code>") {
            inside.find("</code>").expect("the end of code") + "</code>".len()
        } else {
            let known =
                ["<details>", "</details>", "<summary>", "</summary>", "<!-- nix-build-pool:gate "];
            let tag = known.iter().find(|tag| inside.starts_with(**tag));
            tag.unwrap_or_else(|| panic!("a tag that is not ours: {inside:?}")).len()
        };
        rest = &inside[end..];
    }
    text + rest
}

#[track_caller]
fn check_markdown(markdown: &str) {
    assert!(markdown.len() <= body::BODY_BYTES_MAX, "{} bytes", markdown.len());
    let outside = outside(markdown);
    assert!(!outside.contains(FOREIGN), "{outside}");
    assert!(!outside.contains(['@', '!', '\u{202e}', '\u{1b}']), "{outside}");
    let links = outside.matches("](").count();
    let ours = outside.matches("[compare](https://git.example.org/").count()
        + outside.matches("[compare](https://github.com/").count();
    assert_eq!(links, ours, "{outside}");
}

/// All that can be said of a refused candidate.
fn check_all(story: &Story, whys: &[Why]) {
    for why in whys {
        let refused = story.refused(why.clone());
        let facts = story.facts();
        check_markdown(&body::body(&facts, &refused));
        check_markdown(&comment::comment(&facts, &refused));
        let title = body::title(&facts, &refused);
        assert!(title.len() <= 255 && !title.contains(FOREIGN), "{title}");
        assert!(!title.contains(['@', '#', '`', '<', '\n']), "{title}");
        let status = status::Status::refused(&facts, &refused);
        assert!(status.description.chars().count() < 140, "{status:?}");
        let run = GateRun { stage: Stage::Explain(Box::new(refused)), ..story.run.clone() };
        let facts = Facts { run: &run, ..facts };
        let printed = terminal::text(&facts);
        assert!(
            printed.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()),
            "{printed:?}"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&json::json(&facts)).is_ok());
    }
}

fn whys(story: &Story, message: &str) -> [Why; 4] {
    [
        Why::Failed(story.tested()),
        Why::NoHosts { message: message.into() },
        Why::Denied { tested: story.tested(), message: message.into() },
        Why::BaseMoved { tested: story.tested(), to: rev('d') },
    ]
}

/// The same hostile text everywhere.
fn everywhere(text: &str) -> Story {
    let text = format!("{FOREIGN}{text}");
    let results = [
        HostResult { outcome: text.clone(), leaf: Some(text.clone()), ..failed(LEAF) },
        HostResult { leaf: None, message: Some(text.clone()), ..failed(LEAF) },
        HostResult { message: Some(text.clone()), ..infra() },
        HostResult { outcome: text.clone(), ..built() },
    ];
    let mut story = Story::of([]);
    for (n, result) in results.into_iter().enumerate() {
        let label = format!("{text}{n}");
        *story.detail(&label) = Detail {
            failure: Some(Failure {
                message: text.clone(),
                drv: Some(text.clone()),
                log_tail: vec![text.clone(); 5],
            }),
            workers: Vec::new(),
            closure: Some(ClosureDiff { text: text.clone(), lines_cut: u64::MAX, bytes: i64::MIN }),
            attachment: Some(text.clone()),
        };
        story.results.insert(label, result);
    }
    story.kept = vec![BrokenInput { input: text.clone(), message: text.clone() }];
    let input = |rev: char| {
        let rev = rev.to_string().repeat(40);
        json!({"root": text, "version": 7, "nodes": {
            &text: {"inputs": {&text: "x"}},
            "x": {"locked": {"type": "github", "owner": text, "repo": text, "rev": rev, "narHash": text}},
        }})
        .to_string()
    };
    story.locks = (input('1'), input('2'));
    story.run.base = text.clone();
    story.run.source = Source::Branch { name: text.clone() };
    story.site.user = Some(text.clone());
    story.site.web = Some(format!("https://git.example.org/{text}"));
    story
}

#[test]
fn what_others_write_stays_in_code() {
    for text in [
        "@admin please merge #1 !2 org/repo#3",
        "![x](http://evil/x.png) [a](javascript:b) <img src=x onerror=y> https://evil www.evil.com",
        "`@admin` ``@admin`` ```\n@admin",
        "```\n# heading\n@admin\n```",
        "~~~\n</details>\n</code><script>",
        "a|b\\|c|\r\n| d | e |",
        "\u{1b}]0;x\u{7}\u{202e}\u{2066}\u{200b}\0",
        "&#64;admin &lt;b&gt; $x$ :smile: --> <!-- x",
        "",
        " ",
        "\\",
    ] {
        let story = everywhere(text);
        check_all(&story, &whys(&story, text));
    }
}

#[test]
fn the_longest_texts_stay_within_the_limit() {
    for text in ["`".repeat(4_000), "|\u{10ffff}".repeat(4_000), "\u{1f600}\n".repeat(4_000)] {
        let story = everywhere(&text);
        check_all(&story, &whys(&story, &text));
    }
}

/// Pieces that mean something in Markdown, in HTML, or to a forge.
fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("`".to_owned()),
        Just("```".to_owned()),
        Just("\n```\n".to_owned()),
        Just("~~~".to_owned()),
        Just("|".to_owned()),
        Just("\\".to_owned()),
        Just("\n".to_owned()),
        Just("\r".to_owned()),
        Just("<".to_owned()),
        Just("</details>".to_owned()),
        Just("</code>".to_owned()),
        Just("-->".to_owned()),
        Just("@admin".to_owned()),
        Just("#1".to_owned()),
        Just("![x](y)".to_owned()),
        Just("\u{202e}".to_owned()),
        Just("\u{1b}[1m".to_owned()),
        Just("https://u:p@h/".to_owned()),
        Just("    ".to_owned()),
        "\\PC{0,9}",
        any::<char>().prop_map(String::from),
        (1..400_usize).prop_map(|n| "`".repeat(n)),
        (1..400_usize).prop_map(|n| "x|".repeat(n)),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_leaves_its_code_or_fills_the_body(text in hostile_text()) {
        let story = everywhere(&text);
        check_all(&story, &whys(&story, &text));
    }
}

#[test]
fn a_thousand_hosts_and_a_hundred_failures_fit() {
    let mut story = Story::of([]);
    for n in 0..1000 {
        let label = format!("host{n:04}");
        let failing = n % 10 == 0;
        let leaf = format!("/nix/store/{n:032}-package.drv");
        story.results.insert(label.clone(), if failing { failed(&leaf) } else { built() });
        if failing {
            let line = format!("{n}: the compiler says something that takes a whole line of text");
            let failure = Failure { log_tail: vec![line; 100], ..Failure::default() };
            story.detail(&label).failure = Some(failure);
        }
    }
    let refused = story.failed();
    let begun = Instant::now();
    let body = body::body(&story.facts(), &refused);
    let took = begun.elapsed();
    check_markdown(&body);
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(
        body.starts_with("**Not landed: 100 of 1000 required hosts cannot be built.**"),
        "{body}"
    );
    assert!(body.contains("the last 100 lines of its log"), "{body}");
    let cut = body.lines().last().expect("a line");
    assert!(cut.starts_with("*Left out for length: "), "{cut}");
    println!("{took:?} {} {cut}", body.len());
    let run = GateRun { stage: Stage::Explain(Box::new(refused)), ..story.run.clone() };
    let begun = Instant::now();
    terminal::text(&Facts { run: &run, ..story.facts() });
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn no_known_secret_is_in_anything_that_is_said() {
    let story = everywhere(
        "token hunter22 https://me:hunter22@h/ aHVudGVyMjI= and \u{200b}hunt\u{1b}[mer22",
    );
    for why in whys(&story, "hunter22") {
        let refused = story.refused(why);
        let facts = story.facts();
        let status = status::Status::refused(&facts, &refused).description;
        let run = GateRun { stage: Stage::Explain(Box::new(refused.clone())), ..story.run.clone() };
        let ended = Facts { run: &run, ..story.facts() };
        for said in [
            body::title(&facts, &refused),
            body::body(&facts, &refused),
            comment::comment(&facts, &refused),
            status,
            terminal::text(&ended),
            json::json(&ended),
            status::Status::error("hunter22", &story.site.scrub).description,
        ] {
            assert!(!said.contains("hunter22") && !said.contains("aHVudGVyM"), "{said}");
        }
    }
}

use super::*;

const WIDE: Size = Size { columns: 80, lines: 24 };

fn rows(texts: &[&str]) -> Vec<Row> {
    let row = |text: &&str| Row { text: (*text).to_owned(), columns: text.len() };
    texts.iter().map(row).collect()
}

/// One that shows these rows.
fn showing(texts: &[&str]) -> Screen {
    Screen { rows: rows(texts), size: WIDE, ..Screen::new() }
}

#[track_caller]
fn check(before: &[&str], columns: usize, after: &[&str], expected: &str) {
    let mut screen = showing(before);
    let bytes = screen.draw(rows(after), Size { columns, ..WIDE });
    assert_eq!(String::from_utf8(bytes).expect("text"), expected);
    assert_eq!(screen.rows, rows(after));
}

#[test]
fn rows_replace_each_other_in_place() {
    check(&[], 80, &["a", "b"], "a\x1b[K\r\nb\x1b[K\x1b[J");
    check(&["a", "b"], 80, &["a", "c"], "\r\x1b[1Aa\x1b[K\r\nc\x1b[K\x1b[J");
    check(&["a", "b", "c"], 80, &["d"], "\r\x1b[2Ad\x1b[K\x1b[J");
    check(&["a"], 80, &[], "\r \x1b[J\r\x1b[K");
    check(&["a"], 80, &["a"], "");
}

#[test]
fn rows_that_a_narrower_terminal_has_folded_go_away_whole() {
    check(&["0123456789", "x"], 4, &["y"], "\r\x1b[3Ay\x1b[K\x1b[J");
}

#[test]
fn text_goes_above_the_rows() {
    let bytes = showing(&["a", "b"]).say("said\n", WIDE);
    let expected = "\r\x1b[1A \x1b[J\r\x1b[Ksaid\na\x1b[K\r\nb\x1b[K";
    assert_eq!(String::from_utf8(bytes).expect("text"), expected);
    assert_eq!(Screen::new().say("said\n", WIDE), b"said\n");
}

#[test]
fn colours_of_a_line_take_no_columns_and_wide_letters_take_two() {
    assert_eq!(columns("\x1b[1mWARN\x1b[0m [x] m"), 10);
    assert_eq!(columns("漢"), 2);
}

/// A terminal as tmux is one: what it loses above comes back when it grows, and so does what is
/// cleared from its first place on.
struct Terminal {
    gone: Vec<String>,
    lines: Vec<String>,
    at: (usize, usize),
    screen: Screen,
}

impl Terminal {
    /// With something on it already.
    fn start(lines: usize) -> Self {
        let (lines, screen) = (vec![String::new(); lines], Screen::new());
        let mut terminal = Self { gone: Vec::new(), lines, at: (0, 0), screen };
        let before: String = (0..30).map(|n| format!("before {n}\n")).collect();
        terminal.obey(before.as_bytes());
        terminal
    }

    fn size(&self) -> Size {
        Size { columns: 80, lines: self.lines.len() }
    }

    fn resize(&mut self, lines: usize) {
        while self.lines.len() > lines {
            if self.at.0 + 1 < self.lines.len() {
                self.lines.pop();
            } else {
                self.gone.push(self.lines.remove(0));
                self.at.0 -= 1;
            }
        }
        let back = (lines - self.lines.len()).min(self.gone.len());
        let back = self.gone.split_off(self.gone.len() - back);
        self.at.0 += back.len();
        self.lines.splice(..0, back);
        self.lines.resize(lines, String::new());
    }

    /// As many rows as a display would draw here, or fewer.
    fn draw(&mut self, most: usize) {
        let count = most.min(self.lines.len() - 1);
        let texts: Vec<String> = (0..count).map(|n| format!("row {n} of {count}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let bytes = self.screen.draw(rows(&texts), self.size());
        self.obey(&bytes);
        let shown = self.lines[..=self.at.0].iter().rev().take(count).rev();
        assert!(shown.eq(&texts), "{texts:?} on {:#?}", self.lines);
        assert!(self.lines[self.at.0 + 1..].iter().all(String::is_empty), "{:#?}", self.lines);
    }

    fn say(&mut self, text: &str) {
        let bytes = self.screen.say(&format!("{text}\n"), self.size());
        self.obey(&bytes);
    }

    fn obey(&mut self, bytes: &[u8]) {
        let mut text = std::str::from_utf8(bytes).expect("text");
        while let Some(c) = text.chars().next() {
            text = &text[c.len_utf8()..];
            let (line, column) = self.at;
            match c {
                '\r' => self.at.1 = 0,
                '\n' if line + 1 == self.lines.len() => {
                    self.gone.push(self.lines.remove(0));
                    self.lines.push(String::new());
                    self.at.1 = 0;
                }
                '\n' => self.at = (line + 1, 0),
                '\x1b' => {
                    let end = text.find(|c: char| c.is_ascii_uppercase()).expect("its end");
                    let (number, command) = (&text[1..end], &text[end..=end]);
                    match command {
                        "A" => self.at.0 -= number.parse().unwrap_or(1).min(line),
                        "J" if self.at == (0, 0) => {
                            let used = self.lines.iter().rposition(|line| !line.is_empty());
                            let used = used.map_or(0, |last| last + 1);
                            self.gone.extend_from_slice(&self.lines[..used]);
                            self.lines.fill(String::new());
                        }
                        "K" => self.lines[line].truncate(column),
                        "J" => {
                            self.lines[line].truncate(column);
                            self.lines[line + 1..].fill(String::new());
                        }
                        other => panic!("{other}"),
                    }
                    text = &text[end + 1..];
                }
                c => {
                    let rest = self.lines[line].split_off(column);
                    self.lines[line].push(c);
                    self.lines[line].extend(rest.chars().skip(1));
                    self.at.1 += 1;
                }
            }
        }
    }

    fn rows_in_sight(&self) -> usize {
        self.lines.iter().filter(|line| line.starts_with("row ")).count()
    }

    /// Every word that is none of ours, in its order, and each of them once.
    #[track_caller]
    fn said(&self, expected: &[String]) {
        let all = self.gone.iter().chain(&self.lines);
        let words: Vec<&String> =
            all.filter(|it| !it.starts_with("row ") && !it.is_empty()).collect();
        let before: Vec<String> = (0..30).map(|n| format!("before {n}")).collect();
        let expected: Vec<&String> = before.iter().chain(expected).collect();
        assert_eq!(words, expected);
    }
}

#[test]
fn rows_that_a_terminal_gives_back_with_its_lines_go_away() {
    for heights in
        [&[12, 5, 24][..], &[12, 24], &[20, 50], &[5, 6, 9, 24], &[2, 24], &[5, 3, 5, 24]]
    {
        for (before, after) in [(23, 23), (23, 1), (10, 40)] {
            let mut terminal = Terminal::start(24);
            terminal.draw(before);
            for height in heights {
                terminal.resize(*height);
                terminal.draw(after);
                let count = after.min(height - 1);
                assert_eq!(terminal.rows_in_sight(), count, "{heights:?}: {:#?}", terminal.lines);
            }
            terminal.said(&[]);
        }
    }
}

#[test]
fn what_was_said_below_old_rows_is_kept_when_they_go_away() {
    for said in [1, 3, 8, 20] {
        let mut terminal = Terminal::start(24);
        terminal.draw(23);
        terminal.resize(8);
        let words: Vec<String> = (0..said).map(|n| format!("said {n}")).collect();
        for word in &words {
            terminal.say(word);
            terminal.draw(5);
        }
        for height in [12, 16, 24, 50] {
            terminal.resize(height);
            terminal.draw(5);
            assert_eq!(terminal.rows_in_sight(), 5, "{said} at {height}: {:#?}", terminal.lines);
            terminal.said(&words);
        }
    }
}

#[test]
fn no_word_is_lost_or_said_twice_whatever_the_terminal_does() {
    for seed in 1..500_u64 {
        let mut state = seed;
        let mut any = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((state >> 33) % below).expect("small")
        };
        let mut terminal = Terminal::start(24);
        let mut words = Vec::new();
        terminal.draw(any(30));
        for _ in 0..20 {
            match any(3) {
                0 => terminal.resize(2 + any(40)),
                1 => {
                    words.push(format!("said {}", words.len()));
                    terminal.say(&words[words.len() - 1]);
                }
                _ => terminal.draw(any(30)),
            }
            terminal.said(&words);
        }
    }
}

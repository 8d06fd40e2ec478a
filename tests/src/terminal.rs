//! A real terminal, by tmux: a program in it, what stands on it, and fingers on its keys.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    eventually,
    process::{command, find, run},
    scratch,
};

/// For tmux to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// A terminal that ends with its test, and the program in it too.
#[derive(Debug)]
pub struct Terminal {
    dir: TempDir,
}

impl Terminal {
    /// Starts `program` in a terminal of this size. Its last screen stays when it has ended.
    #[track_caller]
    pub fn start(columns: u16, lines: u16, program: &Command) -> Self {
        let terminal = Self { dir: scratch() };
        let settings = "set -g remain-on-exit on\nset -g status off\nset -g history-limit 5000\n\
                        set -g default-terminal \"screen-256color\"\n";
        fs::write(terminal.dir.path().join("conf"), settings).expect("a temporary file");
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let mut args = vec!["new-session", "-d", "-x", &columns, "-y", &lines, "--"];
        // tmux forgets the exit code of a program now and then.
        let code = terminal.path("code").display().to_string();
        args.extend([
            "sh",
            "-c",
            "trap : INT; \"$@\"; echo $? > \"$0\".new; mv \"$0\".new \"$0\"",
            &code,
        ]);
        let program = words(program);
        args.extend(program.iter().map(String::as_str));
        terminal.tmux(&args);
        terminal
    }

    /// What stands on it, without blanks at the ends of lines.
    #[track_caller]
    pub fn screen(&self) -> Vec<String> {
        lines(&self.tmux(&["capture-pane", "-p"]))
    }

    /// The same, with what has scrolled away before it.
    #[track_caller]
    pub fn everything(&self) -> Vec<String> {
        lines(&self.tmux(&["capture-pane", "-p", "-S", "-"]))
    }

    pub fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    pub fn press(&self, keys: &str) {
        self.tmux(&["send-keys", keys]);
    }

    /// Waits until something stands on it.
    #[track_caller]
    pub fn wait_for(&self, text: &str, deadline: Duration) -> Vec<String> {
        self.wait_until(text, deadline, |line| line.contains(text))
    }

    /// Waits until such a line stands on it.
    #[track_caller]
    pub fn wait_until(
        &self,
        what: &str,
        deadline: Duration,
        is_it: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let shown = eventually(&format!("{what:?} on the terminal"), deadline, || {
            let screen = self.screen();
            if screen.iter().any(|line| is_it(line)) {
                return Some(Ok(screen));
            }
            self.ended().map(|code| Err((code, screen)))
        });
        match shown {
            Ok(screen) => screen,
            Err((code, screen)) => panic!("ended with {code} before {what:?}:\n{screen:#?}"),
        }
    }

    /// The exit code, once the program has ended; 128 and the signal's number if one ended it.
    pub fn ended(&self) -> Option<i32> {
        fs::read_to_string(self.path("code")).ok()?.trim().parse().ok()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&self, deadline: Duration) -> i32 {
        eventually("the program in the terminal to end", deadline, || self.ended())
    }

    /// The program, while it runs.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        let told = self.tmux(&["display-message", "-p", "#{pane_pid}"]);
        let shell = told.trim();
        let children = fs::read_to_string(format!("/proc/{shell}/task/{shell}/children"));
        children.expect("a running shell").trim().parse().expect("its one child")
    }

    #[track_caller]
    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = command(find("tmux"));
        tmux.arg("-S").arg(self.path("socket")).arg("-f").arg(self.path("conf")).args(args);
        run(&mut tmux, ANSWER_DEADLINE).expect_code(0).stdout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let mut tmux = command(find("tmux"));
        tmux.arg("-S").arg(self.path("socket")).arg("kill-server");
        run(&mut tmux, ANSWER_DEADLINE);
    }
}

/// The command with its environment, as words that tmux passes on without a shell.
fn words(program: &Command) -> Vec<String> {
    let text = |it: &std::ffi::OsStr| it.to_str().expect("text").to_owned();
    let mut words = vec!["env".to_owned(), "-i".to_owned()];
    if let Some(dir) = program.get_current_dir() {
        words.push(format!("--chdir={}", dir.display()));
    }
    words.push("TERM=screen-256color".to_owned());
    for (name, value) in program.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", text(name), text(value)));
        }
    }
    // Behind `setpriv`, which would have the program die with a thread that is long gone.
    let mut args: Vec<String> = program.get_args().map(text).collect();
    let wrapper = args.iter().position(|arg| arg == "--").map_or(0, |at| at + 1);
    words.extend(args.drain(wrapper..));
    words
}

fn lines(shown: &str) -> Vec<String> {
    let mut lines: Vec<String> = shown.lines().map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

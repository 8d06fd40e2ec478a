//! Whether paths are valid, asked for many attempts by one process: whoever asks while one is under
//! way shares the next one. Starting Nix takes longer than its answer, for a hundred paths too.
//!
//! An answer is never older than its question.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    time::{Instant, sleep},
};

use super::{
    command::{Nix, StorePath},
    process::{Guard, Halt, Supervisor},
};

/// Questions come in bursts, when what is built already is asked for again: so a process is begun
/// when none has come for this long,
const QUIET: Duration = Duration::from_millis(4);
/// and after this long at the latest, which is about what starting it takes.
const GATHERING_MAX: Duration = Duration::from_millis(20);

/// Paths in one command line: 1000 of at most 250 bytes stay far below the kernel's 2 MiB.
const PATHS_PER_CALL: usize = 1000;

/// See the module.
#[derive(Debug, Default)]
pub struct Validity {
    asked: Mutex<Vec<Question>>,
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Question {
    path: StorePath,
    answer: oneshot::Sender<bool>,
}

impl Validity {
    /// Whether Nix holds the path to be valid. What Nix does not answer is no.
    ///
    /// # Errors
    /// When the caller is stopped. Others who shared the process ask again.
    pub async fn of(
        &self,
        path: &StorePath,
        nix: &Nix,
        supervisor: &Supervisor,
        guard: &Guard,
    ) -> Result<bool, Halt> {
        loop {
            let (answer, mut told) = oneshot::channel();
            self.asked().push(Question { path: path.clone(), answer });
            let _turn = tokio::select! {
                biased;
                () = guard.stop.cancelled() => return Err(Halt::Stopped),
                turn = self.turn.lock() => turn,
            };
            match told.try_recv() {
                Ok(valid) => return Ok(valid),
                Err(TryRecvError::Empty) => self.ask(nix, supervisor, guard).await?,
                // Whoever asked for it was stopped.
                Err(TryRecvError::Closed) => continue,
            }
            if let Ok(valid) = told.try_recv() {
                return Ok(valid);
            }
        }
    }

    /// Answers all questions there are, the oldest first; those beyond one command line wait.
    async fn ask(&self, nix: &Nix, supervisor: &Supervisor, guard: &Guard) -> Result<(), Halt> {
        self.gathered().await;
        let questions: Vec<Question> = {
            let mut asked = self.asked();
            let some = asked.len().min(PATHS_PER_CALL);
            asked.drain(..some).collect()
        };
        let paths: BTreeSet<&StorePath> = questions.iter().map(|it| &it.path).collect();
        let exit = supervisor.run(&nix.invalid(paths), guard, |_| {}).await?;
        let invalid = exit.text().filter(|_| exit.success());
        for Question { path, answer } in questions {
            let valid = invalid.is_some_and(|it| it.lines().all(|line| line != path.as_str()));
            // Who does not listen any more was stopped.
            answer.send(valid).ok();
        }
        Ok(())
    }

    /// Waits until nobody else asks, and not for long.
    async fn gathered(&self) {
        let (latest, mut heard) = (Instant::now() + GATHERING_MAX, 0);
        loop {
            let asked = self.asked().len();
            if asked == heard || Instant::now() >= latest {
                return;
            }
            heard = asked;
            sleep(QUIET).await;
        }
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Vec<Question>> {
        // A question is pushed or taken whole.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

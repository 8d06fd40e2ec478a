//! Facts about Nix: asked of the programs that the worker uses, in its environment.

use std::time::Duration;

use serde_json::Value;

use super::{CALL_WALL, ask};
use crate::{
    doctor::{
        nix::{NixFacts, NixSettings, StoreAnswer},
        trouble::Trouble,
    },
    nix::{
        command::{Nix, StorePath},
        process::Supervisor,
    },
};

/// A build of nothing, on a machine that is busy with others.
const BUILD_WALL: Duration = Duration::from_secs(60);

/// A path that nobody roots, made for a trial.
#[derive(Clone, Debug)]
pub(in crate::doctor) struct Trial {
    pub(in crate::doctor) drv: StorePath,
    pub(in crate::doctor) out: StorePath,
}

/// Nix's facts, and what the trial build left, to be pushed and deleted.
pub(in crate::doctor) async fn nix(
    supervisor: &Supervisor,
    nix: &Nix,
) -> (NixFacts, Option<Trial>) {
    let asked = ask(supervisor, &nix.version(), CALL_WALL).await;
    let version = asked.and_then(super::Answer::good);
    let version = version.map(|text| text.lines().next().unwrap_or_default().to_owned());
    if let Err(trouble) = version {
        let again = || trouble.clone();
        let (settings, store, built) = (Err(again()), Err(again()), Err(again()));
        return (NixFacts { version: Err(trouble), settings, store, built }, None);
    }
    let (settings, store) = tokio::join!(settings(supervisor, nix), store(supervisor, nix));
    let trial = match &store {
        Ok(_) => trial(supervisor, nix).await,
        Err(trouble) => Err(trouble.clone()),
    };
    let (built, trial) = match trial {
        Ok(trial) => (Ok(()), Some(trial)),
        Err(trouble) => (Err(trouble), None),
    };
    (NixFacts { version, settings, store, built }, trial)
}

async fn settings(supervisor: &Supervisor, nix: &Nix) -> Result<NixSettings, Trouble> {
    let mut answer = ask(supervisor, &nix.settings(true), CALL_WALL).await?;
    if !answer.success {
        answer = ask(supervisor, &nix.settings(false), CALL_WALL).await?;
    }
    let text = answer.good()?;
    let parsed = NixSettings::parse(&text);
    let mut settings =
        parsed.ok_or_else(|| Trouble::Failed("its settings are not in JSON".to_owned()))?;
    settings.has_builders = has_builders(&settings.text("builders"));
    Ok(settings)
}

/// The setting holds machines, or after an `@` the name of a file that does.
fn has_builders(setting: &str) -> bool {
    let text = match setting.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file).unwrap_or_default(),
        None => setting.to_owned(),
    };
    text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#'))
}

async fn store(supervisor: &Supervisor, nix: &Nix) -> Result<StoreAnswer, Trouble> {
    let mut last = Trouble::Failed(String::new());
    for attempt in 0.. {
        let Some(call) = nix.store_info(attempt) else { break };
        let answer = ask(supervisor, &call, CALL_WALL).await?;
        if answer.success {
            return Ok(read_store(&answer.stdout, &answer.stderr.join("\n")));
        }
        last = answer.trouble();
        // An older Nix does not know this form; of any other failure the next one says the same.
        if !last.says(&["not a recognised", "unrecognised flag", "unknown flag"]) {
            break;
        }
    }
    Err(last)
}

fn read_store(stdout: &str, stderr: &str) -> StoreAnswer {
    if let Ok(answer) = serde_json::from_str::<Value>(stdout) {
        let url = answer["url"].as_str().unwrap_or_default().to_owned();
        // A number in some versions, absent where there is no daemon to trust anybody.
        let trusted = answer["trusted"].as_u64().map(|it| it > 0);
        return StoreAnswer { url, trusted: answer["trusted"].as_bool().or(trusted) };
    }
    let said = format!("{stdout}\n{stderr}");
    let url = said.lines().find_map(|line| line.trim().strip_prefix("Store URL:"));
    StoreAnswer { url: url.unwrap_or_default().trim().to_owned(), trusted: None }
}

async fn trial(supervisor: &Supervisor, nix: &Nix) -> Result<Trial, Trouble> {
    let salt = uuid::Uuid::now_v7().to_string();
    let drv = ask(supervisor, &nix.trial(&salt), CALL_WALL).await?.good()?;
    let odd = |what: &str| Trouble::Failed(format!("Nix named {what:?}, which is no store path"));
    let drv = StorePath::parse_drv(&drv).ok_or_else(|| odd(&drv))?;
    let built = ask(supervisor, &nix.realise_unrooted(&drv), BUILD_WALL).await;
    let built = built.and_then(|answer| answer.good());
    match built.and_then(|out| StorePath::parse(&out).ok_or_else(|| odd(&out))) {
        Ok(out) => Ok(Trial { drv, out }),
        Err(trouble) => {
            delete(supervisor, nix, &[&drv]).await;
            Err(trouble)
        }
    }
}

/// What cannot be deleted is nobody's, and goes with the next collection.
pub(in crate::doctor) async fn delete(supervisor: &Supervisor, nix: &Nix, paths: &[&StorePath]) {
    let paths = paths.iter().copied();
    if let Err(trouble) = ask(supervisor, &nix.delete(paths), CALL_WALL).await {
        tracing::debug!("the trial build stays until garbage is collected: {trouble}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_stores_are_read() {
        let check = |stdout: &str, stderr: &str, url: &str, trusted| {
            let expected = StoreAnswer { url: url.to_owned(), trusted };
            assert_eq!(read_store(stdout, stderr), expected);
        };
        check("", "Store URL: daemon\nVersion: 2.8.0", "daemon", None);
        check("Store URL: local\nVersion: 2.8.0", "", "local", None);
        check(r#"{"trusted":1,"url":"daemon","version":"2.24"}"#, "", "daemon", Some(true));
        check(r#"{"trusted":false,"url":"daemon"}"#, "", "daemon", Some(false));
        check(r#"{"url":"local"}"#, "", "local", None);
    }

    #[test]
    fn builders_are_in_the_setting_or_in_its_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("machines");
        std::fs::write(&file, "# none\n\n").expect("a file");
        let at = format!("@{}", file.display());
        assert!(!has_builders("") && !has_builders("@/none") && !has_builders(&at));
        std::fs::write(&file, "ssh://a x86_64-linux\n").expect("a file");
        assert!(has_builders(&at) && has_builders("ssh://a"));
    }
}

//! What commands print of gate runs: how one ended, what one would do, and where all stand.

use std::{collections::BTreeMap, io};

use options::Console;
use proto::gate::{GateRun, Holder, Required, Stage};
use serde_json::{Value, json};

use crate::report::{self, Detail, Facts, Site, units::counted};

/// What a command prints of the runs that it drove: text as each one ends, JSON as one document
/// when all have.
pub(crate) struct Teller<'a> {
    console: &'a Console,
    /// None: text.
    objects: Option<Vec<Value>>,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(console: &'a Console, json: bool) -> Self {
        Self { console, objects: json.then(Vec::new) }
    }

    /// Where messages go.
    pub(crate) fn console(&self) -> &'a Console {
        self.console
    }

    /// Takes what became of a run, or where it stands.
    pub(crate) fn tell(
        &mut self,
        run: &GateRun,
        details: &BTreeMap<String, Detail>,
        site: &Site,
    ) -> io::Result<()> {
        match &mut self.objects {
            Some(objects) => objects.push(object(run, details, site)),
            None => self.console.data(&ended(run, details, site))?,
        }
        Ok(())
    }

    /// One object: the last run, with those that came first in `before`.
    pub(crate) fn end_with_last(self) -> io::Result<()> {
        let mut before = self.objects.unwrap_or_default();
        let Some(mut last) = before.pop() else { return Ok(()) };
        last["before"] = before.into();
        self.console.data(&(last.to_string() + "\n"))
    }

    /// One array of all runs.
    pub(crate) fn end_with_all(self) -> io::Result<()> {
        let Some(objects) = self.objects else { return Ok(()) };
        self.console.data(&(Value::Array(objects).to_string() + "\n"))
    }
}

/// A run and who is at it.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) run: GateRun,
    pub(crate) holder: Option<Holder>,
}

fn ended(run: &GateRun, details: &BTreeMap<String, Detail>, site: &Site) -> String {
    report::terminal::text(&facts(run, details, site))
}

/// What a run would do, as far as it went without changing anything.
pub(crate) fn plan(run: &GateRun, site: &Site) -> String {
    let Stage::Test(trial) = &run.stage else { return ended(run, &BTreeMap::new(), site) };
    let candidate = &trial.candidate;
    let hosts = counted(trial.required.len(), "host");
    let mut text = format!("would push {} as {}\n", candidate.revision, candidate.branch);
    text.push_str(&format!("would have {hosts} built:\n"));
    for (label, required) in &trial.required {
        text.push_str(&format!("  {label} ({})\n", required.class));
    }
    for label in &trial.excluded {
        text.push_str(&format!("  {label}: excluded\n"));
    }
    text.push_str(&format!("would then move {} from {}\n", run.base, candidate.base));
    text
}

/// The same as `gate run --json` prints a run, with `required`: the class of each host by label.
pub(crate) fn plan_json(run: &GateRun, site: &Site) -> String {
    let mut object = object(run, &BTreeMap::new(), site);
    if let Stage::Test(trial) = &run.stage {
        let class = |(label, it): (&String, &Required)| (label.clone(), json!(it.class));
        object["required"] = Value::Object(trial.required.iter().map(class).collect());
    }
    object.to_string() + "\n"
}

/// The newest run of each branch: a headline each, and who is at it.
pub(crate) fn standings(standings: &[Standing], site: &Site) -> String {
    if standings.is_empty() {
        return "no gate runs\n".to_owned();
    }
    let mut text = String::new();
    for Standing { run, holder } in standings {
        let told = ended(run, &BTreeMap::new(), site);
        text.push_str(&format!("{} of {}: {}", run.base, run.repo, told));
        if let Some(holder) = holder {
            text.push_str(&format!("  held by {} ({})\n", holder.place, holder.by));
        }
    }
    text
}

/// The same as one array: objects as `gate run --json` prints them, with `holder`.
pub(crate) fn standings_json(standings: &[Standing], site: &Site) -> String {
    let objects = standings.iter().map(|Standing { run, holder }| {
        let mut object = object(run, &BTreeMap::new(), site);
        object["holder"] = json!(holder);
        object
    });
    Value::Array(objects.collect()).to_string() + "\n"
}

fn object(run: &GateRun, details: &BTreeMap<String, Detail>, site: &Site) -> Value {
    let told = report::json::json(&facts(run, details, site));
    serde_json::from_str(&told).expect("our own JSON")
}

fn facts<'a>(run: &'a GateRun, details: &'a BTreeMap<String, Detail>, site: &'a Site) -> Facts<'a> {
    Facts { run, details, site, now: bus::clock::now() }
}

#[cfg(test)]
mod tests {
    use proto::Identity;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn who_is_at_a_run_is_documented() {
        let by = Identity::local();
        let holder = Holder { by, place: "host 1".into(), nonce: Uuid::nil(), lease_ms: 1 };
        options::check_documented("gate status", &json!({ "holder": holder }));
        options::check_documented("gate run", &json!({ "before": [], "required": null }));
    }
}

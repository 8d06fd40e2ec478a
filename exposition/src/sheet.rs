//! Values as text. A [`Sheet`] is a handful of gauges that are told once and then forgotten.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::prometheus_text,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

type Labels = Vec<(&'static str, String)>;
type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// Gauges by name.
#[derive(Debug, Default)]
pub struct Sheet {
    registry: Registry,
    gauges: BTreeMap<&'static str, Gauges>,
}

impl Sheet {
    /// Sets one value; `help` of its first counts.
    pub fn set<const N: usize>(
        &mut self,
        (name, help): (&'static str, &'static str),
        labels: [(&'static str, &str); N],
        value: f64,
    ) {
        let Self { registry, gauges } = self;
        let family = gauges.entry(name).or_insert_with(|| {
            let family = Gauges::default();
            registry.register(name, help, family.clone());
            family
        });
        let labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
        family.get_or_create(&labels).set(value);
    }

    /// All of it in the text format.
    pub fn text(&self) -> String {
        text(&self.registry)
    }
}

/// A registry in Prometheus' text format (version 0.0.4).
pub fn text(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_text::encode(&mut text, registry).expect("a String takes every text");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_is_text_with_help_type_and_escaped_labels() {
        let mut sheet = Sheet::default();
        let hosts = ("nbp_hosts", "How many hosts");
        sheet.set(hosts, [("result", "built")], 2.0);
        sheet.set(hosts, [("result", "a\"b\\c\nd")], 0.5);
        sheet.set(("nbp_seconds", "How long"), [], 1.25);
        let text = sheet.text();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "# HELP nbp_hosts How many hosts.",
                "# HELP nbp_seconds How long.",
                "# TYPE nbp_hosts gauge",
                "# TYPE nbp_seconds gauge",
                r#"nbp_hosts{result="a\"b\\c\nd"} 0.5"#,
                r#"nbp_hosts{result="built"} 2.0"#,
                "nbp_seconds 1.25",
            ]
        );
    }
}

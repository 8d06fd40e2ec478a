//! `docs/json.md` against what is really printed: for the tests of the three programs, so that no key
//! is printed that a script's author cannot look up.

use serde_json::Value;

/// Read when a test runs, so that no program carries it.
const DOC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/json.md");

/// `docs/json.md` names every key of `value`, in the section of `command`.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn check_documented(command: &str, value: &Value) {
    let doc = std::fs::read_to_string(DOC).expect("docs/json.md beside the crates");
    let mut sections = doc.split("\n## ");
    let of = |section: &&str| {
        section.lines().next().is_some_and(|heading| heading.split(", ").any(|it| it == command))
    };
    let section = sections.find(of);
    let section = section.unwrap_or_else(|| panic!("docs/json.md has no section {command}"));
    check_keys(section, value);
}

#[track_caller]
fn check_keys(section: &str, value: &Value) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            assert!(section.contains(&format!("\"{name}\"")), "{name} is not in {section}");
            check_keys(section, value);
        }),
        Value::Array(values) => values.iter().for_each(|value| check_keys(section, value)),
        _ => {}
    }
}

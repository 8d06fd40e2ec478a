//! The interface as its own description has it: which request is which operation, whether it fits,
//! and whether the mock's answer does.

use serde_json::{Value, json};

use super::{
    Persona,
    http::{Answer, Request},
    schema::{Check, Nulls},
};

const GITEA: &str = include_str!("../../data/gitea-1.26.3.json");
const FORGEJO: &str = include_str!("../../data/forgejo-17.0.0.json");
const PUT_BRANCH: &str = "/repos/{owner}/{repo}/branches/{branch}";

/// Parameters whose value goes on over slashes.
const LONG_PARAMETERS: [&str; 2] = ["{branch}", "{head}"];

/// Longest text of a request or comment. Neither forge has a limit, but what goes to one must fit
/// into the others' too.
const TEXT_BYTES_MAX: usize = 65_536;

/// Refusals that the descriptions leave out and the servers give.
const UNDESCRIBED: [u16; 1] = [401];

#[derive(Debug)]
pub(super) struct Spec {
    document: Value,
}

/// A path of the description that a request fits.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// Such as `/repos/{owner}/{repo}/pulls/{index}`.
    pub(super) path: String,
    /// In the order of the path.
    pub(super) parameters: Vec<(String, String)>,
    description: Value,
}

/// What a request names.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Operation(Box<Operation>),
    /// The path is known with other methods only.
    NoSuchMethod,
    NoSuchPath,
}

impl Spec {
    pub(super) fn of(persona: Persona) -> Self {
        let text = if persona == Persona::Forgejo { FORGEJO } else { GITEA };
        let mut document: Value = serde_json::from_str(text).expect("the saved description");
        if persona == Persona::Gitea125 {
            let operations = document["paths"][PUT_BRANCH].as_object_mut().expect("the path");
            operations.remove("put").expect("what 1.26 brought");
            document["version"] = "1.25.5".into();
        }
        Self { document }
    }

    /// `path` is below the root of the interface, with its parts decoded.
    pub(super) fn find(&self, method: &str, path: &[String]) -> Found {
        let paths = self.document["paths"].as_object().expect("paths");
        let mut found = Found::NoSuchPath;
        let mut best = 0;
        for (template, operations) in paths {
            let Some((literal, parameters)) = fits(template, path) else { continue };
            // The path with the most literal words is the one that is meant.
            if literal < best {
                continue;
            }
            best = literal;
            found = match operations.get(method.to_lowercase()) {
                Some(description) => Found::Operation(Box::new(Operation {
                    path: template.clone(),
                    parameters,
                    description: description.clone(),
                })),
                None => Found::NoSuchMethod,
            };
        }
        found
    }

    /// What is wrong with a request.
    pub(super) fn request_faults(&self, operation: &Operation, request: &Request) -> Vec<String> {
        let mut faults = Vec::new();
        let described = operation.description["parameters"].as_array();
        let described: Vec<&Value> = described.into_iter().flatten().collect();
        let of =
            |place: &'static str| described.iter().filter(move |it| it["in"] == place).copied();
        for (name, value) in &operation.parameters {
            let parameter = of("path").find(|it| it["name"] == name.as_str());
            check_word(parameter, name, value, &mut faults);
        }
        for (name, value) in request.query() {
            let parameter = of("query").find(|it| it["name"] == name.as_str());
            check_word(parameter, &name, &value, &mut faults);
        }
        let content_type = request.header("content-type").unwrap_or_default();
        let (body, file) = (of("body").next(), of("formData").next());
        if let Some(parameter) = body {
            if !content_type.starts_with("application/json") {
                faults.push(format!("the body is {content_type:?}, not JSON"));
            }
            match serde_json::from_slice(&request.body) {
                Ok(value) => {
                    self.check(Nulls::Refused).check(
                        &parameter["schema"],
                        &value,
                        "body",
                        &mut faults,
                    );
                    let bytes = value["body"].as_str().map_or(0, str::len);
                    if bytes > TEXT_BYTES_MAX {
                        faults.push(format!("a text of {bytes} bytes"));
                    }
                }
                Err(error) => faults.push(format!("the body is no JSON: {error}")),
            }
        } else if let Some(parameter) = file {
            match request.file() {
                Some(file) if parameter["name"] == file.field.as_str() => {}
                file => faults
                    .push(format!("no form with the one file {}: {file:?}", parameter["name"])),
            }
        } else if !request.body.is_empty() {
            faults.push("there is a body".to_owned());
        }
        faults
    }

    /// What is wrong with an answer of the mock.
    pub(super) fn answer_faults(&self, operation: &Operation, answer: &Answer) -> Vec<String> {
        let status = answer.status.to_string();
        let Some(response) = operation.description["responses"].get(&status) else {
            return match UNDESCRIBED.contains(&answer.status) {
                true => Vec::new(),
                false => vec![format!("HTTP {status} is not described")],
            };
        };
        let name = response["$ref"].as_str().unwrap_or_default();
        let schema = &self.document["responses"][name.trim_start_matches("#/responses/")]["schema"];
        if schema.is_null() || !(200..300).contains(&answer.status) {
            return Vec::new();
        }
        let mut faults = Vec::new();
        match serde_json::from_slice(&answer.body) {
            Ok(value) => self.check(Nulls::Allowed).check(schema, &value, "answer", &mut faults),
            Err(error) => faults.push(format!("the answer is no JSON: {error}")),
        }
        faults
    }

    pub(super) fn version(&self) -> Value {
        json!({"version": self.document["version"]})
    }

    fn check(&self, nulls: Nulls) -> Check<'_> {
        Check { definitions: &self.document["definitions"], nulls }
    }
}

/// A value in a path or query.
fn check_word(parameter: Option<&Value>, name: &str, value: &str, faults: &mut Vec<String>) {
    let Some(parameter) = parameter else {
        return faults.push(format!("there is no parameter {name}"));
    };
    if parameter["type"] == "integer" && value.parse::<u64>().is_err() {
        faults.push(format!("{name} is {value:?}, not a number"));
    }
    let words = parameter["enum"].as_array();
    if words.is_some_and(|words| !words.iter().any(|word| word == value)) {
        faults.push(format!("{name} is {value:?}, not one of {}", parameter["enum"]));
    }
    if value.is_empty() {
        faults.push(format!("{name} is empty"));
    }
}

/// The number of literal words and the parameters, when `path` has the template's form.
fn fits(template: &str, path: &[String]) -> Option<(usize, Vec<(String, String)>)> {
    let words: Vec<&str> = template.trim_start_matches('/').split('/').collect();
    let (mut literal, mut parameters) = (0, Vec::new());
    for (index, word) in words.iter().enumerate() {
        let last = index + 1 == words.len();
        let rest = path.get(index..).filter(|rest| !rest.is_empty())?;
        let long = last && LONG_PARAMETERS.contains(word);
        if last && !long && rest.len() > 1 {
            return None;
        }
        match word.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
            Some(name) => {
                let value = if long { rest.join("/") } else { rest[0].clone() };
                parameters.push((name.to_owned(), value));
            }
            None if rest[0] == *word => literal += 1,
            None => return None,
        }
    }
    Some((literal, parameters))
}

impl Operation {
    /// The value of a parameter of the path; it must be one.
    pub(super) fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(it, _)| it == name);
        found.map_or_else(|| panic!("{} has no {name}", self.path), |(_, value)| value)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.parameter(name).parse().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(persona: Persona, method: &str, path: &str, expected: &str) {
        let path: Vec<String> = path.split('/').map(str::to_owned).collect();
        let found = match Spec::of(persona).find(method, &path) {
            Found::Operation(it) => format!("{} {:?}", it.path, it.parameters.last()),
            found => format!("{found:?}"),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_request_is_the_operation_with_the_most_literal_words() {
        let root = "/repos/{owner}/{repo}";
        let branch = format!("{root}/branches/{{branch}} Some((\"branch\", \"a/b/c\"))");
        check(Persona::Gitea126, "PUT", "repos/o/r/branches/a/b/c", &branch);
        check(Persona::Forgejo, "PUT", "repos/o/r/branches/a/b/c", "NoSuchMethod");
        check(Persona::Gitea125, "PUT", "repos/o/r/branches/a/b/c", "NoSuchMethod");
        let assets = format!("{root}/issues/comments/{{id}}/assets Some((\"id\", \"5\"))");
        check(Persona::Forgejo, "POST", "repos/o/r/issues/comments/5/assets", &assets);
        let comments = format!("{root}/issues/{{index}}/comments Some((\"index\", \"5\"))");
        check(Persona::Gitea126, "GET", "repos/o/r/issues/5/comments", &comments);
        let pull = format!("{root}/pulls/{{index}} Some((\"index\", \"5\"))");
        check(Persona::Gitea126, "GET", "repos/o/r/pulls/5", &pull);
        check(Persona::Gitea126, "GET", "repos/o/r", &format!("{root} Some((\"repo\", \"r\"))"));
        check(Persona::Gitea126, "GET", "repos/o/r/wiki", "NoSuchPath");
    }
}

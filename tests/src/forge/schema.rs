//! Whether a JSON value fits a schema of Swagger 2.0, as far as the forges' use it.

use serde_json::Value;

/// What may stand where the schema says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nulls {
    /// In requests: a null is a value that was forgotten.
    Refused,
    /// In answers: Go writes one for every empty list and pointer.
    Allowed,
}

pub(super) struct Check<'a> {
    pub(super) definitions: &'a Value,
    pub(super) nulls: Nulls,
}

impl Check<'_> {
    /// Adds what is wrong with `value` to `faults`; `at` is where it stands.
    pub(super) fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/definitions/");
            return match self.definitions.get(name) {
                Some(schema) => self.check(schema, value, at, faults),
                None => faults.push(format!("{at}: the spec lacks {name}")),
            };
        }
        if value.is_null() && self.nulls == Nulls::Allowed {
            return;
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            return faults.push(format!("{at}: {value} is not one of {}", schema["enum"]));
        }
        match schema["type"].as_str() {
            Some("object") => self.object(schema, value, at, faults),
            Some("array") => match value.as_array() {
                Some(elements) => {
                    for (index, element) in elements.iter().enumerate() {
                        self.check(&schema["items"], element, &format!("{at}[{index}]"), faults);
                    }
                }
                None => faults.push(format!("{at}: {value} is no list")),
            },
            Some(wanted) if !is_a(wanted, value) => {
                faults.push(format!("{at}: {value} is not of type {wanted}"));
            }
            _ => {}
        }
    }

    fn object(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(fields) = value.as_object() else {
            return faults.push(format!("{at}: {value} is no object"));
        };
        for required in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(required.as_str().unwrap_or_default()) {
                faults.push(format!("{at}: {required} is missing"));
            }
        }
        for (key, value) in fields {
            let at = format!("{at}.{key}");
            match (schema["properties"].get(key), schema.get("additionalProperties")) {
                (Some(schema), _) | (None, Some(schema)) => self.check(schema, value, &at, faults),
                (None, None) => faults.push(format!("{at}: there is no such key")),
            }
        }
    }
}

fn is_a(wanted: &str, value: &Value) -> bool {
    match wanted {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let definitions = json!({"Label": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "state": {"type": "string", "enum": ["open"]},
            "ids": {"type": "array", "items": {"type": "integer"}},
        }}});
        let told = |value: Value, nulls: Nulls| {
            let mut faults = Vec::new();
            let schema = json!({"$ref": "#/definitions/Label"});
            let check = Check { definitions: &definitions, nulls };
            check.check(&schema, &value, "body", &mut faults);
            faults.join("; ")
        };
        for (value, fault) in [
            (json!({"name": "a", "state": "open", "ids": [1, 2]}), ""),
            (json!({}), "body: \"name\" is missing"),
            (json!([]), "body: [] is no object"),
            (json!({"name": 1}), "body.name: 1 is not of type string"),
            (json!({"name": "a", "colour": 1}), "body.colour: there is no such key"),
            (
                json!({"name": "a", "state": "ajar"}),
                "body.state: \"ajar\" is not one of [\"open\"]",
            ),
            (json!({"name": "a", "ids": ["x"]}), "body.ids[0]: \"x\" is not of type integer"),
            (json!({"name": null}), "body.name: null is not of type string"),
        ] {
            assert_eq!(told(value, Nulls::Refused), fault);
        }
        assert_eq!(told(json!({"name": null, "ids": null}), Nulls::Allowed), "");
    }
}

//! Kubernetes' own word on requests and answers: its published OpenAPI (release 1.35), and what does not keep to it.
//!
//! `tests/kubernetes/openapi.json` is a part of api/openapi-spec/swagger.json (Apache License 2.0), which
//! `tests/kubernetes/extract.py` takes out of it.

use serde_json::Value;

/// One request, and the answer to it.
#[derive(Clone, Copy)]
pub(crate) struct Exchange<'a> {
    /// `METHOD /path?query`
    pub(crate) head: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) body: &'a str,
    pub(crate) status: u16,
    pub(crate) answer: &'a str,
}

/// Says what of it is not as the published API has it.
pub(crate) fn faults(exchange: &Exchange<'_>) -> Vec<String> {
    let api: Value = serde_json::from_str(include_str!("../kubernetes/openapi.json")).unwrap();
    let mut faults = Vec::new();
    if let Err(why) = check(&api, exchange, &mut faults) {
        faults.push(why);
    }
    faults.iter().map(|why| format!("{}: {why}", exchange.head)).collect()
}

fn check(api: &Value, exchange: &Exchange<'_>, faults: &mut Vec<String>) -> Result<(), String> {
    let (method, target) = exchange.head.split_once(' ').ok_or("no request line")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let item = api["paths"].as_object().unwrap().iter().find(|(template, _)| fits(template, path));
    let item = item.ok_or("there is no such path")?.1;
    let operation = item.get(method.to_lowercase()).ok_or("the path has no such method")?;
    let both = [&item["parameters"], &operation["parameters"]];
    let parameters: Vec<&Value> = both.iter().flat_map(|p| p.as_array().unwrap()).collect();
    let known = |name: &str| parameters.iter().any(|p| p["in"] == "query" && p["name"] == name);
    let names = query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
    faults.extend(names.filter(|name| !known(name)).map(|name| format!("no parameter {name}")));

    let schemas = Schemas { api, partial: method == "PATCH" };
    let body = parameters.iter().find(|p| p["in"] == "body");
    match (body, exchange.body) {
        (Some(body), "") if body["required"] == true => faults.push("a body is missing".into()),
        (None, text) if !text.is_empty() => faults.push("it takes no body".into()),
        (Some(body), text) if !text.is_empty() => {
            let takes = operation["consumes"].as_array().unwrap();
            if !takes.iter().any(|t| t == exchange.content_type || t == "*/*") {
                faults.push(format!("it takes no {}", exchange.content_type));
            }
            // A patch may be anything by its own definition; it is a part of what it changes.
            let whole = &operation["responses"]["200"]["schema"];
            let schema = if schemas.partial { whole } else { &body["schema"] };
            schemas.hold("body", &json(text)?, schema, faults);
        }
        _ => {}
    }
    let schemas = Schemas { partial: false, ..schemas };
    let answer = json(exchange.answer)?;
    match operation["responses"].get(exchange.status.to_string()) {
        Some(response) => schemas.hold("answer", &answer, &response["schema"], faults),
        // What is refused is told in one form everywhere, which the paths do not repeat.
        None if exchange.status >= 400 => schemas.hold("answer", &answer, &status(), faults),
        None => faults.push(format!("it never answers {}", exchange.status)),
    }
    Ok(())
}

fn status() -> Value {
    serde_json::json!({"$ref": "#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.Status"})
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("no JSON: {e}: {text}"))
}

/// Whether a path is one of a template's.
fn fits(template: &str, path: &str) -> bool {
    let (mut ours, mut theirs) = (path.split('/'), template.split('/'));
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return true,
            (Some(part), Some(word)) if word.starts_with('{') && !part.is_empty() => {}
            (Some(part), Some(word)) if part == word => {}
            _ => return false,
        }
    }
}

struct Schemas<'a> {
    api: &'a Value,
    /// Whether what is required may be missing.
    partial: bool,
}

impl Schemas<'_> {
    /// Notes where a value is not as its schema says. A property that the schema does not have is a fault, too: the server would
    /// leave it out without a word.
    fn hold(&self, at: &str, value: &Value, schema: &Value, faults: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.trim_start_matches("#/definitions/");
            let definition = &self.api["definitions"][name];
            assert!(definition.is_object(), "{name} was not extracted");
            kind(at, value, definition, faults);
            return self.hold(at, value, definition, faults);
        }
        let right = match schema["type"].as_str() {
            Some("object") => value.is_object(),
            Some("array") => value.is_array(),
            Some("string") => value.is_string(),
            Some("integer") => value.is_i64(),
            Some("boolean") => value.is_boolean(),
            _ => true,
        };
        let when = schema["format"] == "date-time";
        let time = |text: &str| text.parse::<jiff::Timestamp>().is_ok();
        if !right || when && !value.as_str().is_some_and(time) {
            return faults.push(format!("{at} is {value}, and should be {schema}"));
        }
        for (n, item) in value.as_array().into_iter().flatten().enumerate() {
            self.hold(&format!("{at}[{n}]"), item, &schema["items"], faults);
        }
        if let Some(members) = value.as_object() {
            self.members(at, members, schema, faults);
        }
    }

    fn members(
        &self,
        at: &str,
        members: &serde_json::Map<String, Value>,
        schema: &Value,
        faults: &mut Vec<String>,
    ) {
        for (key, member) in members {
            let place = format!("{at}.{key}");
            match (schema["properties"].get(key), schema.get("additionalProperties")) {
                (Some(own), _) | (None, Some(own)) => self.hold(&place, member, own, faults),
                (None, None) if schema["properties"].is_null() => {}
                (None, None) => faults.push(format!("there is no {place}")),
            }
        }
        let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let missing = required.filter(|key| !self.partial && !members.contains_key(*key));
        faults.extend(missing.map(|key| format!("{at}.{key} is missing")));
    }
}

/// Where a thing says what it is, that must be what it is.
fn kind(at: &str, value: &Value, definition: &Value, faults: &mut Vec<String>) {
    let (version, name) = (value["apiVersion"].as_str(), value["kind"].as_str());
    let known = definition["x-kubernetes-group-version-kind"].as_array();
    let (Some(name), Some(known)) = (name, known) else { return };
    let same = |k: &Value| {
        let (group, number) = (k["group"].as_str().unwrap(), k["version"].as_str().unwrap());
        let whole = if group.is_empty() { number.to_owned() } else { format!("{group}/{number}") };
        k["kind"] == name && version.is_none_or(|version| version == whole)
    };
    if !known.iter().any(same) {
        faults.push(format!("{at} is no {name} of {version:?}"));
    }
}

#[test]
fn what_the_api_does_not_have_is_found() {
    let base = "/api/v1/namespaces/shop/pods";
    let eviction = r#"{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}"#;
    let good = Exchange {
        head: &format!("POST {base}/a/eviction"),
        content_type: "application/json",
        body: eviction,
        status: 201,
        answer: "{}",
    };
    assert_eq!(faults(&good), [""; 0]);
    let list = Exchange { head: &format!("GET {base}?watchful=1"), body: "", status: 200, ..good };
    let old = eviction.replace("policy/v1", "policy/v1beta1");
    let grace = eviction.replace("\"metadata\"", "\"gracePeriodSeconds\": 3, \"metadata\"");
    let patch = Exchange {
        head: "PATCH /apis/apps/v1/namespaces/shop/deployments/cache/scale",
        body: r#"{"spec": {"replicas": "4"}}"#,
        status: 200,
        ..good
    };
    for (exchange, want) in [
        (Exchange { body: &old, ..good }, "is no Eviction of"),
        (Exchange { body: &grace, ..good }, "there is no body.gracePeriodSeconds"),
        (Exchange { body: "", ..good }, "a body is missing"),
        (Exchange { status: 418, answer: "{\"words\": 1}", ..good }, "there is no answer.words"),
        (Exchange { head: &format!("POST {base}/a/evictions"), ..good }, "there is no such path"),
        (Exchange { head: &format!("PATCH {base}"), ..good }, "the path has no such method"),
        (Exchange { answer: "{\"items\": []}", ..list }, "no parameter watchful"),
        (Exchange { answer: "{}", ..list }, "answer.items is missing"),
        (Exchange { answer: "{}", ..patch }, "it takes no application/json"),
        (Exchange { answer: "{}", ..patch }, "body.spec.replicas is \"4\""),
    ] {
        let found = faults(&exchange);
        assert!(found.iter().any(|fault| fault.contains(want)), "{want}: {found:?}");
    }
}

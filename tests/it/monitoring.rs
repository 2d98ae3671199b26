//! `/grafana.json` and `/alerts.yml`: `/metrics` has every metric, label and value that their
//! expressions name.

use std::collections::{BTreeMap, BTreeSet};

use larder::outcome::{Outcome, Reason};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::harness::{Cache, Origin};
use crate::metrics::{exposition, one_of_each, origin};

/// Labels that Prometheus itself adds when it scrapes.
const ADDED: [&str; 2] = ["job", "instance"];

/// The content of `/metrics`: for each sample, its labels with their values.
type KnownSeries = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn cache(origin: &Origin) -> Cache {
    let cache = Cache::start(origin);
    one_of_each(&cache);
    cache
}

/// Checks a PromQL expression against the known series.
#[track_caller]
fn check(expression: &str, known: &KnownSeries) {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut seen = 0;
    let mut labels: BTreeSet<&str> = BTreeSet::from(ADDED);
    for (at, _) in expression.match_indices("larder_") {
        let rest = &expression[at..];
        let end = rest.find(|char| !is_word(char)).unwrap_or(rest.len());
        let own =
            known.get(&rest[..end]).unwrap_or_else(|| panic!("{} of {expression} is not in /metrics", &rest[..end]));
        seen += 1;
        labels.extend(own.keys().map(String::as_str));
        let Some(selector) = rest[end..].strip_prefix('{').and_then(|inner| inner.split('}').next()) else { continue };
        for matcher in selector.split(',') {
            let name_end = matcher.find(|char| !is_word(char)).expect("a matcher has an operator");
            let (name, value) = (&matcher[..name_end], matcher.split('"').nth(1).expect("a value is quoted"));
            if ADDED.contains(&name) {
                continue;
            }
            let values = own.get(name).unwrap_or_else(|| panic!("{name} of {expression} is not a label"));
            for value in value.split('|') {
                let is_known = match name {
                    "outcome" => Outcome::ALL.iter().any(|outcome| outcome.token() == value),
                    "reason" => Reason::ALL.iter().any(|reason| reason.token() == value),
                    _ => values.contains(value),
                };
                assert!(is_known, "{name}={value} of {expression} is not in /metrics");
            }
        }
    }
    assert!(seen > 0, "{expression} names no metric of Larder");
    for group in expression.split("by (").skip(1).chain(expression.split("on (").skip(1)) {
        for label in group.split(')').next().unwrap().split(',').map(str::trim) {
            assert!(labels.contains(label), "{label} of {expression} is not a label");
        }
    }
    for pair in [('(', ')'), ('{', '}'), ('[', ']')] {
        let count = |wanted| expression.chars().filter(|char| *char == wanted).count();
        assert_eq!(count(pair.0), count(pair.1), "{expression}");
    }
}

#[test]
fn the_dashboard_queries_existing_metrics() {
    let origin = origin();
    let cache = cache(&origin);
    let known = exposition(cache.admin()).labels();
    let response = cache.admin().get("/grafana.json");
    assert_eq!((response.status(), response.header("content-type").as_deref()), (200, Some("application/json")));
    let dashboard: Value = serde_json::from_slice(&response.body).unwrap();
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(definition) = variable["definition"].as_str() {
            check(definition, &known);
        }
    }
    let panels = dashboard["panels"].as_array().unwrap();
    let targets: Vec<&Value> = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten().collect();
    assert!(targets.len() > 20);
    for target in targets {
        let (expression, legend) = (target["expr"].as_str().unwrap(), target["legendFormat"].as_str().unwrap());
        check(expression, &known);
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            assert!(expression.contains(&format!("by ({label})")), "{legend} of {expression}");
        }
    }
}

#[test]
fn the_alerts_are_rules_over_existing_metrics() {
    let origin = origin();
    let cache = cache(&origin);
    let known = exposition(cache.admin()).labels();
    let response = cache.admin().get("/alerts.yml");
    assert_eq!((response.status(), response.header("content-type").as_deref()), (200, Some("application/yaml")));
    let documents = YamlLoader::load_from_str(&response.text()).unwrap();
    let [document] = &documents[..] else { panic!("one document") };
    assert_eq!(keys(document), ["groups"]);
    let mut names = BTreeSet::new();
    for group in document["groups"].as_vec().unwrap() {
        assert_eq!(keys(group), ["name", "rules"]);
        for rule in group["rules"].as_vec().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(names.insert(name.to_owned()) && name.starts_with("Larder"), "{name}");
            let allowed = ["alert", "expr", "for", "labels", "annotations"];
            assert!(keys(rule).iter().all(|key| allowed.contains(key)), "{name}: {:?}", keys(rule));
            check(rule["expr"].as_str().unwrap(), &known);
            if let Some(span) = rule["for"].as_str() {
                let (number, unit) = span.split_at(span.len() - 1);
                assert!(number.parse::<u32>().is_ok() && ["s", "m", "h"].contains(&unit), "{name}: {span}");
            }
            assert_eq!(keys(&rule["labels"]), ["severity"]);
            assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
            assert_eq!(keys(&rule["annotations"]), ["summary", "description"]);
            for text in ["summary", "description"].map(|key| rule["annotations"][key].as_str().unwrap()) {
                let mut labels = text.split("$labels.").skip(1).map(|rest| rest.split(' ').next().unwrap());
                assert!(labels.all(|label| ADDED.contains(&label)), "{name}: {text}");
            }
        }
    }
    for wanted in ["OriginDown", "HitRatioCollapsed", "ErrorRate", "MemoryAtCapacity", "ReloadFailed", "AccessLogDrops"]
    {
        assert!(names.contains(&format!("Larder{wanted}")), "{wanted} of {names:?}");
    }
}

fn keys(map: &Yaml) -> Vec<&str> {
    map.as_hash().unwrap_or_else(|| panic!("{map:?} is not a map")).keys().map(|key| key.as_str().unwrap()).collect()
}

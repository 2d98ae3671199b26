//! `GET /grafana.json` and `GET /alerts.yml`: a Grafana dashboard and Prometheus rules over
//! `/metrics`.
//!
//! Both are part of the program, so they match the metrics of this version. The dashboard is laid
//! out here from the table in `panels`. Grafana asks for the data source on import, and the
//! dashboard shows any number of instances. The rules are a static file.

mod panels;

use axum::http::header;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use panels::{Panel, ROWS, Shape};

/// The version of Grafana's dashboard model: Grafana 10, which later versions convert.
const SCHEMA_VERSION: u32 = 39;

/// The columns of Grafana's grid.
const COLUMNS: usize = 24;

/// The selector that narrows a query to the chosen instances.
const CHOSEN: &str = r#"job=~"$job",instance=~"$instance""#;

/// Responds with the dashboard.
pub(super) async fn grafana() -> Json<Value> {
    Json(dashboard())
}

/// Responds with the rules.
pub(super) async fn alerts() -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], include_str!("alerts.yml")).into_response()
}

fn dashboard() -> Value {
    json!({
        "uid": "larder-cache",
        "title": "Larder",
        "description": "Cache behaviour, and the origin load it saves.",
        "tags": ["larder", "http-cache"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "timezone": "browser",
        "annotations": { "list": [] },
        "templating": { "list": variables() },
        "panels": layout(),
    })
}

fn variables() -> Value {
    let of_label = |label: &str, within: &str| {
        let query = format!("label_values(larder_build_info{within}, {label})");
        json!({
            "name": label, "label": label, "type": "query", "datasource": source(),
            "query": { "query": query, "refId": label }, "definition": query,
            "refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".+",
            "current": { "text": ["All"], "value": ["$__all"] },
        })
    };
    json!([
        { "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {} },
        of_label("job", ""),
        of_label("instance", r#"{job=~"$job"}"#),
    ])
}

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// Lays the panels out: rows from top to bottom, panels from left to right.
fn layout() -> Vec<Value> {
    let (mut all, mut top) = (Vec::new(), 0);
    let mut add = |mut panel: Value, place: Value| {
        panel["id"] = json!(all.len() + 1);
        panel["gridPos"] = place;
        all.push(panel);
    };
    for row in ROWS {
        let title = json!({ "type": "row", "title": row.title, "collapsed": false, "panels": [] });
        add(title, json!({ "x": 0, "y": top, "w": COLUMNS, "h": 1 }));
        top += 1;
        let mut column = 0;
        for panel in row.panels {
            if column + panel.width > COLUMNS {
                (column, top) = (0, top + row.height);
            }
            add(panel_json(panel), json!({ "x": column, "y": top, "w": panel.width, "h": row.height }));
            column += panel.width;
        }
        top += row.height;
    }
    all
}

fn panel_json(panel: &Panel) -> Value {
    let is_now = panel.shape == Shape::Number;
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..)
        .map(|((expression, legend), name)| {
            json!({
                "refId": name.to_string(), "datasource": source(), "expr": expression.replace("$chosen", CHOSEN),
                "legendFormat": legend, "editorMode": "code", "instant": is_now, "range": !is_now,
            })
        })
        .collect();
    let mut drawn = json!({
        "title": panel.title, "description": panel.about, "datasource": source(), "targets": targets,
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
    });
    if panel.unit == "percentunit" {
        drawn["fieldConfig"]["defaults"]["max"] = json!(1);
    }
    match panel.shape {
        Shape::Number => {
            drawn["type"] = json!("stat");
            drawn["options"] = json!({
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "colorMode": "none", "graphMode": "none", "textMode": "auto",
            });
        }
        Shape::Lines | Shape::Stack => {
            let (stacking, fill) = if panel.shape == Shape::Stack { ("normal", 30) } else { ("none", 0) };
            drawn["type"] = json!("timeseries");
            drawn["options"] = json!({
                "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi", "sort": "desc" },
            });
            drawn["fieldConfig"]["defaults"]["custom"] =
                json!({ "fillOpacity": fill, "showPoints": "never", "stacking": { "mode": stacking, "group": "A" } });
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_dashboard_can_be_imported() {
        let dashboard = dashboard();
        assert!(dashboard["schemaVersion"].as_u64() >= Some(36));
        assert!(dashboard["uid"].as_str().is_some_and(|uid| uid.len() <= 40));
        assert_eq!(dashboard.get("id"), None, "the importing Grafana assigns it");
        assert_eq!(dashboard["templating"]["list"][0]["type"], "datasource");
        let panels = dashboard["panels"].as_array().unwrap();
        let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len());
        let mut used_ids = BTreeSet::new();
        for panel in panels {
            let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(at("x") + at("w") <= COLUMNS as u64, "{panel}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(used_ids.insert((x, y)), "{} overlaps another panel", panel["title"]);
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}");
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                assert!(expression.contains("$instance") && !expression.contains("$chosen"), "{expression}");
            }
            assert!(panel["description"].as_str().is_some_and(|about| about.ends_with('.')), "{panel}");
        }
    }
}

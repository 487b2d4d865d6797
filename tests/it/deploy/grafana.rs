//! The dashboard: it can be laid out, its expressions can be read, and they ask for what there is.
//!
//! `pool::prometheus` asks a real Prometheus for each of them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use exitpool::status::Metrics;
use serde_json::Value;

use super::shipped;
use crate::monitoring::{promtool, said};

/// What a panel asks Prometheus.
pub struct Asked {
    pub panel: String,
    pub expression: Expression,
    /// The labels that its legend names.
    pub labels: Vec<String>,
}

/// An expression with Grafana's variables in it.
#[derive(Debug, Clone)]
pub struct Expression(String);

impl Expression {
    /// With what Grafana would put there. A young Prometheus has no minutes to look back on.
    pub fn in_prometheus(&self) -> String {
        let values = [
            ("$__rate_interval", "1m"),
            ("$__range:1m", "10m:1s"),
            ("$__range", "10m"),
            ("$instance", ".+"),
            ("$pool", ".+"),
        ];
        let text = values.into_iter().fold(self.0.clone(), |text, (name, value)| text.replace(name, value));
        assert!(!text.contains('$'), "a variable without a value: {text}");
        text
    }

    /// The metrics in it, each with the labels by which they are chosen.
    fn selectors(&self) -> Vec<(&str, Vec<&str>)> {
        let pieces: Vec<&str> = self.0.split('{').collect();
        let selector = |pair: &[&'_ str]| -> (usize, usize) { (pair[0].len(), pair[1].find('}').unwrap()) };
        let mut found = Vec::new();
        for pair in pieces.windows(2) {
            let (_, end) = selector(pair);
            let begin = pair[0].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
            let matchers = pair[1][..end].split(", ");
            let labels = matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap()).collect();
            found.push((&pair[0][begin..], labels));
        }
        found
    }

    /// The labels by which it is added up.
    fn kept(&self) -> Vec<&str> {
        let lists = self.0.split(" by (").skip(1).map(|rest| rest.split(')').next().unwrap());
        lists.flat_map(|list| list.split(", ")).collect()
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&shipped("grafana/exitpool.json")).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What all panels ask.
pub fn panels() -> Vec<Asked> {
    let of = |panel: &Value| -> Vec<Asked> {
        let asked = |target: &Value| {
            let legend = text(&target["legendFormat"]);
            let labels = legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().to_owned()).collect();
            Asked { panel: text(&panel["title"]), expression: Expression(text(&target["expr"])), labels }
        };
        list(&panel["targets"]).iter().map(asked).collect()
    };
    list(&dashboard()["panels"]).iter().flat_map(of).collect()
}

fn annotations() -> Vec<Expression> {
    let dashboard = dashboard();
    list(&dashboard["annotations"]["list"]).iter().map(|it| Expression(text(&it["expr"]))).collect()
}

#[test]
fn the_dashboard_is_laid_out_and_says_what_each_panel_is() {
    let dashboard = dashboard();
    let panels = list(&dashboard["panels"]);
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "ids are unique");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = text(&panel["title"]);
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= 24, "{title} is too wide");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies over another panel at {place:?}");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(text(&panel["description"]).len() > 20, "{title} does not say what it is");
        let kinds = ["stat", "timeseries", "state-timeline", "table"];
        assert!(kinds.contains(&text(&panel["type"]).as_str()), "{title} needs a plug-in");
        for asks in list(&panel["targets"]).iter().chain([panel]) {
            assert_eq!(asks["datasource"]["uid"], "${datasource}", "{title} asks whoever is chosen");
        }
    }
    let rows: Vec<String> = panels.iter().filter(|it| it["type"] == "row").map(|it| text(&it["title"])).collect();
    assert_eq!(rows[..2], ["Does the host match the file?", "Which nodes work?"], "an operator's questions, in order");
    let variables: Vec<String> = list(&dashboard["templating"]["list"]).iter().map(|it| text(&it["name"])).collect();
    assert_eq!(variables, ["datasource", "instance", "pool"]);
}

#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_exist() {
    let catalogue = Metrics::new().catalogue();
    let labels_of = |name: &str| -> BTreeSet<String> {
        let whole = name.strip_suffix("_bucket").unwrap_or(name);
        let own: Vec<String> = match (name, catalogue.iter().find(|metric| metric.name == whole)) {
            ("up", _) => Vec::new(),
            ("ALERTS", _) => ["alertname", "alertstate", "severity"].map(str::to_owned).into(),
            (_, Some(metric)) => metric.labels.clone(),
            (_, None) => panic!("there is no metric {name}"),
        };
        let bucket = (whole != name).then(|| "le".to_owned());
        own.into_iter().chain(bucket).chain(["job", "instance"].map(str::to_owned)).collect()
    };
    let mut named = BTreeSet::new();
    for expression in panels().into_iter().map(|asked| asked.expression).chain(annotations()) {
        let mut known = BTreeSet::new();
        for (metric, labels) in expression.selectors() {
            let there = labels_of(metric);
            for label in labels {
                assert!(there.contains(label), "{metric} has no label {label}: {expression:?}");
            }
            known.extend(there);
            named.insert(metric.strip_suffix("_bucket").unwrap_or(metric).to_owned());
        }
        for label in expression.kept() {
            assert!(known.contains(label), "nothing has the label {label}: {expression:?}");
        }
    }
    // What an operator may want to see is there to be seen.
    let missing: Vec<&str> =
        catalogue.iter().map(|metric| metric.name.as_str()).filter(|name| !named.contains(*name)).collect();
    assert_eq!(missing, ["process_virtual_memory_bytes"], "no panel shows these");
}

#[test]
fn promtool_reads_every_expression_of_the_dashboard() {
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    let all: Vec<Expression> = panels().into_iter().map(|asked| asked.expression).chain(annotations()).collect();
    assert!(all.len() > 50, "only {}", all.len());
    for (number, expression) in all.iter().enumerate() {
        let quoted = serde_json::to_string(&expression.in_prometheus()).unwrap();
        writeln!(rules, "  - {{record: 'dashboard:{number}', expr: {quoted}}}").unwrap();
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let check = |rules: &str| {
        fs::write(file.path(), rules).unwrap();
        promtool(&["check", "rules", &file.path().display().to_string()], "")
    };
    let Some(output) = check(&rules) else { return };
    assert!(output.status.success(), "{}", said(&output));
    // And it would say something.
    let broken = rules.replacen("histogram_quantile(0.5, ", "histogram_quantile(", 1);
    assert!(broken != rules && !check(&broken).unwrap().status.success());
}

#[test]
fn grafana_is_given_the_dashboard_and_the_prometheus_that_we_ship() {
    let read = |file: &str| -> Value { serde_yaml::from_str(&shipped(file)).unwrap() };
    let source = &read("grafana/provisioning/datasources/exitpool.yaml")["datasources"][0];
    let scraped = read("prometheus/prometheus.yml");
    assert_eq!(source["type"], "prometheus");
    assert_eq!(source["jsonData"]["timeInterval"], scraped["global"]["scrape_interval"]);
    let provider = &read("grafana/provisioning/dashboards/exitpool.yaml")["providers"][0];
    assert_eq!((&provider["type"], &provider["allowUiUpdates"]), (&"file".into(), &false.into()));
}

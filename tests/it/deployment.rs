//! What stands in compose.yaml, in the alert rules and in the documentation agrees with the program.

use std::collections::BTreeSet;
use std::fs;

use recado::config::VARIABLES;

use crate::arrows::source;

fn text(path: &str) -> String {
    fs::read_to_string(source::root().join(path)).unwrap()
}

/// The names that a compose file asks its environment for.
fn asked(compose: &str) -> BTreeSet<&str> {
    let name = |rest: &'_ str| rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(rest.len());
    let inner = compose.split("${").skip(1).map(|rest| &rest[..name(rest)]);
    let secrets = compose.split("environment: ").skip(1).map(|rest| &rest[..name(rest)]);
    inner.chain(secrets).filter(|name| !name.is_empty()).collect()
}

#[test]
fn whatever_compose_asks_for_is_in_the_example() {
    assert_eq!(
        asked("a: ${ONE:?}\nb: x${TWO_B:-3}\nc: { environment: FOUR }"),
        ["FOUR", "ONE", "TWO_B"].into()
    );
    let (compose, example) = (text("compose.yaml"), text(".env.example"));
    let asked = asked(&compose);
    assert!(asked.len() > 5, "{asked:?}");
    for name in asked {
        assert!(example.contains(&format!("\n#{name}=")), "{name} is not in .env.example");
    }
}

#[test]
fn compose_and_image_set_only_variables_that_there_are() {
    let (compose, image) = (text("compose.yaml"), text("Dockerfile"));
    let (_, service) = compose.split_once("\n  recado:\n").unwrap();
    let (_, set) = service.split_once("    environment:\n").unwrap();
    let (set, _) = set.split_once("    stop_grace_period:").unwrap();
    let of_compose = set.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let of_compose = of_compose.filter_map(|line| line.split_once(": ")).map(|(name, _)| name);
    let (_, env) = image.split_once("\nENV ").unwrap();
    let of_image = env.split('\n').take_while(|line| line.contains('='));
    let of_image = of_image.filter_map(|line| line.trim().split_once('=')).map(|(name, _)| name);
    let mut seen = 0;
    for name in of_compose.chain(of_image) {
        seen += 1;
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name} is no setting");
    }
    assert!(seen > 8, "{seen}");
}

/// Words of a text that look like a metric: those in `expr`, or in a cell of a table.
fn metrics(text: &str) -> BTreeSet<&str> {
    const OURS: [&str; 12] = [
        "http_",
        "ledger_",
        "relay_",
        "events_missed",
        "consumer_lag",
        "deliveries_",
        "dead_letters_",
        "hub_",
        "limits_",
        "mails_",
        "supervisor_",
        "backup",
    ];
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let suffix = |word: &'_ str| word.strip_suffix("_bucket").map_or(word.len(), str::len);
    let metric = |word: &&str| word.contains('_') && OURS.iter().any(|start| word.starts_with(start));
    words.filter(metric).map(|word| &word[..suffix(word)]).collect()
}

#[test]
fn every_metric_in_rules_dashboard_and_documentation_is_one_we_have() {
    let help = text("src/telemetry/mod.rs");
    let (_, help) = help.split_once("const HELP:").unwrap();
    let (help, _) = help.split_once("\n];").unwrap();
    let operations = text("docs/operations.md");
    let (_, table) = operations.split_once("## Metrics worth an alert").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    for (what, text) in [
        ("rules", text("deploy/prometheus/rules.yml")),
        ("dashboard", text("deploy/grafana/dashboards/recado.json")),
        ("documentation", table.to_owned()),
    ] {
        let found = metrics(&text);
        assert!(found.len() > 8, "{what}: {found:?}");
        for metric in found {
            assert!(help.contains(&format!("\"{metric}\"")), "{what}: there is no metric {metric}");
        }
    }
    assert!(metrics("relay_nonsense").contains("relay_nonsense"), "a planted name goes unseen");
}

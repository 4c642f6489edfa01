//! The guides say what the code knows: tables are generated from it, and lists name the same things.

#[path = "../../cli/tests/common/docs.rs"]
mod docs;

use std::collections::BTreeSet;
use std::path::Path;

use bitquake_fault::{MODELS, ModelKey, ModelRow};
use bitquake_record::{METRICS, csv};
use docs::{assert_generated, markdown};

// One test a page: blessing rewrites the whole page.
#[test]
fn fault_models_and_their_keys() {
    assert_generated("faults.md", "models", &models_table());
    assert_generated("faults.md", "keys", &keys_table());
}

fn models_table() -> String {
    let row = |model: &ModelRow| {
        let at_least = if model.conditionable { "yes" } else { "no" };
        vec![format!("`{}`", model.name), model.about.to_owned(), at_least.to_owned()]
    };
    markdown(&["model", "what happens", "`at_least = 1`"], MODELS.iter().map(row))
}

/// One row for each meaning of a key, with the models that have it.
fn keys_table() -> String {
    let mut keys: Vec<(&ModelKey, Vec<&str>)> = Vec::new();
    for (model, key) in MODELS.iter().flat_map(|model| model.keys.iter().map(move |key| (model.name, key))) {
        match keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, models)) => models.push(model),
            None => keys.push((key, vec![model])),
        }
    }
    let row = |(key, models): (&ModelKey, Vec<&str>)| {
        vec![format!("`{}`", key.name), key.about.to_owned(), models.join(", ")]
    };
    markdown(&["key", "meaning", "models"], keys.into_iter().map(row))
}

#[test]
fn metrics() {
    let row = |metric: &bitquake_record::Metric| vec![format!("`{}`", metric.name), metric.about.to_owned()];
    assert_generated(
        "campaigns.md",
        "metrics",
        &markdown(&["metric", "what it is"], METRICS.iter().map(row)),
    );
}

#[test]
fn the_fields_of_a_trial_are_the_columns_of_trials_csv() {
    let columns = csv::trials(&[]);
    let lines_only = ["by_bit", "by_tensor", "clean", "site", "distance", "host"];
    let wanted: BTreeSet<&str> = columns.trim_end().split(',').chain(lines_only).collect();
    let page = page("campaigns.md");
    let named = first_cells(&page, "### A trial");
    assert_eq!(named, wanted, "docs/campaigns.md, A trial");
}

#[test]
fn the_columns_of_summary_csv() {
    let header = csv::summary(&[], 0.01);
    let columns = header.trim_end().split(',').filter(|column| !is_of_a_metric(column));
    let wanted: BTreeSet<&str> = columns.chain(["weight"]).collect();
    let page = page("campaigns.md");
    let named = first_cells(&page, "### A point");
    assert_eq!(named, wanted, "docs/campaigns.md, A point");
}

fn is_of_a_metric(column: &str) -> bool {
    METRICS.iter().any(|metric| column.strip_prefix(metric.name).is_some_and(|rest| rest.starts_with('_')))
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(path).expect("the page")
}

/// What stands in code quotes in the first cells of the first table below a heading, `<...>` aside.
fn first_cells<'a>(page: &'a str, heading: &str) -> BTreeSet<&'a str> {
    let (_, below) = page.split_once(&format!("{heading}\n")).expect("the heading");
    let rows =
        below.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|line| line.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|name| !name.starts_with('<')).collect()
}

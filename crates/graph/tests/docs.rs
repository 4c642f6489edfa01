//! docs/architectures.md says what the code knows.

#[path = "../../cli/tests/common/docs.rs"]
mod docs;
mod published;

use bitquake_graph::architecture::{Architecture, FAMILIES, FamilyRow, KEYS};
use docs::{assert_generated, markdown};
use published::published;

// One test a page: blessing rewrites the whole page.
#[test]
fn architectures_and_their_keys() {
    assert_generated("architectures.md", "architectures", &families());
    assert_generated("architectures.md", "counts", &counts());
    assert_generated("architectures.md", "keys", &keys());
}

fn families() -> String {
    let row = |row: &FamilyRow| {
        let widths = match (row.channels, row.hidden) {
            (Some(channels), _) => format!("`channels = {channels}`"),
            (None, Some(hidden)) => format!("`hidden = {hidden:?}`"),
            (None, None) => String::new(),
        };
        let [_, height, width] = row.published_input;
        let count = Architecture::new(row.name, row.published_input, 10).parameter_count();
        vec![
            format!("`{}`", row.name),
            row.about.to_owned(),
            widths,
            format!("`{}`", row.norm),
            format!("{}x{}", row.smallest, row.smallest),
            format!(
                "{} for {:?}",
                thousands(count.expect("defaults are good")),
                [row.published_input[0], height, width]
            ),
        ]
    };
    let header = ["name", "network", "widths", "`norm`", "smallest image", "parameters, 10 classes"];
    markdown(&header, FAMILIES.iter().map(row))
}

fn counts() -> String {
    let row = |(architecture, count, source): (Architecture, u64, &str)| {
        let channels =
            architecture.channels.map_or(String::new(), |channels| format!(", channels = {channels}"));
        let [input, classes] = [
            format!("{:?}", architecture.input.unwrap_or_default()),
            architecture.classes.unwrap_or_default().to_string(),
        ];
        vec![
            format!("{}{channels}", architecture.architecture),
            input,
            classes,
            thousands(count),
            source.to_owned(),
        ]
    };
    markdown(&["network", "input", "classes", "parameters", "counted by"], published().into_iter().map(row))
}

fn keys() -> String {
    let row = |key: &bitquake_graph::architecture::ArchitectureKey| {
        vec![format!("`{}`", key.name), key.about.to_owned()]
    };
    markdown(&["key", "meaning"], KEYS.iter().map(row))
}

/// `1,234,567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

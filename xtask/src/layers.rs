//! The layer check: imports go down only, and the table in ARCHITECTURE.md is true.

use crate::Outcome;
use crate::workspace::{Package, Workspace};
use std::collections::{BTreeMap, BTreeSet};

const TABLE_FILE: &str = "ARCHITECTURE.md";

/// For development only: outside the layers, and nothing that ships may import them.
const DEVELOPMENT: [&str; 3] = ["fuzz", "testing", "xtask"];

/// What the table says about one crate.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    layer: u32,
    imports: Imports,
    /// "(later)" in its description: the crate need not exist yet.
    planned: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Imports {
    /// "all below": any crate of a lower layer.
    AllBelow,
    /// Exactly these crates.
    Listed(BTreeSet<String>),
}

/// Crate name, without `bitquake-`, to its row.
type Table = BTreeMap<String, Row>;

/// Compares the workspace with the table and reports every difference.
pub fn run() -> Outcome {
    let text =
        std::fs::read_to_string(TABLE_FILE).map_err(|error| format!("cannot read {TABLE_FILE}: {error}"))?;
    let table = parse(&text).map_err(|error| format!("{TABLE_FILE}: {error}"))?;
    let differences = differences(&table, &Workspace::load()?.packages);
    if differences.is_empty() {
        println!("the imports of {} crates are those of {TABLE_FILE}, and go down only", table.len());
        return Ok(());
    }
    Err(format!("{TABLE_FILE} and the Cargo.toml files differ:\n  {}", differences.join("\n  ")))
}

/// Reads the first Markdown table with the columns Layer, Crate, What it is and Imports.
fn parse(text: &str) -> Outcome<Table> {
    let mut lines = text.lines().enumerate().skip_while(|(_, line)| cells(line) != HEADER).peekable();
    lines.next().ok_or_else(|| format!("no table with the columns {}", HEADER.join(" | ")))?;
    let mut table = Table::new();
    for (number, line) in lines.skip(1).take_while(|(_, line)| line.trim_start().starts_with('|')) {
        let at = |message: String| format!("line {}: {message}", number + 1);
        let [layer, names, about, imports] = cells(line)[..] else {
            return Err(at("not four columns".to_owned()));
        };
        let layer = layer.parse().map_err(|_| at(format!("the layer `{layer}` is not a number")))?;
        let row = Row { layer, imports: parse_imports(imports), planned: about.contains("(later)") };
        for name in parse_names(names) {
            if table.insert(name.clone(), row.clone()).is_some() {
                return Err(at(format!("`{name}` is listed twice")));
            }
        }
    }
    Ok(table)
}

const HEADER: [&str; 4] = ["Layer", "Crate", "What it is", "Imports"];

/// The trimmed cells of a Markdown table row; a single one for any other line.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim();
    let inner = line.strip_prefix('|').unwrap_or(line);
    inner.strip_suffix('|').unwrap_or(inner).split('|').map(str::trim).collect()
}

fn parse_names(cell: &str) -> BTreeSet<String> {
    cell.split(',').map(|name| short(name.trim().trim_matches('`'))).filter(|name| !name.is_empty()).collect()
}

fn parse_imports(cell: &str) -> Imports {
    if cell == "all below" { Imports::AllBelow } else { Imports::Listed(parse_names(cell)) }
}

/// The name in the table: `bits` for `bitquake-bits`; the facade keeps its own.
fn short(package: &str) -> String {
    package.strip_prefix("bitquake-").unwrap_or(package).to_owned()
}

/// Every way in which the packages are not what the table says.
fn differences(table: &Table, packages: &[Package]) -> Vec<String> {
    let ours: BTreeSet<String> = packages.iter().map(|package| short(&package.name)).collect();
    let mut found = Vec::new();
    for package in packages {
        let name = short(&package.name);
        if DEVELOPMENT.contains(&name.as_str()) {
            continue;
        }
        let imports =
            package.dependencies.iter().map(|import| short(import)).filter(|import| ours.contains(import));
        match table.get(&name) {
            None => found.push(format!("`{name}` is not in the table")),
            Some(row) => found.extend(crate_differences(table, &name, row, &imports.collect())),
        }
    }
    let missing = |(name, row): &(&String, &Row)| !row.planned && !ours.contains(*name);
    found.extend(
        table.iter().filter(missing).map(|(name, _)| format!("`{name}` is in the table but not in crates/")),
    );
    found
}

fn crate_differences(table: &Table, name: &str, row: &Row, imports: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for import in imports {
        let reason = match table.get(import) {
            _ if DEVELOPMENT.contains(&import.as_str()) => "which is for development only".to_owned(),
            Some(below) if below.layer < row.layer => continue,
            Some(other) => format!("which is in layer {}, not below {}", other.layer, row.layer),
            None => "which is not in the table".to_owned(),
        };
        found.push(format!("`{name}` imports `{import}`, {reason}"));
    }
    if let Imports::Listed(listed) = &row.imports {
        found.extend(
            imports
                .difference(listed)
                .map(|import| format!("`{name}` imports `{import}`; the table does not say so")),
        );
        found.extend(
            listed
                .difference(imports)
                .map(|import| format!("`{name}` does not import `{import}`; the table says so")),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Imports, Row, differences, parse};
    use crate::workspace::Package;

    const TABLE: &str = "# Architecture\n\ntext | with | a | bar\n\n\
        | Layer | Crate | What it is | Imports |\n|---|---|---|---|\n\
        | 0 | `bits` | formats | |\n\
        | 0 | `kernels` | (later) operations | |\n\
        | 1 | `fault` | faults | bits |\n\
        | 5 | `bitquake` | the facade | all below |\n\
        | 6 | `cli`, `py` | faces | `bitquake` |\n\n| 9 | `other` | table | |\n";

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|name| (*name).to_owned()).collect();
        Package { name: name.to_owned(), dependencies, benches: Vec::new() }
    }

    fn good() -> Vec<Package> {
        vec![
            package("bitquake-bits", &["half"]),
            package("bitquake-fault", &["bitquake-bits", "serde"]),
            package("bitquake", &["bitquake-fault"]),
            package("bitquake-cli", &["bitquake", "clap"]),
            package("bitquake-py", &["bitquake"]),
            package("bitquake-testing", &["tempfile"]),
            package("xtask", &["sha2"]),
        ]
    }

    #[test]
    fn the_table_is_read() {
        let table = parse(TABLE).unwrap();
        let names: Vec<_> = table.keys().map(String::as_str).collect();
        assert_eq!(names, ["bitquake", "bits", "cli", "fault", "kernels", "py"]);
        let listed = |name: &str| Imports::Listed([name.to_owned()].into());
        assert_eq!(table["fault"], Row { layer: 1, imports: listed("bits"), planned: false });
        assert_eq!(table["cli"], Row { layer: 6, imports: listed("bitquake"), planned: false });
        assert_eq!(table["bitquake"].imports, Imports::AllBelow);
        assert!(table["kernels"].planned);
    }

    #[test]
    fn a_broken_table_names_its_line() {
        assert!(parse("no table").unwrap_err().contains("Layer | Crate"));
        for (from, to, wanted) in [
            ("| 1 | `fault`", "| one | `fault`", "line 9: the layer `one`"),
            ("`fault` | faults |", "`fault` |", "line 9: not four columns"),
            ("`fault`", "`bits`", "line 9: `bits` is listed twice"),
        ] {
            let error = parse(&TABLE.replace(from, to)).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_true_table_has_no_differences() {
        assert_eq!(differences(&parse(TABLE).unwrap(), &good()), [""; 0]);
    }

    #[test]
    fn every_difference_is_reported() {
        let mut packages = good();
        packages[0] = package("bitquake-bits", &["bitquake-fault", "bitquake-testing"]);
        packages[1] = package("bitquake-fault", &[]);
        packages.remove(4);
        packages.push(package("bitquake-new", &[]));
        let wanted = [
            "`bits` imports `fault`, which is in layer 1, not below 0",
            "`bits` imports `testing`, which is for development only",
            "`bits` imports `fault`; the table does not say so",
            "`bits` imports `testing`; the table does not say so",
            "`fault` does not import `bits`; the table says so",
            "`new` is not in the table",
            "`py` is in the table but not in crates/",
        ];
        assert_eq!(differences(&parse(TABLE).unwrap(), &packages), wanted);
    }
}

//! What cargo knows about this workspace.

use crate::{Outcome, process};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The workspace as `cargo metadata` describes it.
pub struct Workspace {
    /// Where builds go, with every setting of cargo taken into account.
    pub target_dir: PathBuf,
    /// Its packages, in cargo's order.
    pub packages: Vec<Package>,
}

/// One package of the workspace.
#[derive(Debug, PartialEq)]
pub struct Package {
    /// Its name in Cargo.toml.
    pub name: String,
    /// Names of the packages it needs to be built and used: neither tests nor benchmarks.
    pub dependencies: BTreeSet<String>,
    /// Names of its benchmark targets.
    pub benches: Vec<String>,
}

impl Workspace {
    /// Asks cargo. Works offline: dependencies are not resolved.
    pub fn load() -> Outcome<Self> {
        let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
        let output = process::capture(&mut process::cargo_with(&arguments))?;
        Self::from_json(&output.stdout)
    }

    fn from_json(text: &[u8]) -> Outcome<Self> {
        let json: Value = serde_json::from_slice(text).map_err(|error| format!("cargo metadata: {error}"))?;
        let target_dir =
            json["target_directory"].as_str().ok_or("cargo metadata names no target directory")?;
        Ok(Self { target_dir: target_dir.into(), packages: items(&json["packages"]).map(package).collect() })
    }
}

fn package(json: &Value) -> Package {
    let needed = |dependency: &&Value| dependency["kind"] != "dev";
    let is_bench = |target: &&Value| items(&target["kind"]).any(|kind| kind == "bench");
    Package {
        name: name(json),
        dependencies: items(&json["dependencies"]).filter(needed).map(name).collect(),
        benches: items(&json["targets"]).filter(is_bench).map(name).collect(),
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn name(json: &Value) -> String {
    json["name"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Package, Workspace};

    #[test]
    fn names_dependencies_and_benches_are_read() {
        let text = br#"{"target_directory": "/t", "packages": [{"name": "a",
            "dependencies": [{"name": "b", "kind": null}, {"name": "c", "kind": "dev"}, {"name": "d", "kind": "build"}],
            "targets": [{"kind": ["lib"], "name": "a"}, {"kind": ["bench"], "name": "speed"}]}]}"#;
        let workspace = Workspace::from_json(text).unwrap();
        let wanted = Package {
            name: "a".to_owned(),
            dependencies: ["b", "d"].map(str::to_owned).into(),
            benches: vec!["speed".to_owned()],
        };
        assert_eq!(workspace.packages, [wanted]);
        assert_eq!(workspace.target_dir.to_str(), Some("/t"));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(Workspace::from_json(b"{").is_err());
        assert!(Workspace::from_json(b"{}").is_err());
    }
}

//! Licences, sources and advisories of the dependencies, by cargo-deny and `deny.toml`.

use crate::{Outcome, process};

/// The version that an unattended machine installs: 2.5 minutes on two cores.
const INSTALL: [&str; 5] = ["install", "cargo-deny", "--locked", "--version", "0.20.2"];

/// Runs cargo-deny. Without it: says so, or installs it where `CI=true`.
pub fn run() -> Outcome {
    if !process::works(&mut process::cargo_with(&["deny", "--version"])) {
        if std::env::var("CI").as_deref() != Ok("true") {
            println!("skipped: cargo-deny is not installed (cargo {})", INSTALL.join(" "));
            return Ok(());
        }
        process::run(&mut process::cargo_with(&INSTALL))?;
    }
    check(&["licenses", "bans", "sources"])?;
    // The advisories live in a git repository, which a machine behind a registry mirror may not reach.
    if process::works(&mut process::cargo_with(&["deny", "fetch", "db"])) {
        return check(&["--disable-fetch", "advisories"]);
    }
    println!("skipped: advisories, because their database is out of reach");
    Ok(())
}

fn check(what: &[&str]) -> Outcome {
    process::run(process::cargo_with(&["deny", "--locked", "check", "--hide-inclusion-graph"]).args(what))
}

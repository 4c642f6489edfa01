//! The demo, the example campaigns, trainings, attacks and rankings.

use crate::workspace::Workspace;
use crate::{Outcome, process, setup};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const DEMO: &str = "examples/fashion-cnn/campaign.toml";

/// Scripts on top of the command, and what they leave: six ways of training, compared; one network, studied.
const SCRIPTS: [(&str, &[&str]); 2] = [
    ("examples/fashion-robust/run.py", &["curves.html", "laws.md"]),
    ("examples/study/run.py", &["study.html", "study.md", "energy/energy.html"]),
];
/// They need the Debian package dataset-fashion-mnist.
const SCRIPTS_DATA: &str = "/usr/share/datasets/fashion-mnist";

/// A campaign may name a file that is not shipped on a line that starts so; without that file it is left out.
const NEEDS: &str = "# needs: ";

/// A command, the setting that makes it short, and the files that it must leave.
type Kind = (&'static str, &'static str, &'static [&'static str]);

const CAMPAIGN: Kind =
    ("run", "run.trials=2", &["campaign.toml", "golden.json", "summary.csv", "trials.csv", "report.html"]);

const TRAINING: Kind = (
    "train",
    "train.epochs=1",
    &["recipe.toml", "training.jsonl", "last.safetensors", "model.onnx", "storage.toml", "codes.safetensors"],
);

const ATTACK: Kind = (
    "attack",
    "attack.trials=1",
    &["attack.toml", "attack.jsonl", "profile.csv", "summary.json", "trial-0.json"],
);

const RANKING: Kind = (
    "rank",
    "rank.images=64",
    &[
        "rank.toml",
        "summary.json",
        "layers.csv",
        "strata.csv",
        "agreement.csv",
        "expected.csv",
        "expected.json",
    ],
);

/// A layer on top of [`PROTECTED`], by the ranking [`RANKED`].
const PROTECTION: Kind =
    ("protect", "run.trials=2", &["plans/plan-10.toml", "protect.json", "protect.csv", "protect.html"]);

/// The campaign whose memory is protected, and the rankings that tell of its bits, beside the layer.
const PROTECTED: &str = "int8.toml";
const RANKED: &str = "rank.toml";

/// Writes a model, where others write a folder.
const GUARD: Kind = ("guard", "guard.images=64", &[]);

/// Prints the curve: results of campaigns, which the guide has, are no part of the file.
const ENERGY: Kind = ("energy", "name=energy", &[]);

/// Builds the command in release.
pub fn build() -> Outcome {
    process::run(&mut process::cargo_with(&["build", "--release", "--locked", "-p", "bitquake-cli"]))
}

/// The command that [`build`] made.
pub fn executable() -> Outcome<PathBuf> {
    let name = format!("bitquake{}", env::consts::EXE_SUFFIX);
    Ok(Workspace::load()?.target_dir.join("release").join(name))
}

/// Runs the shipped campaign as a user would; ends with its exit code.
pub fn demo() -> Outcome {
    setup::run()?;
    build()?;
    become_program(Command::new(executable()?).args(["run", DEMO]))
}

/// Puts the program in this one's place, so that Ctrl-C and the exit code are its own.
#[cfg(unix)]
fn become_program(command: &mut Command) -> Outcome {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(format!("cannot start `{}`: {error}", process::line(command)))
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> Outcome {
    process::run(command)
}

/// Builds, then runs every example: campaigns with two trials a point, trainings with one epoch, attacks with one trial, rankings by 64 images.
pub fn run() -> Outcome {
    setup::run()?;
    build()?;
    run_built()
}

/// Runs every example, campaigns with two trials a point, trainings with one epoch, attacks with one trial, rankings by 64 images, results in a temporary folder.
pub fn run_built() -> Outcome {
    let executable = executable()?;
    let scratch = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
    for (number, campaign) in campaigns(Path::new("examples"))?.iter().enumerate() {
        match missing_file(campaign)? {
            Some(file) => println!("skipped {}: needs {}", campaign.display(), file.display()),
            None => run_example(&executable, campaign, &scratch.path().join(number.to_string()))?,
        }
    }
    for (number, (script, expected)) in SCRIPTS.iter().enumerate() {
        run_script(&executable, script, expected, &scratch.path().join(format!("script {number}")))?;
    }
    Ok(())
}

/// Runs a script in its small form, if its data are there.
fn run_script(executable: &Path, script: &str, expected: &[&str], results: &Path) -> Outcome {
    if !Path::new(SCRIPTS_DATA).is_dir() {
        println!("skipped {script}: needs {SCRIPTS_DATA}");
        return Ok(());
    }
    println!("running {script} --small");
    let mut command = setup::python();
    process::run(command.args([script, "--small", "--bitquake"]).arg(executable).arg("-o").arg(results))?;
    match expected.iter().find(|name| !results.join(name).is_file()) {
        Some(name) => Err(format!("{script} left no {name}")),
        None => Ok(()),
    }
}

/// A file named `recipe...` is a training, one named `attack...` an attack, one named `rank...` rankings, one named
/// `energy...` a curve, one named `guard...` guards of a model, one named `protect...` a layer with plans of protections, any other a campaign.
fn run_example(executable: &Path, example: &Path, results: &Path) -> Outcome {
    let name = example.file_name().unwrap_or_default().to_string_lossy();
    let (verb, setting, expected) = match () {
        () if name.starts_with("recipe") => TRAINING,
        () if name.starts_with("attack") => ATTACK,
        () if name.starts_with("rank") => RANKING,
        () if name.starts_with("energy") => ENERGY,
        () if name.starts_with("guard") => GUARD,
        () if name.starts_with("protect") => PROTECTION,
        () => CAMPAIGN,
    };
    println!("running {}", example.display());
    let mut command = Command::new(executable);
    command.arg(verb);
    if verb == PROTECTION.0 {
        let ranked = results.with_extension("ranked");
        run_example(executable, &example.with_file_name(RANKED), &ranked)?;
        command.arg(example.with_file_name(PROTECTED));
        command.arg("--set").arg(format!("protect.ranking={}", ranked.display()));
    }
    process::run(command.arg(example).arg("-o").arg(results).args(["--set", setting]))?;
    if verb == GUARD.0 && !results.is_file() {
        return Err(format!("{} left no model", example.display()));
    }
    match expected.iter().find(|name| !results.join(name).is_file()) {
        Some(name) => Err(format!("{} left no {name}", example.display())),
        None => Ok(()),
    }
}

/// Every `*.toml` in a folder of `dir`, sorted.
fn campaigns(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for example in entries(dir)?.into_iter().filter(|path| path.is_dir()) {
        let is_toml = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
        found.extend(entries(&example)?.into_iter().filter(is_toml));
    }
    if found.is_empty() { Err(format!("no campaign in {}", dir.display())) } else { Ok(found) }
}

fn entries(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let listed = fs::read_dir(dir).map_err(|error| format!("cannot read {}: {error}", dir.display()))?;
    let mut paths: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// The first file the campaign says it needs that is not there; names are relative to the campaign.
fn missing_file(campaign: &Path) -> Outcome<Option<PathBuf>> {
    let text = fs::read_to_string(campaign)
        .map_err(|error| format!("cannot read {}: {error}", campaign.display()))?;
    let home = campaign.parent().unwrap_or(Path::new("."));
    let mut needed =
        text.lines().filter_map(|line| line.strip_prefix(NEEDS)).map(|file| home.join(file.trim()));
    Ok(needed.find(|file| !file.exists()))
}

#[cfg(test)]
mod tests {
    use super::{campaigns, missing_file};
    use std::fs;

    #[test]
    fn campaigns_are_found_in_order() {
        let dir = tempfile::tempdir().unwrap();
        assert!(campaigns(dir.path()).unwrap_err().contains("no campaign"));
        for file in ["b/campaign.toml", "a/full.toml", "a/campaign.toml", "a/notes.md"] {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let found = campaigns(dir.path()).unwrap();
        let names: Vec<_> =
            found.iter().map(|path| path.strip_prefix(dir.path()).unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a/campaign.toml", "a/full.toml", "b/campaign.toml"]);
    }

    #[test]
    fn a_needed_file_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let campaign = dir.path().join("campaign.toml");
        fs::write(&campaign, "schema = 1\n# needs: model.onnx\n# needs: /no/such/data.gz\n").unwrap();
        assert_eq!(missing_file(&campaign).unwrap(), Some(dir.path().join("model.onnx")));
        fs::write(dir.path().join("model.onnx"), "").unwrap();
        assert_eq!(missing_file(&campaign).unwrap(), Some("/no/such/data.gz".into()));
        fs::write(&campaign, "schema = 1 # needs: nothing\n").unwrap();
        assert_eq!(missing_file(&campaign).unwrap(), None);
    }
}

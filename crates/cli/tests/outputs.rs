//! Outputs replace no inputs, no devices, and no results of another command.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "common/small.rs"]
mod small;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Done, model, run};

/// A folder with a copy of the shipped model.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        fs::copy(model(), folder.at("model.onnx")).expect("copied");
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A command whose arguments that begin with `@` are files of the folder.
    fn run(&self, line: &str) -> Done {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.at(name).to_string_lossy().into_owned(),
            None => word.to_owned(),
        };
        run(&line.split(' ').map(word).collect::<Vec<_>>())
    }
}

#[test]
fn inject_spares_what_it_reads() {
    let folder = Folder::new();
    let inject = "inject @model.onnx --count 1";
    folder.run(&format!("{inject} -o @faulty.onnx --pattern-out @flips.json")).ok();
    let before = fs::read(folder.at("flips.json")).expect("a pattern");
    for line in [
        format!("{inject} -o @x.onnx --pattern-out @model.onnx"),
        format!("{inject} -o @x.onnx --pattern-out @x.onnx"),
        "inject @faulty.onnx --pattern @flips.json -o @flips.json".to_owned(),
    ] {
        let said = folder.run(&line).failed(2);
        assert!(said.contains("which this command needs"), "{line}: {said}");
    }
    assert!(!folder.at("x.onnx").exists() && fs::read(folder.at("flips.json")).unwrap() == before);
    assert!(fs::read(folder.at("model.onnx")).unwrap() == fs::read(model()).unwrap());
    // In place, undone in place.
    fs::copy(folder.at("faulty.onnx"), folder.at("place.onnx")).unwrap();
    folder.run("inject @place.onnx --pattern @flips.json -o @place.onnx").ok();
    assert!(fs::read(folder.at("place.onnx")).unwrap() == fs::read(model()).unwrap());
}

#[test]
fn devices_and_pipes_are_no_outputs() {
    let folder = Folder::new();
    let pipe = folder.at("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    for output in ["@pipe", "/dev/null"] {
        let said = folder.run(&format!("inject @model.onnx --count 1 -o {output}")).failed(2);
        assert!(said.contains("is no plain file"), "{said}");
    }
    assert!(!pipe.is_file() && !Path::new("/dev/null").is_file());
}

/// They need not end.
#[test]
fn devices_are_no_inputs() {
    let folder = Folder::new();
    for (line, code) in [
        ("run /dev/zero", 3),
        ("train /dev/zero", 3),
        ("inject @model.onnx --pattern /dev/zero -o @x.onnx", 3),
        ("inspect /dev/zero", 3),
    ] {
        let said = folder.run(line).failed(code);
        assert!(said.contains("is a device"), "{line}: {said}");
    }
}

#[test]
fn links_stay_links() {
    let folder = Folder::new();
    fs::write(folder.at("target.json"), "").unwrap();
    std::os::unix::fs::symlink(folder.at("target.json"), folder.at("link.json")).unwrap();
    folder.run("inject @model.onnx --count 1 -o @x.onnx --pattern-out @link.json").ok();
    assert!(folder.at("link.json").is_symlink());
    assert!(fs::metadata(folder.at("target.json")).unwrap().len() > 10);
}

#[test]
fn a_campaign_spares_others_and_replay_its_model() {
    let folder = Folder::new();
    let (own, other) = (folder.at("own"), folder.at("other"));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("training.jsonl"), "").unwrap();
    let said = small::campaign(&other, &[]).failed(2);
    assert!(said.contains("holds the results of a training"), "{said}");
    fs::remove_file(other.join("training.jsonl")).unwrap();
    fs::write(other.join("campaign.toml"), "mine").unwrap();
    let said = small::campaign(&other, &[]).failed(3);
    assert!(said.contains("it would be replaced"), "{said}");
    assert_eq!(fs::read_to_string(other.join("campaign.toml")).unwrap(), "mine");

    let path = format!("model.path={}", folder.at("model.onnx").display());
    small::campaign(&own, &["--set", &path]).ok();
    for more in ["-o @model.onnx", "-o @x.onnx --pattern-out @model.onnx", "-o @x.onnx --pattern-out @x.onnx"]
    {
        let said = folder.run(&format!("replay @own --point 1 --trial 0 {more}")).failed(2);
        assert!(said.contains("which this command needs"), "{said}");
    }
    assert!(fs::read(folder.at("model.onnx")).unwrap() == fs::read(model()).unwrap());
}

//! `bitquake train` as a person runs it: to the end, killed, stopped, on a full disk, and what a campaign makes of its files.
#![cfg(unix)]

#[path = "common/bars.rs"]
mod bars;
#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bitquake::bits::WordStore;
use bitquake::config::{Layout, read_layers};
use bitquake::record::ResultDir;
use bitquake::storage::{Memory, StorageSpec};
use bitquake::tensors::TensorFile;
use bitquake::train::{LogLine, Snapshot, read_log};
use bitquake_testing::SplitMix64;
use common::{Done, bitquake, run};

/// Every kind of state: batch normalization, a learning rate that changes, momentum, bit errors, averaged weights.
const RECIPE: &str = r#"
schema = 1
name = "bars"
seed = 5

[model]
architecture = "mlp"
hidden = [12]
norm = "bn"

[data]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }

[data.split]
validation = 0.2

[data.split.test]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }

[train]
epochs = 40
batch = 16
log_every = 1

[method]
w_max = 0.5
quantization = { family = "asymmetric", bits = 8, signed = false }
bit_errors = { rate = 0.01 }
averaging = {}
"#;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        bars::write_bars(dir.path());
        fs::write(dir.path().join("recipe.toml"), RECIPE).expect("a file");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let mut command = bitquake();
        command.arg("train").arg(self.path("recipe.toml")).arg("-o").arg(self.path(out)).args(more);
        command
    }

    fn train(&self, out: &str, more: &[&str]) -> Done {
        Done::of(self.command(out, more).output().expect("the command starts"))
    }

    fn spawn(&self, out: &str) -> Child {
        let mut command = self.command(out, &[]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts")
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The log without what time tells.
    fn log(&self, out: &str) -> Vec<LogLine> {
        let mut lines = read_log(&self.path(out)).expect("a log");
        for line in &mut lines {
            match line {
                LogLine::Steps(record) => record.time = 0.0,
                LogLine::Epoch(record) => (record.time, record.images_per_second) = (0.0, 0.0),
            }
        }
        lines
    }

    fn assert_same(&self, straight: &str, broken: &str) {
        for file in FILES {
            let is_same =
                self.bytes(&format!("{straight}/{file}")) == self.bytes(&format!("{broken}/{file}"));
            assert!(is_same, "{file} of {broken}");
        }
        assert_eq!(self.log(straight), self.log(broken));
        assert_eq!(names(&self.path(straight)), names(&self.path(broken)), "no litter");
    }
}

const FILES: [&str; 8] = [
    "model.onnx",
    "storage.toml",
    "codes.safetensors",
    "best.onnx",
    "averaged.onnx",
    "last.safetensors",
    "best.safetensors",
    "recipe.toml",
];

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder").filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    // Temporary files of a process that was killed are all that may stay.
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_weights() {
    let place = Place::new();
    let start = Instant::now();
    place.train("straight", &[]).ok();
    // From before the first step to some epochs on, so that it takes many runs to the end, on a machine of any speed.
    let longest = start.elapsed().as_micros() as u64 / 5;
    let mut random = SplitMix64::new(20);
    let (mut alive, mut steps) = (0, Vec::new());
    for _ in 0..30 {
        let mut child = place.spawn("broken");
        std::thread::sleep(Duration::from_micros(random.below(longest)));
        alive += u32::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("SIGKILL");
        child.wait().expect("ended");
        let last = Snapshot::read(&place.path("broken/last.safetensors")).expect("a whole snapshot");
        steps.push(last.map_or(0, |snapshot| snapshot.header.progress.step));
    }
    assert!(steps.is_sorted(), "a finished epoch is never lost: {steps:?}");
    steps.dedup();
    assert!(alive >= 10 && steps.len() >= 4, "{alive} runs were killed, at steps {steps:?}");
    place.train("broken", &[]).ok();
    // The recipe names its folder.
    fs::copy(place.path("straight/recipe.toml"), place.path("broken/recipe.toml")).expect("a copy");
    place.assert_same("straight", "broken");
}

#[test]
fn interrupted_it_saves_the_step_and_ends_with_4() {
    let place = Place::new();
    place.train("straight", &[]).ok();
    let mut child = place.spawn("broken");
    // A line is written for every step: after the first, the signal comes between steps.
    let log = place.path("broken/training.jsonl");
    let start = Instant::now();
    while fs::metadata(&log).map_or(0, |file| file.len()) == 0 && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill").success());
    let code = child.wait().expect("ended").code();
    if code == Some(4) {
        let last = Snapshot::read(&place.path("broken/last.safetensors")).expect("whole").expect("saved");
        assert!(last.header.progress.step > 0);
    } else {
        assert_eq!(code, Some(0), "it had finished before the signal came");
    }
    place.train("broken", &[]).ok();
    fs::copy(place.path("straight/recipe.toml"), place.path("broken/recipe.toml")).expect("a copy");
    place.assert_same("straight", "broken");
}

#[test]
fn a_disk_that_is_full_at_any_moment_stops_it_with_4_and_it_resumes() {
    let place = Place::new();
    place.train("straight", &[]).ok();
    let size = |name: &str| fs::metadata(place.path("straight").join(name)).expect("a file").len() / 512;
    let (recipe, snapshot) = (size("recipe.toml"), size("last.safetensors"));
    assert!(recipe + 2 < snapshot, "{recipe} {snapshot}");
    // In the recipe, a snapshot: a limit on the size of files, its signal ignored, makes writing fail as a full disk does.
    for (number, blocks) in [0, snapshot - 1].into_iter().enumerate() {
        let out = format!("full-{number}");
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", &blocks.to_string()]);
        let command = place.command(&out, &[]);
        let done = Done::of(shell.arg(command.get_program()).args(command.get_args()).output().expect("sh"));
        let said = done.failed(4);
        assert!(said.contains("the disk is full") && said.contains("the same command resumes"), "{said}");
        place.train(&out, &[]).ok();
        fs::copy(place.path("straight/recipe.toml"), place.path(&out).join("recipe.toml")).expect("a copy");
        place.assert_same("straight", &out);
    }
}

#[test]
fn a_full_disk_leaves_the_older_snapshot_whole() {
    let place = Place::new();
    place.train("out", &["--set", "train.epochs=1", "--set", "schedule.kind=constant"]).ok();
    let before = place.bytes("out/last.safetensors");
    let limit = before.len() as u64 / 512 - 1;
    // The same recipe, one epoch done, another snapshot that does not fit: made so by taking the newest away but for a copy.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", &limit.to_string()]);
    let command = place.command("again", &["--set", "train.epochs=1", "--set", "schedule.kind=constant"]);
    fs::create_dir(place.path("again")).expect("a folder");
    let mut older = Snapshot::read(&place.path("out/last.safetensors")).expect("whole").expect("there");
    older.header.progress = Default::default();
    older.write(&place.path("again/last.safetensors")).expect("room");
    let older = place.bytes("again/last.safetensors");
    let done = Done::of(shell.arg(command.get_program()).args(command.get_args()).output().expect("sh"));
    done.failed(4);
    assert!(place.bytes("again/last.safetensors") == older);
}

#[test]
fn a_campaign_quantizes_to_the_codes_of_training() {
    let place = Place::new();
    let said = place.train("out", &[]).err;
    assert!(said.contains("next: bitquake run") && said.contains("storage.toml"), "{said}");
    let layout = Layout { paths: &[], faults: &[] };
    let layer: Layer = read_layers(&[place.path("out/storage.toml")], &[], layout).expect("a layer");
    let model = TensorFile::open(&place.path("out/model.onnx")).expect("a model");
    let key = bitquake::sample::StreamKey { seed: 1, point: 0, trial: 0 };
    let memory = Memory::new(&layer.storage, model.tensors(), &model, key).expect("a memory");
    let codes = TensorFile::open(&place.path("out/codes.safetensors")).expect("codes");
    let mut tensors = 0;
    for tensor in model.tensors() {
        let Some(coded) = memory.coded(&tensor.name) else { continue };
        let trained = codes.words(&tensor.name).expect("the codes of training");
        let format = coded.grid().format();
        let same = |(a, b): (u64, u64)| format.integer(a) == trained.format().integer(b);
        assert!(coded.words().iter().zip(trained.iter()).all(same), "{}", tensor.name);
        tensors += 1;
    }
    assert!(tensors >= 4, "{tensors} quantized tensors");
}

/// What `storage.toml` holds.
#[derive(serde::Deserialize)]
struct Layer {
    storage: StorageSpec,
}

#[test]
fn the_campaign_that_training_wrote_runs() {
    let place = Place::new();
    place.train("out", &[]).ok();
    let file = |name: &str| place.path("out").join(name).display().to_string();
    let out = place.path("campaign").display().to_string();
    let settings = ["--set", "run.trials=2", "-o", &out];
    let (campaign, storage) = (file("campaign.toml"), file("storage.toml"));
    run(&[&["run", &campaign, &storage][..], &settings].concat()).ok();
    assert_eq!(ResultDir::at(&out).trials().expect("records").len(), 6);
}

#[test]
fn json_and_exit_codes() {
    let place = Place::new();
    let json: serde_json::Value =
        serde_json::from_str(&place.train("out", &["--json", "--quiet"]).ok()).expect("JSON");
    let names: Vec<_> =
        json["models"].as_array().expect("models").iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["last", "averaged", "best"]);
    assert_eq!(json["models"][0]["test"]["images"], 160);
    for (out, more, code, wanted) in [
        ("out", &["--set", "seed=9"][..], 2, "another recipe"),
        ("out", &["--set", "train.epocs=9"], 2, "did you mean `epochs`?"),
        ("out", &["--device", "tpu"], 2, "tpu"),
        ("out", &["--set", "data.images=missing"], 3, "missing"),
        ("other", &["--set", "optimiser.rate=1e39"], 2, "diverged"),
        (".", &[], 2, "recipe.toml lies in the output folder"),
    ] {
        let said = place.train(out, more).failed(code);
        assert!(said.contains(wanted), "{more:?}: {said}");
    }
    assert_eq!(place.bytes("recipe.toml"), RECIPE.as_bytes());
    // The recipe that a training wrote is none of the person's own.
    let written = place.path("out/recipe.toml");
    run(&["train".as_ref(), written.as_os_str(), "-o".as_ref(), place.path("out").as_os_str()]).ok();
    fs::write(place.path("out/last.safetensors"), "torn").expect("a file");
    let said = place.train("out", &[]).failed(3);
    assert!(said.contains("last.safetensors") && said.contains("cannot be resumed"), "{said}");
}

//! `run`, `report`, `export`, `replay`, and what happens when they are disturbed.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "common/small.rs"]
mod small;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bitquake::record::ResultDir;
use bitquake_testing::SplitMix64;
use common::{Done, bitquake, example, model, run};
use small::records;

/// Runs long enough to be disturbed.
const LONGER: [&str; 6] = ["--set", "data.limit=50", "--set", "run.batch=25", "--set", "run.threads=0"];

fn campaign(out: &Path, more: &[&str]) -> Done {
    Done::of(command(out, more).output().expect("the command starts"))
}

fn command(out: &Path, more: &[&str]) -> Command {
    small::command("run", out, &[&LONGER[..], more].concat())
}

#[test]
fn a_campaign_from_start_to_report() {
    let temp = tempfile::tempdir().expect("a folder");
    let out = temp.path().join("results");
    let table = campaign(&out, &[]).ok();
    for wanted in ["golden", "1e-5", "1e-3", "8"] {
        assert!(table.contains(wanted), "{table}");
    }
    for file in ["campaign.toml", "golden.json", "trials-0.jsonl", "summary.csv", "trials.csv", "report.html"]
    {
        assert!(out.join(file).is_file(), "{file}");
    }
    let again = campaign(&out, &[]).ok();
    assert_eq!(table, again, "a finished campaign prints its table");

    let files = ["summary.csv", "trials.csv", "report.html"].map(|file| out.join(file));
    let before = files.clone().map(|file| fs::read(file).expect("a file"));
    files.iter().for_each(|file| fs::remove_file(file).expect("removed"));
    assert_eq!(table, run(&["report".as_ref(), out.as_os_str()]).ok());
    assert!(before == files.map(|file| fs::read(file).expect("a file")), "rebuilt as they were");

    for (format, file) in [("csv", "summary.csv"), ("json", "results.json"), ("parquet", "trials.parquet")] {
        let listed = run(&["export", &out.to_string_lossy(), "--to", format]).ok();
        assert!(listed.contains(file) && out.join(file).is_file(), "{listed}");
    }
    let said = run(&["report".as_ref(), temp.path().as_os_str()]).failed(3);
    assert!(said.contains("not a result directory"), "{said}");
}

/// No network sees check bits, so that the proof is made with the words that they protect.
#[test]
fn check_bits_alone_can_be_hit() {
    let temp = tempfile::tempdir().expect("a folder");
    for (kind, select) in [("secded", "*@check"), ("tmr", "*@copy1")] {
        let storage = format!("storage={{family='symmetric',bits=8,protect=[{{kind='{kind}'}}]}}");
        let more = ["--set", &storage, "--set", &format!("fault.select=['{select}']")];
        let out = temp.path().join(kind);
        campaign(&out, &more).ok();
        assert!(records(&out).iter().any(|record| record.faults > 0), "{kind}");
    }
}

/// An end that was asked for: a scheduler must not send it again.
#[test]
fn time_that_is_over_is_an_end() {
    let temp = tempfile::tempdir().expect("a folder");
    for (place, stop) in ["{half_width=1e-6,max_seconds=0.2}", "{max_seconds=0.2}"].into_iter().enumerate() {
        let out = temp.path().join(place.to_string());
        let done = campaign(&out, &["--set", &format!("run.stop={stop}")]);
        assert!(done.err.contains("the time of [run] stop is over"), "{}", done.err);
        done.ok();
    }
}

#[test]
fn records_tell_how_many_bits_a_range_names() {
    let temp = tempfile::tempdir().expect("a folder");
    let told = |name: &str, fault: &str| {
        let out = temp.path().join(name);
        campaign(&out, &["--set", fault]).ok();
        let record = records(&out).swap_remove(0);
        (record.count, record.rate, record.faults)
    };
    let (count, _, faults) = told("sites", "fault={sites=['conv1.weight:*:30', 'fc.bias:0:31']}");
    assert_eq!((count, faults), (Some(145), 145));
    // One bit with a half, others never, of 32 * 144 bits.
    let regions = "fault={select=['conv1.weight'],regions=[{sites='conv1.weight:0:30',rate=0.5},{sites='conv1.weight:*:0',rate=0.0}]}";
    let (_, rate, _) = told("regions", regions);
    assert!((rate.expect("a rate") - 0.5 / (32.0 * 144.0)).abs() < 1e-12, "{rate:?}");
}

/// What single faults tell of the memory, they tell where every bit is hit alike.
#[test]
fn vulnerability_is_of_faults_that_hit_every_bit_alike() {
    let temp = tempfile::tempdir().expect("a folder");
    for (place, (fault, is_told)) in [
        ("fault={counts=[1]}", true),
        ("fault={counts=[1],model='stuck-at-1'}", false),
        ("fault={sites=['conv1.weight:17:30']}", false),
    ]
    .into_iter()
    .enumerate()
    {
        let out = temp.path().join(place.to_string());
        campaign(&out, &["--set", fault]).ok();
        assert_eq!(out.join("vulnerability.csv").exists(), is_told, "{fault}");
    }
}

#[test]
fn replay_writes_the_model_of_exactly_that_trial() {
    let temp = tempfile::tempdir().expect("a folder");
    let (out, faulty) = (temp.path().join("results"), temp.path().join("faulty.onnx"));
    campaign(&out, &[]).ok();
    let replay = |point: &str, trial: &str| {
        run(&[
            "replay",
            &out.to_string_lossy(),
            "--point",
            point,
            "--trial",
            trial,
            "-o",
            &faulty.to_string_lossy(),
        ])
    };
    let record = records(&out).into_iter().find(|r| r.nonfinite == 0 && r.faults > 0).expect("a record");
    let trial = record.trial.to_string();
    replay("0", &trial).ok();
    let (a, b) = (fs::read(model()).expect("a file"), fs::read(&faulty).expect("a file"));
    let flips: u32 = a.iter().zip(&b).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((record.point, u64::from(flips)), (0, record.faults));
    assert!(replay("7", "0").failed(2).contains("no point 7"));

    // The faulty model as the campaign's model: its golden run does what the trial did.
    let again = temp.path().join("again");
    let set = format!("model.path={}", faulty.display());
    campaign(&again, &["--set", &set, "--set", "fault.rates=[0.0]", "--set", "run.trials=1"]).ok();
    let golden = ResultDir::at(&again).golden().expect("readable").expect("there");
    assert_eq!(golden.metrics.correct, record.correct);
    // The trial ran as a chain, the golden run of a campaign without faults in one piece: sums may be rounded otherwise.
    let (found, wanted) = (golden.metrics.loss.expect("a loss"), record.loss.expect("a loss"));
    assert!((found - wanted).abs() < 1e-6 * wanted, "{found} {wanted}");

    let path = out.join("trials-0.jsonl");
    let tampered = fs::read_to_string(&path).expect("text").replace(&record.pattern, "0000000000000000");
    fs::write(&path, tampered).expect("written");
    assert!(replay("0", &trial).failed(5).contains("not the one recorded"));
}

#[test]
fn faults_in_activations_have_no_model_to_replay() {
    let temp = tempfile::tempdir().expect("a folder");
    let (out, faulty) = (temp.path().join("results"), temp.path().join("faulty.onnx"));
    campaign(&out, &["--set", "fault.target=activations"]).ok();
    let args =
        ["replay", &out.to_string_lossy(), "--point", "0", "--trial", "0", "-o", &faulty.to_string_lossy()];
    assert!(run(&args).failed(2).contains("there is no faulty model to write"));
    assert!(!faulty.exists());
}

#[test]
fn compat_files_have_three_columns() {
    let temp = tempfile::tempdir().expect("a folder");
    campaign(temp.path(), &["--set", "output.compat=nn-error-injection"]).ok();
    let read = |name: &str| fs::read_to_string(temp.path().join(name)).expect("a file");
    let (mean, detail) = (read("fashion_cnn.csv"), read("detail-fashion_cnn.csv"));
    assert!(mean.starts_with("error_rate,top1,top5\n0.00001,"), "{mean}");
    assert_eq!((mean.lines().count(), detail.lines().count()), (3, 17));
    assert!(detail.lines().all(|line| line.split(',').count() == 3), "{detail}");
}

fn signal(child: &Child, name: &str) {
    let done = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill");
    assert!(done.success());
}

/// Starts a campaign long enough to be disturbed, and waits until it has recorded something.
fn started(out: &Path, more: &[&str]) -> Child {
    let trials = out.join("trials-0.jsonl");
    let size = || fs::metadata(&trials).map_or(0, |file| file.len());
    let before = size();
    let child =
        command(out, more).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
    for _ in 0..3000 {
        if size() > before {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

const LONG: [&str; 4] = ["--set", "run.trials=150", "--set", "run.threads=2"];

#[test]
fn killed_at_random_moments_it_resumes_to_the_same_records() {
    let temp = tempfile::tempdir().expect("a folder");
    let (straight, broken) = (temp.path().join("straight"), temp.path().join("broken"));
    campaign(&straight, &LONG).ok();
    let mut random = SplitMix64::new(3);
    for _ in 0..6 {
        let mut child = started(&broken, &LONG);
        std::thread::sleep(Duration::from_millis(random.below(120)));
        signal(&child, "-KILL");
        child.wait().expect("ended");
    }
    campaign(&broken, &LONG).ok();
    assert!(records(&straight) == records(&broken));
    let csv = |dir: &PathBuf| fs::read_to_string(dir.join("summary.csv")).expect("a file");
    assert_eq!(csv(&straight), csv(&broken));
}

#[test]
fn ctrl_c_finishes_the_running_trials_and_exits_with_4() {
    let temp = tempfile::tempdir().expect("a folder");
    let more = ["--set", "run.trials=100000"];
    let mut child = started(temp.path(), &more);
    signal(&child, "-INT");
    assert_eq!(child.wait().expect("ended").code(), Some(4));
    let whole = fs::read(temp.path().join("trials-0.jsonl")).expect("a file");
    assert_eq!(whole.last(), Some(&b'\n'));
    assert!(temp.path().join("report.html").is_file(), "a stopped campaign has a report of what is there");
    let count = records(temp.path()).len();
    let mut child = started(temp.path(), &more);
    signal(&child, "-TERM");
    assert_eq!(child.wait().expect("ended").code(), Some(4));
    assert!(records(temp.path()).len() > count, "it went on where it was stopped");
}

#[test]
fn two_runs_never_write_one_shard() {
    let temp = tempfile::tempdir().expect("a folder");
    let more = ["--set", "run.trials=100000"];
    let mut child = started(temp.path(), &more);
    let said = campaign(temp.path(), &more).failed(2);
    assert!(said.contains("another run is writing this file"), "{said}");
    signal(&child, "-KILL");
    child.wait().expect("ended");
}

#[test]
fn a_full_disk_stops_it_and_loses_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    let (straight, full) = (temp.path().join("straight"), temp.path().join("full"));
    campaign(&straight, &LONG).ok();
    // A limit on the size of files, its signal ignored, makes writing fail as a full disk does.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 40; exec \"$@\"", "sh"]);
    let run = command(&full, &LONG);
    let done = Done::of(shell.arg(run.get_program()).args(run.get_args()).output().expect("sh"));
    let said = done.failed(4);
    assert!(said.contains("could not be recorded"), "{said}");
    let kept = records(&full).len();
    assert!(kept > 5 && kept < 300, "{kept}");
    campaign(&full, &LONG).ok();
    assert!(records(&straight) == records(&full));
}

#[test]
fn results_of_another_campaign_and_unwritable_places_are_refused() {
    let temp = tempfile::tempdir().expect("a folder");
    campaign(temp.path(), &[]).ok();
    let said = campaign(temp.path(), &["--set", "seed=1"]).failed(2);
    assert!(said.contains("another campaign; seed is `1` here and `42` there"), "{said}");
    let said = campaign(Path::new("/dev/null/results"), &[]).failed(2);
    assert!(said.contains("/dev/null/results"), "{said}");
    let said = campaign(temp.path(), &["--shard", "2/2"]).failed(2);
    assert!(said.contains("write I/N"), "{said}");
}

/// An IDX file of bytes.
fn idx(path: &Path, dims: &[u32], bytes: &[u8]) {
    bitquake::data::write_idx(path, dims, bytes).expect("written");
}

#[test]
fn files_that_a_fault_names_are_inputs_and_its_numbers_are_not() {
    let temp = tempfile::tempdir().expect("a folder");
    let map = ["fault.model=map", "fault.voltages=[0.8]"];
    for (settings, code, wanted) in [
        (&[map[0], map[1], "fault.chip=no-chip.csv"][..], 3, "no-chip.csv: No such file"),
        (&[map[0], map[1], "fault.chip={ synthetic = { rows = 0 } }"], 2, "[fault] chip: "),
        (&["fault={ model = 'shape', shape = { file = 'none.json' }, counts = [1] }"], 3, "none.json: "),
        (&["fault.pattern=none.json"], 3, "none.json: cannot read"),
    ] {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let said = campaign(&temp.path().join("results"), &settings).failed(code);
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn bad_data_is_named() {
    let temp = tempfile::tempdir().expect("a folder");
    let at = |name: &str| temp.path().join(name);
    let (images, labels) = (at("images"), at("labels"));
    let with = |limit: &str| {
        let set = [
            format!("data.images={}", images.display()),
            format!("data.labels={}", labels.display()),
            limit.to_owned(),
        ];
        let args: Vec<&str> = set.iter().flat_map(|setting| ["--set", setting]).collect();
        campaign(&at("results"), &args)
    };
    let pixels = vec![7; 4 * 28 * 28];
    idx(&images, &[4, 28, 28], &pixels);
    idx(&labels, &[4], &[0, 1, 2, 3]);
    with("data.limit=4").ok();
    fs::remove_dir_all(at("results")).expect("removed");

    idx(&labels, &[3], &[0, 1, 2]);
    let said = with("data.limit=3").failed(3);
    assert!(said.contains("4 images") && said.contains("3 labels"), "{said}");
    idx(&labels, &[4], &[0, 1, 10, 3]);
    let said = with("data.limit=4").failed(3);
    assert!(said.contains("10 classes") && said.contains("label 10"), "{said}");
    idx(&labels, &[4], &[0, 1, 2, 3]);
    idx(&images, &[4, 27, 28], &pixels[..4 * 27 * 28]);
    let said = with("data.limit=4").failed(3);
    assert!(said.contains("`images` wants images of shape 1x28x28, the data set has 1x27x28"), "{said}");
    let said = {
        fs::copy(&labels, &images).expect("copied");
        with("data.limit=4").failed(3)
    };
    assert!(said.contains("images") && said.contains("0x0000"), "{said}");
    fs::remove_file(&images).expect("removed");
    assert!(with("data.limit=4").failed(3).contains("images"));
}

#[test]
fn models_that_cannot_run_are_named() {
    let temp = tempfile::tempdir().expect("a folder");
    let broken = temp.path().join("broken.onnx");
    let mut bytes = fs::read(model()).expect("the model");
    for at in 0..bytes.len() - 4 {
        if &bytes[at..at + 4] == b"Relu" {
            bytes[at..at + 4].copy_from_slice(b"Rexu");
        }
    }
    fs::write(&broken, bytes).expect("written");
    let set = format!("model.path={}", broken.display());
    let said = campaign(&temp.path().join("results"), &["--set", &set]).failed(3);
    assert!(said.contains("Rexu") && said.contains("broken.onnx"), "{said}");
    let set = format!("model.path={}", example("DATA-LICENSE").display());
    let said = campaign(&temp.path().join("results"), &["--set", &set]).failed(3);
    assert!(said.contains("text"), "{said}");
    assert!(!temp.path().join("results/golden.json").exists());
}

#[test]
fn results_do_not_go_where_the_campaign_file_lies() {
    let temp = tempfile::tempdir().expect("a folder");
    let file = temp.path().join("campaign.toml");
    fs::copy(example("campaign.toml"), &file).expect("written");
    for command in [&["run"][..], &["submit", "--slurm", "--tasks", "2"]] {
        let said = bitquake().args(command).arg(&file).arg("-o").arg(temp.path()).output();
        let said = Done::of(said.expect("the command starts")).failed(2);
        assert!(said.contains("campaign.toml lies in the output folder"), "{command:?}: {said}");
    }
    assert_eq!(fs::read(&file).expect("a file"), fs::read(example("campaign.toml")).expect("a file"));
}

#[test]
fn a_wrong_key_is_answered_with_the_nearest() {
    let temp = tempfile::tempdir().expect("a folder");
    let file = temp.path().join("c.toml");
    let text =
        fs::read_to_string(example("campaign.toml")).expect("text").replace("trials = 50", "trails = 50");
    fs::write(&file, text).expect("written");
    let said = run(&["run".as_ref(), file.as_os_str()]).failed(2);
    assert!(said.contains("unknown key `trails`; did you mean `trials`?"), "{said}");
    let said = run(&["run", "nowhere.toml"]).failed(3);
    assert!(said.contains("nowhere.toml"), "{said}");
}

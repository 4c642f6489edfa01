//! What is done with the results of a campaign whose network a host ran: all that is done with any.

use std::path::Path;

use bitquake::bits::{Format, Layout, WordStore, Words, WordsMut};
use bitquake::campaign::End;
use bitquake::campaign::hosted::{Digests, HostTensor, Hosted, HostedConfig, HostedError, Proof};
use bitquake::campaign::slurm::Queue;
use bitquake::record::ResultDir;
use bitquake::results::{ExportFormat, export, rebuild, summarised};
use bitquake::{ErrorKind, campaign, compare, merge, replay, status};

/// A hundred words, of which the host knows how many are 0.
#[derive(Clone)]
struct Host(Vec<u8>, Layout);

impl WordStore for Host {
    fn words(&self, _: &str) -> Option<Words<'_>> {
        Words::new(Format::U8, 100, &self.1, &self.0).ok()
    }

    fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> {
        WordsMut::new(Format::U8, 100, &self.1, &mut self.0).ok()
    }
}

impl Host {
    fn new() -> Self {
        Self(vec![0; 100], Layout::packed(Format::U8))
    }

    /// What it tells: counts, a bare accuracy or neither, and numbers of its own.
    fn told(&self, what: &str) -> Vec<(&'static str, f64)> {
        let zeros = self.0.iter().filter(|word| **word == 0).count() as f64;
        let largest = self.0.iter().copied().max().map_or(0.0, f64::from);
        let odd = if largest >= 128.0 { f64::NAN } else { largest };
        match what {
            "counts" => vec![
                ("images", 100.0),
                ("correct", zeros),
                ("golden_mismatch", 100.0 - zeros),
                ("largest", odd),
            ],
            "accuracy" => vec![("accuracy", zeros / 100.0), ("largest", odd)],
            _ => vec![("zeros", zeros), ("largest", odd)],
        }
    }
}

fn hosted(stop: &str) -> Hosted {
    let text = format!(
        "name = 'zeros'\n[host]\nmodel = 'a hundred <words>'\nengine = 'counting'\nversion = '1.2'\nmachine = 'an abacus'\n\
         [fault]\ncounts = [1, 40]\n[run]\ntrials = 12\n{stop}"
    );
    let tensors = vec![HostTensor {
        name: "w".into(),
        format: Format::U8,
        dims: vec![10, 10],
        by_name_only: false,
        also: vec![],
    }];
    let digests = Digests { words: "0".repeat(64), data: None };
    Hosted::prepare(HostedConfig::from_toml(&text).expect("a configuration"), tensors, digests)
        .expect("a campaign")
}

fn run(dir: &Path, what: &str, stop: &str) {
    let (hosted, mut host) = (hosted(stop), Host::new());
    let golden = hosted.golden_metrics(host.told(what), 0.5).expect("a golden run");
    let mut proof = Proof::new(&golden);
    proof.empty(&golden.metrics(host.told(what)).expect("metrics")).expect("the same");
    proof.refused("w");
    let mut run = hosted.open(&ResultDir::at(dir), proof.finish().expect("proved")).expect("a run");
    while let Some((point, trial)) = run.next_trial() {
        let faults = hosted.trial(point, trial, &host).expect("a trial");
        let pattern = faults.pattern.clone();
        pattern.apply(&mut host).expect("its words");
        let result = golden.metrics(host.told(what)).expect("metrics");
        pattern.apply(&mut host).expect("its words");
        run.record(faults, result, 0.1).expect("recorded");
    }
    assert_eq!(run.finish().expect("an end"), End::Finished);
}

fn text(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn reports_and_tables() {
    let temp = tempfile::tempdir().expect("a folder");
    for what in ["counts", "accuracy", "numbers"] {
        let dir = temp.path().join(what);
        run(&dir, what, "");
        let rebuilt = rebuild(&ResultDir::at(&dir)).expect("results");
        assert_eq!((rebuilt.overview.trials, rebuilt.overview.points.len()), (24, 2));
        let (page, summary, trials) =
            (text(&dir, "report.html"), text(&dir, "summary.csv"), text(&dir, "trials.csv"));
        assert!(page.contains("a hundred &lt;words&gt;") && page.contains("counting 1.2"), "{what}");
        assert!(page.contains("an abacus") && page.contains("<code>largest</code>"), "{what}");
        assert!(page.contains("largest in ") && page.contains("therefore in no mean"), "NaN is told: {what}");
        assert!(!page.contains("bitquake replay"), "{what}: nobody but the host can run a trial again");
        // Where there is no accuracy, there is no picture of one.
        assert_eq!(page.contains("Figure 1."), what != "numbers", "{what}");
        assert_eq!(page.contains("Figure 2."), what == "counts", "{what}");
        assert_eq!(dir.join("vulnerability.json").exists(), what == "counts", "{what}");
        let header = summary.lines().next().expect("a header");
        assert!(header.contains("own_largest_mean") && header.ends_with("_nonfinite"), "{header}");
        let header = trials.lines().next().expect("a header");
        assert!(header.ends_with(if what == "numbers" { ",own_largest,own_zeros" } else { ",own_largest" }));
        let first = trials.lines().nth(1).expect("a row");
        assert_eq!(
            first.contains(",100,99,,1,"),
            what == "counts",
            "counts that nobody made are empty: {first}"
        );
        let accuracy = rebuilt.overview.points[0].metric("accuracy").and_then(|metric| metric.summary);
        assert_eq!(accuracy.map(|accuracy| accuracy.mean), (what != "numbers").then_some(0.99), "{what}");
    }
    let sentence = |what: &str| text(&temp.path().join(what), "report.html");
    assert!(sentence("counts").contains("Without faults, 100.00 % of 100 images are classified correctly"));
    assert!(sentence("accuracy").contains("Without faults, the host tells accuracy 100.00 % and largest 0"));
    assert!(sentence("numbers").contains("Without faults, the host tells largest 0 and zeros 100"));
}

#[test]
fn exports_status_and_merging() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("a");
    run(&dir, "counts", "stop = { metric = 'golden_mismatch', half_width = 0.3, max_trials = 200 }");
    let results = ResultDir::at(&dir);
    for format in [ExportFormat::Csv, ExportFormat::Parquet, ExportFormat::Json] {
        export(&results, format).expect("a file");
    }
    assert!(
        text(&dir, "results.json").contains(r#""host":{"counts":["correct","golden_mismatch","images"]"#)
    );
    let parquet = std::fs::read(dir.join("trials.parquet")).expect("a file");
    assert!(parquet.windows(11).any(|bytes| bytes == b"own_largest"));
    let state = status::status(&dir, Queue).expect("a state");
    assert_eq!((state.name.as_str(), state.missing), ("zeros", 0), "{state:?}");
    assert_eq!(state.finished, results.trials().expect("records").len() as u64);
    let overview = summarised(&results).expect("records").0;
    assert!(overview.points.iter().all(|point| point.stop.is_some_and(|stop| stop.is_met)));
    // A copy joins what it is a copy of.
    let out = temp.path().join("out");
    let copy = temp.path().join("copy");
    std::fs::create_dir(&copy).expect("a folder");
    for file in ["campaign.toml", "golden.json", "trials-0.jsonl"] {
        std::fs::copy(dir.join(file), copy.join(file)).expect("copied");
    }
    let merged = merge::merge(&[dir.clone(), copy], &ResultDir::at(&out)).expect("merged");
    assert_eq!((merged.trials, merged.duplicates), (state.finished, state.finished));
    rebuild(&ResultDir::at(&out)).expect("results");
    assert_eq!(text(&out, "campaign.toml"), text(&dir, "campaign.toml"));
}

#[test]
fn two_hosts_are_compared() {
    let temp = tempfile::tempdir().expect("a folder");
    let dirs = ["counts", "accuracy"].map(|what| {
        run(&temp.path().join(what), what, "");
        ResultDir::at(temp.path().join(what))
    });
    let compared = compare::compare(&dirs[0], &dirs[1], "err").expect("pairs");
    assert!(compared.points.iter().all(|point| point.difference.value.abs() < 1e-12));
    bitquake::results::curves(&dirs, &temp.path().join("curves.html")).expect("a page");
}

#[test]
fn what_needs_the_network_is_refused() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = temp.path().join("a");
    run(&dir, "numbers", "");
    let results = ResultDir::at(&dir);
    let error = campaign::read_config(&[dir.join("campaign.toml")], &[]).expect_err("a refusal").to_string();
    assert!(error.contains("is run by its caller (counting)") && error.contains("campaign.toml"), "{error}");
    let error = replay::replay(&results, 0, 0, &temp.path().join("m.onnx"), &[]).expect_err("a refusal");
    assert!(error.to_string().contains("is run by its caller"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Usage);
    let error =
        bitquake::results::curves(&[results], &temp.path().join("curves.html")).expect_err("a refusal");
    assert!(error.to_string().contains("numbers of its host's own"), "{error}");
    let proof = bitquake::Error::from(HostedError::NotProven { missing: "no probe was tried" });
    assert_eq!(proof.kind(), ErrorKind::SelfCheck);
}

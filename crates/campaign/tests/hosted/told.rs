//! Numbers that a host judges its network by itself.

use bitquake_campaign::hosted::{HostGolden, HostedError, MetricProblem, Proof, Proved};
use bitquake_record::{IntervalRule, PointSummary, ResultDir, SummaryOptions, csv, summarise};
use bitquake_stats::{Summary, t_interval};

use super::toy::{IMAGES, Tells, Toy, prepared};

const PLAIN: &str = "[fault]\nrates = [1e-2, 3e-1]\n[run]\ntrials = 30";

type Numbers = Vec<(&'static str, f64)>;

/// The summary of trials of which the host tells these numbers, a function of the trial's number; of -1 are those without faults.
fn summary(text: &str, of: impl Fn(i64) -> Numbers) -> Vec<PointSummary> {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    let hosted = prepared(text);
    let golden = hosted.golden_metrics(of(-1), 0.0).expect("a golden run");
    let mut run = hosted.open(&dir, proved(&golden, of(-1))).expect("a run");
    while let Some((point, trial)) = run.next_trial() {
        let faults = hosted.trial(point, trial, &Toy::new()).expect("a trial");
        let result = golden.metrics(of(trial as i64)).expect("metrics");
        run.record(faults, result, 0.0).expect("recorded");
    }
    let file = run.golden().clone();
    run.finish().expect("an end");
    let is_stopped = hosted.config().run.stop.is_some();
    let rule = if is_stopped { IntervalRule::Anytime } else { IntervalRule::FixedN };
    let options = SummaryOptions { rule, ..SummaryOptions::default() };
    summarise(&file, dir.trials().expect("records"), options).expect("a summary")
}

/// A set-up whose network failed under a probe.
fn proved(golden: &HostGolden, again: Numbers) -> Proved {
    let mut proof = Proof::new(golden);
    proof.empty(&golden.metrics(again).expect("the same names")).expect("the same numbers");
    proof.refused("fc.weight");
    proof.finish().expect("proved")
}

/// The cell of a column in the first row of a file.
fn cell<'t>(text: &'t str, column: &str) -> &'t str {
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (header, row) = (lines.next().expect("a header"), lines.next().expect("a row"));
    row[header.iter().position(|name| *name == column).unwrap_or_else(|| panic!("no column {column}"))]
}

#[test]
fn counts_have_the_statistics_of_outputs_with_the_same_counts() {
    let temp = tempfile::tempdir().expect("a folder");
    let hosted = prepared(PLAIN);
    let summaries = [("outputs", Tells::Outputs(40)), ("metrics", Tells::Metrics)].map(|(name, tells)| {
        let dir = ResultDir::at(temp.path().join(name));
        tells.run(&hosted, &dir, usize::MAX).expect("a run");
        let golden = dir.require_golden().expect("a golden run");
        summarise(&golden, dir.trials().expect("records"), SummaryOptions::default()).expect("a summary")
    });
    for (outputs, metrics) in summaries[0].iter().zip(&summaries[1]) {
        assert_eq!((outputs.trials, outputs.images), (30, IMAGES as u64));
        for name in ["accuracy", "err", "faults"] {
            assert_eq!(outputs.metric(name), metrics.metric(name), "{name}");
            assert!(outputs.metric(name).is_some_and(|metric| metric.interval.is_some()));
        }
        assert_eq!((outputs.dropped, outputs.worst_trial), (metrics.dropped, metrics.worst_trial));
        // What the host did not count is absent, not 0.
        for name in ["top5_accuracy", "golden_mismatch", "masked", "nonfinite", "err_union", "due", "loss"] {
            assert_eq!(metrics.metric(name).and_then(|metric| metric.summary), None, "{name}");
        }
        assert_eq!(metrics.own.iter().map(|own| own.name.as_str()).collect::<Vec<_>>(), ["steps", "sum"]);
    }
    let text = std::fs::read_to_string(temp.path().join("metrics/trials-0.jsonl")).expect("records");
    assert!(text.contains(r#""host":{"counts":["correct","images"],"own":{"steps":7.0,"sum":"#), "{text}");
}

#[test]
fn a_bare_accuracy_has_a_t_interval_and_no_images() {
    let of = |trial: i64| vec![("accuracy", if trial < 0 { 0.9 } else { 0.9 - 0.01 * (trial % 7) as f64 })];
    let values: Vec<f64> = (0..30).map(|trial| of(trial)[0].1).collect();
    let points = summary(PLAIN, of);
    let wanted = Summary::of(&values).expect("numbers").expect("not empty");
    let interval = t_interval(&wanted, 0.95).expect("a confidence").expect("many values");
    let accuracy = points[0].metric("accuracy").expect("an accuracy");
    let found = accuracy.summary.expect("a summary");
    assert!((found.mean - wanted.mean).abs() < 1e-12 && found.n == 30 && found.min == wanted.min);
    assert!((accuracy.interval.expect("an interval").lo - interval.lo).abs() < 1e-12);
    let err = points[0].metric("err").and_then(|metric| metric.summary).expect("an error");
    assert!((err.mean - (1.0 - wanted.mean)).abs() < 1e-12);
    let dropped = values.iter().filter(|value| **value < 0.9 - 0.01 - 1e-12).count() as f64 / 30.0;
    assert_eq!(points[0].dropped.expect("a share").value, dropped);
    assert_eq!((points[0].images, points[0].own.len()), (0, 0));
    let text = csv::summary(&points, 0.01);
    assert!(!text.contains("own_") && cell(&text, "top5_accuracy_mean").is_empty());
}

#[test]
fn an_accuracy_of_known_images_is_a_count() {
    let counted =
        summary(PLAIN, |trial| vec![("images", 200.0), ("correct", 150.0 - (trial.max(0) % 5) as f64)]);
    let shared = summary(PLAIN, |trial| {
        let share = (150.0 - (trial.max(0) % 5) as f64) / 200.0;
        vec![("images", 200.0), ("accuracy", f64::from(share as f32))]
    });
    assert_eq!(counted, shared);
}

#[test]
fn numbers_of_its_own_are_summarised_and_nan_is_told() {
    let of = |trial: i64| {
        let odd = match trial {
            3 => f64::NAN,
            5 => f64::NEG_INFINITY,
            trial => trial as f64,
        };
        vec![("accuracy", 0.5), ("f1, macro", odd), ("loss", if trial == 4 { f64::NAN } else { 2.0 })]
    };
    let points = summary(PLAIN, of);
    let values: Vec<f64> = (0..30).filter(|trial| ![3, 5].contains(trial)).map(f64::from).collect();
    let wanted = Summary::of(&values).expect("numbers").expect("not empty");
    let own = &points[1].own[0];
    let found = own.summary.expect("a summary");
    assert_eq!((own.name.as_str(), own.nonfinite, found.n), ("f1, macro", 2, 28));
    assert_eq!((found.min, found.max), (0.0, 29.0));
    assert!((found.mean - wanted.mean).abs() < 1e-12);
    assert!((found.std.expect("a spread") - wanted.std.expect("a spread")).abs() < 1e-12);
    let interval = t_interval(&wanted, 0.95).expect("a confidence").expect("many values");
    assert!((own.interval.expect("an interval").hi - interval.hi).abs() < 1e-9);
    let loss = points[1].metric("loss").and_then(|metric| metric.summary).expect("a loss");
    assert_eq!((loss.n, loss.mean), (29, 2.0));
    let text = csv::summary(&points, 0.01);
    let header = text.lines().next().expect("a header");
    assert!(header.ends_with(
        "\"own_f1, macro_mean\",\"own_f1, macro_std\",\"own_f1, macro_min\",\"own_f1, macro_max\",\
         \"own_f1, macro_ci_lo\",\"own_f1, macro_ci_hi\",\"own_f1, macro_nonfinite\""
    ));
    assert!(text.lines().nth(1).is_some_and(|row| row.ends_with(",2")), "{text}");
}

#[test]
fn without_any_accuracy_there_is_no_score() {
    let points = summary(PLAIN, |trial| vec![("perplexity", 20.0 + trial as f64)]);
    assert_eq!((points[0].dropped, points[0].worst_trial), (None, None));
    assert!(points[0].metrics.iter().all(|metric| metric.summary.is_none() || metric.metric == "faults"));
    assert_eq!(points[0].own[0].summary.expect("a summary").n, 30);
}

#[test]
fn under_a_rule_numbers_without_bounds_have_no_interval() {
    let of = |trial: i64| vec![("accuracy", 0.5 + 0.001 * (trial.max(0) % 3) as f64), ("f1", trial as f64)];
    let text = "[fault]\nrates = [1e-2]\n[run]\nstop = { half_width = 0.2, max_trials = 60 }";
    let points = summary(text, of);
    assert!(points[0].trials < 60, "the rule looks at the error of a bare accuracy");
    assert!(points[0].own[0].interval.is_none() && points[0].own[0].summary.is_some());
    assert!(points[0].metric("err").and_then(|metric| metric.interval).is_some());
}

#[test]
fn conditioned_numbers_are_weighted_with_those_without_faults() {
    let of = |trial: i64| vec![("accuracy", 0.5), ("f1", if trial < 0 { 2.0 } else { 1.0 })];
    let points = summary("[fault]\nrates = [1e-4]\nat_least = 1\n[run]\ntrials = 4", of);
    let weight = points[0].weight.expect("a weight");
    let overall = points[0].own[0].overall.expect("a mean over all trials");
    assert!((overall.mean - (2.0 - weight)).abs() < 1e-12);
    let text = csv::summary(&points, 0.01);
    assert_eq!(cell(&text, "own_f1_overall_mean").parse(), Ok(overall.mean));
    assert_eq!(cell(&text, "own_f1_nonfinite"), "0");
}

#[test]
fn numbers_that_cannot_be() {
    let hosted = prepared(PLAIN);
    type Case = (&'static [(&'static str, f64)], &'static str, MetricProblem);
    let cases: [Case; 14] = [
        (&[("images", 0.0)], "images", MetricProblem::NoImages),
        (&[("images", 2.5)], "images", MetricProblem::NoCount),
        (&[("images", -1.0)], "images", MetricProblem::NoCount),
        (&[("images", 1e300)], "images", MetricProblem::NoCount),
        (&[("images", 10.0), ("correct", f64::NAN)], "correct", MetricProblem::NoCount),
        (&[("images", 10.0), ("correct", 11.0)], "correct", MetricProblem::BeyondImages { images: 10 }),
        (&[("correct", 3.0)], "correct", MetricProblem::NeedsImages),
        (&[("nonfinite", 0.0)], "nonfinite", MetricProblem::NeedsImages),
        (
            &[("images", 10.0), ("correct", 9.0), ("top5_correct", 8.0)],
            "top5_correct",
            MetricProblem::BelowCorrect { correct: 9 },
        ),
        (&[("accuracy", 91.5)], "accuracy", MetricProblem::NoShare),
        (&[("accuracy", f64::NAN)], "accuracy", MetricProblem::NoShare),
        (&[("images", 10.0), ("accuracy", 0.55)], "accuracy", MetricProblem::NoShareOf { images: 10 }),
        (
            &[("images", 10.0), ("correct", 5.0), ("accuracy", 0.6)],
            "accuracy",
            MetricProblem::Disagrees { counted: 0.5 },
        ),
        (&[("f1", 1.0), (" ", 0.5)], " ", MetricProblem::NoName),
    ];
    for (numbers, wanted, problem) in cases {
        match hosted.golden_metrics(numbers.iter().copied(), 0.0) {
            Err(HostedError::Metric { name, problem: found, .. }) => {
                assert_eq!((name.as_str(), found), (wanted, problem), "{numbers:?}");
            }
            Err(error) => panic!("{numbers:?}: {error}"),
            Ok(_) => panic!("{numbers:?} pass"),
        }
    }
    let repeated = hosted.golden_metrics([("f1", 0.5), ("f1", 0.5)], 0.0);
    assert!(matches!(repeated, Err(HostedError::Metric { problem: MetricProblem::Repeated, .. })));
    let distances = prepared("[fault]\ncounts = [1]\n[outcome]\ndistance = 'max_abs'\nthreshold = 1.0");
    assert!(matches!(distances.golden_metrics([("f1", 0.5)], 0.0), Err(HostedError::OutcomeUnused)));
    let nothing: [(&str, f64); 0] = [];
    assert!(matches!(hosted.golden_metrics(nothing, 0.0), Err(HostedError::NoMetrics)));
    assert!(matches!(hosted.golden_metrics([("f1", 0.5)], -1.0), Err(HostedError::Seconds { .. })));
}

#[test]
fn metrics_of_other_names_than_the_golden_run_has() {
    let golden = prepared(PLAIN).golden_metrics([("accuracy", 0.5), ("f1", 0.5)], 0.0).expect("a golden run");
    let names = |numbers: &[(&str, f64)]| match golden.metrics(numbers.iter().copied()) {
        Err(HostedError::MetricNames { missing, unknown }) => (missing.join(" "), unknown.join(" ")),
        _ => panic!("{numbers:?} pass"),
    };
    assert_eq!(names(&[("accuracy", 0.5)]), ("f1".into(), String::new()));
    assert_eq!(names(&[("accuracy", 0.5), ("f1", 1.0), ("f2", 1.0)]), (String::new(), "f2".into()));
    assert_eq!(names(&[("accuracy", 0.5), ("F1", 1.0)]), ("f1".into(), "F1".into()));
    let error = golden.metrics([("accuracy", 0.5), ("F1", 1.0)]).expect_err("a refusal").to_string();
    assert_eq!(error, "the host gave `F1`, which the golden run does not have, and not `f1`, which it has");
}

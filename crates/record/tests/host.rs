//! What a host tells, in all files.

use std::io::Write as _;

use bitquake_record::csv::TrialRows;
use bitquake_record::{Amount, Golden, OverviewBuilder, PointPlan, SiteRecord, SummaryOptions};
use bitquake_record::{Counts, HostRecord, METRICS, ParquetRows, TrialRecord, summarise};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

fn host(counts: &[&str], own: &[(&str, Option<f64>)]) -> HostRecord {
    HostRecord {
        counts: counts.iter().map(ToString::to_string).collect(),
        own: own.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
    }
}

fn trial(number: u64, host: HostRecord) -> TrialRecord {
    TrialRecord {
        trial: number,
        count: Some(1),
        host: Some(host),
        pattern: "00".into(),
        ..TrialRecord::default()
    }
}

fn golden(host: HostRecord) -> Golden {
    Golden {
        points: vec![PointPlan::new(0, Amount::Count(1))],
        metrics: Counts { host: Some(host), ..Counts::default() },
        ..Golden::default()
    }
}

#[test]
fn a_line_reads_back_and_a_number_that_is_not_finite_is_null() {
    let told = trial(3, host(&["images"], &[("f1", Some(0.5)), ("odd", None)]));
    let line = serde_json::to_string(&told).unwrap();
    assert!(line.contains(r#""host":{"counts":["images"],"own":{"f1":0.5,"odd":null}}"#), "{line}");
    assert_eq!(serde_json::from_str::<TrialRecord>(&line).unwrap(), told);
    assert_eq!((told.own("f1"), told.own("odd"), told.own("none")), (Some(0.5), None, None));
}

#[test]
fn what_was_not_counted_is_empty_and_own_numbers_have_columns() {
    let own = ["a, b".to_owned(), "f1".to_owned()];
    let trials = [
        TrialRecord { images: 8, ..trial(0, host(&["images"], &[("f1", Some(0.25)), ("a, b", None)])) },
        trial(1, host(&[], &[("f1", Some(1e-300)), ("a, b", Some(2.0))])),
        TrialRecord { host: None, images: 5, ..trial(2, HostRecord::default()) },
    ];
    let mut rows = TrialRows::trials_with_own(Vec::new(), &own).unwrap();
    trials.iter().for_each(|trial| rows.write(trial).unwrap());
    let text = String::from_utf8(rows.into_inner()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with(r#",pattern,"own_a, b",own_f1"#), "{}", lines[0]);
    assert!(lines[1].ends_with(",00,,0.25") && lines[2].ends_with(&format!(",00,2,{}", 1e-300)));
    assert!(lines[3].ends_with(",00,,"), "a trial that nobody judged has none");
    let place = |name: &str| lines[0].split(',').position(|column| column == name).unwrap();
    let cell = |row: usize, name: &str| lines[row].split(',').nth(place(name)).unwrap();
    assert_eq!(["images", "correct", "due"].map(|name| cell(1, name)), ["8", "", ""]);
    assert_eq!(["images", "correct", "due"].map(|name| cell(2, name)), ["", "", ""]);
    assert_eq!(["images", "correct", "due"].map(|name| cell(3, name)), ["5", "0", "0"]);

    let mut rows = ParquetRows::with_own(Vec::new(), &own).unwrap();
    trials.iter().for_each(|trial| rows.write(trial.clone()).unwrap());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&rows.finish().unwrap()).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns()).collect();
    let field =
        |row: usize, name: &str| rows[row].iter().find(|(column, _)| column == name).unwrap().1.clone();
    assert_eq!((field(0, "own_f1"), field(0, "own_a, b")), (Field::Double(0.25), Field::Null));
    assert_eq!((field(0, "images"), field(0, "correct")), (Field::ULong(8), Field::Null));
    assert_eq!((field(1, "images"), field(2, "correct")), (Field::Null, Field::ULong(0)));
}

#[test]
fn known_counts_have_metrics_and_others_have_none() {
    let all =
        Counts { images: 10, correct: 9, host: Some(host(&["images", "correct"], &[])), ..Counts::default() };
    let told = TrialRecord { images: 10, correct: 4, ..trial(0, host(&["images", "correct"], &[])) };
    let found: Vec<_> =
        METRICS.iter().filter_map(|metric| Some((metric.name, metric.of(&told, &all)?))).collect();
    assert_eq!(found, [("accuracy", 0.4), ("err", 0.6), ("faults", 0.0)]);
    assert_eq!((told.score(&all), told.failures()), (Some(0.4), None));
    assert!(all.knows("correct") && !all.knows("nonfinite") && Counts::default().knows("nonfinite"));
}

#[test]
fn trials_without_a_score_are_in_no_place_that_needs_one() {
    let golden = golden(host(&[], &[("f1", Some(0.5))]));
    let site = SiteRecord { tensor: "w".into(), element: 0, bit: 3 };
    let trials: Vec<TrialRecord> = (0..4)
        .map(|number| TrialRecord {
            site: Some(site.clone()),
            ..trial(number, host(&[], &[("f1", (number > 0).then_some(number as f64))]))
        })
        .collect();
    let mut overview =
        OverviewBuilder::new(golden.clone(), String::new(), SummaryOptions::default()).unwrap();
    trials.iter().for_each(|trial| overview.add(trial).unwrap());
    let overview = overview.finish().unwrap();
    assert_eq!((overview.trials, overview.worst.len(), overview.shown.len()), (4, 0, 0));
    assert!(overview.vulnerability.is_none(), "no failures are known");
    let points = summarise(&golden, &trials, SummaryOptions::default()).unwrap();
    let own = &points[0].own[0];
    let found = own.summary.unwrap();
    assert_eq!((own.nonfinite, found.n, found.mean, found.min, found.max), (1, 3, 2.0, 1.0, 3.0));
    assert_eq!((points[0].dropped, points[0].worst_trial, golden.score()), (None, None, None));
}

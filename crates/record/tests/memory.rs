//! Reading, summarising and exporting do not hold the records. One test a process: it looks at the process's memory.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write, sink};

use bitquake_record::{
    Amount, Counts, Golden, Overview, OverviewBuilder, ParquetRows, PointPlan, ResultDir, SiteRecord,
    SpaceTensorRecord, StorageRecord, SummaryOptions, TrialRecord, csv, shard_file,
};

/// The largest memory so far, in MiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

fn record(trial: u64) -> TrialRecord {
    let lost = if trial.is_multiple_of(50) { trial % 900 } else { 0 };
    TrialRecord {
        trial,
        count: Some(1),
        faults: 1,
        images: 1000,
        correct: 900 - lost,
        top5_correct: 990 - lost,
        golden_mismatch: lost,
        masked: Some(500),
        loss: Some(0.25),
        seconds: 0.001,
        by_bit: BTreeMap::from([((trial % 32) as u32, 1)]),
        by_tensor: BTreeMap::from([("conv1.weight".into(), 1)]),
        site: Some(SiteRecord {
            tensor: "conv1.weight".into(),
            element: trial % 1000,
            bit: (trial % 32) as u32,
        }),
        pattern: "0123456789abcdef".into(),
        ..TrialRecord::default()
    }
}

fn golden() -> Golden {
    let tensor =
        SpaceTensorRecord { tensor: "conv1.weight".into(), bits: 32_000, ..SpaceTensorRecord::default() };
    Golden {
        points: vec![PointPlan::new(0, Amount::Count(1))],
        metrics: Counts { images: 1000, correct: 900, top5_correct: 990, ..Counts::default() },
        storage: StorageRecord { bits: 32_000, tensors: vec![tensor], ..StorageRecord::default() },
        ..Golden::default()
    }
}

/// Two shards, the trials of the first in a mixed order.
fn write(dir: &ResultDir, trials: u64) {
    for shard in 0..2 {
        let mut file = BufWriter::new(File::create(dir.path().join(shard_file(shard))).unwrap());
        for place in 0..trials / 2 {
            let place = if shard == 0 { place * 7_919 % (trials / 2) } else { place };
            serde_json::to_writer(&mut file, &record(2 * place + u64::from(shard))).unwrap();
            file.write_all(b"\n").unwrap();
        }
    }
}

fn rebuild(dir: &ResultDir) -> Overview {
    let mut builder = OverviewBuilder::new(golden(), String::new(), SummaryOptions::default()).unwrap();
    let mut rows = csv::TrialRows::trials(sink()).unwrap();
    let mut parquet = ParquetRows::new(sink()).unwrap();
    let mut expected = 0;
    dir.for_each_in_order(|trial| {
        assert_eq!(trial.trial, expected);
        expected += 1;
        rows.write(&trial).unwrap();
        builder.add(&trial)?;
        parquet.write(trial)
    })
    .unwrap();
    parquet.finish().unwrap();
    builder.finish().unwrap()
}

fn check(trials: u64, most: u64) {
    let temp = tempfile::tempdir().unwrap();
    let dir = ResultDir::at(temp.path());
    write(&dir, trials);
    let before = peak();
    assert_eq!(dir.finished().unwrap().len(), trials);
    let overview = rebuild(&dir);
    assert_eq!((overview.trials, overview.points[0].trials), (trials, trials));
    assert_eq!(overview.vulnerability.unwrap().whole.rate.trials, trials);
    let grown = peak() - before;
    assert!(grown < most, "{grown} MiB for {trials} trials");
}

/// The records would take some 90 MiB.
#[test]
fn memory_is_flat() {
    check(100_000, 70);
}

#[test]
#[ignore = "a minute: cargo test --release -p bitquake-record --test memory -- --ignored"]
fn memory_is_flat_for_millions() {
    check(3_000_000, 120);
}

//! The interval at which a campaign stops contains the truth.

mod replay;

use std::path::Path;
use std::sync::atomic::AtomicBool;

use bitquake_campaign::{Campaign, RunOptions, Shard, read_config};
use bitquake_record::{METRICS, ResultDir};
use bitquake_stats::StopRule;
use bitquake_testing::{SplitMix64, check_binomial};
use replay::Population;

/// 95 % asked for, of 100 campaigns of each kind. Intervals that cover in exactly 95 % fail with probability 2e-6 in all. The full size is
/// in `cargo bench -p bitquake-campaign --bench coverage`.
#[test]
fn the_interval_at_which_a_rule_stops_covers_the_truth() {
    for (settings, images, half_width) in [
        (&["fault.rates=[1e-5]"][..], 2, 0.12),
        (&["fault.rates=[1e-3]", "storage={ family = 'symmetric', bits = 8 }"], 8, 0.06),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = ResultDir::at(folder.path());
        run(&dir, settings);
        let (records, golden) =
            (dir.trials().expect("records"), dir.golden().expect("a file").expect("golden"));
        let metric = METRICS.iter().find(|metric| metric.name == "err").expect("a metric");
        let population = Population { records: &records, golden: &golden.metrics, metric };
        let rule = StopRule { half_width: Some(half_width), ..StopRule::new(0.95, 100_000) };
        let (mut random, truth, runs) = (SplitMix64::new(93), population.truth(), 100);
        let mut right = 0;
        for _ in 0..runs {
            let ended = population.campaign(images, &rule, &mut random).expect("a campaign");
            assert!(ended.interval.half_width() <= half_width && ended.trials < 100_000);
            right += u64::from(ended.interval.contains(truth));
        }
        println!("{settings:?}: {right} of {runs} cover {truth:.4}");
        let enough = right as f64 >= 0.95 * runs as f64;
        let verdict = check_binomial(right, runs, 0.95, 1e-6);
        assert!(enough || verdict.is_ok(), "{settings:?}: {verdict:?}");
    }
}

fn run(dir: &ResultDir, settings: &[&str]) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/campaign.toml");
    let small = ["data.limit=60", "run.trials=120", "run.images=20"];
    let settings: Vec<String> = small.iter().chain(settings).map(ToString::to_string).collect();
    let (campaign, model) =
        Campaign::prepare(read_config(&[example], &settings).expect("a valid campaign")).expect("a campaign");
    let stop = AtomicBool::new(false);
    let options = RunOptions { shard: Shard::default(), stop: &stop };
    campaign.run(model, dir, options, |_| ()).expect("a run");
}

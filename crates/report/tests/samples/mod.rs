//! Results that look like real ones, made without randomness from outside.

use std::collections::BTreeMap;

use bitquake_record::{
    Amount, Counts, DistanceMeasure, DistanceRecord, DistanceRule, Engine, Extent, Golden, Machine,
    PointPlan, ProtectionRecord, Results, SCHEMA, SiteRecord, SpaceTensorRecord, StorageRecord, TrialRecord,
};

/// Every sample with its name.
pub fn all() -> Vec<(&'static str, Results)> {
    vec![
        ("campaign", campaign()),
        ("upset", single_upset()),
        ("partial", partial()),
        ("many", many_trials()),
        ("flat", flat()),
        ("empty", empty()),
        ("protected", protected()),
        ("conditioned", conditioned()),
        ("voltages", voltages()),
        ("single-faults", single_faults()),
        ("distances", distances()),
    ]
}

/// Codes behind an ECC.
pub fn protected() -> Results {
    let mut protected = results("protected", &rates(&[1e-4, 1e-3]), 20, 20);
    (protected.golden.storage.memory, protected.golden.storage.check_bits) =
        ("symmetric, 8 bits; secded over 64 bits".into(), 66_176);
    for trial in &mut protected.trials {
        let corrected = trial.faults * 9 / 10;
        let detected = trial.faults / 50;
        trial.protection =
            Some(ProtectionRecord { corrected, detected, residual: 2 * detected, ..Default::default() });
    }
    protected
}

/// Rates at which hardly any trial has a fault, each trial drawn with one.
pub fn conditioned() -> Results {
    let mut conditioned = results("conditioned", &rates(&[1e-10, 1e-8]), 40, 0);
    for (plan, weight) in conditioned.golden.points.iter_mut().zip([2.13e-4, 2.11e-2]) {
        (plan.weight, plan.expected_faults) = (Some(weight), None);
    }
    let upsets = results("single-upset", &[Amount::Count(1)], 40, 40).trials;
    for (point, rate) in [(0, 1e-10), (1, 1e-8)] {
        let of_point =
            |trial: &TrialRecord| TrialRecord { point, rate: Some(rate), count: None, ..trial.clone() };
        conditioned.trials.extend(upsets.iter().map(of_point));
    }
    conditioned
}

/// A chip at falling voltages.
pub fn voltages() -> Results {
    let mut falling = results("voltages", &[0.9, 0.85, 0.8].map(Amount::Voltage), 10, 10);
    falling.golden.points.iter_mut().for_each(|plan| plan.expected_faults = None);
    falling
}

/// Five rates with fifty trials each.
pub fn campaign() -> Results {
    results("fashion-cnn-ber", &rates(&[0.0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3]), 50, 50)
}

/// One flip in each of 200 trials.
pub fn single_upset() -> Results {
    results("single-upset", &[Amount::Count(1)], 200, 200)
}

/// One flip in each of 4000 trials, whose places are recorded.
pub fn single_faults() -> Results {
    let mut results = results("single-faults", &[Amount::Count(1)], 4000, 4000);
    let mut random = Random(11);
    for trial in &mut results.trials {
        let tensor = trial.by_tensor.keys().next().cloned().unwrap_or_default();
        let bit = trial.by_bit.keys().next().copied().unwrap_or(0);
        let elements =
            results.golden.storage.tensors.iter().find(|t| t.tensor == tensor).map_or(1, |t| t.elements);
        trial.site = Some(SiteRecord { tensor, element: random.below(elements), bit });
        (trial.masked, trial.sdc5) = (Some(trial.images / 3), Some(trial.golden_mismatch / 4));
        (trial.sdc10, trial.sdc20) = (Some(trial.golden_mismatch * 2), Some(trial.golden_mismatch));
    }
    results
}

/// A model that is no classifier.
pub fn distances() -> Results {
    let mut results = results("distances", &rates(&[1e-6, 1e-5, 1e-4]), 20, 20);
    results.golden.distance = Some(DistanceRule { measure: DistanceMeasure::RelL2, threshold: 0.1 });
    results.golden.metrics = Counts { images: 2000, classes: 10, ..Counts::default() };
    for trial in &mut results.trials {
        let share = trial.golden_mismatch as f64 / 2000.0;
        let extent = |scale: f64| Extent { mean: Some(scale * share), worst: Some(3.0 * scale * share) };
        trial.distance = Some(DistanceRecord {
            compared: trial.images,
            exceeded: trial.golden_mismatch,
            max_abs: extent(10.0),
            rel_l2: extent(1.0),
            cosine: Extent { mean: Some(1.0 - 0.1 * share), worst: Some(1.0 - share) },
        });
        (trial.correct, trial.top5_correct, trial.err_union, trial.golden_mismatch) = (0, 0, 0, 0);
        trial.loss = None;
    }
    results
}

/// Stopped in its third point.
pub fn partial() -> Results {
    let mut partial = results("stopped", &rates(&[1e-6, 1e-5, 1e-4, 1e-3]), 50, 50);
    partial.trials.retain(|trial| trial.point < 2 || (trial.point == 2 && trial.trial == 7));
    partial
}

/// More trials than are drawn, at counts.
pub fn many_trials() -> Results {
    let counts: Vec<Amount> = [1, 2, 5, 10, 20, 50, 100].map(Amount::Count).to_vec();
    results("many-trials", &counts, 2000, 2000)
}

/// Faults that never matter: all trials equal the golden run.
pub fn flat() -> Results {
    let mut flat = results("flat", &rates(&[1e-9, 1e-8]), 30, 30);
    let counts = flat.golden.metrics.clone();
    for trial in &mut flat.trials {
        (trial.correct, trial.golden_mismatch, trial.nonfinite) = (counts.correct, 0, 0);
        trial.loss = counts.loss;
    }
    flat
}

/// No point and no trial.
pub fn empty() -> Results {
    results("empty", &[], 50, 0)
}

pub fn rates(rates: &[f64]) -> Vec<Amount> {
    rates.iter().map(|rate| Amount::Rate(*rate)).collect()
}

/// Results with so many trials at each point.
pub fn results(name: &str, amounts: &[Amount], planned: u64, trials: u64) -> Results {
    let golden = golden(name, amounts);
    let mut random = Random(7);
    let record = |(point, amount): (usize, &Amount)| {
        (0..trials)
            .map(|trial| record(&golden, &mut random, point as u32, *amount, trial))
            .collect::<Vec<_>>()
    };
    let trials = amounts.iter().enumerate().flat_map(record).collect();
    let campaign = format!(
        "schema = 1\nname = \"{name}\"\nseed = 42\n\n[model]\npath = \"/data/fashion_cnn.onnx\"\n\n[data]\nformat = \"idx\"\n\
         images = \"/data/t10k-2000-images-idx3-ubyte.gz\"\nlabels = \"/data/t10k-2000-labels-idx1-ubyte.gz\"\n\n[storage]\n\
         family = \"native\"\n\n[fault]\nmodel = \"bit-flip\"\ntarget = \"weights\"\nselect = [\"*\"]\nbits = \"all\"\n\n[run]\n\
         trials = {planned}\nbatch = 256\nthreads = 0\nconfidence = 0.95\nmargin = 0.01\n"
    );
    Results { golden, campaign, trials }
}

/// The tensors of a small network.
fn tensors() -> Vec<SpaceTensorRecord> {
    let mut tensors = Vec::new();
    let mut add = |name: String, elements: u64| {
        tensors.push(SpaceTensorRecord {
            tensor: name,
            format: "f32".into(),
            elements,
            bits: 32 * elements,
            shape: Vec::new(),
        });
    };
    for (layer, (inputs, outputs)) in [(1, 32), (32, 64), (64, 64), (64, 96)].into_iter().enumerate() {
        add(format!("features.{layer}.conv.weight"), 9 * inputs * outputs);
        for part in ["weight", "bias", "running_mean", "running_var"] {
            add(format!("features.{layer}.norm.{part}"), outputs);
        }
    }
    add("classifier.weight".into(), 960);
    add("classifier.bias".into(), 10);
    tensors
}

fn golden(name: &str, amounts: &[Amount]) -> Golden {
    let tensors = tensors();
    let bits: u64 = tensors.iter().map(|tensor| tensor.bits).sum();
    let plan = |(point, amount): (usize, &Amount)| PointPlan {
        expected_faults: Some(match amount {
            Amount::Rate(rate) => rate * bits as f64,
            other => other.value(),
        }),
        ..PointPlan::new(point as u32, *amount)
    };
    Golden {
        schema: SCHEMA,
        bitquake: "0.1.0".into(),
        name: name.into(),
        campaign: "9f2c4e7ab1d05836".repeat(4),
        identity: BTreeMap::from([
            ("data".into(), "5b0e".repeat(16)),
            ("model".into(), "c41d".repeat(16)),
            ("seed".into(), "42".into()),
        ]),
        engine: Engine {
            name: "ONNX Runtime".into(),
            version: "1.31.1".into(),
            settings: "all optimisations but ConvBNFusion".into(),
            batch: 256,
        },
        machine: Machine { cpu: "Some CPU @ 2.80GHz".into(), threads: 2, system: "linux x86_64".into() },
        storage: StorageRecord {
            model: "fashion_cnn.onnx".into(),
            memory: "native words".into(),
            check_bits: 0,
            bits,
            tensors,
        },
        points: amounts.iter().enumerate().map(plan).collect(),
        metrics: Counts {
            images: 2000,
            classes: 10,
            correct: 1823,
            top5_correct: 1994,
            nonfinite: 0,
            loss: Some(0.2513),
            host: None,
        },
        outputs: "e3b0c44298fc1c14".repeat(4),
        seconds: 0.4312,
        ..Golden::default()
    }
}

/// A trial in which every flip of a high exponent bit does harm.
fn record(golden: &Golden, random: &mut Random, point: u32, amount: Amount, trial: u64) -> TrialRecord {
    let faults = match amount {
        Amount::Rate(rate) => random.about(rate * golden.storage.bits as f64),
        other => other.value() as u64,
    };
    let (mut by_bit, mut by_tensor) = (BTreeMap::new(), BTreeMap::new());
    let mut harm = 0.0_f64;
    for _ in 0..faults {
        let bit = random.below(32) as u32;
        *by_bit.entry(bit).or_insert(0) += 1;
        *by_tensor.entry(random.tensor(golden)).or_insert(0) += 1;
        harm += if bit == 30 { 0.9 * random.share() } else { 0.0004 * random.share() };
    }
    let counts = &golden.metrics;
    let images = counts.images as f64;
    let kept = (-harm).exp();
    let correct = (images * 0.1 + (counts.correct as f64 - images * 0.1) * kept).round() as u64;
    let lost = 1.0 - kept;
    let flipped_high = by_bit.get(&30).copied().unwrap_or(0);
    TrialRecord {
        point,
        trial,
        rate: if let Amount::Rate(rate) = amount { Some(rate) } else { None },
        count: if let Amount::Count(count) = amount { Some(count) } else { None },
        fraction: if let Amount::Fraction(share) = amount { Some(share) } else { None },
        voltage: if let Amount::Voltage(volts) = amount { Some(volts) } else { None },
        faults,
        images: counts.images,
        correct,
        top5_correct: correct + (counts.images - correct) / 2,
        golden_mismatch: (images * lost * 0.93) as u64,
        nonfinite: if flipped_high > 3 { (images * lost * random.share()) as u64 } else { 0 },
        err_union: counts.images - correct + 12,
        due: 0,
        loss: (flipped_high < 9).then_some(0.2513 + 30.0 * lost),
        seconds: 0.2,
        to_one: faults / 2,
        became_nan: flipped_high / 40,
        became_inf: flipped_high / 90,
        by_bit,
        by_tensor,
        pattern: format!("{:016x}", random.next()),
        ..TrialRecord::default()
    }
}

/// Splitmix64: enough for a picture.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number with about this mean: the sum of twelve shares stands for a normal number.
    fn about(&mut self, mean: f64) -> u64 {
        if mean < 5.0 {
            return (0..1000).filter(|_| self.share() < mean / 1000.0).count() as u64;
        }
        let normal: f64 = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        (mean + normal * mean.sqrt()).max(0.0).round() as u64
    }

    fn tensor(&mut self, golden: &Golden) -> String {
        let mut place = self.below(golden.storage.bits);
        for tensor in &golden.storage.tensors {
            match place.checked_sub(tensor.bits) {
                Some(rest) => place = rest,
                None => return tensor.tensor.clone(),
            }
        }
        String::new()
    }
}

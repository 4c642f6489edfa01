//! A host that is a small linear classifier, and what it does to run a campaign.

use std::collections::BTreeMap;

use bitquake_bits::{Format, Layout, WordStore, Words, WordsMut};
use bitquake_campaign::End;
use bitquake_campaign::hosted::{
    Digests, HostGolden, HostResult, HostTensor, Hosted, HostedConfig, HostedError, HostedRun, Proof, Proved,
};
use bitquake_config::hex;
use bitquake_record::{ResultDir, TrialRecord};
use bitquake_testing::SplitMix64;
use sha2::{Digest, Sha256};

pub const INPUTS: usize = 4;
pub const CLASSES: usize = 3;
pub const IMAGES: usize = 40;

/// Words by tensor: a weight matrix, a bias, and a counter that the network does not look at.
#[derive(Clone)]
pub struct Toy {
    tensors: BTreeMap<&'static str, (Format, Layout, Vec<u8>)>,
    images: Vec<[f32; INPUTS]>,
    pub labels: Vec<u32>,
}

impl WordStore for Toy {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        let (format, layout, bytes) = self.tensors.get(tensor)?;
        let elements = bytes.len() as u64 * 8 / u64::from(format.width());
        Words::new(*format, elements, layout, bytes).ok()
    }

    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        let (format, layout, bytes) = self.tensors.get_mut(tensor)?;
        let elements = bytes.len() as u64 * 8 / u64::from(format.width());
        WordsMut::new(*format, elements, layout, bytes).ok()
    }
}

impl Toy {
    pub fn new() -> Self {
        let mut random = SplitMix64::new(11);
        let mut number = || random.below(2000) as f32 / 1000.0 - 1.0;
        let floats = |numbers: Vec<f32>| numbers.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
        let weight = floats((0..CLASSES * INPUTS).map(|_| number()).collect());
        let bias = floats((0..CLASSES).map(|_| number()).collect());
        let images: Vec<_> = (0..IMAGES).map(|_| [number(), number(), number(), number()]).collect();
        let packed = |format, bytes| (format, Layout::packed(format), bytes);
        let tensors = BTreeMap::from([
            ("fc.weight", packed(Format::F32, weight)),
            ("fc.bias", packed(Format::F32, bias)),
            ("fc.steps", packed(Format::I64, 7_i64.to_le_bytes().to_vec())),
        ]);
        let mut toy = Self { tensors, images, labels: Vec::new() };
        let best = |row: &[f32]| {
            (0..CLASSES).fold(0, |best, class| if row[class] > row[best] { class } else { best })
        };
        // Every fifth label is wrong.
        toy.labels = toy
            .outputs()
            .chunks(CLASSES)
            .enumerate()
            .map(|(place, row)| ((best(row) + usize::from(place % 5 == 0)) % CLASSES) as u32)
            .collect();
        toy
    }

    pub fn tensors() -> Vec<HostTensor> {
        let tensor = |name: &str, format, dims: &[u64], by_name_only| HostTensor {
            name: name.into(),
            format,
            dims: dims.to_vec(),
            by_name_only,
            also: vec![],
        };
        vec![
            tensor("fc.weight", Format::F32, &[CLASSES as u64, INPUTS as u64], false),
            tensor("fc.bias", Format::F32, &[CLASSES as u64], false),
            tensor("fc.steps", Format::I64, &[], true),
        ]
    }

    pub fn digests(&self) -> Digests {
        let mut hash = Sha256::new();
        Self::tensors().iter().for_each(|tensor| hash.update(&self.tensors[tensor.name.as_str()].2));
        Digests { words: hex(&hash.finalize()), data: None }
    }

    fn floats(&self, tensor: &str) -> Vec<f32> {
        let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        self.tensors[tensor].2.chunks(4).map(float).collect()
    }

    /// One row a class for each image.
    pub fn outputs(&self) -> Vec<f32> {
        let (weight, bias) = (self.floats("fc.weight"), self.floats("fc.bias"));
        let score = |image: &[f32; INPUTS], class: usize| {
            let row = &weight[class * INPUTS..(class + 1) * INPUTS];
            row.iter().zip(image).fold(bias[class], |sum, (weight, input)| sum + weight * input)
        };
        self.images.iter().flat_map(|image| (0..CLASSES).map(move |class| score(image, class))).collect()
    }

    /// What the host makes of its outputs itself: counts, and two numbers of its own, of which one is NaN where an output is.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let outputs = self.outputs();
        let is_right = |(row, label): (&[f32], &u32)| {
            !row.iter().any(|output| output.is_nan())
                && row.iter().position(|output| row.iter().all(|other| other <= output))
                    == Some(*label as usize)
        };
        let correct = outputs.chunks(CLASSES).zip(&self.labels).filter(|pair| is_right(*pair)).count();
        let norm = outputs.iter().fold(0.0, |sum, output| sum + f64::from(*output));
        vec![("images", IMAGES as f64), ("correct", correct as f64), ("sum", norm), ("steps", 7.0)]
    }

    /// The same under flips, which are undone.
    pub fn under<T>(&mut self, pattern: &bitquake_fault::FaultPattern, look: impl FnOnce(&Self) -> T) -> T {
        pattern.apply(self).expect("a pattern of these words");
        let seen = look(self);
        pattern.apply(self).expect("a pattern of these words");
        seen
    }
}

pub fn config(text: &str) -> HostedConfig {
    let head = "name = 'toy'\nseed = 5\n[host]\nmodel = 'toy'\nengine = 'loops'\nversion = '1'\nbatch = 8\n";
    HostedConfig::from_toml(&format!("{head}{text}")).expect("a configuration")
}

pub fn prepared(text: &str) -> Hosted {
    Hosted::prepare(config(text), Toy::tensors(), Toy::new().digests()).expect("a campaign")
}

/// How the host tells what came out.
#[derive(Clone, Copy)]
pub enum Tells {
    /// Outputs, some images at a time.
    Outputs(usize),
    Metrics,
}

impl Tells {
    pub fn golden(self, hosted: &Hosted, toy: &Toy) -> Result<HostGolden, HostedError> {
        match self {
            Self::Metrics => hosted.golden_metrics(toy.metrics(), 0.5),
            Self::Outputs(batch) => {
                let mut golden = hosted.golden_outputs();
                let labels = hosted.config().outcome.is_none().then_some(&toy.labels);
                for (place, rows) in toy.outputs().chunks(batch * CLASSES).enumerate() {
                    let first = place * batch;
                    let labels = labels.map(|labels| &labels[first..first + rows.len() / CLASSES]);
                    golden.push(rows, CLASSES, labels)?;
                }
                golden.finish(0.5)
            }
        }
    }

    pub fn result(self, golden: &HostGolden, toy: &Toy) -> Result<HostResult, HostedError> {
        match self {
            Self::Metrics => golden.metrics(toy.metrics()),
            Self::Outputs(batch) => {
                let mut outputs = golden.outputs()?;
                toy.outputs().chunks(batch * CLASSES).try_for_each(|rows| outputs.push(rows, CLASSES))?;
                outputs.finish()
            }
        }
    }

    pub fn proved(self, hosted: &Hosted, golden: &HostGolden) -> Result<Proved, HostedError> {
        let mut toy = Toy::new();
        let mut proof = Proof::new(golden);
        for probe in hosted.probes() {
            let probe = probe?;
            let result = toy.under(&probe.pattern, |faulty| self.result(golden, faulty))?;
            if proof.probe(&probe.tensor, &result)? {
                break;
            }
        }
        proof.empty(&self.result(golden, &toy)?)?;
        proof.finish()
    }

    /// A run with the golden run that it compares with.
    pub fn open(self, hosted: &Hosted, dir: &ResultDir) -> Result<(HostedRun, HostGolden), HostedError> {
        let golden = self.golden(hosted, &Toy::new())?;
        let proved = self.proved(hosted, &golden)?;
        Ok((hosted.open(dir, proved)?, golden))
    }

    /// Runs so many trials at most, and says how it ended; `finish` is left out as if the process had been killed when that is few.
    pub fn run(self, hosted: &Hosted, dir: &ResultDir, most: usize) -> Result<Option<End>, HostedError> {
        let (mut run, golden) = self.open(hosted, dir)?;
        let mut toy = Toy::new();
        for _ in 0..most {
            let Some((point, trial)) = run.next_trial() else { return run.finish().map(Some) };
            let faults = hosted.trial(point, trial, &toy)?;
            let result = toy.under(&faults.pattern.clone(), |faulty| self.result(&golden, faulty))?;
            run.record(faults, result, 0.25)?;
        }
        Ok(None)
    }
}

pub fn timeless(dir: &ResultDir) -> Vec<TrialRecord> {
    dir.trials().expect("records").iter().map(TrialRecord::timeless).collect()
}

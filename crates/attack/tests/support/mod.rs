//! Small memories, and networks that are formulas.

use std::collections::BTreeMap;

use bitquake_attack::{AttackError, AttackedWords, Change, Slopes, Victim};
use bitquake_bits::{BitSelection, Format, WordStore, Words, WordsMut};
use bitquake_sample::StreamKey;
use bitquake_storage::{Memory, StorageSpec};
use bitquake_tensors::{Dtype, Origin, Place, Role, StorageForm, TensorInfo};
use bitquake_testing::SplitMix64;

/// Named float32 tensors.
pub struct Store(BTreeMap<String, Vec<u8>>);

impl WordStore for Store {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        self.0.get(tensor).map(|bytes| Words::packed(Format::F32, bytes))
    }
    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        self.0.get_mut(tensor).map(|bytes| WordsMut::packed(Format::F32, bytes))
    }
}

/// Tensors `t0`, `t1`, ... stored as a table of `[storage]` says.
pub fn stored(storage: &str, tensors: &[Vec<f32>]) -> AttackedWords {
    stored_bits(storage, tensors, BitSelection::All)
}

pub fn stored_bits(storage: &str, tensors: &[Vec<f32>], bits: BitSelection) -> AttackedWords {
    let spec: StorageSpec = toml::from_str(storage).expect("a storage");
    let info = |(number, values): (usize, &Vec<f32>)| TensorInfo {
        name: format!("t{number}"),
        dtype: Dtype::Known(Format::F32),
        shape: vec![values.len() as u64],
        role: Role::Weight,
        origin: Origin { place: Place::Initializer, storage: StorageForm::Words },
    };
    let infos: Vec<TensorInfo> = tensors.iter().enumerate().map(info).collect();
    let bytes = |values: &Vec<f32>| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let store = Store(infos.iter().map(|info| info.name.clone()).zip(tensors.iter().map(bytes)).collect());
    let memory =
        Memory::new(&spec, &infos, &store, StreamKey { seed: 1, point: 0, trial: 0 }).expect("a memory");
    let space = memory.fault_space(&["t*".to_owned()], bits).expect("a space");
    AttackedWords::new(&memory, &space, &store).expect("words")
}

/// The levels of all tensors.
pub fn levels(words: &AttackedWords) -> Vec<Vec<f32>> {
    let of = |tensor: &bitquake_attack::AttackedTensor| {
        (0..tensor.elements()).map(|element| tensor.level(element, tensor.word(element))).collect()
    };
    words.tensors().iter().map(of).collect()
}

/// A loss that is a formula of the weights: a linear part, and waves that make it bend.
pub struct Formula {
    pub weights: Vec<Vec<f32>>,
    linear: Vec<Vec<f64>>,
    waves: f64,
    pub probes: usize,
}

impl Formula {
    /// `sum(slope * weight)`.
    pub fn linear(weights: Vec<Vec<f32>>, slopes: &[&[f64]]) -> Self {
        Self { weights, linear: slopes.iter().map(|slopes| slopes.to_vec()).collect(), waves: 0.0, probes: 0 }
    }

    /// Random slopes, and the sine of each weight times `waves` of its slope.
    pub fn bent(weights: Vec<Vec<f32>>, waves: f64, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let linear = weights.iter().map(|tensor| tensor.iter().map(|_| random.normal()).collect()).collect();
        Self { weights, linear, waves, probes: 0 }
    }

    pub fn loss(&self, weights: &[Vec<f32>]) -> f64 {
        let pairs = weights.iter().flatten().zip(self.linear.iter().flatten());
        pairs.map(|(&x, slope)| slope * f64::from(x) + self.waves * slope * (3.0 * f64::from(x)).sin()).sum()
    }

    pub fn gradient(&self) -> Vec<Vec<f32>> {
        let one = |(&x, slope): (&f32, &f64)| {
            (slope + 3.0 * self.waves * slope * (3.0 * f64::from(x)).cos()) as f32
        };
        self.weights
            .iter()
            .zip(&self.linear)
            .map(|(x, slopes)| x.iter().zip(slopes).map(one).collect())
            .collect()
    }
}

impl Victim for Formula {
    fn slopes(&mut self) -> Result<Slopes, AttackError> {
        Ok(Slopes { loss: self.loss(&self.weights), gradients: self.gradient() })
    }

    fn losses(&mut self, probes: &[Vec<Change>]) -> Result<Vec<f64>, AttackError> {
        self.probes += probes.len();
        let loss = |probe: &Vec<Change>| {
            let mut weights = self.weights.clone();
            probe.iter().for_each(|change| weights[change.tensor][change.element as usize] = change.level);
            self.loss(&weights)
        };
        Ok(probes.iter().map(loss).collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), AttackError> {
        changes.iter().for_each(|change| self.weights[change.tensor][change.element as usize] = change.level);
        Ok(())
    }
}

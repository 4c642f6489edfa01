//! Proof, before the first trial, that faults reach the engine and that nothing else changes the outputs.

use bitquake_fault::{FaultPattern, FaultSpace, PatternError, SpaceTensor, TensorFlips};

use crate::chain::{GoldenRun, RowFaults, RowValues, Stop};
use crate::error::EngineError;
use crate::evaluator::Evaluator;
use crate::model::Model;

/// Why a campaign must not run.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SelfCheckError {
    /// The same model gave other outputs.
    #[error(
        "self-check failed: a trial without faults differs from the golden run at image {image}, class {class}: {golden} became {found}"
    )]
    NotReproducible {
        /// The image, from 0.
        image: usize,
        /// The class.
        class: usize,
        /// The golden output.
        golden: f32,
        /// The output without faults.
        found: f32,
    },
    /// Faults make no difference.
    #[error(
        "self-check failed: flipping the highest bit of a tensor's words changed no output, for none of the {tensors} selected tensors: faults do not reach the engine"
    )]
    NoEffect {
        /// How many tensors were tried.
        tensors: usize,
    },
    /// Rows that were taken up in the middle of the network came out otherwise.
    #[error(
        "self-check failed: image {image}, taken up at boundary {boundary} of the network, differs from the golden run; set run.reuse.prefix = false"
    )]
    NotReusable {
        /// The image.
        image: usize,
        /// The boundary.
        boundary: usize,
    },
    /// A probe could not be made.
    #[error("self-check failed: {reason}")]
    Probe {
        /// Why.
        reason: String,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Runs a trial with the empty pattern, which must reproduce the golden outputs bit for bit, and probe flips, which must
/// change outputs. Returns the name of the tensor whose probe did. `seen` turns flips of what is stored into those that the
/// engine sees.
///
/// # Errors
/// [`SelfCheckError`]; the campaign must then refuse to run.
pub fn self_check(
    evaluator: &mut Evaluator<'_>,
    golden: &GoldenRun,
    space: &FaultSpace,
    probe_images: usize,
    seen: impl Fn(FaultPattern, &Model) -> Result<FaultPattern, SelfCheckError>,
) -> Result<String, SelfCheckError> {
    let golden = &golden.golden;
    let images = golden.predictions.len();
    let classes = golden.outputs.len() / images.max(1);
    let again = evaluator.outputs(&FaultPattern::empty(), images)?;
    let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
    if let Some(at) = golden.outputs.iter().zip(&again).position(differs) {
        let (golden, found) = (golden.outputs[at], again[at]);
        return Err(SelfCheckError::NotReproducible {
            image: at / classes,
            class: at % classes,
            golden,
            found,
        });
    }
    for tensor in space.tensors() {
        let probe = seen(highest_bits(tensor).map_err(EngineError::from)?, evaluator.model())?;
        let outputs = match evaluator.outputs(&probe, probe_images) {
            // The engine saw the fault and refused it.
            Err(EngineError::Load { .. } | EngineError::Run { .. }) => return Ok(tensor.name.clone()),
            outputs => outputs?,
        };
        if golden.outputs.iter().zip(&outputs).any(differs) {
            return Ok(tensor.name.clone());
        }
    }
    Err(SelfCheckError::NoEffect { tensors: space.tensors().len() })
}

/// Takes up images at every boundary of which the golden values are kept, without faults: each must come out as in the golden
/// run, bit for bit, also in another batch than there.
///
/// # Errors
/// [`SelfCheckError::NotReusable`].
pub fn check_reuse(
    evaluator: &mut Evaluator<'_>,
    golden: &GoldenRun,
    probe_images: usize,
) -> Result<(), SelfCheckError> {
    let count = probe_images.min(evaluator.data().len()) as u32;
    // The last batch of the golden run may have been a smaller one.
    let images: Vec<u32> = (0..count).chain([evaluator.data().len() as u32 - 1]).collect();
    for boundary in 0..evaluator.plan().links() {
        let faults = Probe { stop: [Stop { boundary, looks_back: false }], changes: None };
        let mut differs = None;
        let mut each = |row: usize, output: Option<&[f32]>| {
            differs = differs.or(output.map(|_| images[row] as usize));
        };
        evaluator.run_through(&images, &faults, golden, &mut each)?;
        if let Some(image) = differs {
            return Err(SelfCheckError::NotReusable { image, boundary });
        }
    }
    Ok(())
}

/// What a probe does to the row of a value.
pub type Change<'c> = &'c dyn Fn(&SpaceTensor, &mut [f32]) -> Result<(), EngineError>;

/// Flips the highest bit that may be hit in every float32 word of a value.
///
/// # Errors
/// None: it is a [`Change`].
pub fn flip_highest(tensor: &SpaceTensor, row: &mut [f32]) -> Result<(), EngineError> {
    let mask = 1_u32 << tensor.mask.ilog2().min(31);
    row.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits() ^ mask));
    Ok(())
}

/// Changes every word of a value, such as by [`flip_highest`], until that changes outputs for one of them.
///
/// # Errors
/// [`SelfCheckError::NoEffect`] when it does for none.
pub fn check_values(
    evaluator: &mut Evaluator<'_>,
    golden: &GoldenRun,
    space: &FaultSpace,
    probe_images: usize,
    change: Change<'_>,
) -> Result<String, SelfCheckError> {
    let images: Vec<u32> = (0..probe_images.min(evaluator.data().len()) as u32).collect();
    for tensor in space.tensors() {
        let boundary = evaluator.plan().boundary_of(&tensor.name).ok_or_else(|| SelfCheckError::Probe {
            reason: format!("value `{}` is at no boundary", tensor.name),
        })?;
        let stop = [Stop { boundary, looks_back: false }];
        let faults = Probe { stop, changes: Some((tensor, change)) };
        let mut changed = false;
        let run = evaluator.run(&images, &FaultPattern::empty(), &faults, golden, &mut |_, output| {
            changed |= output.is_some();
        });
        match run {
            Err(error) if error.is_refusal() => return Ok(tensor.name.clone()),
            run => run?,
        }
        if changed {
            return Ok(tensor.name.clone());
        }
    }
    Err(SelfCheckError::NoEffect { tensors: space.tensors().len() })
}

/// The same change in every row.
struct Probe<'p> {
    stop: [Stop; 1],
    changes: Option<(&'p SpaceTensor, Change<'p>)>,
}

impl RowFaults for Probe<'_> {
    fn stops(&self, _row: usize) -> &[Stop] {
        &self.stop
    }

    fn apply(&self, _row: usize, _boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let Some((tensor, change)) = self.changes else { return Ok(()) };
        values.get_mut(&tensor.name).map_or(Ok(()), |row| change(tensor, row))
    }
}

/// The highest bit that may be hit, in every word of a tensor, or in some 65,536 of them, evenly spaced: what a probe flips.
///
/// # Errors
/// [`PatternError`] for a tensor whose elements are more than bit addresses can tell.
///
/// # Panics
/// For a tensor without a bit that may be hit, which no fault space has.
pub fn highest_bits(tensor: &SpaceTensor) -> Result<FaultPattern, PatternError> {
    const MOST: u64 = 1 << 16;
    let width = u64::from(tensor.format.width());
    let bit = u64::from(tensor.mask.ilog2());
    let step = tensor.elements.div_ceil(MOST) as usize;
    FaultPattern::new(vec![TensorFlips {
        tensor: tensor.name.clone(),
        format: tensor.format,
        elements: tensor.elements,
        addresses: (0..tensor.elements).step_by(step).map(|element| element * width + bit).collect(),
    }])
}

//! Faults in activations and inputs, image by image.

use std::cell::RefCell;
use std::sync::Arc;

use bitquake_bits::{Format, WordStore, Words, WordsMut};
use bitquake_config::Persistence;
use bitquake_engine::{ChainPlan, EngineError, RowFaults, RowValues, Stop};
use bitquake_fault::{Effect, Faults, PatternError, Sampler, TensorFaults};
use bitquake_record::SiteRecord;
use bitquake_sample::PartKey;
use sha2::{Digest, Sha256};

use crate::activation_codes::ActivationCodes;
use crate::error::CampaignError;
use crate::exposure::Exposure;
use crate::tally::Tally;
use crate::trial_record::site_of;

/// Fewer faults than one in so many elements are put into those elements alone.
const FEW: u64 = 16;

/// The faults that the images of one trial have in values.
pub(crate) struct ValueFaults<'c> {
    /// Of each row. Rows with the same faults share them.
    rows: Vec<Arc<Row>>,
    /// The one bit that flips in every image.
    site: Option<SiteRecord>,
    /// What is stored as codes; all else is float words.
    codes: Option<&'c ActivationCodes>,
    tally: RefCell<Tally>,
    /// The words of a row of which only some elements are asked for.
    scratch: RefCell<Vec<f32>>,
}

/// The faults of one image.
#[derive(Default)]
struct Row {
    /// The boundaries of `faults`.
    stops: Vec<Stop>,
    /// At each stop, what happens to the values that are computed just before it.
    faults: Vec<Vec<Faults>>,
}

impl Row {
    fn new(drawn: &Faults, plan: &ChainPlan) -> Result<Self, CampaignError> {
        let mut at: Vec<(usize, Faults)> = Vec::new();
        for tensor in drawn.tensors() {
            let boundary = plan.boundary_of(&tensor.tensor).ok_or_else(|| {
                CampaignError::config("campaign", format!("value `{}` cannot be reached", tensor.tensor))
            })?;
            at.push((boundary, Faults::new(vec![tensor.clone()]).map_err(EngineError::from)?));
        }
        at.sort_by_key(|(boundary, _)| *boundary);
        let mut row = Self::default();
        for (boundary, faults) in at {
            if row.stops.last().is_none_or(|stop| stop.boundary != boundary) {
                row.stops.push(Stop { boundary, looks_back: false });
                row.faults.push(Vec::new());
            }
            if let Some(last) = row.faults.last_mut() {
                last.push(faults);
            }
        }
        Ok(row)
    }
}

impl<'c> ValueFaults<'c> {
    /// Draws the faults of a trial on some images; also gives a digest of what was drawn.
    pub(crate) fn draw(
        exposure: &Exposure,
        sampler: &Sampler<'_>,
        key: &PartKey,
        images: &[u32],
        plan: &ChainPlan,
        codes: Option<&'c ActivationCodes>,
    ) -> Result<(Self, [u8; 32]), CampaignError> {
        let mut hash = Sha256::new();
        let mut site = None;
        let rows = match exposure.persistence {
            Persistence::Permanent => {
                let drawn = sampler.draw(key)?;
                site = only_flip(&drawn);
                digest(&mut hash, u32::MAX, &drawn);
                let row = Arc::new(Row::new(&drawn, plan)?);
                images.iter().map(|_| Arc::clone(&row)).collect()
            }
            Persistence::Transient => {
                let mut rows = Vec::with_capacity(images.len());
                for run in images.chunk_by(|a, b| a + 1 == *b) {
                    let range = u64::from(run[0])..u64::from(run[0]) + run.len() as u64;
                    for (drawn, &image) in sampler.draw_images(key, range)?.iter().zip(run) {
                        digest(&mut hash, image, drawn);
                        rows.push(Arc::new(Row::new(drawn, plan)?));
                    }
                }
                rows
            }
        };
        Ok((
            Self { rows, site, codes, tally: RefCell::default(), scratch: RefCell::default() },
            hash.finalize().into(),
        ))
    }

    /// The one bit that flips in every image, an element of one image; none where images have faults of their own, where there are
    /// more faults, and where a fault may find what it would make (a stuck bit), for then some images are not hit.
    pub(crate) fn site(&self) -> Option<&SiteRecord> {
        self.site.as_ref()
    }

    /// What the faults changed, once the trial has run.
    pub(crate) fn into_tally(self) -> Tally {
        self.tally.into_inner()
    }
}

fn only_flip(drawn: &Faults) -> Option<SiteRecord> {
    let [tensor] = drawn.tensors() else { return None };
    match tensor.addresses(Effect::Flip) {
        &[address] if tensor.faults() == 1 => Some(site_of(&tensor.tensor, tensor.format, address)),
        _ => None,
    }
}

fn digest(hash: &mut Sha256, image: u32, drawn: &Faults) {
    for tensor in drawn.tensors() {
        hash.update(image.to_le_bytes());
        hash.update((tensor.tensor.len() as u64).to_le_bytes());
        hash.update(tensor.tensor.as_bytes());
        for effect in Effect::ALL {
            let addresses = tensor.addresses(effect);
            hash.update((addresses.len() as u64).to_le_bytes());
            addresses.iter().for_each(|address| hash.update(address.to_le_bytes()));
        }
    }
}

impl RowFaults for ValueFaults<'_> {
    fn stops(&self, row: usize) -> &[Stop] {
        &self.rows[row].stops
    }

    fn apply(&self, row: usize, boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let row = &self.rows[row];
        let here = row.stops.iter().position(|stop| stop.boundary == boundary).map(|at| &row.faults[at]);
        for faults in here.into_iter().flatten() {
            for tensor in faults.tensors() {
                let is_coded = self.codes.is_some_and(|codes| codes.of(&tensor.tensor).is_some());
                if is_coded || tensor.faults() > tensor.elements / FEW {
                    let words = values.get_mut(&tensor.tensor).ok_or_else(|| no_tensor(&tensor.tensor))?;
                    self.hit(faults, tensor, words)?;
                } else {
                    self.hit_elements(faults, tensor, values)?;
                }
            }
        }
        Ok(())
    }
}

fn no_tensor(tensor: &str) -> PatternError {
    PatternError::NoTensor { tensor: tensor.to_owned() }
}

impl ValueFaults<'_> {
    /// Puts the faults into a row of a value.
    fn hit(&self, faults: &Faults, tensor: &TensorFaults, words: &mut [f32]) -> Result<(), EngineError> {
        let mut tally = self.tally.borrow_mut();
        if let Some(codes) = self.codes.and_then(|codes| codes.of(&tensor.tensor)) {
            let hit = codes.hit(&tensor.tensor, faults, words)?;
            tally.add(&hit.told, &hit.seen, hit.dormant);
            return Ok(());
        }
        let mut store = OneValue { name: &tensor.tensor, words };
        let resolved = faults.resolve(&store)?;
        let told = resolved.pattern.explain(&store)?;
        resolved.pattern.apply(&mut store)?;
        tally.add(&told, &told.total, resolved.dormant);
        Ok(())
    }

    /// The same for a few faults of float words: only the elements that they hit are asked for, since a whole row may have to be copied.
    fn hit_elements(
        &self,
        faults: &Faults,
        tensor: &TensorFaults,
        values: &mut RowValues<'_>,
    ) -> Result<(), EngineError> {
        let mut hit: Vec<usize> = Effect::ALL
            .into_iter()
            .flat_map(|effect| tensor.addresses(effect))
            .map(|address| (address / u64::from(tensor.format.width())) as usize)
            .collect();
        hit.sort_unstable();
        hit.dedup();
        // Words that no fault hits are never read, so what an earlier row left there does not matter.
        let mut words = self.scratch.borrow_mut();
        words.resize(tensor.elements as usize, 0.0);
        for &element in &hit {
            let value = values.element_mut(&tensor.tensor, element);
            words[element] = *value.ok_or_else(|| no_tensor(&tensor.tensor))?;
        }
        self.hit(faults, tensor, &mut words)?;
        for &element in &hit {
            if let Some(value) = values.element_mut(&tensor.tensor, element) {
                *value = words[element];
            }
        }
        Ok(())
    }
}

/// One image's row of a value, as float32 words.
struct OneValue<'v> {
    name: &'v str,
    words: &'v mut [f32],
}

impl WordStore for OneValue<'_> {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        (tensor == self.name).then(|| Words::packed(Format::F32, bytemuck::cast_slice(self.words)))
    }

    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        (tensor == self.name).then(|| WordsMut::packed(Format::F32, bytemuck::cast_slice_mut(self.words)))
    }
}

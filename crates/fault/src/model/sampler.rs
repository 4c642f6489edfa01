//! Many draws of one model: what hangs on the space alone is prepared once.

use std::ops::Range;

use bitquake_sample::{BernoulliDraw, PartKey, Rate};

use super::plan::{Drawn, Group, Part, Plan};
use super::{DrawError, FaultModel, Prepared};
use crate::faults::Faults;
use crate::space::FaultSpace;

/// A model over a space, ready to be drawn with any number of keys.
///
/// Shared by threads as it is: a draw changes nothing in it.
///
/// ```
/// use bitquake_bits::{BitSelection, Format};
/// use bitquake_fault::{Candidate, FaultModel, FaultSpace, Hits};
/// use bitquake_sample::StreamKey;
/// let relu = Candidate { name: "relu", format: Format::F32, elements: 16 * 32 * 32, by_name_only: false };
/// let space = FaultSpace::gather([(relu, BitSelection::All)])?; // the values of one image
/// let model = FaultModel::BitFlip(Hits::Count(1));
/// let sampler = model.sampler(&space)?;
/// let trial = StreamKey { seed: 1, point: 0, trial: 0 };
/// let upsets = sampler.draw_images(&trial.into(), 0..100)?;
/// assert!(upsets.iter().all(|faults| faults.faults() == 1));
/// assert_eq!(upsets[17], sampler.draw(&trial.numbered("image", 17))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sampler<'a> {
    pub(super) space: &'a FaultSpace,
    pub(super) prepared: Vec<Prepared<'a>>,
}

/// So many images share the draw of a rate. Part of the streams: a change is a new stream version.
const IMAGES_AT_ONCE: u64 = 1 << 10;
/// Bigger than this, a draw over so many images would have more sites than a draw can have.
const MAX_SITES: u64 = (1 << 56) / IMAGES_AT_ONCE;

impl FaultModel {
    /// Prepares draws of this model over a space.
    ///
    /// # Errors
    /// [`DrawError`] for what is wrong with the model and the space, whatever the key; a draw may still find that there is not
    /// enough to hit.
    pub fn sampler<'a>(&'a self, space: &'a FaultSpace) -> Result<Sampler<'a>, DrawError> {
        Ok(Sampler { space, prepared: self.plans(space)? })
    }
}

impl<'a> Sampler<'a> {
    /// Draws what [`FaultModel::draw`] draws with the key of a trial, or with the key of a part of it.
    ///
    /// # Errors
    /// [`DrawError`] when there is not enough to hit.
    pub fn draw(&self, key: &PartKey) -> Result<Faults, DrawError> {
        let mut all = Faults::empty();
        for one in &self.prepared {
            let mut part = Part::new(self.space);
            one.draw(&one.key(key), &mut part)?;
            all = all.compose(part.finish()?)?;
        }
        Ok(all)
    }

    /// Draws a pattern of its own for each of some images of a trial: independent of each other, and each distributed as by
    /// [`draw`](Self::draw). The patterns of an image hang on the key and on its number alone, not on which others are asked for.
    ///
    /// What has an exact number of faults is drawn with the key's part `numbered("image", number)`. Rates are drawn for 1,024
    /// images at once, so that the cost follows the hits and not the tensors: ask for many images in one call. Patterns are nested
    /// across rates and counts as those of trials are.
    ///
    /// # Errors
    /// [`DrawError`] when there is not enough to hit.
    pub fn draw_images(&self, key: &PartKey, images: Range<u64>) -> Result<Vec<Faults>, DrawError> {
        let mut all: Vec<Faults> = images.clone().map(|_| Faults::empty()).collect();
        for one in &self.prepared {
            let parts = match &one.plan {
                Plan::Trials(groups) if groups.iter().all(|group| group.trials.sites <= MAX_SITES) => {
                    self.at_rates(one, key, images.clone())
                }
                _ => images.clone().map(|image| self.one_image(one, key, image)).collect::<Result<_, _>>()?,
            };
            for (faults, part) in all.iter_mut().zip(parts) {
                if !part.is_empty() {
                    *faults = std::mem::take(faults).compose(part.finish()?)?;
                }
            }
        }
        Ok(all)
    }

    fn one_image(&self, one: &Prepared<'a>, key: &PartKey, image: u64) -> Result<Part<'a>, DrawError> {
        let mut part = Part::new(self.space);
        one.draw(&one.key(&key.numbered("image", image)), &mut part)?;
        Ok(part)
    }

    /// Draws the groups of one model for some images, whose sites follow each other.
    fn at_rates(&self, one: &Prepared<'a>, key: &PartKey, images: Range<u64>) -> Vec<Part<'a>> {
        let mut parts: Vec<Part<'a>> = images.clone().map(|_| Part::new(self.space)).collect();
        let mut start = images.start;
        while start < images.end {
            let chunk = start / IMAGES_AT_ONCE;
            let first = chunk * IMAGES_AT_ONCE;
            let end = images.end.min(first.saturating_add(IMAGES_AT_ONCE));
            let chunk_key = one.key(&key.numbered("images", chunk));
            for group in one.groups() {
                for (image, drawn) in in_images(group, &chunk_key, start - first..end - first) {
                    let image = first + image;
                    let part = &mut parts[(image - images.start) as usize];
                    (group.place)(&one.key(&key.numbered("image", image)), drawn, part);
                }
            }
            start = end;
        }
        parts
    }
}

/// The hits of a group in those of some images of a chunk that have any, counted from the start of each image.
fn in_images(group: &Group<'_>, key: &PartKey, images: Range<u64>) -> Vec<(u64, Drawn)> {
    let sites = group.trials.sites;
    if sites == 0 {
        return Vec::new();
    }
    let stream = (group.stream)(key);
    let hits = |rate: Rate| {
        BernoulliDraw::new(&stream, sites * IMAGES_AT_ONCE, rate)
            .sites_in(images.start * sites..images.end * sites)
    };
    let of_image = |hits: &[u64]| hits.iter().map(|hit| hit % sites).collect::<Vec<u64>>();
    let all = hits(group.trials.rate);
    let lower = group.lower.map(hits).unwrap_or_default();
    let mut lower = lower.chunk_by(|a, b| a / sites == b / sites).peekable();
    let one = |hits: &[u64]| {
        let image = hits[0] / sites;
        let lower = lower.next_if(|lower| lower[0] / sites == image).map(of_image).unwrap_or_default();
        (image, Drawn { hits: of_image(hits), lower })
    };
    all.chunk_by(|a, b| a / sites == b / sites).map(one).collect()
}

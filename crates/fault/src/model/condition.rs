//! Draws that are known to hit something, for rates at which nearly every draw is empty.

use bitquake_sample::{PartKey, Scratch, StreamKey, Trials, Words, first_hit};

use super::plan::{Drawn, Group, Part, Plan};
use super::sampler::Sampler;
use super::{DrawError, FaultModel, Prepared};
use crate::faults::Faults;
use crate::space::FaultSpace;

/// Faults drawn given that there is at least one hit, and how likely that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditioned {
    /// The faults.
    pub faults: Faults,
    /// The probability `w` of at least one hit. For every quantity X of a trial, with `X_clean` its value without faults,
    /// `E[X] = (1 - w) * X_clean + w * E[X | at least one hit]`; so the mean over conditioned trials, weighted like this, is
    /// unbiased.
    pub weight: f64,
}

/// Below this many expected hits (in hazard) the first hit is drawn by itself; above, ordinary draws are repeated until one hits.
const FEW: f64 = 1.0;

impl FaultModel {
    /// Draws the faults of one trial from the exact conditional distribution given at least one hit over the whole space.
    ///
    /// A hit is what the rate counts: a bit (also one that turns out dormant, or whose direction does not fit), an element, a
    /// burst, a structure of the memory. The weight is `-expm1(sum of n ln(1 - p))`, without cancellation, by `libm`'s software
    /// functions. Cost follows the hits. Counts and sites hit with certainty: then the draw is the ordinary one with weight 1.
    ///
    /// Conditioned draws of one key are *not* nested across rates: no way of drawing them is both exact and nested in general,
    /// because the conditional distribution at a low rate spreads the single hit it nearly always has over all sites alike.
    /// From about one expected hit on, they are the ordinary draws of the key, except where those are empty.
    ///
    /// # Errors
    /// [`DrawError::NeverHits`] if nothing can be hit; [`DrawError::NotConditionable`] for maps, whose cells have probabilities
    /// of their own; whatever [`draw`](Self::draw) gives.
    ///
    /// ```
    /// use bitquake_bits::{BitSelection, Format};
    /// use bitquake_fault::{Candidate, FaultModel, FaultSpace, Hits, Selector};
    /// use bitquake_sample::{Rate, StreamKey};
    /// let w = Candidate { name: "w", format: Format::F32, elements: 6_000_000, by_name_only: false };
    /// let space = FaultSpace::select([w], &Selector::all(), BitSelection::All)?;
    /// let model = FaultModel::BitFlip(Hits::Rate(Rate::new(1e-10)?));
    /// let drawn = model.draw_at_least_one(&space, &StreamKey { seed: 1, point: 0, trial: 0 })?;
    /// assert!(drawn.faults.faults() >= 1);
    /// assert!((drawn.weight - 0.0190169).abs() < 1e-6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn draw_at_least_one(&self, space: &FaultSpace, key: &StreamKey) -> Result<Conditioned, DrawError> {
        self.sampler(space)?.draw_at_least_one(&PartKey::from(*key))
    }
}

impl<'a> Sampler<'a> {
    /// As [`FaultModel::draw_at_least_one`].
    ///
    /// # Errors
    /// As there.
    pub fn draw_at_least_one(&self, key: &PartKey) -> Result<Conditioned, DrawError> {
        if self.is_certain(key)? {
            return Ok(Conditioned { faults: self.draw(key)?, weight: 1.0 });
        }
        if let Some(cells) = self.prepared.iter().find(|one| matches!(one.plan, Plan::Cells(_))) {
            return Err(DrawError::NotConditionable { model: cells.model.name() });
        }
        let hazard: f64 = self.groups().map(|group| group.trials.hazard()).sum();
        let faults = if hazard == 0.0 {
            return Err(DrawError::NeverHits);
        } else if hazard > FEW {
            self.repeat_until_hit(key)?
        } else {
            self.behind_first_hit(key)?
        };
        Ok(Conditioned { faults, weight: -libm::expm1(-hazard) })
    }

    /// Whether a part that has as many faults in every trial has any.
    fn is_certain(&self, key: &PartKey) -> Result<bool, DrawError> {
        for one in &self.prepared {
            if let Plan::Certain(draw) = &one.plan {
                let mut part = Part::new(self.space);
                draw(&one.key(key), &mut part)?;
                if !part.is_empty() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn groups(&self) -> impl Iterator<Item = &Group<'a>> {
        self.prepared.iter().flat_map(Prepared::groups)
    }

    /// Rejection: each attempt is an ordinary draw with a key of its own, and more than half of them hit.
    fn repeat_until_hit(&self, key: &PartKey) -> Result<Faults, DrawError> {
        let (mut attempt_key, mut scratch) = (key.clone(), Scratch::default());
        for attempt in 1_u64.. {
            let draw = |one: &Prepared<'a>| {
                let key = one.key(&attempt_key);
                one.groups().iter().map(|group| group.draw(&key, &mut scratch)).collect()
            };
            let drawn: Vec<Vec<Drawn>> = self.prepared.iter().map(draw).collect();
            if drawn.iter().flatten().any(|drawn| !drawn.hits.is_empty()) {
                return self.place(&attempt_key, drawn);
            }
            attempt_key = key.part(format!("attempt {attempt}"));
        }
        unreachable!("2^64 draws without a hit")
    }

    /// The first hit, nothing before it, and an ordinary draw behind it.
    fn behind_first_hit(&self, key: &PartKey) -> Result<Faults, DrawError> {
        let trials: Vec<Trials> = self.groups().map(|group| group.trials).collect();
        let mut words = key.part("first hit").whole().words(0);
        let Some((first_group, first_site)) = first_hit(&mut words, &trials) else {
            return Err(DrawError::NeverHits);
        };
        let (mut place_of_group, mut scratch) = (0.., Scratch::default());
        let mut drawn = Vec::with_capacity(self.prepared.len());
        for one in &self.prepared {
            let key = one.key(key);
            let draw = |group: &Group<'_>| {
                let at = place_of_group.next().unwrap_or(usize::MAX);
                match at.cmp(&first_group) {
                    std::cmp::Ordering::Less => Drawn::default(),
                    std::cmp::Ordering::Equal => {
                        from_first(group, &key, first_site, &mut words, &mut scratch)
                    }
                    std::cmp::Ordering::Greater => group.draw(&key, &mut scratch),
                }
            };
            drawn.push(one.groups().iter().map(draw).collect());
        }
        self.place(key, drawn)
    }

    /// The faults of hits, group by group of each model.
    fn place(&self, key: &PartKey, drawn: Vec<Vec<Drawn>>) -> Result<Faults, DrawError> {
        let mut all = Faults::empty();
        for (one, drawn) in self.prepared.iter().zip(drawn) {
            let key = one.key(key);
            let mut part = Part::new(self.space);
            one.groups().iter().zip(drawn).for_each(|(group, drawn)| (group.place)(&key, drawn, &mut part));
            all = all.compose(part.finish()?)?;
        }
        Ok(all)
    }
}

/// The hits of the group that holds the first one.
fn from_first(
    group: &Group<'_>,
    key: &PartKey,
    first: u64,
    words: &mut Words,
    scratch: &mut Scratch,
) -> Drawn {
    let behind = |sites: Vec<u64>| sites.into_iter().filter(move |&site| site > first);
    let drawn = group.draw(key, scratch);
    let is_lower = group.lower.is_some_and(|lower| words.chance(lower.over(group.trials.rate)));
    Drawn {
        hits: [first].into_iter().chain(behind(drawn.hits)).collect(),
        lower: is_lower.then_some(first).into_iter().chain(behind(drawn.lower)).collect(),
    }
}

//! Rules that give which faults occur, with what probability.

use bitquake_sample::{BernoulliDraw, Rate, StreamKey, SubsetError, subset};

use crate::pattern::{FaultPattern, PatternError, TensorFlips};
use crate::site::Site;
use crate::space::{FaultSpace, SpaceTensor};

/// A rule that gives which faults occur.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultModel {
    /// Bits are replaced by their complements.
    BitFlip(Flips),
}

/// How many bits flip, and which.
#[derive(Clone, Debug, PartialEq)]
pub enum Flips {
    /// Each bit of the space independently with this probability. Patterns of one key are nested across rates.
    Rate(Rate),
    /// Exactly this many distinct bits, every such set equally likely. Patterns of one key are nested across counts.
    Count(u64),
    /// These bits and no others.
    Sites(Vec<Site>),
}

/// Why nothing could be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DrawError {
    /// More flips than bits.
    #[error("{} bits to flip, but the fault space has only {}", .0.count, .0.population)]
    TooMany(SubsetError),
    /// A site names a tensor outside the space.
    #[error("site {site}: tensor `{}` is not in the fault space", site.tensor)]
    NoTensor {
        /// The site.
        site: Site,
    },
    /// A site names an element that does not exist.
    #[error("site {site}: element {} is out of bounds, tensor `{}` has {elements}", site.index, site.tensor)]
    NoElement {
        /// The site.
        site: Site,
        /// The tensor's number of elements.
        elements: u64,
    },
    /// A site names a bit that does not exist or is not in the space.
    #[error("site {site}: bit {} is not in the fault space, tensor `{}` is {} with bits 0..{}{}", site.bit, site.tensor, tensor.format, tensor.format.width() - 1, restriction(tensor))]
    NoBit {
        /// The site.
        site: Site,
        /// The tensor.
        tensor: SpaceTensor,
    },
    /// A site is named twice.
    #[error("site {site} is named twice: the second flip would undo the first")]
    Twice {
        /// The site.
        site: Site,
    },
    /// The pattern cannot be made.
    #[error(transparent)]
    Pattern(#[from] PatternError),
}

fn restriction(tensor: &SpaceTensor) -> String {
    if tensor.is_whole() { String::new() } else { format!(", of which the selection has {:#x}", tensor.mask) }
}

impl FaultModel {
    /// Draws the pattern of one trial.
    ///
    /// # Errors
    /// [`DrawError`] when there are not enough bits or a site is outside the space.
    pub fn draw(&self, space: &FaultSpace, key: &StreamKey) -> Result<FaultPattern, DrawError> {
        let Self::BitFlip(flips) = self;
        let tensors = match flips {
            Flips::Rate(rate) => at_rate(space, *rate, key),
            Flips::Count(count) => exactly(space, *count, key)?,
            Flips::Sites(sites) => at_sites(space, sites)?,
        };
        Ok(FaultPattern::new(tensors)?)
    }
}

fn flips_of(tensor: &SpaceTensor, addresses: Vec<u64>) -> TensorFlips {
    TensorFlips { tensor: tensor.name.clone(), format: tensor.format, elements: tensor.elements, addresses }
}

fn at_rate(space: &FaultSpace, rate: Rate, key: &StreamKey) -> Vec<TensorFlips> {
    let draw = |tensor: &SpaceTensor| {
        let stream = key.tensor(&tensor.name);
        flips_of(tensor, tensor.addresses(BernoulliDraw::new(&stream, tensor.bits(), rate).sites()))
    };
    space.tensors().iter().map(draw).collect()
}

/// Sites count over the whole space, tensor after tensor in file order.
fn exactly(space: &FaultSpace, count: u64, key: &StreamKey) -> Result<Vec<TensorFlips>, DrawError> {
    let chosen = subset(key, space.bits(), count).map_err(DrawError::TooMany)?;
    let mut rest = chosen.as_slice();
    let mut start = 0;
    let mut tensors = Vec::new();
    for tensor in space.tensors() {
        let end = start + tensor.bits();
        let (here, after) = rest.split_at(rest.partition_point(|&site| site < end));
        tensors.push(flips_of(tensor, tensor.addresses(here.iter().map(|site| site - start).collect())));
        (rest, start) = (after, end);
    }
    Ok(tensors)
}

fn at_sites(space: &FaultSpace, sites: &[Site]) -> Result<Vec<TensorFlips>, DrawError> {
    let mut tensors: Vec<TensorFlips> =
        space.tensors().iter().map(|tensor| flips_of(tensor, Vec::new())).collect();
    for site in sites {
        let Some(place) = space.tensors().iter().position(|tensor| tensor.name == site.tensor) else {
            return Err(DrawError::NoTensor { site: site.clone() });
        };
        let address = address(site, &space.tensors()[place])?;
        let addresses = &mut tensors[place].addresses;
        match addresses.binary_search(&address) {
            Ok(_) => return Err(DrawError::Twice { site: site.clone() }),
            Err(at) => addresses.insert(at, address),
        }
    }
    Ok(tensors)
}

fn address(site: &Site, tensor: &SpaceTensor) -> Result<u64, DrawError> {
    if site.index >= tensor.elements {
        return Err(DrawError::NoElement { site: site.clone(), elements: tensor.elements });
    }
    if site.bit >= 64 || tensor.mask >> site.bit & 1 == 0 {
        return Err(DrawError::NoBit { site: site.clone(), tensor: tensor.clone() });
    }
    Ok(site.index * u64::from(tensor.format.width()) + u64::from(site.bit))
}

#[cfg(test)]
mod tests {
    use bitquake_bits::{BitSelection, Format};

    use super::*;
    use crate::selector::Selector;
    use crate::space::Candidate;

    const KEY: StreamKey = StreamKey { seed: 7, point: 0, trial: 3 };

    fn space(bits: BitSelection) -> FaultSpace {
        let tensors = [("a", Format::F32, 1000), ("b", Format::F16, 500), ("c", Format::U8, 70)];
        let candidates =
            tensors.map(|(name, format, elements)| Candidate { name, format, elements, by_name_only: false });
        FaultSpace::select(candidates, &Selector::all(), bits).unwrap()
    }

    fn draw(bits: BitSelection, flips: Flips) -> FaultPattern {
        FaultModel::BitFlip(flips).draw(&space(bits), &KEY).unwrap()
    }

    fn rate(p: f64) -> Flips {
        Flips::Rate(Rate::new(p).unwrap())
    }

    #[test]
    fn certain_rates_and_counts() {
        for flips in [rate(0.0), Flips::Count(0), Flips::Sites(Vec::new())] {
            assert_eq!(draw(BitSelection::All, flips), FaultPattern::empty());
        }
        let all = space(BitSelection::Msb).bits();
        let everything = draw(BitSelection::Msb, rate(1.0));
        assert_eq!(everything, draw(BitSelection::Msb, Flips::Count(all)));
        assert_eq!(everything.tensors()[2].addresses, (0..70).map(|word| word * 8 + 7).collect::<Vec<u64>>());
    }

    #[test]
    fn counts_are_exact_and_too_many_is_an_error() {
        for count in [1, 2, 17, 40_000] {
            assert_eq!(draw(BitSelection::All, Flips::Count(count)).flips(), count);
        }
        let bits = space(BitSelection::All).bits();
        let error =
            FaultModel::BitFlip(Flips::Count(bits + 1)).draw(&space(BitSelection::All), &KEY).unwrap_err();
        assert!(matches!(error, DrawError::TooMany(_)));
        assert!(error.to_string().contains(&bits.to_string()));
    }

    #[test]
    fn patterns_are_nested() {
        let contains = |more: &FaultPattern, less: &FaultPattern| {
            let both = more.compose(less).unwrap().flips();
            assert_eq!(both, more.flips() - less.flips());
        };
        contains(&draw(BitSelection::All, rate(0.1)), &draw(BitSelection::All, rate(0.01)));
        contains(&draw(BitSelection::All, Flips::Count(90)), &draw(BitSelection::All, Flips::Count(13)));
    }

    #[test]
    fn only_selected_bits_flip() {
        let pattern = draw(BitSelection::Range { low: 3, high: 6 }, rate(0.3));
        for flips in pattern.tensors() {
            assert!(flips.addresses.len() > 20);
            assert!(
                flips.addresses.iter().all(|&address| (3..=6).contains(&flips.element_and_bit(address).1))
            );
        }
    }

    #[test]
    fn sites_are_checked() {
        let at = |text: &str| {
            FaultModel::BitFlip(Flips::Sites(vec![text.parse().unwrap()]))
                .draw(&space(BitSelection::All), &KEY)
        };
        assert_eq!(at("b:499:15").unwrap().tensors()[0].addresses, [499 * 16 + 15]);
        assert!(matches!(at("d:0:0"), Err(DrawError::NoTensor { .. })));
        assert!(matches!(at("b:500:0"), Err(DrawError::NoElement { elements: 500, .. })));
        assert!(matches!(at("b:0:16"), Err(DrawError::NoBit { .. })));
        assert!(matches!(at("b:0:99"), Err(DrawError::NoBit { .. })));
        let twice = Flips::Sites(vec!["a:1:2".parse().unwrap(), "a:1:2".parse().unwrap()]);
        let error = FaultModel::BitFlip(twice).draw(&space(BitSelection::All), &KEY).unwrap_err();
        assert!(matches!(error, DrawError::Twice { .. }));
    }
}

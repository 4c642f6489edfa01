//! Which bits are hit.

use bitquake_sample::{PartKey, Rate, StreamKey, subset_of};

use super::elements::Elements;
use super::plan::{Drawn, Group, Numbering, Part, Plan};
use super::{DrawError, FaultModel};
use crate::effect::Effect;
use crate::pattern::FaultPattern;
use crate::region::SiteRange;
use crate::site::Site;
use crate::space::{FaultSpace, SpaceTensor};

/// How many bits are hit, and which.
#[derive(Clone, Debug, PartialEq)]
pub enum Hits {
    /// Each bit of the space independently with this probability. Faults of one key are nested across rates.
    Rate(Rate),
    /// Exactly this many distinct bits, every such set equally likely. Faults of one key are nested across counts.
    Count(u64),
    /// These bits and no others, each named once.
    Sites(Vec<SiteRange>),
    /// The flips of a pattern, in tensors of the format and size that it was made for.
    Pattern(FaultPattern),
    /// Each bit independently with the probability of its position in the word, bit 0 first: one rate for each bit of the
    /// words, also for those that are not in the space, whose rates do not matter. Nested in the rate of each position.
    Positions(Vec<Rate>),
    /// One bit of each of these elements, every bit of the space equally likely. Nested in the elements.
    OneBit(Elements),
    /// Each bit of these regions independently with the region's own probability; a bit of several regions is hit when any of
    /// them hits it.
    Regions(Vec<FaultyRegion>),
}

/// Bits with a bit error rate of their own (FKeras's faulty region, SPEC 3.2, F3).
#[derive(Clone, Debug, PartialEq)]
pub struct FaultyRegion {
    /// The bits.
    pub sites: SiteRange,
    /// The probability that one of them is hit.
    pub rate: Rate,
}

impl Hits {
    /// The pattern that flips these bits: what [`FaultModel::BitFlip`] draws, which needs no look at what is stored.
    ///
    /// # Errors
    /// [`DrawError`] when there are not enough bits or a site is outside the space.
    pub fn flips(&self, space: &FaultSpace, key: &StreamKey) -> Result<FaultPattern, DrawError> {
        Ok(FaultModel::BitFlip(self.clone()).draw(space, key)?.into_flips()?)
    }

    pub(crate) fn plan<'a>(&'a self, space: &'a FaultSpace, effect: Effect) -> Result<Plan<'a>, DrawError> {
        match self {
            Self::Rate(rate) => Ok(Plan::Trials(at_rate(space, *rate, effect))),
            Self::Count(count) => Ok(exactly(space, *count, effect)),
            Self::Sites(sites) => at_sites(space, sites, effect),
            Self::Pattern(pattern) => of_pattern(space, pattern, effect),
            Self::Positions(rates) => by_position(space, rates, effect),
            Self::OneBit(elements) => one_bit(space, elements, effect),
            Self::Regions(regions) => in_regions(space, regions, effect),
        }
    }
}

fn at_rate(space: &FaultSpace, rate: Rate, effect: Effect) -> Vec<Group<'_>> {
    let group = |(place, tensor)| {
        let tensor: &SpaceTensor = tensor;
        let add = move |_: &PartKey, drawn: Drawn, part: &mut Part<'_>| {
            part.add_rising(place, effect, tensor.addresses(drawn.hits));
        };
        Group::new(|key| key.tensor(&tensor.name), tensor.bits(), rate, add)
    };
    space.tensors().iter().enumerate().map(group).collect()
}

/// Sites count over the whole space, tensor after tensor in file order.
fn exactly(space: &FaultSpace, count: u64, effect: Effect) -> Plan<'_> {
    let numbering = Numbering::new(space, |_, tensor| tensor.bits());
    Plan::Certain(Box::new(move |key, part| {
        let chosen = subset_of(&key.whole(), numbering.all(), count)
            .map_err(|error| DrawError::TooMany { what: "bits", error })?;
        numbering.divide(&chosen, |place, sites| {
            part.add_rising(place, effect, space.tensors()[place].addresses(sites));
        });
        Ok(())
    }))
}

/// The place of a tensor in the space.
fn find(space: &FaultSpace, site: &SiteRange) -> Result<usize, DrawError> {
    let found = space.tensors().iter().position(|tensor| tensor.name == site.tensor);
    found.ok_or_else(|| DrawError::NoTensor { site: site.clone() })
}

fn at_sites<'a>(space: &'a FaultSpace, sites: &[SiteRange], effect: Effect) -> Result<Plan<'a>, DrawError> {
    let mut addresses = vec![Vec::new(); space.tensors().len()];
    for site in sites {
        let place = find(space, site)?;
        let located = site.locate(&space.tensors()[place])?;
        addresses[place].extend((0..located.len).map(|nth| located.address(nth)));
    }
    for (place, addresses) in addresses.iter_mut().enumerate() {
        addresses.sort();
        if let Some(pair) = addresses.windows(2).find(|pair| pair[0] == pair[1]) {
            let tensor = &space.tensors()[place];
            let (index, bit) = tensor.element_and_bit(pair[0]);
            return Err(DrawError::Twice { tensor: tensor.name.clone(), index, bit });
        }
    }
    Ok(Plan::Certain(Box::new(move |_, part| {
        addresses.iter().enumerate().for_each(|(place, list)| part.add(place, effect, list.clone()));
        Ok(())
    })))
}

fn of_pattern<'a>(
    space: &'a FaultSpace,
    pattern: &FaultPattern,
    effect: Effect,
) -> Result<Plan<'a>, DrawError> {
    let mut sites = Vec::new();
    for flips in pattern.tensors() {
        if let Some(tensor) = space.tensors().iter().find(|tensor| tensor.name == flips.tensor) {
            flips.check_same(tensor.format, tensor.elements)?;
        }
        sites.extend(flips.addresses.iter().map(|&address| {
            let (index, bit) = flips.element_and_bit(address);
            SiteRange::from(Site { tensor: flips.tensor.clone(), index, bit })
        }));
    }
    at_sites(space, &sites, effect)
}

fn by_position<'a>(space: &'a FaultSpace, rates: &[Rate], effect: Effect) -> Result<Plan<'a>, DrawError> {
    let mut groups = Vec::new();
    for (place, tensor) in space.tensors().iter().enumerate() {
        let (format, width) = (tensor.format, u64::from(tensor.format.width()));
        if rates.len() as u64 != width {
            let tensor = tensor.name.clone();
            return Err(DrawError::PositionRates { tensor, format, rates: rates.len() });
        }
        for bit in (0..width).filter(|bit| tensor.mask >> bit & 1 == 1) {
            let add = move |_: &PartKey, drawn: Drawn, part: &mut Part<'a>| {
                let addresses = drawn.hits.into_iter().map(|element| element * width + bit);
                part.add_rising(place, effect, addresses.collect());
            };
            let stream = move |key: &PartKey| key.part(format!("bit {bit}")).tensor(&tensor.name);
            groups.push(Group::new(stream, tensor.elements, rates[bit as usize], add));
        }
    }
    Ok(Plan::Trials(groups))
}

/// The bit of an element hangs on the element alone, so that choosing more elements changes no bit.
fn one_bit<'a>(space: &'a FaultSpace, elements: &'a Elements, effect: Effect) -> Result<Plan<'a>, DrawError> {
    elements.plan(space, None, move |key, place, chosen, part| {
        let tensor = &space.tensors()[place];
        let (stream, per_word) = (key.part("bit").tensor(&tensor.name), tensor.bits_per_word());
        let site = |element| element * per_word + stream.words(element).below(per_word);
        part.add(place, effect, tensor.addresses(chosen.into_iter().map(site).collect()));
    })
}

fn in_regions<'a>(
    space: &'a FaultSpace,
    regions: &[FaultyRegion],
    effect: Effect,
) -> Result<Plan<'a>, DrawError> {
    let group = |region: &FaultyRegion| {
        let place = find(space, &region.sites)?;
        let located = region.sites.locate(&space.tensors()[place])?;
        let len = located.len;
        let add = move |_: &PartKey, drawn: Drawn, part: &mut Part<'a>| {
            part.add(place, effect, drawn.hits.into_iter().map(|nth| located.address(nth)).collect());
        };
        // The name with the range in it: regions of one tensor are independent of each other.
        let name = region.sites.to_string();
        Ok(Group::new(move |key: &PartKey| key.part("region").tensor(&name), len, region.rate, add))
    };
    regions.iter().map(group).collect::<Result<_, _>>().map(Plan::Trials)
}

//! Which elements are hit.

use std::fmt;
use std::str::FromStr;

use bitquake_sample::{PartKey, Rate, subset_of};

use super::DrawError;
use super::plan::{Drawn, Group, Numbering, Part, Plan};
use crate::region::{Place, SiteRange};
use crate::site::SiteError;
use crate::space::{FaultSpace, SpaceTensor};

/// How many elements (words) are hit, and which.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// Each element of the space independently with this probability. Nested across rates.
    Rate(Rate),
    /// Exactly this many distinct elements of the whole space. Nested across counts.
    Count(u64),
    /// This share of all elements of the space: the nearest whole number of them, halves to the even one, and at least 1 unless
    /// the share is 0. (5 % of 1,728 elements are 86.) Nested across shares.
    Share(Rate),
    /// These elements.
    Sites(Vec<ElementSite>),
}

/// One element of one tensor, written `TENSOR:INDEX`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ElementSite {
    /// The tensor's name; it may contain colons itself.
    pub tensor: String,
    /// The element, counted over the flattened tensor.
    pub index: u64,
}

impl FromStr for ElementSite {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        let parsed = text.rsplit_once(':').filter(|(tensor, _)| !tensor.is_empty());
        let site = parsed.and_then(|(tensor, index)| Some((tensor.to_owned(), index.parse().ok()?)));
        site.map(|(tensor, index)| Self { tensor, index }).ok_or_else(|| SiteError(text.to_owned()))
    }
}

impl fmt::Display for ElementSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.tensor, self.index)
    }
}

impl Elements {
    /// How many of `elements` a share is.
    #[must_use]
    pub fn share_of(share: Rate, elements: u64) -> u64 {
        let nearest = (share.fraction() * elements as f64).round_ties_even() as u64;
        let least = u64::from(share.fraction() > 0.0);
        nearest.max(least).min(elements)
    }

    /// A plan whose hits `place` turns into faults: it gets the key, the place of a tensor in the space, and elements, rising.
    /// The elements are chosen by streams of the key's part `of`, or of the key itself.
    pub(crate) fn plan<'a>(
        &self,
        space: &'a FaultSpace,
        of: Option<&'static str>,
        place: impl Fn(&PartKey, usize, Vec<u64>, &mut Part<'a>) + Clone + Send + Sync + 'a,
    ) -> Result<Plan<'a>, DrawError> {
        let streams = move |key: &PartKey| match of {
            None => key.part("elements"),
            Some(part) => key.part(part).part("elements"),
        };
        let all = space.tensors().iter().map(|tensor| tensor.elements).sum();
        match self {
            Self::Rate(rate) => Ok(Plan::Trials(at_rate(space, streams, *rate, place))),
            Self::Count(count) => Ok(exactly(space, streams, *count, place)),
            Self::Share(share) => Ok(exactly(space, streams, Self::share_of(*share, all), place)),
            Self::Sites(sites) => at_sites(space, sites, place),
        }
    }
}

fn at_rate<'a>(
    space: &'a FaultSpace,
    streams: impl Fn(&PartKey) -> PartKey + Copy + Send + Sync + 'a,
    rate: Rate,
    place: impl Fn(&PartKey, usize, Vec<u64>, &mut Part<'a>) + Clone + Send + Sync + 'a,
) -> Vec<Group<'a>> {
    let group = |(at, tensor): (usize, &'a SpaceTensor)| {
        let place = place.clone();
        let add = move |key: &PartKey, drawn: Drawn, part: &mut Part<'a>| {
            if !drawn.hits.is_empty() {
                place(key, at, drawn.hits, part);
            }
        };
        Group::new(move |key| streams(key).tensor(&tensor.name), tensor.elements, rate, add)
    };
    space.tensors().iter().enumerate().map(group).collect()
}

fn exactly<'a>(
    space: &'a FaultSpace,
    streams: impl Fn(&PartKey) -> PartKey + Send + Sync + 'a,
    count: u64,
    place: impl Fn(&PartKey, usize, Vec<u64>, &mut Part<'a>) + Send + Sync + 'a,
) -> Plan<'a> {
    let numbering = Numbering::new(space, |_, tensor| tensor.elements);
    Plan::Certain(Box::new(move |key, part| {
        let chosen = subset_of(&streams(key).whole(), numbering.all(), count)
            .map_err(|error| DrawError::TooMany { what: "elements", error })?;
        numbering.divide(&chosen, |at, elements| place(key, at, elements, part));
        Ok(())
    }))
}

fn at_sites<'a>(
    space: &'a FaultSpace,
    sites: &[ElementSite],
    place: impl Fn(&PartKey, usize, Vec<u64>, &mut Part<'a>) + Send + Sync + 'a,
) -> Result<Plan<'a>, DrawError> {
    let mut chosen = vec![Vec::<u64>::new(); space.tensors().len()];
    for site in sites {
        let named = || SiteRange {
            tensor: site.tensor.clone(),
            place: Place::Bits { index: Some(site.index), bit: None },
        };
        let at = space.tensors().iter().position(|tensor| tensor.name == site.tensor);
        let at = at.ok_or_else(|| DrawError::NoTensor { site: named() })?;
        let (index, elements) = (site.index, space.tensors()[at].elements);
        if index >= elements {
            return Err(DrawError::NoElement { site: named(), index, elements });
        }
        chosen[at].push(index);
    }
    for elements in &mut chosen {
        elements.sort();
        elements.dedup();
    }
    Ok(Plan::Certain(Box::new(move |key, part| {
        let hit = chosen.iter().enumerate().filter(|(_, elements)| !elements.is_empty());
        hit.for_each(|(at, elements)| place(key, at, elements.clone(), part));
        Ok(())
    })))
}

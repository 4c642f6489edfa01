//! Faults of whole parts of a DRAM.

use bitquake_sample::{PartKey, Rate, Stream, subset_of};
use serde::{Deserialize, Serialize};

use super::geometry::{DramGeometry, Level};
use super::line::MemoryLine;
use crate::draw_error::DrawError;
use crate::effect::Effect;
use crate::model::burst::Amount;
use crate::model::plan::{Drawn, Group, Part, Plan};
use crate::space::FaultSpace;

/// A part of a memory that fails as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Structure {
    /// One row of one bank.
    Row,
    /// One column of one bank, in every row.
    Column,
    /// One bank.
    Bank,
    /// One rank of one channel: with [`Scope::OneDevice`], everything that a device supplies.
    Device,
}

/// Which lanes of a structure fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Those of one device.
    #[default]
    OneDevice,
    /// Those of all devices of the rank.
    AllDevices,
}

/// Faults of rows, columns, banks or devices of a DRAM that holds the tensors.
///
/// The tensors of the space lie one after the other in file order from address 0 on, in the order of their bit addresses, each
/// at a multiple of the alignment. A structure counts among those that may fail when its lowest transfer lies in the memory that
/// they take. Only bits of the space are hit.
#[derive(Clone, Debug, PartialEq)]
pub struct DramFault {
    /// The memory.
    pub geometry: DramGeometry,
    /// Tensors start at multiples of this many bytes, at least 1.
    pub align: u64,
    /// What fails.
    pub structure: Structure,
    /// In which devices.
    pub scope: Scope,
    /// How many structures (of one device, or of all) fail: a probability for each of them, or a number.
    pub amount: Amount,
    /// The probability that a bit of a failed structure is hit; 1/2 for a device that supplies noise, with flips.
    pub each: Rate,
    /// What happens to a bit that is hit.
    pub effect: Effect,
}

impl DramFault {
    /// One failed structure in one device of the default memory, of which all bits flip; tensors at multiples of 64 bytes.
    #[must_use]
    pub fn one(structure: Structure) -> Self {
        Self {
            geometry: DramGeometry::default(),
            align: 64,
            structure,
            scope: Scope::OneDevice,
            amount: Amount::Count(1),
            each: Rate::ONE,
            effect: Effect::Flip,
        }
    }

    pub(crate) fn plan<'a>(&'a self, space: &'a FaultSpace) -> Result<Plan<'a>, DrawError> {
        let memory = Memory::new(self, space)?;
        let count_all = memory.structures();
        let of = |key: &PartKey| key.part(format!("dram {:?}", self.structure));
        let bits = move |key: &PartKey| of(key).part("bits").whole();
        match self.amount {
            Amount::Rate(rate) => {
                let add = move |key: &PartKey, drawn: Drawn, part: &mut Part<'a>| {
                    memory.fail(&drawn.hits, &bits(key), part);
                };
                Ok(Plan::Trials(vec![Group::new(move |key| of(key).whole(), count_all, rate, add)]))
            }
            Amount::Count(count) => Ok(Plan::Certain(Box::new(move |key, part| {
                let chosen = subset_of(&of(key).whole(), count_all, count)
                    .map_err(|error| DrawError::TooMany { what: "parts of the memory", error })?;
                memory.fail(&chosen, &bits(key), part);
                Ok(())
            }))),
        }
    }
}

/// The tensors in the memory.
struct Memory<'a> {
    fault: &'a DramFault,
    space: &'a FaultSpace,
    line: MemoryLine,
    /// Transfers that the tensors take.
    transfers: u64,
    /// For each structure (in all devices) its lowest transfer, rising.
    bases: Vec<u64>,
    /// Counts and strides of the levels that a structure spans, slowest first.
    free: Vec<(u64, u64)>,
}

impl Structure {
    /// Whether it has all of a level.
    fn spans(self, level: Level) -> bool {
        match self {
            Self::Row => level == Level::Column,
            Self::Column => level == Level::Row,
            Self::Bank => matches!(level, Level::Row | Level::Column),
            Self::Device => matches!(level, Level::Row | Level::Column | Level::Bank),
        }
    }
}

impl<'a> Memory<'a> {
    fn new(fault: &'a DramFault, space: &'a FaultSpace) -> Result<Self, DrawError> {
        let geometry = &fault.geometry;
        let capacity = geometry.capacity()?;
        if !(1..=1 << 30).contains(&fault.align) {
            return Err(DrawError::Alignment { align: fault.align });
        }
        let line = MemoryLine::new(space, fault.align * 8);
        let needed = line.bits();
        if needed > capacity {
            return Err(DrawError::MemoryTooSmall { needed, capacity });
        }
        let transfers = needed.div_ceil(geometry.bus_bits);
        let (free, fixed): (Vec<_>, Vec<_>) =
            geometry.strides().into_iter().partition(|(level, ..)| fault.structure.spans(*level));
        let plain = |levels: Vec<(Level, u64, u64)>| {
            levels.into_iter().map(|(_, count, stride)| (count, stride)).collect::<Vec<_>>()
        };
        let mut bases = Vec::new();
        visit(&plain(fixed), 0, transfers, &mut |base| bases.push(base));
        Ok(Self { fault, space, line, transfers, bases, free: plain(free) })
    }

    /// How many structures there are, counting each device when they fail one by one.
    fn structures(&self) -> u64 {
        self.bases.len() as u64 * self.device_count()
    }

    fn device_count(&self) -> u64 {
        match self.fault.scope {
            Scope::OneDevice => self.fault.geometry.devices(),
            Scope::AllDevices => 1,
        }
    }

    /// Adds the bits of failed structures.
    fn fail(&self, structures: &[u64], bits: &Stream, part: &mut Part<'_>) {
        let (devices, bus) = (self.device_count(), self.fault.geometry.bus_bits);
        let lanes = bus / devices;
        let mut hit = vec![Vec::new(); self.space.tensors().len()];
        for &structure in structures {
            let base = self.bases[(structure / devices) as usize];
            let first_lane = structure % devices * lanes;
            let mut words = bits.words(structure);
            visit(&self.free, base, self.transfers, &mut |transfer| {
                let start = transfer * bus + first_lane;
                for bit in start..start + lanes {
                    let is_hit = self.fault.each == Rate::ONE || words.chance(self.fault.each);
                    if let Some((place, address)) = self.line.locate(bit).filter(|_| is_hit) {
                        hit[place].push(address);
                    }
                }
            });
        }
        for (place, mut addresses) in hit.into_iter().enumerate() {
            let tensor = &self.space.tensors()[place];
            addresses.retain(|&address| tensor.mask >> tensor.element_and_bit(address).1 & 1 == 1);
            part.add(place, self.fault.effect, addresses);
        }
    }
}

/// Every sum of `base` and a multiple of each stride, below `end` and in order. Strides fall, and each is at least the reach of
/// those behind it.
fn visit(levels: &[(u64, u64)], base: u64, end: u64, found: &mut impl FnMut(u64)) {
    let Some((&(count, stride), faster)) = levels.split_first() else {
        if base < end {
            found(base);
        }
        return;
    };
    for index in 0..count {
        let base = base + index * stride;
        if base >= end {
            return;
        }
        visit(faster, base, end, found);
    }
}

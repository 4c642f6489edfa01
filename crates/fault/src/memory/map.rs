//! The faults of a memory array, laid over the tensors.

use std::sync::Arc;

use bitquake_sample::{PartKey, Stream};

use super::chip::{CellFault, ChipCell, ChipMap};
use super::line::MemoryLine;
use crate::draw_error::DrawError;
use crate::effect::Effect;
use crate::model::plan::{Part, Plan};
use crate::space::{FaultSpace, SpaceTensor};

/// The tensors of a space stored in a memory array, or in as many equal arrays as they need.
///
/// Every bit of the tensors takes a cell, tensor after tensor in file order without gaps, in the order of bit addresses; the bit
/// at place `x` of that line lies in cell `(x + offset) mod cells`, cells counted row by row. Only bits of the space are hit.
///
/// Nested over voltage: a lower voltage adds faults. A cell that fails with a probability draws one number for each bit and
/// trial, which decides at every voltage.
#[derive(Clone, Debug, PartialEq)]
pub struct MapFaults {
    /// The array.
    pub chip: Arc<ChipMap>,
    /// The voltage, in the unit of the thresholds: needed if there are any, and not to be given otherwise.
    pub voltage: Option<f64>,
    /// The cell in which the first bit lies.
    pub offset: Offset,
}

/// The cell in which the first bit of the model lies; averaging over trials averages over offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offset {
    /// This cell in every trial; cell numbers wrap around.
    Fixed(u64),
    /// Trial `t` takes entry `t mod len`; an empty list is cell 0.
    ByTrial(Vec<u64>),
    /// A cell that the trial's key chooses, all equally likely.
    Random,
}

impl Offset {
    fn of(&self, key: &PartKey, cells: u64) -> u64 {
        match self {
            Self::Fixed(offset) => offset % cells,
            Self::ByTrial(offsets) if offsets.is_empty() => 0,
            Self::ByTrial(offsets) => offsets[(key.trial().trial % offsets.len() as u64) as usize] % cells,
            Self::Random => key.part("offset").whole().words(0).below(cells),
        }
    }
}

impl MapFaults {
    pub(crate) fn plan<'a>(&'a self, space: &'a FaultSpace) -> Result<Plan<'a>, DrawError> {
        self.check_voltage()?;
        let cells: Vec<&ChipCell> = self.chip.faulty_at(self.voltage).collect();
        Ok(Plan::Cells(Box::new(move |key, part| {
            self.lay(&cells, space, key, part);
            Ok(())
        })))
    }

    fn lay(&self, cells: &[&ChipCell], space: &FaultSpace, key: &PartKey, part: &mut Part<'_>) {
        let all = self.chip.rows() * self.chip.columns();
        let offset = self.offset.of(key, all);
        let key = key.part("cells");
        for (place, (start, _)) in MemoryLine::new(space, 1).spans().enumerate() {
            let tensor = &space.tensors()[place];
            let first = (start % all + offset) % all;
            let mut lists = <[Vec<u64>; Effect::COUNT]>::default();
            let stream = key.tensor(&tensor.name);
            visit(cells, all, first, tensor, |cell, address| {
                if let Some(effect) = effect(cell.fault, &stream, address) {
                    lists[effect as usize].push(address);
                }
            });
            Effect::ALL.into_iter().zip(lists).for_each(|(effect, list)| part.add(place, effect, list));
        }
    }

    fn check_voltage(&self) -> Result<(), DrawError> {
        let reason = match (self.voltage, self.chip.has_thresholds()) {
            (None, true) => "the map's cells have threshold voltages: give a voltage",
            (Some(_), false) => "a voltage is given, but the map's cells have no thresholds",
            (Some(voltage), true) if voltage.is_nan() => "the voltage is not a number",
            _ => return Ok(()),
        };
        Err(DrawError::Voltage { reason })
    }
}

/// Hands over every bit of a tensor that lies in one of the cells, in order. Its bit 0 lies in cell `first` of `all`.
fn visit(
    cells: &[&ChipCell],
    all: u64,
    first: u64,
    tensor: &SpaceTensor,
    mut hit: impl FnMut(&ChipCell, u64),
) {
    let width = u64::from(tensor.format.width());
    let end = first + tensor.elements * width;
    for start in (0..end).step_by(usize::try_from(all).unwrap_or(usize::MAX)) {
        let skipped = cells.partition_point(|cell| start + cell.index < first);
        let here = cells[skipped..].iter().take_while(|cell| start + cell.index < end);
        for cell in here {
            let address = start + cell.index - first;
            if tensor.mask >> (address % width) & 1 == 1 {
                hit(cell, address);
            }
        }
    }
}

/// What a cell does in this trial to the bit that lies in it.
fn effect(fault: CellFault, stream: &Stream, address: u64) -> Option<Effect> {
    let (to_one, to_zero) = match fault {
        CellFault::Stuck(value) => return Some(Effect::stuck_at(value)),
        CellFault::Flips { to_one, to_zero } => (to_one, to_zero),
    };
    let certain = |rate: bitquake_sample::Rate| rate.fraction() == 0.0 || rate.fraction() == 1.0;
    let fraction = if certain(to_one) && certain(to_zero) { 0 } else { stream.words(address).u128() };
    match (to_one.exceeds(fraction), to_zero.exceeds(fraction)) {
        (true, true) => Some(Effect::Flip),
        (true, false) => Some(Effect::Rise),
        (false, true) => Some(Effect::Fall),
        (false, false) => None,
    }
}

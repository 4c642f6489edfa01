//! One image's view of the memory, and what instructions do in it.

pub(super) mod ripple;
mod tangents;

use super::mapped::Mapped;
use super::{Runner, Shared};
use crate::layout;
use crate::program::fuse::Limit;
use crate::program::fuse::Norm;
use crate::program::instruction::{Instruction, Item, Source};
use crate::program::map::{Affine, Back, Lay, Limits, Map, Mask, Normal, Sums};
use crate::program::memory::Rows;
use crate::program::moments::{Moments, of_groups, slopes_of_groups};
use crate::program::operation::Bound;
use crate::program::patched::Patched;
use crate::program::plan::{Layout, Place};
use crate::program::pool::{Maxima, Slopes};
use crate::program::tables::Numbers;

/// The items of one image.
pub(super) struct Frame<'f> {
    layout: Layout<'f>,
    rows: &'f [Option<Rows<'f>>],
    /// What items of the thread, and convolutions, work in.
    scratch: &'f mut [f32],
    image: usize,
    before: Option<Before<'f>>,
}

/// Items of the thread that are there already, in memory that is only read.
#[derive(Clone, Copy)]
pub(super) struct Before<'f> {
    pub(super) layout: Layout<'f>,
    pub(super) floats: &'f [f32],
    /// Items that no thread has for itself; nothing writes them for this image while the value lives.
    pub(super) rows: &'f [Option<Rows<'f>>],
    /// Of each item whether it is there.
    pub(super) is_there: &'f [bool],
}

impl<'f> Before<'f> {
    /// An item of an image.
    fn item(&self, item: Item, image: usize) -> &'f [f32] {
        let placed = &self.layout.items[item];
        if let Place::Scratch(start) = placed.place {
            return &self.floats[start..start + placed.floats];
        }
        let rows = self.rows[item].as_ref().expect("an item is placed before it is used");
        // SAFETY: the promise of `rows`.
        #[expect(unsafe_code, reason = "tasks work on the same buffers, each on its own images")]
        unsafe {
            rows.row(image)
        }
    }
}

/// Lists of floats that are read, and lists that are written.
type Operands<'a, const R: usize, const W: usize> = ([&'a [f32]; R], [&'a mut [f32]; W]);

impl<'f> Frame<'f> {
    /// # Safety
    ///
    /// While the value lives, nothing else reads or writes what `rows` have for this image, but for rows that nothing writes.
    #[expect(unsafe_code, reason = "tasks work on the same buffers, each on its own images")]
    pub(super) unsafe fn new(
        layout: Layout<'f>,
        rows: &'f [Option<Rows<'f>>],
        scratch: &'f mut [f32],
        image: usize,
    ) -> Frame<'f> {
        Frame { layout, rows, scratch, image, before: None }
    }

    /// The frame of an image of which some items are there already.
    pub(super) fn after(self, before: Before<'f>) -> Frame<'f> {
        Frame { before: Some(before), ..self }
    }

    /// An item to read; with `is_own` as this frame has it, else as it was there before.
    fn one(&mut self, item: Item, is_own: bool) -> &[f32] {
        if is_own { self.operands([Some(item)], []).0.0[0] } else { self.before(item) }
    }

    /// An item as it was there before.
    ///
    /// # Panics
    ///
    /// When this frame is not one after another.
    fn before(&self, item: Item) -> &'f [f32] {
        self.before.expect("a frame after another").item(item, self.image)
    }

    /// Writes an item as it was there before.
    fn take(&mut self, item: Item) {
        let before = self.before(item);
        let (([], [own]), _) = self.operands([], [Some(item)]);
        own.copy_from_slice(before);
    }

    /// Items to read and items to write at the same time. An item that is not there is an empty list.
    ///
    /// # Panics
    ///
    /// When an item that is written shares memory with another, or belongs to the caller.
    fn operands<const R: usize, const W: usize>(
        &mut self,
        reads: [Option<Item>; R],
        writes: [Option<Item>; W],
    ) -> (Operands<'_, R, W>, &mut [f32]) {
        let (items, convolutions) = self.scratch.split_at_mut(self.layout.scratch);
        let scratch = (items.as_mut_ptr(), items.len());
        let find = |item: Option<Item>, is_written: bool| {
            let Some(item) = item else { return (std::ptr::NonNull::<f32>::dangling().as_ptr(), 0) };
            if let Some(before) = self.before.filter(|before| before.is_there[item]) {
                let placed = &before.layout.items[item];
                if let Place::Scratch(start) = placed.place {
                    assert!(!is_written, "what is there already is not written");
                    let floats = &before.floats[start..start + placed.floats];
                    return (floats.as_ptr().cast_mut(), floats.len());
                }
            }
            let placed = &self.layout.items[item];
            if let Place::Scratch(start) = placed.place {
                assert!(start + placed.floats <= scratch.1, "the scratch holds all items of a stage");
                return (scratch.0.wrapping_add(start), placed.floats);
            }
            let rows = self.rows[item].as_ref().expect("an item is placed before it is used");
            assert!(rows.is_writable() || !is_written, "the caller's memory is not written");
            rows.place(self.image)
        };
        let reads = reads.map(|item| find(item, false));
        let writes = writes.map(|item| find(item, true));
        for (place, &write) in writes.iter().enumerate() {
            let others = reads.iter().chain(&writes[..place]);
            assert!(
                others.into_iter().all(|&other| are_apart(write, other)),
                "an instruction writes what it reads"
            );
        }
        // SAFETY: each list lies within the scratch, which this value has borrowed, or within a row of this image, which nothing else
        // uses (the condition of `new`), or within the floats of `before`, which are borrowed too and only read; lists that are written lie apart from all others, as was just checked; all lists live no
        // longer than the mutable borrow of this value, so there are no others. A list of no floats may be anywhere.
        #[expect(unsafe_code, reason = "several lists of one buffer, some written")]
        let operands = unsafe {
            (
                reads.map(|(first, floats)| std::slice::from_raw_parts(first, floats)),
                writes.map(|(first, floats)| std::slice::from_raw_parts_mut(first, floats)),
            )
        };
        (operands, convolutions)
    }
}

/// Whether two lists share no float.
fn are_apart(a: (*mut f32, usize), b: (*mut f32, usize)) -> bool {
    let [a, b] = [a, b].map(|(first, floats)| first.addr()..first.addr() + floats * size_of::<f32>());
    a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
}

/// Does an instruction for one image.
pub(super) fn execute(
    runner: &Runner<'_>,
    instruction: &Instruction,
    frame: &mut Frame<'_>,
    numbers: Patched<'_, Numbers>,
    part: usize,
) {
    let Shared { plan, isa, parameters, packed, .. } = runner.shared;
    match *instruction {
        Instruction::Block { channels, plain, blocked } => {
            let (([plain], [blocked]), _) = frame.operands([Some(plain)], [Some(blocked)]);
            let floats = plain_floats(blocked.len(), channels);
            layout::block(&plain[..floats], channels, blocked);
        }
        Instruction::Unblock { channels, blocked, plain } => {
            let (([blocked], [plain]), _) = frame.operands([Some(blocked)], [Some(plain)]);
            let floats = plain_floats(blocked.len(), channels);
            layout::unblock(blocked, channels, &mut plain[..floats]);
        }
        Instruction::Copy { from, to } => {
            let (([from], [to]), _) = frame.operands([Some(from)], [Some(to)]);
            to[..from.len()].copy_from_slice(from);
        }
        Instruction::Convolution { layer, x, y } => {
            let (([x], [y]), scratch) = frame.operands([Some(x)], [Some(y)]);
            let planned = &plan.layers[layer];
            let bias = planned.bias.map(|bias| &parameters[bias][..]);
            let scratch = &mut scratch[..planned.convolution.scratch_len()];
            planned.convolution.forward(&packed[layer][0], bias, x, y, scratch);
        }
        Instruction::Mapped { layer, pixels, x, norm, other, limit, y } => {
            let statistics = norm.and_then(|norm| norm.statistics);
            let (([x, statistics, sum], [y]), scratch) =
                frame.operands([Some(x), statistics, other], [Some(y)]);
            let planned = &plan.layers[layer];
            let image = Mapped {
                isa,
                pixels,
                x,
                affine: norm.map(|norm| numbers[norm.table].affine(statistics)),
                other: other.map(|_| sum),
                limits: limits(limit, parameters),
            };
            let bias = planned.bias.map(|bias| &parameters[bias][..]);
            let scratch = &mut scratch[..planned.convolution.scratch_len()];
            planned.convolution.forward_of(&packed[layer][0], bias, &image, y, scratch);
        }
        Instruction::Correlation { layer, x, y, is_added } => {
            let (([x], [y]), scratch) = frame.operands([Some(x)], [Some(y)]);
            let convolution = &plan.layers[layer].convolution;
            let scratch = &mut scratch[..convolution.scratch_len()];
            if is_added {
                convolution.forward_added(&packed[layer][0], x, y, scratch);
            } else {
                convolution.forward(&packed[layer][0], None, x, y, scratch);
            }
        }
        Instruction::DataGradient { layer, dy, dx, is_added } => {
            let (([dy], [dx]), scratch) = frame.operands([Some(dy)], [Some(dx)]);
            let convolution = &plan.layers[layer].convolution;
            let scratch = &mut scratch[..convolution.scratch_len()];
            if is_added {
                convolution.data_gradient_added(&packed[layer][1], dy, dx, scratch);
            } else {
                convolution.data_gradient(&packed[layer][1], dy, dx, scratch);
            }
        }
        Instruction::WeightGradient { layer, x, dy } => {
            let (([x, dy], []), scratch) = frame.operands([Some(x), Some(dy)], []);
            let convolution = &plan.layers[layer].convolution;
            let scratch = &mut scratch[..convolution.scratch_len()];
            convolution.weight_gradient(x, dy, runner.weight_sum(layer, part), scratch);
        }
        Instruction::Map { is_plain, pixels, x, norm, other, limit, y } => {
            let statistics = norm.and_then(|norm| norm.statistics);
            let (([x, statistics, sum], [y]), _) = frame.operands([Some(x), statistics, other], [Some(y)]);
            let affine = norm.map(|norm| numbers[norm.table].affine(statistics));
            let other = other.map(|_| sum);
            let lay = if is_plain { Lay::Plain { pixels } } else { Lay::Blocked { pixels } };
            Map { lay, x, affine, other, limits: limits(limit, parameters), y }.compute(isa);
        }
        Instruction::Scale { pixels, table, dz, dx } => {
            let (([x], [y]), _) = frame.operands([Some(dz)], [Some(dx)]);
            let affine: Option<Affine<'_>> = Some(numbers[table].slope());
            Map { lay: Lay::Blocked { pixels }, x, affine, other: None, limits: Limits::None, y }
                .compute(isa);
        }
        Instruction::Back { pixels, dy, more, gate, limit, standard, dz, totals } => {
            let (item, norm) = standard.map_or((None, None), |(item, norm)| (Some(item), Some(norm)));
            let statistics = norm.and_then(|norm: Source| norm.statistics);
            let ([dy, added, value, x, statistics], [written, sums]) =
                frame.operands([Some(dy), more, gate, item, statistics], [dz, totals]).0;
            let mask = mask(limit, value, parameters);
            let kind = match (norm, totals) {
                (Some(norm), Some(_)) => {
                    let (centre, inverse) =
                        numbers[norm.table].standard(&plan.tables[norm.table], statistics);
                    Sums::Both { x, centre, inverse }
                }
                (None, Some(_)) => Sums::Gradient,
                (_, None) => Sums::Nothing,
            };
            let (more, dz) = (more.map(|_| added), dz.map(|_| written));
            Back { pixels, dy, more, mask, sums: kind, dz, totals: sums }.compute(isa);
        }
        Instruction::Moments { pixels, x, moments } => {
            let (([x], [moments]), _) = frame.operands([Some(x)], [Some(moments)]);
            Moments { pixels, x, moments }.compute(isa);
        }
        Instruction::GroupStatistics { table, moments, statistics } => {
            let (([moments], [statistics]), _) = frame.operands([Some(moments)], [Some(statistics)]);
            let planned = &plan.tables[table];
            let Norm::Group { groups, epsilon, .. } = planned.norm else { return };
            of_groups(moments, planned.shape.channels, groups, planned.shape.pixels(), epsilon, statistics);
        }
        Instruction::GroupSlopes { table, totals, slopes } => {
            let (([totals], [slopes]), _) = frame.operands([Some(totals)], [Some(slopes)]);
            let planned = &plan.tables[table];
            let Norm::Group { groups, .. } = planned.norm else { return };
            let (channels, pixels) = (planned.shape.channels, planned.shape.pixels());
            slopes_of_groups(totals, numbers[table].scale(), channels, groups, pixels, slopes);
        }
        Instruction::GroupMeans { table, totals, means } => {
            let (([totals], [means]), _) = frame.operands([Some(totals)], [Some(means)]);
            let planned = &plan.tables[table];
            let Norm::Group { groups, .. } = planned.norm else { return };
            let (channels, pixels) = (planned.shape.channels, planned.shape.pixels());
            slopes_of_groups(totals, numbers[table].ones(), channels, groups, pixels, means);
        }
        Instruction::Normal { pixels, norm, slopes, dz, x, dx } => {
            let (([statistics, of_image, dz, x], [dx]), _) =
                frame.operands([norm.statistics, slopes, Some(dz), Some(x)], [Some(dx)]);
            let numbers = &numbers[norm.table];
            let Affine { centre, inverse, scale, .. } = numbers.affine(statistics);
            let (mean, along) =
                if slopes.is_some() { of_image.split_at(of_image.len() / 2) } else { numbers.slopes() };
            Normal { pixels, dz, x, centre, inverse, scale, mean, along, dx }.compute(isa);
        }
        Instruction::Pool { pool, is_positive, x, y, winners } => {
            let (([x], [y, steps]), _) = frame.operands([Some(x)], [Some(y), winners]);
            let winners = winners.map(|_| steps);
            plan.pools[pool].forward(isa, x, y, Maxima { is_positive, winners });
        }
        Instruction::PoolGradient { pool, winners, dy, dx, totals } => {
            let (([winners, dy], [dx, sums]), _) = frame.operands([winners, Some(dy)], [Some(dx), totals]);
            let totals = totals.map(|_| sums);
            plan.pools[pool].backward(isa, Slopes { winners, dy, dx, totals });
        }
        Instruction::Tangent(ref of) => tangents::execute(runner, of, frame, numbers),
        Instruction::Check { is_plain, channels, x, value } => {
            let (([x], []), _) = frame.operands([Some(x)], []);
            if !is_finite(x, is_plain, channels) {
                runner.flag(value);
            }
        }
    }
}

/// The floats of a plain image, from those of the blocked one.
fn plain_floats(blocked: usize, channels: usize) -> usize {
    blocked / layout::blocked_len(channels, 1) * channels
}

/// Where a gradient or a tangent passes a limit; `value` is what the limit gave, or, with two limits, what it was given.
fn mask<'v>(limit: Limit, value: &'v [f32], parameters: Patched<'_, Vec<f32>>) -> Mask<'v> {
    match limits(limit, parameters) {
        Limits::None => Mask::Open,
        Limits::Positive => Mask::Positive(value),
        Limits::Within(limits) => Mask::Within(value, limits),
    }
}

fn limits(limit: Limit, parameters: Patched<'_, Vec<f32>>) -> Limits {
    let number = |bound: Bound| match bound {
        Bound::Parameter(parameter) => parameters[parameter][0],
        Bound::Number(number) => number,
    };
    match limit {
        Limit::None => Limits::None,
        Limit::Positive => Limits::Positive,
        Limit::Within(bounds) => Limits::Within(bounds.map(number)),
    }
}

/// Whether all values are finite; the lanes beyond the channels do not count.
fn is_finite(x: &[f32], is_plain: bool, channels: usize) -> bool {
    let all = |values: &[f32]| values.iter().all(|value| value.is_finite());
    if is_plain {
        return all(x);
    }
    let pixels = x.len() / layout::blocked_len(channels, 1);
    let size = pixels * layout::LANES;
    x.chunks_exact(size.max(1)).enumerate().all(|(block, x)| {
        let lanes = (channels - block * layout::LANES).min(layout::LANES);
        x.chunks_exact(layout::LANES).all(|pixel| all(&pixel[..lanes]))
    })
}

#[cfg(test)]
mod tests {
    use super::is_finite;
    use crate::layout::{LANES, blocked_len};

    /// 18 channels of 3 pixels: the second block has two lanes that are channels; what the others hold says nothing.
    #[test]
    fn lanes_beyond_the_channels_are_not_checked() {
        for place in 0..blocked_len(18, 3) {
            let mut x = vec![1.0; blocked_len(18, 3)];
            x[place] = f32::NAN;
            let is_channel = place < 3 * LANES || place % LANES < 2;
            assert_eq!(is_finite(&x, false, 18), !is_channel, "{place}");
        }
        assert!(!is_finite(&[1.0, f32::INFINITY], true, 18));
    }
}

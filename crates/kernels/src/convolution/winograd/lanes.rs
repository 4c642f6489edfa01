//! The steps before and after the products, on sixteen channels at a time.

#![expect(
    unsafe_code,
    reason = "inner loops read and write through pointers, whose bounds are checked before"
)]

use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Portable};
use crate::layout::LANES;

/// Neighbouring tiles of a row, to be read.
pub(super) struct Read<'a> {
    /// From the first pixel of the first tile on.
    pub(super) source: &'a [f32],
    /// Floats from a row of the source to the next.
    pub(super) row: usize,
    /// From the first tile on.
    pub(super) target: &'a mut [f32],
    /// Floats from a position to the next.
    pub(super) position: usize,
    pub(super) tiles: usize,
}

/// Neighbouring tiles of a row, to be written.
pub(super) struct Written<'a> {
    /// From the first tile on.
    pub(super) source: &'a [f32],
    /// Floats from a position to the next.
    pub(super) position: usize,
    /// From the first pixel of the first tile on.
    pub(super) target: &'a mut [f32],
    /// Floats from a row of the target to the next.
    pub(super) row: usize,
    /// What the pixels start from; none: from what the target holds.
    pub(super) start: Option<&'a [f32; LANES]>,
    /// Rows of pixels: one or two.
    pub(super) rows: usize,
    /// Columns of pixels; an odd number leaves half of the last tile out.
    pub(super) columns: usize,
}

/// The functions of an instruction set that the processor has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions {
    read: unsafe fn(&mut Read<'_>),
    write: unsafe fn(&mut Written<'_>),
    squares: unsafe fn(&[f32], usize) -> f32,
}

impl Functions {
    /// Those of an instruction set, which the processor must have.
    pub(super) fn of(isa: Isa) -> Self {
        assert!(isa.is_available(), "the processor has no {isa}");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Self { read: avx512_read, write: avx512_write, squares: avx512_squares },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self { read: avx2_read, write: avx2_write, squares: avx2_squares },
            _ => Self { read: read::<Portable>, write: write::<Portable>, squares: squares::<Portable> },
        }
    }

    /// Writes `B' d B` of tiles to their positions.
    pub(super) fn read(&self, mut of: Read<'_>) {
        if of.tiles == 0 {
            return;
        }
        assert!(3 * of.row + (2 * of.tiles + 2) * LANES <= of.source.len());
        assert!(15 * of.position + of.tiles * LANES <= of.target.len());
        // SAFETY: `Functions::of` made sure of the instructions. The last tile reads three rows below its first pixel, and in its last row pixel
        // `2 * tiles + 1` of the strip is the last; it writes its last position at tile `tiles - 1`: both within the lengths above.
        unsafe { (self.read)(&mut of) }
    }

    /// Writes, or adds, `A' m A` of the sums `m` at the positions of tiles to pixels.
    pub(super) fn write(&self, mut of: Written<'_>) {
        if of.columns == 0 {
            return;
        }
        assert!((1..=2).contains(&of.rows));
        assert!(15 * of.position + of.columns.div_ceil(2) * LANES <= of.source.len());
        assert!((of.rows - 1) * of.row + of.columns * LANES <= of.target.len());
        // SAFETY: `Functions::of` made sure of the instructions. There are `columns` halved and rounded up tiles, of which the last position is read;
        // no row but the first `rows`, and no column but the first `columns` is written: all within the lengths above.
        unsafe { (self.write)(&mut of) }
    }

    /// The sum of the squares of the first `lanes` lanes of whole vectors, in a fixed order.
    pub(super) fn squares(&self, of: &[f32], lanes: usize) -> f32 {
        // SAFETY: `Functions::of` made sure of the instructions.
        unsafe { (self.squares)(of, lanes) }
    }
}

/// `B'` times a column.
#[inline(always)]
unsafe fn before<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 4] {
    // SAFETY: the caller's promise of the instructions.
    unsafe { [a.subtract(c), b.add(c), c.subtract(b), b.subtract(d)] }
}

/// `A'` times a column.
#[inline(always)]
unsafe fn after<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 2] {
    // SAFETY: the caller's promise of the instructions.
    unsafe { [a.add(b).add(c), b.subtract(c).subtract(d)] }
}

/// # Safety
///
/// The processor has the instructions; the lengths are those that [`Functions::read`] checks.
#[inline(always)]
unsafe fn read<L: Lanes>(of: &mut Read<'_>) {
    // SAFETY: the bounds that the caller promises.
    unsafe {
        let column = |from: *const f32| {
            let rows: [L; 4] = std::array::from_fn(|row| L::load(from.add(row * of.row)));
            before(rows)
        };
        let (mut from, mut to) = (of.source.as_ptr(), of.target.as_mut_ptr());
        // Neighbouring tiles share two columns.
        let (mut first, mut second) = (column(from), column(from.add(LANES)));
        for _ in 0..of.tiles {
            let (third, fourth) = (column(from.add(2 * LANES)), column(from.add(3 * LANES)));
            for row in 0..4 {
                let values = before([first[row], second[row], third[row], fourth[row]]);
                for (column, value) in values.into_iter().enumerate() {
                    value.store(to.add((4 * row + column) * of.position));
                }
            }
            (first, second) = (third, fourth);
            from = from.wrapping_add(2 * LANES);
            to = to.wrapping_add(LANES);
        }
    }
}

/// # Safety
///
/// The processor has the instructions; the lengths are those that [`Functions::write`] checks.
#[inline(always)]
unsafe fn write<L: Lanes>(of: &mut Written<'_>) {
    // SAFETY: the bounds that the caller promises.
    unsafe {
        let (mut from, mut to) = (of.source.as_ptr(), of.target.as_mut_ptr());
        let start = of.start.map(|start| L::load(start.as_ptr()));
        let put = |value: L, to: *mut f32| value.add(start.unwrap_or_else(|| L::load(to))).store(to);
        let mut left = of.columns;
        while left > 0 {
            let position = |row: usize, column: usize| L::load(from.add((4 * row + column) * of.position));
            let columns: [[L; 2]; 4] =
                std::array::from_fn(|column| after(std::array::from_fn(|row| position(row, column))));
            let halves = [columns.map(|[upper, _]| upper), columns.map(|[_, lower]| lower)];
            for (row, half) in halves.into_iter().enumerate().take(of.rows) {
                let [left_pixel, right_pixel] = after(half);
                put(left_pixel, to.add(row * of.row));
                if left > 1 {
                    put(right_pixel, to.add(row * of.row + LANES));
                }
            }
            left = left.saturating_sub(2);
            from = from.wrapping_add(LANES);
            to = to.wrapping_add(2 * LANES);
        }
    }
}

/// # Safety
///
/// The processor has the instructions.
#[inline(always)]
unsafe fn squares<L: Lanes>(of: &[f32], lanes: usize) -> f32 {
    const APART: usize = 4;
    let mut total = [0.0_f32; LANES];
    // SAFETY: chunks of so many vectors, and single ones.
    unsafe {
        let mut sums = [L::zero(); APART];
        let chunks = of.chunks_exact(APART * LANES);
        for vector in chunks.remainder().chunks_exact(LANES) {
            let value = L::load(vector.as_ptr()).first(lanes);
            sums[0] = sums[0].multiply_add(value, value);
        }
        for chunk in chunks {
            for (index, sum) in sums.iter_mut().enumerate() {
                let value = L::load(chunk.as_ptr().add(index * LANES)).first(lanes);
                *sum = sum.multiply_add(value, value);
            }
        }
        let [a, b, c, d] = sums;
        a.add(b).add(c.add(d)).store(total.as_mut_ptr());
    }
    total.iter().sum()
}

/// The functions of an instruction set.
macro_rules! enabled {
    ($features:literal, $lanes:ty, $read:ident, $write:ident, $squares:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $read(of: &mut Read<'_>) {
            // SAFETY: the caller's promise.
            unsafe { read::<$lanes>(of) }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $write(of: &mut Written<'_>) {
            // SAFETY: the caller's promise.
            unsafe { write::<$lanes>(of) }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $squares(of: &[f32], lanes: usize) -> f32 {
            // SAFETY: the caller's promise.
            unsafe { squares::<$lanes>(of, lanes) }
        }
    };
}

enabled!("avx512f", Avx512, avx512_read, avx512_write, avx512_squares);
enabled!("avx2,fma", Avx2, avx2_read, avx2_write, avx2_squares);

#[cfg(test)]
mod tests {
    use super::*;

    /// `B'` and `A'`.
    const BEFORE: [[f32; 4]; 4] =
        [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]];
    const AFTER: [[f32; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];

    /// Whole numbers, of which sums are exact.
    fn whole(len: usize) -> Vec<f32> {
        (0..len).map(|index| (index * 7919 % 4093) as f32 - 2046.0).collect()
    }

    /// `matrix * tile * matrix'`, where `tile(row, column)`.
    fn both_sides<const N: usize>(
        matrix: &[[f32; 4]; N],
        tile: impl Fn(usize, usize) -> f32,
    ) -> [[f32; N]; N] {
        std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let pairs = (0..16).map(|index| (index / 4, index % 4));
                pairs.map(|(i, j)| matrix[row][i] * tile(i, j) * matrix[column][j]).sum()
            })
        })
    }

    #[test]
    fn tiles_are_read_as_the_formula_has_it() {
        for isa in Isa::available() {
            for tiles in 1..=3 {
                let (row, position) = ((2 * tiles + 5) * LANES, (tiles + 2) * LANES);
                let source = whole(3 * row + (2 * tiles + 2) * LANES);
                let mut target = vec![f32::NAN; 15 * position + tiles * LANES];
                let read = Read { source: &source, row, target: &mut target, position, tiles };
                Functions::of(isa).read(read);
                for (tile, lane) in (0..tiles).flat_map(|tile| (0..LANES).map(move |lane| (tile, lane))) {
                    let wanted = both_sides(&BEFORE, |i, j| source[i * row + (2 * tile + j) * LANES + lane]);
                    for (index, wanted) in wanted.as_flattened().iter().enumerate() {
                        assert_eq!(target[index * position + tile * LANES + lane], *wanted, "{isa} {tile}");
                    }
                }
                let written = target.iter().filter(|value| !value.is_nan()).count();
                assert_eq!(written, 16 * tiles * LANES, "{isa}: nothing else is written");
            }
        }
    }

    #[test]
    fn tiles_are_written_as_the_formula_has_it() {
        let start = std::array::from_fn(|lane| lane as f32);
        for isa in Isa::available() {
            for (rows, columns, start) in
                [(1, 1, None), (2, 1, Some(&start)), (1, 4, Some(&start)), (2, 5, None)]
            {
                let tiles = usize::div_ceil(columns, 2);
                let (position, row) = ((tiles + 1) * LANES, (columns + 3) * LANES);
                let source = whole(15 * position + tiles * LANES);
                let before = whole(3 * row);
                let mut target = before.clone();
                let written =
                    Written { source: &source, position, target: &mut target, row, start, rows, columns };
                Functions::of(isa).write(written);
                for (index, (&found, &before)) in target.iter().zip(&before).enumerate() {
                    let (y, x, lane) = (index / row, index % row / LANES, index % LANES);
                    let wanted = if y < rows && x < columns {
                        let from = x / 2 * LANES + lane;
                        let tile = both_sides(&AFTER, |i, j| source[(4 * i + j) * position + from]);
                        tile[y][x % 2] + start.map_or(before, |start| start[lane])
                    } else {
                        before
                    };
                    assert_eq!(found, wanted, "{isa}: row {y}, column {x} of {rows} x {columns}");
                }
            }
        }
    }

    #[test]
    fn squares_are_those_of_the_first_lanes() {
        for isa in Isa::available() {
            for vectors in [0, 1, 3, 4, 9] {
                for lanes in [0, 1, 7, 8, 15, 16] {
                    let mut floats = vec![2.0; vectors * LANES];
                    let beyond = floats.iter_mut().enumerate().filter(|(index, _)| index % LANES >= lanes);
                    beyond.for_each(|(_, value)| *value = f32::NAN);
                    let found = Functions::of(isa).squares(&floats, lanes);
                    assert_eq!(found, (4 * vectors * lanes) as f32, "{isa} {vectors} {lanes}");
                }
            }
        }
    }
}

//! The steps before and after the products, on sixteen channels at a time.

#![expect(
    unsafe_code,
    reason = "inner loops read and write through pointers, whose bounds are checked before"
)]

use super::{FAR, NEAR};
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
    /// Rows of pixels: no more than a tile has.
    pub(super) rows: usize,
    /// Columns of pixels; a part of the last tile may be left out.
    pub(super) columns: usize,
}

/// The functions of an instruction set that the processor has, and of a size of tiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions {
    /// Rows, and columns, of the pixels of a tile.
    side: usize,
    read: unsafe fn(&mut Read<'_>),
    write: unsafe fn(&mut Written<'_>),
    squares: Squares,
}

/// The steps before and after the products.
type Steps = (unsafe fn(&mut Read<'_>), unsafe fn(&mut Written<'_>));
type Squares = unsafe fn(&[f32], usize) -> f32;

const PORTABLE: Steps = (read::<Portable, Small, 2, 4>, write::<Portable, Small, 2, 4>);
const PORTABLE_LARGE: Steps = (read::<Portable, Large, 4, 6>, write::<Portable, Large, 4, 6>);
#[cfg(target_arch = "x86_64")]
const AVX2: Steps = (avx2_read, avx2_write);
#[cfg(target_arch = "x86_64")]
const AVX2_LARGE: Steps = (avx2_read_large, avx2_write_large);
#[cfg(target_arch = "x86_64")]
const AVX512: Steps = (avx512_read, avx512_write);
#[cfg(target_arch = "x86_64")]
const AVX512_LARGE: Steps = (avx512_read_large, avx512_write_large);

impl Functions {
    /// Those of an instruction set, which the processor must have, for tiles of `side` by `side` pixels: two or four.
    pub(super) fn of(isa: Isa, side: usize) -> Self {
        assert!(isa.is_available(), "the processor has no {isa}");
        assert!(side == 2 || side == 4, "tiles of {side} by {side} pixels");
        let (of_small, of_large, squares) = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => (AVX512, AVX512_LARGE, avx512_squares as Squares),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (AVX2, AVX2_LARGE, avx2_squares as Squares),
            _ => (PORTABLE, PORTABLE_LARGE, squares::<Portable> as Squares),
        };
        let (read, write) = if side == 2 { of_small } else { of_large };
        Self { side, read, write, squares }
    }

    /// The last position of a tile.
    fn last(&self) -> usize {
        (self.side + 2) * (self.side + 2) - 1
    }

    /// Writes `B' d B` of tiles to their positions.
    pub(super) fn read(&self, mut of: Read<'_>) {
        if of.tiles == 0 {
            return;
        }
        assert!((self.side + 1) * of.row + (self.side * of.tiles + 2) * LANES <= of.source.len());
        assert!(self.last() * of.position + of.tiles * LANES <= of.target.len());
        // SAFETY: `Functions::of` made sure of the instructions. The last tile reads `side + 1` rows below its first pixel, and in its last row
        // pixel `side * tiles + 1` of the strip is the last; it writes its last position at tile `tiles - 1`: both within the lengths above.
        unsafe { (self.read)(&mut of) }
    }

    /// Writes, or adds, `A' m A` of the sums `m` at the positions of tiles to pixels.
    pub(super) fn write(&self, mut of: Written<'_>) {
        if of.columns == 0 {
            return;
        }
        assert!((1..=self.side).contains(&of.rows));
        assert!(self.last() * of.position + of.columns.div_ceil(self.side) * LANES <= of.source.len());
        assert!((of.rows - 1) * of.row + of.columns * LANES <= of.target.len());
        // SAFETY: `Functions::of` made sure of the instructions. There are `columns` divided by `side` and rounded up tiles, of which the last position
        // is read; no row but the first `rows`, and no column but the first `columns` is written: all within the lengths above.
        unsafe { (self.write)(&mut of) }
    }

    /// The sum of the squares of the first `lanes` lanes of whole vectors, in a fixed order.
    pub(super) fn squares(&self, of: &[f32], lanes: usize) -> f32 {
        // SAFETY: `Functions::of` made sure of the instructions.
        unsafe { (self.squares)(of, lanes) }
    }
}

/// The sizes of tiles: `SIDE` by `SIDE` pixels, and `N = SIDE + 2`. Functions and not closures, as those are not always inlined.
trait Tiles<const SIDE: usize, const N: usize> {
    /// `B'` times a column.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn before<L: Lanes>(column: [L; N]) -> [L; N];

    /// `A'` times a column.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn after<L: Lanes>(column: [L; N]) -> [L; SIDE];
}

struct Small;

impl Tiles<2, 4> for Small {
    #[inline(always)]
    unsafe fn before<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 4] {
        // SAFETY: the caller's promise of the instructions.
        unsafe { [a.subtract(c), b.add(c), c.subtract(b), b.subtract(d)] }
    }

    #[inline(always)]
    unsafe fn after<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 2] {
        // SAFETY: the caller's promise of the instructions.
        unsafe { [a.add(b).add(c), b.subtract(c).subtract(d)] }
    }
}

/// Of the points 0, `NEAR`, `-NEAR`, `FAR`, `-FAR` and infinity.
struct Large;

impl Tiles<4, 6> for Large {
    #[inline(always)]
    unsafe fn before<L: Lanes>([a, b, c, d, e, f]: [L; 6]) -> [L; 6] {
        // SAFETY: the caller's promise of the instructions.
        unsafe {
            let [near, less_near, far, less_far] =
                [L::splat(&NEAR), L::splat(&-NEAR), L::splat(&FAR), L::splat(&-FAR)];
            let (less_near_2, less_far_2) = (L::splat(&(-NEAR * NEAR)), L::splat(&(-FAR * FAR)));
            let both = L::splat(&(NEAR * NEAR * FAR * FAR));
            let less_sum = L::splat(&(-NEAR * NEAR - FAR * FAR));
            let (even, odd) = (e.multiply_add(c, less_far_2), d.multiply_add(b, less_far_2));
            let (far_even, far_odd) = (e.multiply_add(c, less_near_2), d.multiply_add(b, less_near_2));
            [
                e.multiply_add(c, less_sum).multiply_add(a, both),
                even.multiply_add(odd, near),
                even.multiply_add(odd, less_near),
                far_even.multiply_add(far_odd, far),
                far_even.multiply_add(far_odd, less_far),
                f.multiply_add(d, less_sum).multiply_add(b, both),
            ]
        }
    }

    #[inline(always)]
    unsafe fn after<L: Lanes>([a, b, c, d, e, f]: [L; 6]) -> [L; 4] {
        // SAFETY: the caller's promise of the instructions.
        unsafe {
            let (near, far) = (L::splat(&NEAR), L::splat(&FAR));
            let (near_2, far_2) = (L::splat(&(NEAR * NEAR)), L::splat(&(FAR * FAR)));
            let (near_3, far_3) = (L::splat(&(NEAR * NEAR * NEAR)), L::splat(&(FAR * FAR * FAR)));
            let (even, odd) = (b.add(c), b.subtract(c));
            let (far_even, far_odd) = (d.add(e), d.subtract(e));
            [
                a.add(even).add(far_even),
                L::zero().multiply_add(odd, near).multiply_add(far_odd, far),
                L::zero().multiply_add(even, near_2).multiply_add(far_even, far_2),
                f.multiply_add(odd, near_3).multiply_add(far_odd, far_3),
            ]
        }
    }
}

/// `B'` times a column of the source.
///
/// # Safety
///
/// The processor has the instructions; there are `N` rows of sixteen floats.
#[inline(always)]
unsafe fn column<L: Lanes, T: Tiles<SIDE, N>, const SIDE: usize, const N: usize>(
    from: *const f32,
    row: usize,
) -> [L; N] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [L::zero(); N];
        for (index, lanes) in rows.iter_mut().enumerate() {
            *lanes = L::load(from.add(index * row));
        }
        T::before(rows)
    }
}

/// # Safety
///
/// The processor has the instructions; the lengths are those that [`Functions::read`] checks.
#[inline(always)]
unsafe fn read<L: Lanes, T: Tiles<SIDE, N>, const SIDE: usize, const N: usize>(of: &mut Read<'_>) {
    // SAFETY: the bounds that the caller promises.
    unsafe {
        let (mut from, mut to) = (of.source.as_ptr(), of.target.as_mut_ptr());
        let mut columns = [[L::zero(); N]; N];
        // Neighbouring tiles share two columns.
        columns[SIDE] = column::<L, T, SIDE, N>(from, of.row);
        columns[SIDE + 1] = column::<L, T, SIDE, N>(from.add(LANES), of.row);
        for _ in 0..of.tiles {
            (columns[0], columns[1]) = (columns[SIDE], columns[SIDE + 1]);
            for (index, of_column) in columns.iter_mut().enumerate().skip(2) {
                *of_column = column::<L, T, SIDE, N>(from.add(index * LANES), of.row);
            }
            for row in 0..N {
                let mut values = [L::zero(); N];
                for (value, of_column) in values.iter_mut().zip(&columns) {
                    *value = of_column[row];
                }
                let values = T::before(values);
                for (column, value) in values.into_iter().enumerate() {
                    value.store(to.add((N * row + column) * of.position));
                }
            }
            from = from.wrapping_add(SIDE * LANES);
            to = to.wrapping_add(LANES);
        }
    }
}

/// # Safety
///
/// The processor has the instructions; the lengths are those that [`Functions::write`] checks.
#[inline(always)]
unsafe fn write<L: Lanes, T: Tiles<SIDE, N>, const SIDE: usize, const N: usize>(of: &mut Written<'_>) {
    // SAFETY: the bounds that the caller promises.
    unsafe {
        let (mut from, mut to) = (of.source.as_ptr(), of.target.as_mut_ptr());
        let start = of.start.map(|start| L::load(start.as_ptr()));
        let mut left = of.columns;
        while left > 0 {
            let mut columns = [[L::zero(); SIDE]; N];
            for (column, of_column) in columns.iter_mut().enumerate() {
                let mut rows = [L::zero(); N];
                for (row, lanes) in rows.iter_mut().enumerate() {
                    *lanes = L::load(from.add((N * row + column) * of.position));
                }
                *of_column = T::after(rows);
            }
            for row in 0..SIDE.min(of.rows) {
                let mut values = [L::zero(); N];
                for (value, of_column) in values.iter_mut().zip(&columns) {
                    *value = of_column[row];
                }
                let pixels = T::after(values);
                for (column, pixel) in pixels.into_iter().enumerate().take(left) {
                    let to = to.add(row * of.row + column * LANES);
                    let start = match start {
                        Some(start) => start,
                        None => L::load(to),
                    };
                    pixel.add(start).store(to);
                }
            }
            left = left.saturating_sub(SIDE);
            from = from.wrapping_add(LANES);
            to = to.wrapping_add(SIDE * LANES);
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
    ($features:literal, $($name:ident: $of:expr, $operand:ty);+, $squares:ident: $lanes:ty) => {
        $(
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = $features)]
            unsafe fn $name(of: &mut $operand) {
                // SAFETY: the caller's promise.
                unsafe { $of(of) }
            }
        )+

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $squares(of: &[f32], lanes: usize) -> f32 {
            // SAFETY: the caller's promise.
            unsafe { squares::<$lanes>(of, lanes) }
        }
    };
}

enabled!(
    "avx512f",
    avx512_read: read::<Avx512, Small, 2, 4>, Read<'_>;
    avx512_write: write::<Avx512, Small, 2, 4>, Written<'_>;
    avx512_read_large: read::<Avx512, Large, 4, 6>, Read<'_>;
    avx512_write_large: write::<Avx512, Large, 4, 6>, Written<'_>,
    avx512_squares: Avx512
);
enabled!(
    "avx2,fma",
    avx2_read: read::<Avx2, Small, 2, 4>, Read<'_>;
    avx2_write: write::<Avx2, Small, 2, 4>, Written<'_>;
    avx2_read_large: read::<Avx2, Large, 4, 6>, Read<'_>;
    avx2_write_large: write::<Avx2, Large, 4, 6>, Written<'_>,
    avx2_squares: Avx2
);

#[cfg(test)]
mod tests {
    use super::*;

    /// `B'` and `A'` of small tiles.
    const BEFORE: [[f32; 4]; 4] =
        [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]];
    const AFTER: [[f32; 4]; 2] = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]];

    /// Those of large tiles, of the points `p` and `q` and their negatives.
    fn large() -> ([[f32; 6]; 6], [[f32; 6]; 4]) {
        let (p, q) = (NEAR, FAR);
        let (both, sum) = (p * p * q * q, p * p + q * q);
        let before = [
            [both, 0.0, -sum, 0.0, 1.0, 0.0],
            [0.0, -p * q * q, -q * q, p, 1.0, 0.0],
            [0.0, p * q * q, -q * q, -p, 1.0, 0.0],
            [0.0, -q * p * p, -p * p, q, 1.0, 0.0],
            [0.0, q * p * p, -p * p, -q, 1.0, 0.0],
            [0.0, both, 0.0, -sum, 0.0, 1.0],
        ];
        let after = [0, 1, 2, 3].map(|power| {
            let [p, q] = [p, q].map(|point| point.powi(power));
            let sign = if power % 2 == 0 { 1.0 } else { -1.0 };
            [f32::from(power == 0), p, sign * p, q, sign * q, f32::from(power == 3)]
        });
        (before, after)
    }

    /// Whole numbers, of which sums are exact.
    fn whole(len: usize) -> Vec<f32> {
        (0..len).map(|index| (index * 7919 % 4093) as f32 - 2046.0).collect()
    }

    /// `matrix * tile * matrix'`, where `tile(row, column)`, and what rounding may add to each.
    fn both_sides<const M: usize, const N: usize>(
        matrix: &[[f32; N]; M],
        tile: impl Fn(usize, usize) -> f32,
    ) -> [[(f32, f32); M]; M] {
        std::array::from_fn(|row| {
            std::array::from_fn(|column| {
                let terms = (0..N * N).map(|index| {
                    let factor = f64::from(matrix[row][index / N]) * f64::from(matrix[column][index % N]);
                    factor * f64::from(tile(index / N, index % N))
                });
                let magnitude: f64 = terms.clone().map(f64::abs).sum();
                (terms.sum::<f64>() as f32, 8.0 * f32::EPSILON * magnitude as f32)
            })
        })
    }

    fn are_read<const SIDE: usize, const N: usize>(matrix: &[[f32; N]; N]) {
        for isa in Isa::available() {
            for tiles in 1..=3 {
                let (row, position) = ((SIDE * tiles + 5) * LANES, (tiles + 2) * LANES);
                let source = whole((SIDE + 1) * row + (SIDE * tiles + 2) * LANES);
                let mut target = vec![f32::NAN; (N * N - 1) * position + tiles * LANES];
                let read = Read { source: &source, row, target: &mut target, position, tiles };
                Functions::of(isa, SIDE).read(read);
                for (tile, lane) in (0..tiles).flat_map(|tile| (0..LANES).map(move |lane| (tile, lane))) {
                    let wanted =
                        both_sides(matrix, |i, j| source[i * row + (SIDE * tile + j) * LANES + lane]);
                    for (index, (wanted, error)) in wanted.as_flattened().iter().enumerate() {
                        let found = target[index * position + tile * LANES + lane];
                        assert!((found - wanted).abs() <= *error, "{isa} {tile}: {found}, {wanted}");
                    }
                }
                let written = target.iter().filter(|value| !value.is_nan()).count();
                assert_eq!(written, N * N * tiles * LANES, "{isa}: nothing else is written");
            }
        }
    }

    #[test]
    fn tiles_are_read_as_the_formula_has_it() {
        are_read::<2, 4>(&BEFORE);
        are_read::<4, 6>(&large().0);
    }

    fn are_written<const SIDE: usize, const N: usize>(matrix: &[[f32; N]; SIDE]) {
        let start = std::array::from_fn(|lane| lane as f32);
        for isa in Isa::available() {
            for (rows, columns, start) in
                [(1, 1, None), (2, 1, Some(&start)), (1, 4, Some(&start)), (2, 5, None), (SIDE, 7, None)]
            {
                let tiles = usize::div_ceil(columns, SIDE);
                let (position, row) = ((tiles + 1) * LANES, (columns + 3) * LANES);
                let source = whole((N * N - 1) * position + tiles * LANES);
                let before = whole((SIDE + 1) * row);
                let mut target = before.clone();
                let written =
                    Written { source: &source, position, target: &mut target, row, start, rows, columns };
                Functions::of(isa, SIDE).write(written);
                for (index, (&found, &before)) in target.iter().zip(&before).enumerate() {
                    let (y, x, lane) = (index / row, index % row / LANES, index % LANES);
                    let (wanted, error) = if y < rows && x < columns {
                        let from = x / SIDE * LANES + lane;
                        let tile = both_sides(matrix, |i, j| source[(N * i + j) * position + from]);
                        let (value, error) = tile[y][x % SIDE];
                        (value + start.map_or(before, |start| start[lane]), error)
                    } else {
                        (before, 0.0)
                    };
                    let place = format!("{isa}: row {y}, column {x} of {rows} x {columns}");
                    assert!((found - wanted).abs() <= error, "{place}: {found}, {wanted}");
                }
            }
        }
    }

    #[test]
    fn tiles_are_written_as_the_formula_has_it() {
        are_written(&AFTER);
        are_written(&large().1);
    }

    #[test]
    fn squares_are_those_of_the_first_lanes() {
        for isa in Isa::available() {
            for vectors in [0, 1, 3, 4, 9] {
                for lanes in [0, 1, 7, 8, 15, 16] {
                    let mut floats = vec![2.0; vectors * LANES];
                    let beyond = floats.iter_mut().enumerate().filter(|(index, _)| index % LANES >= lanes);
                    beyond.for_each(|(_, value)| *value = f32::NAN);
                    let found = Functions::of(isa, 2).squares(&floats, lanes);
                    assert_eq!(found, (4 * vectors * lanes) as f32, "{isa} {vectors} {lanes}");
                }
            }
        }
    }
}

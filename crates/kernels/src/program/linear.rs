//! Products of matrices, in tiles whose sizes do not depend on the number of threads.

use rayon::prelude::*;

use super::memory::Rows;

/// A matrix in memory: the first element and the steps between rows and between columns.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) floats: &'a [f32],
    pub(super) row: usize,
    pub(super) column: usize,
}

impl<'a> Matrix<'a> {
    /// The element at which a tile starts; checks that a tile of this size lies within.
    fn tile(&self, start: [usize; 2], size: [usize; 2]) -> &'a [f32] {
        let last = |rows: usize, columns: usize| rows * self.row + columns * self.column;
        let end = last(start[0] + size[0] - 1, start[1] + size[1] - 1) + 1;
        &self.floats[last(start[0], start[1])..end]
    }
}

/// Rows and columns of a tile: enough work for a task, and few enough that the tiles of a small product share out evenly. Under Miri,
/// which small products take long for, tiles are small enough that there are several.
const TILE: [usize; 2] = if cfg!(miri) { [2, 3] } else { [64, 128] };

/// A product of fewer multiplications is computed before another thread has woken up.
const LITTLE: usize = if cfg!(miri) { 0 } else { 1 << 20 };

/// What the sums of a product start from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    Zero,
    /// A number for each column.
    Bias(&'a [f32]),
    /// What is there.
    Out,
}

/// `out = start + a b`. `out` has a row for each row of `a`; of each, the first `size[1]` floats are written.
///
/// `size` is rows, columns, and what is summed over.
///
/// # Safety
///
/// Nothing else reads or writes the rows of `out` meanwhile.
#[expect(unsafe_code, reason = "tasks write parts of the same rows")]
pub(super) unsafe fn product(
    a: Matrix<'_>,
    b: Matrix<'_>,
    start: Start<'_>,
    size: [usize; 3],
    out: &Rows<'_>,
) {
    let [rows, columns, inner] = size;
    let tiles = [rows.div_ceil(TILE[0]), columns.div_ceil(TILE[1])];
    let one = |tile: usize| {
        let corner = [tile / tiles[1] * TILE[0], tile % tiles[1] * TILE[1]];
        let part = [TILE[0].min(rows - corner[0]), TILE[1].min(columns - corner[1])];
        let place = corner[1]..corner[1] + part[1];
        for row in corner[0]..corner[0] + part[0] {
            // SAFETY: tiles do not overlap, and each is one task's; the caller keeps everything else away.
            let row = unsafe { out.part_mut(row, place.clone()) };
            match start {
                Start::Bias(bias) => row.copy_from_slice(&bias[place.clone()]),
                Start::Zero => row.fill(0.0),
                Start::Out => {}
            }
        }
        let (left, right) =
            (a.tile([corner[0], 0], [part[0], inner]), b.tile([0, corner[1]], [inner, part[1]]));
        // An address within all rows, not that of a slice of the first one: the tile has more of them.
        let first = out.place(corner[0]).0.wrapping_add(corner[1]);
        let steps = [a.row, a.column, b.row, b.column, out.stride()].map(|step| step as isize);
        // SAFETY: `tile` has checked that the operands lie in their slices, `part_mut` that each row of the tile lies in `out`, rows
        // being `stride` apart. Tiles do not overlap, the operands are shared slices, and `out` is nobody else's.
        unsafe {
            gemm::gemm(
                part[0],
                part[1],
                inner,
                first,
                1,
                steps[4],
                true,
                left.as_ptr(),
                steps[1],
                steps[0],
                right.as_ptr(),
                steps[3],
                steps[2],
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    };
    let count = tiles[0] * tiles[1];
    if count == 1 || rows * columns * inner < LITTLE {
        return (0..count).for_each(one);
    }
    (0..count).into_par_iter().for_each(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_orientations() {
        let large: &[[usize; 3]] = &[[70, 130, 9], [128, 10, 84], [1, 300, 40], [130, 260, 31]];
        let large = if cfg!(miri) { &[] } else { large };
        for &[rows, columns, inner] in [[1, 1, 1], [3, 5, 2], [4, 4, 3]].iter().chain(large) {
            let a: Vec<f32> = (0..rows * inner).map(|i| (i % 7) as f32 - 3.0).collect();
            let b: Vec<f32> = (0..inner * columns).map(|i| (i % 5) as f32 - 2.0).collect();
            let bias: Vec<f32> = (0..columns).map(|i| i as f32).collect();
            for (is_a_flipped, is_b_flipped) in [(false, false), (true, false), (false, true), (true, true)] {
                let (a_row, a_column) = if is_a_flipped { (1, rows) } else { (inner, 1) };
                let (b_row, b_column) = if is_b_flipped { (1, inner) } else { (columns, 1) };
                let stride = columns + 3;
                let mut out = vec![7.0; rows * stride];
                let place = Rows::new(&mut out, rows, columns, stride);
                let a_matrix = Matrix { floats: &a, row: a_row, column: a_column };
                let b_matrix = Matrix { floats: &b, row: b_row, column: b_column };
                // SAFETY: the buffer is this test's alone.
                #[expect(unsafe_code, reason = "what is tested")]
                unsafe {
                    product(a_matrix, b_matrix, Start::Bias(&bias), [rows, columns, inner], &place);
                    product(a_matrix, b_matrix, Start::Out, [rows, columns, inner], &place);
                }
                for row in 0..rows {
                    for column in 0..columns {
                        let terms = (0..inner)
                            .map(|k| a[row * a_row + k * a_column] * b[k * b_row + column * b_column]);
                        let wanted = bias[column] + 2.0 * terms.sum::<f32>();
                        assert_eq!(out[row * stride + column], wanted, "{rows} {columns} {inner}");
                    }
                    let beyond = &out[row * stride + columns..(row + 1) * stride];
                    assert!(
                        beyond.iter().all(|&value| value == 7.0),
                        "nothing beyond the columns is written"
                    );
                }
            }
        }
    }
}

//! Products of matrices.

use crate::axes::{broadcast, count};
use crate::call::{Call, Value, one};
use crate::float::Float;
use crate::seam::Kernels;

pub(super) fn gemm<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    let attributes = call.attributes();
    let (alpha, beta) = (attributes.float("alpha", 1.0)?, attributes.float("beta", 1.0)?);
    let flipped = |place: usize, name: &str| {
        let matrix = call.float(place)?;
        if matrix.rank() != 2 {
            return Err(format!("input {place} has rank {}, not 2", matrix.rank()));
        }
        Ok(if attributes.int(name, 0)? == 0 { matrix } else { matrix.permute(&[1, 0]) })
    };
    let product = product(flipped(0, "transA")?, flipped(1, "transB")?)?;
    let product = if alpha == 1.0 { product } else { product.scale(alpha.into()) };
    let Some(summand) = call.optional_float(2)? else { return one(product) };
    let shape = product.shape();
    if broadcast(&shape, &summand.shape())? != shape {
        return Err(format!("input 2 of shape {:?} does not broadcast to {shape:?}", summand.shape()));
    }
    one(product.add(if beta == 1.0 { summand } else { summand.scale(beta.into()) })?)
}

pub(super) fn matmul<B: Kernels>(call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    one(product(call.float(0)?, call.float(1)?)?)
}

/// The product as NumPy's `matmul` defines it: vectors are rows on the left and columns on the right, axes before the last
/// two are batches, which broadcast.
pub(super) fn product<B: Kernels>(a: Float<B>, b: Float<B>) -> Result<Float<B>, String> {
    let (mut left, mut right) = (a.shape(), b.shape());
    if left.is_empty() || right.is_empty() {
        return Err("a scalar has no matrix product".to_owned());
    }
    let (is_row, is_column) = (left.len() == 1, right.len() == 1);
    if is_row {
        left.insert(0, 1);
    }
    if is_column {
        right.push(1);
    }
    let (rows, columns) = (left.len() - 2, right.len() - 2);
    if left[rows + 1] != right[columns] {
        return Err(format!("shapes {:?} and {:?} have no matrix product", a.shape(), b.shape()));
    }
    let batches = broadcast(&left[..rows], &right[..columns])?;
    let (m, k, n) = (left[rows], left[rows + 1], right[columns + 1]);
    count(&[&batches[..], &[m, n]].concat())?;
    let (a, b) = (a.reshape(&left), b.reshape(&right));
    let result = if right[..columns].iter().all(|&size| size == 1) {
        // One matrix on the right: all rows at once.
        let all = batches.iter().product::<usize>() * m;
        multiply(a.reshape(&[all, k]), b.reshape(&[k, n]))
    } else {
        let count: usize = batches.iter().product();
        let whole = |matrix: Float<B>, dims: [usize; 2]| {
            let shape = [&batches[..], &dims[..]].concat();
            matrix.expand(&shape).reshape(&[count, dims[0], dims[1]])
        };
        multiply(whole(a, [m, k]), whole(b, [k, n]))
    };
    let mut shape = batches;
    shape.extend((!is_row).then_some(m));
    shape.extend((!is_column).then_some(n));
    Ok(result.reshape(&shape))
}

fn multiply<B: Kernels>(a: Float<B>, b: Float<B>) -> Float<B> {
    Float::new(B::float_matmul(a.into_primitive(), b.into_primitive()))
}

//! One number for each ranked weight.

/// A value for every element of every ranked tensor, in their order: a point, a gradient, a direction. All of it is one vector: products and
/// lengths go over all tensors.
pub type Vector = Vec<Vec<f64>>;

/// The inner product over all tensors, in the order of the elements.
pub(crate) fn dot(a: &Vector, b: &Vector) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
}

pub(crate) fn norm(a: &Vector) -> f64 {
    dot(a, a).sqrt()
}

/// Adds `factor * b` to `a`.
pub(crate) fn add_scaled(a: &mut Vector, factor: f64, b: &Vector) {
    a.iter_mut().flatten().zip(b.iter().flatten()).for_each(|(a, b)| *a += factor * b);
}

pub(crate) fn scale(a: &mut Vector, factor: f64) {
    a.iter_mut().flatten().for_each(|value| *value *= factor);
}

pub(crate) fn zeros(sizes: &[usize]) -> Vector {
    sizes.iter().map(|&size| vec![0.0; size]).collect()
}

pub(crate) fn is_finite(a: &Vector) -> bool {
    a.iter().flatten().all(|value| value.is_finite())
}

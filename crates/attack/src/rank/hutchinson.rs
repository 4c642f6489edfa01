//! The trace and the diagonal of a Hessian from products with random vectors.

use bitquake_sample::{PartKey, Words};

use crate::error::AttackError;
use crate::rank::landscape::Landscape;
use crate::rank::vector::{Vector, add_scaled, is_finite, scale, zeros};

/// What random vectors tell of a Hessian.
#[derive(Clone, Debug, PartialEq)]
pub struct Hutchinson {
    /// The estimate of its trace: that of all tensors together.
    pub trace: f64,
    /// The standard error of the trace; none with one vector.
    pub standard_error: Option<f64>,
    /// The trace of the block of each tensor.
    pub by_tensor: Vec<f64>,
    /// The diagonal.
    pub diagonal: Vector,
    /// Random vectors that were drawn.
    pub vectors: u32,
    /// Whether the running mean of the trace came to rest before the vectors were used up.
    pub converged: bool,
}

/// Hutchinson's estimator ("A stochastic estimator of the trace of the influence matrix", Comm. Stat. 18 (1989)): with signs z drawn with
/// equal probability, the mean of `z . Hz` is the trace, and that of `z * Hz`, element by element, the diagonal (Bekas et al., "An
/// estimator for the diagonal of a matrix", Appl. Numer. Math. 57 (2007)).
///
/// Vectors are drawn until one changes the running mean by less than `tolerance` of it, and at most `most` of them. `after` is called
/// after each with its number, from 1, and the trace so far. The vectors depend on the key alone.
///
/// # Errors
/// What the network says; [`AttackError::Curvature`] for a product that is not finite.
pub fn hutchinson(
    landscape: &mut impl Landscape,
    most: u32,
    tolerance: f64,
    key: &PartKey,
    mut after: impl FnMut(u32, f64),
) -> Result<Hutchinson, AttackError> {
    let mut sums = VectorSums::new(&landscape.sizes());
    while !sums.is_done(most, tolerance) {
        sums.add_vector(landscape, key)?;
        after(sums.vectors(), sums.trace());
    }
    Ok(sums.into_estimate(tolerance))
}

/// What the random vectors so far add up to: all that the next ones need.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VectorSums {
    /// The sum of the vectors' products with what the Hessian makes of them, element by element.
    pub(crate) diagonal: Vector,
    /// `z . Hz` of each vector.
    pub(crate) traces: Vec<f64>,
}

impl VectorSums {
    pub(crate) fn new(sizes: &[usize]) -> Self {
        Self { diagonal: zeros(sizes), traces: Vec::new() }
    }

    pub(crate) fn vectors(&self) -> u32 {
        self.traces.len() as u32
    }

    /// The mean trace.
    pub(crate) fn trace(&self) -> f64 {
        mean(&self.traces)
    }

    pub(crate) fn is_done(&self, most: u32, tolerance: f64) -> bool {
        self.vectors() >= most || self.is_at_rest(tolerance)
    }

    /// Whether the last vector changed the mean trace by little.
    fn is_at_rest(&self, tolerance: f64) -> bool {
        let Some((_, before @ [_, ..])) = self.traces.split_last() else { return false };
        let before = mean(before);
        (self.trace() - before).abs() <= tolerance * before.abs()
    }

    pub(crate) fn add_vector(
        &mut self,
        landscape: &mut impl Landscape,
        key: &PartKey,
    ) -> Result<(), AttackError> {
        let sizes = landscape.sizes();
        let signs = signs(&sizes, key.numbered("vector", self.traces.len() as u64).whole().words(0));
        let mut product = landscape.product(&signs)?;
        if !is_finite(&product) {
            return Err(AttackError::Curvature { what: "a product of the Hessian with a random vector" });
        }
        product.iter_mut().flatten().zip(signs.iter().flatten()).for_each(|(value, sign)| *value *= sign);
        add_scaled(&mut self.diagonal, 1.0, &product);
        self.traces.push(product.iter().flatten().sum());
        Ok(())
    }

    pub(crate) fn into_estimate(self, tolerance: f64) -> Hutchinson {
        let (trace, vectors, converged) = (self.trace(), self.vectors(), self.is_at_rest(tolerance));
        let standard_error = standard_error(&self.traces, trace);
        let mut diagonal = self.diagonal;
        scale(&mut diagonal, 1.0 / f64::from(vectors.max(1)));
        let by_tensor = diagonal.iter().map(|values| values.iter().sum()).collect();
        Hutchinson { trace, standard_error, by_tensor, diagonal, vectors, converged }
    }
}

/// The mean; 0 of nothing.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn standard_error(values: &[f64], mean: f64) -> Option<f64> {
    let count = values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (count - 1.0) / count).sqrt())
}

/// Signs, each as likely as the other (Rademacher's distribution).
fn signs(sizes: &[usize], mut words: Words) -> Vector {
    let mut bits = std::iter::from_fn(move || Some(words.u64()))
        .flat_map(|word| (0..64).map(move |bit| word >> bit & 1));
    let mut of =
        |size: usize| bits.by_ref().take(size).map(|bit| if bit == 1 { 1.0 } else { -1.0 }).collect();
    sizes.iter().map(|&size| of(size)).collect()
}

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
    let sizes = landscape.sizes();
    let mut diagonal = zeros(&sizes);
    let mut traces: Vec<f64> = Vec::new();
    let mut mean = 0.0;
    let mut converged = false;
    while (traces.len() as u32) < most && !converged {
        let number = traces.len() as u64;
        let signs = signs(&sizes, key.numbered("vector", number).whole().words(0));
        let mut product = landscape.product(&signs)?;
        if !is_finite(&product) {
            return Err(AttackError::Curvature { what: "a product of the Hessian with a random vector" });
        }
        product.iter_mut().flatten().zip(signs.iter().flatten()).for_each(|(value, sign)| *value *= sign);
        add_scaled(&mut diagonal, 1.0, &product);
        traces.push(product.iter().flatten().sum());
        let before = mean;
        mean = traces.iter().sum::<f64>() / traces.len() as f64;
        converged = traces.len() > 1 && (mean - before).abs() <= tolerance * before.abs();
        after(traces.len() as u32, mean);
    }
    scale(&mut diagonal, 1.0 / traces.len().max(1) as f64);
    Ok(Hutchinson {
        trace: mean,
        standard_error: standard_error(&traces, mean),
        by_tensor: diagonal.iter().map(|values| values.iter().sum()).collect(),
        diagonal,
        vectors: traces.len() as u32,
        converged,
    })
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

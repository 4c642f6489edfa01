//! The eigenvectors of a Hessian along which the loss bends most.

use bitquake_sample::{PartKey, Words};

use crate::error::AttackError;
use crate::rank::landscape::Landscape;
use crate::rank::vector::{Vector, add_scaled, dot, is_finite, norm, scale};

/// An eigenvalue with its eigenvector, as far as the iteration came.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigenpair {
    /// The eigenvalue.
    pub value: f64,
    /// The eigenvector, of length 1 over all tensors.
    pub vector: Vector,
    /// Iterations that it took.
    pub iterations: u32,
    /// Whether the eigenvalue came to rest before the iterations were used up.
    pub converged: bool,
    /// The length of `H v - value v`: 0 for an eigenvector.
    pub residual: f64,
}

/// The eigenpairs with the largest absolute eigenvalues, one after the other, by power iteration from a uniform start of both signs.
///
/// Every iterate is made orthogonal to the eigenvectors before it, as a whole vector and not tensor by tensor (SPEC 3.4, 7), so that
/// eigenvectors are orthogonal to rounding. An iteration has converged when the eigenvalue changes by at most `tolerance` of
/// itself; after `most` iterations it ends unconverged, and says so. There are never more pairs than weights. `after` is called after each
/// pair.
///
/// # Errors
/// What the network says; [`AttackError::Curvature`] for a product that is not finite.
pub fn power_iteration(
    landscape: &mut impl Landscape,
    count: u32,
    most: u32,
    tolerance: f64,
    key: &PartKey,
    mut after: impl FnMut(&Eigenpair),
) -> Result<Vec<Eigenpair>, AttackError> {
    let sizes = landscape.sizes();
    let mut search = EigenSearch::default();
    while search.has_next(&sizes, count, key) {
        if let Some(pair) = search.iterate(landscape, most, tolerance)? {
            after(pair);
        }
    }
    Ok(search.pairs)
}

/// How far the iteration came: all that its next step needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct EigenSearch {
    /// The pairs that have ended.
    pub(crate) pairs: Vec<Eigenpair>,
    /// The pair after them, whose vector is the next that the Hessian is applied to.
    pub(crate) running: Option<Eigenpair>,
}

impl EigenSearch {
    /// Iterations so far.
    pub(crate) fn iterations(&self) -> u32 {
        self.pairs.iter().chain(&self.running).map(|pair| pair.iterations).sum()
    }

    /// Whether there is a pair to iterate on; begins the next one where none is running.
    pub(crate) fn has_next(&mut self, sizes: &[usize], count: u32, key: &PartKey) -> bool {
        let elements = sizes.iter().sum::<usize>() as u64;
        let number = self.pairs.len() as u64;
        if self.running.is_none() && number < u64::from(count).min(elements) {
            let words = key.numbered("start", number).whole().words(0);
            self.running = unit_orthogonal(uniform(sizes, words), &self.pairs).map(Eigenpair::start);
        }
        self.running.is_some()
    }

    /// One product for the running pair, which is handed over if it has ended.
    pub(crate) fn iterate(
        &mut self,
        landscape: &mut impl Landscape,
        most: u32,
        tolerance: f64,
    ) -> Result<Option<&Eigenpair>, AttackError> {
        let Some(mut pair) = self.running.take() else { return Ok(None) };
        let product = landscape.product(&pair.vector)?;
        if !is_finite(&product) {
            return Err(AttackError::Curvature { what: "a product of the Hessian with an eigenvector" });
        }
        pair.measure(&product, tolerance);
        if !pair.converged && pair.iterations < most {
            match unit_orthogonal(product, &self.pairs) {
                Some(next) => {
                    self.running = Some(Eigenpair { vector: next, ..pair });
                    return Ok(None);
                }
                // The Hessian maps it to 0: it is an eigenvector, with the eigenvalue 0.
                None => pair.converged = true,
            }
        }
        self.pairs.push(pair);
        Ok(self.pairs.last())
    }
}

impl Eigenpair {
    fn start(vector: Vector) -> Self {
        Self { value: f64::INFINITY, vector, iterations: 0, converged: false, residual: 0.0 }
    }

    /// Takes the product of the Hessian with the vector in.
    fn measure(&mut self, product: &Vector, tolerance: f64) {
        let before = self.value;
        self.value = dot(&self.vector, product);
        self.iterations += 1;
        self.converged = (self.value - before).abs() <= tolerance * self.value.abs();
        let mut rest = product.clone();
        add_scaled(&mut rest, -self.value, &self.vector);
        self.residual = norm(&rest);
    }
}

/// Takes off what lies along eigenvectors.
fn deflate(vector: &mut Vector, found: &[Eigenpair]) {
    for pair in found {
        let along = dot(vector, &pair.vector);
        add_scaled(vector, -along, &pair.vector);
    }
}

/// The part of a vector that is orthogonal to eigenvectors, of length 1; none if nothing is left.
fn unit_orthogonal(mut vector: Vector, found: &[Eigenpair]) -> Option<Vector> {
    let unit = |vector: &mut Vector| {
        let length = norm(vector);
        scale(vector, 1.0 / length);
        length > f64::MIN_POSITIVE
    };
    // Twice: where most of the vector is taken off, rounding leaves some of it.
    for _ in 0..2 {
        deflate(&mut vector, found);
        if !unit(&mut vector) {
            return None;
        }
    }
    Some(vector)
}

/// Uniform between -1 and 1.
fn uniform(sizes: &[usize], mut words: Words) -> Vector {
    let mut draw = || (words.u64() >> 11) as f64 * 2.0_f64.powi(-52) - 1.0;
    sizes.iter().map(|&size| (0..size).map(|_| draw()).collect()).collect()
}

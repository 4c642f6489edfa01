//! Products of the Hessian with directions.

use super::{Executor, Found, Purpose, Request, Statistics, Value};
use crate::program::compile::Wanted;
use crate::program::operation::Operation;

/// The results of a forward and a backward pass, and how they move along a direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Products {
    /// The outputs, image after image, plain.
    pub outputs: Vec<f32>,
    /// For each parameter that was asked for its gradient; zeros where the outputs do not depend on it.
    pub gradients: Vec<Vec<f32>>,
    /// For each of them the tangent of its gradient.
    pub products: Vec<Vec<f32>>,
}

/// Why there are no products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoProducts {
    /// A normalization uses the statistics of the batch.
    #[error("value {} is normalized by statistics of the batch, whose motion has no kernels; running statistics have", value.number())]
    BatchStatistics {
        /// What it gives.
        value: Value,
    },
}

impl Executor {
    /// The gradients of parameters, and how they move when the parameters move along `direction`: the product of the Hessian of what is
    /// differentiated with the direction, exact but for rounding. Where an operation has a kink, such as a ReLU at 0, the second derivative
    /// counts as 0, as the gradients on both sides have it.
    ///
    /// `direction` has a list for each parameter of the request, as long as the parameter; directions of a parameter that is named twice add
    /// up; the others do not move. The values of the request
    /// are passed over. `objective` is given the outputs and their tangents, and fills in the gradient of what is differentiated with respect
    /// to the outputs, and that gradient's tangent.
    ///
    /// It takes about three times what the gradients take, and twice their memory: [`missing_bytes_of_products`](Self::missing_bytes_of_products).
    ///
    /// ```
    /// use bitquake_kernels::program::{Executor, Program, Request, Shape, Statistics};
    /// use bitquake_kernels::Isa;
    ///
    /// // y = v (w x) with single numbers; half the square of y is differentiated.
    /// let mut program = Program::new(Shape::new(1, 1, 1), vec![1, 1], Isa::best())?;
    /// let inner = program.linear(program.input(), 1, 0, true, None)?;
    /// let y = program.linear(inner, 1, 1, true, None)?;
    /// let executor = Executor::new(program, y);
    /// let request = Request { statistics: Statistics::Running, parameters: &[0, 1], values: &[], thrift: 0 };
    /// let half_square = |[y, moved]: [&[f32]; 2], [slope, moved_slope]: [&mut [f32]; 2]| {
    ///     slope.copy_from_slice(y);
    ///     moved_slope.copy_from_slice(moved);
    ///     Ok::<(), std::convert::Infallible>(())
    /// };
    /// // w = 3, v = 2, x = 1: the Hessian of w^2 v^2 / 2 is [[v^2, 2 w v], [2 w v, w^2]] = [[4, 12], [12, 9]].
    /// let (parameters, direction) = ([vec![3.0], vec![2.0]], [vec![1.0], vec![0.0]]);
    /// let found = executor.products(&parameters, &direction, &[1.0], 1, &request, half_square)?;
    /// assert_eq!(found.gradients, [[12.0], [18.0]]);
    /// assert_eq!(found.products, [[4.0], [12.0]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of `objective`.
    ///
    /// # Panics
    /// As [`gradients`](Self::gradients); when the direction has other lengths, or [`check_products`](Self::check_products) says that there are
    /// no products.
    pub fn products<E: Send>(
        &self,
        parameters: &[Vec<f32>],
        direction: &[Vec<f32>],
        images: &[f32],
        batch: usize,
        request: &Request<'_>,
        objective: impl FnOnce([&[f32]; 2], [&mut [f32]; 2]) -> Result<(), E> + Send,
    ) -> Result<Products, E> {
        let checked = self.check_products(request.statistics);
        assert!(checked.is_ok(), "{checked:?}");
        let all = self.with_directions(parameters, direction, request.parameters);
        let purpose = self.purpose_of_products(request);
        let Found { outputs, mut slopes, .. } =
            self.run((purpose, 0), &all, images, batch, &[], objective)?;
        let (gradients, products) = slopes.split_at_mut(self.program.parameters.len());
        let [gradients, products] =
            [gradients, products].map(|slopes| self.taken(request.parameters, slopes));
        Ok(Products { outputs, gradients, products })
    }

    /// Whether there are products, with such statistics.
    ///
    /// # Errors
    /// [`NoProducts`], with the first operation that has none.
    pub fn check_products(&self, statistics: Statistics) -> Result<(), NoProducts> {
        let is_norm = |operation: &Operation| matches!(operation, Operation::BatchNorm { .. });
        let found = self.program.operations.iter().position(is_norm);
        match found.filter(|_| statistics == Statistics::Batch) {
            Some(place) => Err(NoProducts::BatchStatistics { value: Value(place + 1) }),
            None => Ok(()),
        }
    }

    /// As [`missing_bytes`](Self::missing_bytes), of [`products`](Self::products).
    ///
    /// # Panics
    /// When a parameter is not the program's.
    #[must_use]
    pub fn missing_bytes_of_products(&self, request: &Request<'_>, batch: usize) -> usize {
        self.missing_bytes_of(self.purpose_of_products(request), 0, batch)
    }

    /// As [`bytes`](Self::bytes), of [`products`](Self::products).
    ///
    /// # Panics
    /// When a parameter is not the program's.
    #[must_use]
    pub fn bytes_of_products(&self, request: &Request<'_>, batch: usize) -> usize {
        self.bytes_of(self.purpose_of_products(request), 0, batch)
    }

    fn purpose_of_products(&self, request: &Request<'_>) -> Purpose {
        let purpose = self.purpose(&Request { values: &[], ..*request });
        let gradients = purpose.gradients.map(|wanted| Wanted { products: true, ..wanted });
        Purpose { gradients, ..purpose }
    }

    /// The parameters, and after them a direction for each: zeros for those that do not move.
    fn with_directions(
        &self,
        parameters: &[Vec<f32>],
        direction: &[Vec<f32>],
        moved: &[usize],
    ) -> Vec<Vec<f32>> {
        let lengths = &self.program.parameters;
        assert_eq!(parameters.len(), lengths.len(), "parameters of the program");
        assert_eq!(direction.len(), moved.len(), "a direction for each parameter that is asked for");
        let mut all = parameters.to_vec();
        all.extend(lengths.iter().map(|&length| vec![0.0; length]));
        for (&parameter, direction) in moved.iter().zip(direction) {
            assert_eq!(direction.len(), lengths[parameter], "the direction of parameter {parameter}");
            let sum = &mut all[lengths.len() + parameter];
            sum.iter_mut().zip(direction).for_each(|(sum, &step)| *sum += step);
        }
        all
    }
}

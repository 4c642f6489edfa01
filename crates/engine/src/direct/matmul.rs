//! Matrix products whose right factor is stored.

use bitquake_tensors::onnx::Node;

use super::order::product_blocks;
use super::sums::{Blocks, NOTHING, rows};
use super::touched::Ranges;
use super::{DirectError, Inputs, Scratch, Stored, StoredValues, Touched, float_attribute, int_attribute};

/// `alpha * x * weight + beta * bias`, where x has a few rows for each image.
#[derive(Clone, Debug)]
pub(super) struct Product {
    pub(super) weight: Stored,
    /// One element, or one for each column.
    pub(super) bias: Option<Stored>,
    rows: usize,
    inner: usize,
    columns: usize,
    /// Whether the weight is stored column by column.
    transposed: bool,
    alpha: f32,
    beta: f32,
    ends: Vec<usize>,
}

impl Product {
    pub(super) fn matmul(inputs: &Inputs) -> Option<Product> {
        let (weight, &[inner, columns]) = inputs.stored_at(1)? else { return None };
        let input = inputs.activation_at(0)?;
        // Without the batch: at most the 4 dimensions of attention.
        let (&last, outer) = input.split_last().filter(|_| input.len() <= 3)?;
        let rows = outer.iter().product();
        let ends = product_blocks(inner);
        let product = Product {
            weight,
            bias: None,
            rows,
            inner,
            columns,
            transposed: false,
            alpha: 1.0,
            beta: 1.0,
            ends,
        };
        (last == inner).then_some(product)
    }

    pub(super) fn gemm(node: &Node, inputs: &Inputs) -> Option<Product> {
        let &[len] = inputs.activation_at(0)? else { return None };
        let (weight, &[first, second]) = inputs.stored_at(1)? else { return None };
        let transposed = int_attribute(node, "transB", 0)? != 0;
        let (inner, columns) = if transposed { (second, first) } else { (first, second) };
        if int_attribute(node, "transA", 0)? != 0 || inner != len {
            return None;
        }
        let bias = match inputs.has(2) {
            false => None,
            true => Some(row_bias(inputs, columns)?),
        };
        let (alpha, beta) = (float_attribute(node, "alpha", 1.0)?, float_attribute(node, "beta", 1.0)?);
        let ends = product_blocks(inner);
        Some(Product { weight, bias, rows: 1, inner, columns, transposed, alpha, beta, ends })
    }

    pub(super) fn output_len(&self) -> usize {
        self.rows * self.columns
    }

    pub(super) fn touch(&self, role: usize, element: usize, touched: &mut Touched) {
        match (role, &self.bias) {
            (0, _) if self.transposed => touched.all_of(element / self.inner),
            (0, _) => touched.all_of(element % self.columns),
            (_, Some(bias)) if bias.elements == 1 => {
                (0..self.columns).for_each(|column| touched.all_of(column))
            }
            _ => touched.all_of(element),
        }
    }

    pub(super) fn ranges(&self, touched: &Touched, ranges: &mut Ranges) {
        for row in 0..self.rows {
            for (column, _) in touched.iter() {
                let at = row * self.columns + column;
                ranges.push(at..at + 1);
            }
        }
    }

    pub(super) fn recompute(
        &self,
        touched: &Touched,
        input: &[f32],
        stored: &StoredValues<'_>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), DirectError> {
        let weights = self.weight.values(stored)?;
        let bias = self.bias.as_ref().map(|bias| bias.values(stored)).transpose()?;
        let Scratch { source: gathered, sums, .. } = scratch;
        sums.clear();
        sums.resize(self.rows, 0.0);
        for (column, _) in touched.iter() {
            let weights = if self.transposed {
                &weights[column * self.inner..][..self.inner]
            } else {
                gathered.clear();
                gathered.extend(weights[column..].iter().step_by(self.columns));
                gathered.as_slice()
            };
            // A bias of one element serves all columns.
            let bias = bias.as_ref().map(|bias| bias.get(column).unwrap_or(&bias[0]));
            let start = bias.map_or(NOTHING, |bias| self.beta * bias);
            let blocks = Blocks { ends: &self.ends, factor: self.alpha, start };
            rows(input, weights, blocks, sums);
            out[column..].iter_mut().step_by(self.columns).zip(&*sums).for_each(|(out, sum)| *out = *sum);
        }
        Ok(())
    }
}

/// The bias, if all rows have the same.
fn row_bias(inputs: &Inputs, columns: usize) -> Option<Stored> {
    let (bias, dims) = inputs.stored_at(2)?;
    let one_row = matches!(dims, [] | [_] | [1, _]);
    (one_row && (bias.elements == 1 || bias.elements == columns)).then_some(bias)
}

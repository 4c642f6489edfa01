//! Outputs under parameters that differ in a few numbers.

use std::sync::PoisonError;

use super::{Executor, Purpose};
use crate::program::order::Order;
use crate::program::run::variants::{Changed, Plain, bytes_of, run};

/// Another value for an element of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edit {
    /// The parameter.
    pub parameter: usize,
    /// The element.
    pub element: usize,
    /// Its value.
    pub value: f32,
}

impl Executor {
    /// The outputs for a batch of images under each of several sets of edits, each on top of `parameters`: to the bit those of
    /// [`forward`](Self::forward) with the edited parameters and running statistics. Of two edits of one element the last counts.
    ///
    /// What comes before the first operation that computes with an edited parameter is computed once for all sets. So that they take no more
    /// than `bytes` together, beside what one pass takes, they are run in groups, each of one set at least, and what a group has in common is
    /// computed anew for the next.
    ///
    /// ```
    /// use bitquake_kernels::program::{Edit, Executor, Program, Shape};
    /// use bitquake_kernels::Isa;
    ///
    /// // y = w x, w of 1 row and 2 columns.
    /// let mut program = Program::new(Shape::new(2, 1, 1), vec![2], Isa::best())?;
    /// let y = program.linear(program.input(), 1, 0, true, None)?;
    /// let executor = Executor::new(program, y);
    /// let edits = [vec![Edit { parameter: 0, element: 1, value: 4.0 }], vec![]];
    /// let outputs = executor.variants(&[vec![0.5, 2.0]], &[1.0, 3.0], 1, &edits, 1 << 20);
    /// assert_eq!(outputs, [[12.5], [6.5]]);
    /// # Ok::<(), bitquake_kernels::program::ProgramError>(())
    /// ```
    ///
    /// # Panics
    /// As [`forward`](Self::forward); when an edit is of an element that is not there.
    #[must_use]
    pub fn variants(
        &self,
        parameters: &[Vec<f32>],
        images: &[f32],
        batch: usize,
        edits: &[Vec<Edit>],
        bytes: usize,
    ) -> Vec<Vec<f32>> {
        self.check(parameters, images, batch);
        let compiled = self.compiled(Purpose { of_batch: false, gradients: None, checks: false });
        let order = Order::new(&compiled.plan, parameters.len());
        let plan = &compiled.plan;
        let plain = Plain { plan, order: &order, isa: self.program.isa, parameters, images, batch };
        let kept = compiled.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace = kept.unwrap_or_default();
        let mut outputs = Vec::with_capacity(edits.len());
        while outputs.len() < edits.len() {
            let group = first_group(&plain, &edits[outputs.len()..], bytes);
            // On threads of rayon's, as passes are.
            outputs.extend(rayon::scope(|_| {
                let changed: Vec<Changed> =
                    group.iter().map(|edits| Changed::new(&plain, edited(parameters, edits))).collect();
                run(&plain, &mut workspace, &changed)
            }));
        }
        compiled.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        outputs
    }
}

/// The sets at the front that take no more than so many bytes, at least one.
fn first_group<'e>(plain: &Plain<'_>, edits: &'e [Vec<Edit>], bytes: usize) -> &'e [Vec<Edit>] {
    let mut taken = 0_usize;
    let mut fits = |edits: &&Vec<Edit>| {
        let mut parameters: Vec<usize> = edits.iter().map(|edit| edit.parameter).collect();
        parameters.sort_unstable();
        parameters.dedup();
        taken = taken.saturating_add(bytes_of(plain, parameters.into_iter()));
        taken <= bytes
    };
    let count = edits.iter().take_while(|edits| fits(edits)).count();
    &edits[..count.clamp(1, edits.len())]
}

/// The parameters that edits change, with their new numbers.
fn edited(parameters: &[Vec<f32>], edits: &[Edit]) -> Vec<(usize, Vec<f32>)> {
    let mut changed: Vec<(usize, Vec<f32>)> = Vec::new();
    for edit in edits {
        let place = changed.iter().position(|(parameter, _)| *parameter == edit.parameter);
        let place = place.unwrap_or_else(|| {
            changed.push((edit.parameter, parameters[edit.parameter].clone()));
            changed.len() - 1
        });
        changed[place].1[edit.element] = edit.value;
    }
    changed
}

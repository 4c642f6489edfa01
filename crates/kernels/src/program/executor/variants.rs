//! Outputs under parameters that differ in a few numbers.

use std::sync::PoisonError;

use rayon::prelude::*;

use super::{Executor, Purpose};
use crate::program::order::Order;
use crate::program::run::variants::{Changed, Plain, bytes_of, run};

const FORWARD: Purpose = Purpose { of_batch: false, gradients: None, checks: false };

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
    /// The outputs for a batch of images under each of several sets of edits, each on top of `parameters`: those of
    /// [`forward`](Self::forward) with the edited parameters and running statistics. Of two edits of one element the last counts.
    ///
    /// What comes before the first operation that computes with an edited parameter is computed once for all sets. Where few weights of one
    /// convolution are edited, of its result, and of that of the convolution after it, only what they add is computed: such outputs are those of
    /// `forward` up to rounding, and the same for the same set whatever other sets there are. All other outputs are those of `forward` to the bit.
    ///
    /// So that sets take no more
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
        let compiled = self.compiled(FORWARD);
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
                    group.par_iter().map(|edits| Changed::new(&plain, edited(parameters, edits))).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::ripple::{Ripple, Way};
    use crate::program::{Bound, Program, Shape, Value, Vector};
    use crate::{Isa, Window};

    const CHANNELS: usize = 32;
    const LATER: usize = CHANNELS * CHANNELS * 9;
    const LENGTHS: [usize; 10] =
        [27 * CHANNELS, LATER, LATER, LATER, CHANNELS, CHANNELS, CHANNELS, CHANNELS, CHANNELS, 2 * CHANNELS];

    /// A convolution, a block with a shortcut, a convolution of a group norm, and a fully connected layer; the weights of the convolutions are
    /// parameters 0 to 3.
    fn network() -> Executor {
        let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
        let mut program = Program::new(Shape::new(3, 8, 8), LENGTHS.to_vec(), Isa::best()).unwrap();
        let convolution = |program: &mut Program, x: Value, layer: usize| {
            program.convolution(x, CHANNELS, 1, window, layer, None).unwrap()
        };
        let norm = |program: &mut Program, x: Value| {
            program.batch_norm(x, [4, 5].map(Vector::new), [6, 7], 1e-5).unwrap()
        };
        let x = program.input();
        let x = convolution(&mut program, x, 0);
        let x = norm(&mut program, x);
        let shortcut = program.relu(x);
        let x = convolution(&mut program, shortcut, 1);
        let x = norm(&mut program, x);
        let x = program.relu(x);
        let x = convolution(&mut program, x, 2);
        let shortcut = program.clip(shortcut, [Bound::Number(0.0), Bound::Number(6.0)]).unwrap();
        let x = program.sum(x, shortcut).unwrap();
        let x = program.relu(x);
        let x = convolution(&mut program, x, 3);
        let x = program.group_norm(x, 4, [8, 8].map(Vector::new), 1e-5).unwrap();
        let x = program.global_average(x).unwrap();
        let x = program.linear(x, 2, 9, true, None).unwrap();
        Executor::new(program, x)
    }

    fn parameters() -> [Vec<f32>; 10] {
        LENGTHS.map(|length| vec![0.25; length])
    }

    /// The ways of the steps after another value of some weights, as letters; of channels that spread their number.
    fn ways(parameters: &[Vec<f32>], parameter: usize, elements: &[usize], becomes: f32) -> Option<String> {
        let executor = network();
        let compiled = executor.compiled(FORWARD);
        let order = Order::new(&compiled.plan, LENGTHS.len());
        let mut changed = parameters[parameter].clone();
        elements.iter().for_each(|&element| changed[element] = becomes);
        let ripple = Ripple::new(&compiled.plan, &order, parameters, (parameter, &changed))?;
        let letter = |step| match ripple.at(step) {
            Way::Kept => 'k',
            Way::Anew => '.',
            Way::Weights => 'w',
            Way::Channels => 'c',
            Way::Spread(channels) => char::from_digit(channels.len() as u32, 10).unwrap(),
        };
        Some((order.readers[parameter]..order.count()).map(letter).collect())
    }

    #[test]
    fn two_convolutions_are_saved_and_what_is_not_reached() {
        /// Weights of a channel of a result.
        const OF_CHANNEL: usize = CHANNELS * 9;
        let every = |step: usize, count: usize| (0..count).map(|place| place * step).collect::<Vec<_>>();
        let cases = [
            ("a first convolution", 0, vec![40], 0.5, Some("wc1.c.......")),
            ("eight of its channels", 0, every(27, 8), 0.5, Some("wc8.c.......")),
            ("the first of a block", 1, vec![40], 0.5, Some("w1k.......")),
            ("the second", 2, vec![40, 41], 0.5, Some("wk1......")),
            ("two channels", 2, vec![40, 40 + OF_CHANNEL], 0.5, Some("wk2......")),
            ("a group norm mixes channels", 3, vec![40], 0.5, Some("w......")),
            ("too many weights", 2, every(1, 9), 0.5, None),
            ("nothing is another", 2, vec![40], 0.25, None),
            ("a huge weight", 2, vec![40], 2000.0, None),
            ("no number", 2, vec![40], f32::NAN, None),
            ("no convolution", 9, vec![4], 0.5, None),
            ("no weights", 4, vec![4], 0.5, None),
        ];
        for (what, parameter, elements, becomes, wanted) in cases {
            assert_eq!(ways(&parameters(), parameter, &elements, becomes).as_deref(), wanted, "{what}");
        }
    }

    #[test]
    fn huge_weights_of_the_next_convolution_are_not_added_to() {
        let mut parameters = parameters();
        parameters[1][0] = 2000.0;
        assert_eq!(ways(&parameters, 0, &[40], 0.5).as_deref(), Some("wc..c......."));
    }
}

//! Values that the backward pass computes once more, so that they need not be kept.
//!
//! The forward pass may be *cut* at a value through which alone all that comes after it hangs on what comes before it: the sum at the end of
//! a residual block, the result of a convolution in a chain. Between cuts lie segments. Of all segments but the last, only the values at
//! their ends are kept. When the backward pass enters a segment, by the gradient of its last value, what it will need of the segment is
//! computed from the value before it, in that same stage: by the same instructions from the same floats, so to the same bits. What norms
//! have measured stays known, so nothing is measured again, and the stages of the backward pass stay what they are.

use super::Compiler;
use crate::program::fuse::Node;
use crate::program::instruction::Item;

impl Compiler<'_> {
    /// Lists of values to cut at, of ever more segments, from none on.
    ///
    /// For 1, 2, 3, ... segments, a list cuts at the last possible value before a segment has more than its share of all floats. A list that
    /// is the one before it is left out.
    pub(super) fn cuts(&self) -> Vec<Vec<usize>> {
        /// Beyond the root of the number of operations of deep networks.
        const MOST_SEGMENTS: usize = 16;
        let possible = self.possible_cuts();
        let floats = |value: usize| self.program.shapes[value].blocked();
        let total: usize = self.nodes.iter().map(|(value, _)| floats(*value)).sum();
        let mut lists: Vec<Vec<usize>> = Vec::new();
        for segments in 1..=MOST_SEGMENTS.min(possible.len() + 1) {
            let share = total / segments;
            let (mut cuts, mut last, mut of_segment, mut since_last) = (Vec::new(), None, 0, 0);
            for (value, _) in &self.nodes {
                since_last += floats(*value);
                if *value != self.output && !possible.contains(value) {
                    continue;
                }
                if of_segment + since_last > share {
                    cuts.extend(last.take());
                    of_segment = 0;
                }
                (last, of_segment, since_last) = (Some(*value), of_segment + since_last, 0);
            }
            if lists.last() != Some(&cuts) {
                lists.push(cuts);
            }
        }
        lists
    }

    /// The values before the output at which the forward pass may be cut. Those that are never kept are none.
    fn possible_cuts(&self) -> Vec<usize> {
        let mut last_uses = vec![0; self.program.shapes.len()];
        for (place, (_, node)) in self.nodes.iter().enumerate() {
            node.inputs().for_each(|input| last_uses[input] = place);
        }
        // The last place where something is used that came before.
        let mut reach = last_uses[0];
        let mut cuts = Vec::new();
        for (place, &(value, _)) in self.nodes.iter().enumerate() {
            if value >= self.output {
                break;
            }
            if reach <= place && self.cheap(value).is_none() {
                cuts.push(value);
            }
            reach = reach.max(last_uses[value]);
        }
        cuts
    }

    /// Before the backward pass: what is before the last cut is dropped, but for the values at the cuts, and for what fully connected layers
    /// give: they take all images at once, between stages.
    pub(super) fn drop_before(&mut self, cuts: &[usize]) {
        self.cuts = cuts.to_vec();
        let Some(&last) = cuts.last() else { return };
        for value in 0..last {
            let is_linear = |place: usize| matches!(self.nodes[place].1, Node::Linear { .. });
            let stays =
                cuts.contains(&value) || self.is_plain[value] || self.givers[value].is_some_and(is_linear);
            self.is_dropped[value] = !stays;
        }
    }

    /// Notes where the backward pass comes to the last value of a segment.
    pub(super) fn enter(&mut self, value: usize) {
        if self.cuts.contains(&value) && !self.parts[value].is_empty() {
            self.entered = Some(self.ready(value));
        }
    }

    /// The item of a value that was computed: the one that is kept, or the one that is computed once more.
    pub(super) fn recalled(&mut self, value: usize, item: Item) -> Item {
        match self.entered {
            Some(stage) if self.is_dropped[value] => self.once_more(value, stage),
            _ => item,
        }
    }

    /// The item of a pool's winners, as [`recalled`](Self::recalled).
    pub(super) fn recalled_winners(&mut self, value: usize) -> Option<Item> {
        if let (Some(stage), Some(_)) = (self.entered, self.winners[value]) {
            self.once_more(value, stage);
        }
        self.winners[value]
    }

    fn once_more(&mut self, value: usize, stage: usize) -> Item {
        if let Some(&item) = self.again.get(&(value, stage)) {
            return item;
        }
        let item = match self.givers[value] {
            Some(place) => {
                let node = self.nodes[place].1.clone();
                self.result(value, &node, stage)
            }
            None => self.blocked_images(stage),
        };
        self.again.insert((value, stage), item);
        item
    }
}

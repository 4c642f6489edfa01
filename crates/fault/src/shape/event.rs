//! Events of a spatial pattern.

use bitquake_sample::Words;

use super::Hit;
use super::grid::Grid;
use super::pattern::{Choice, Extent, PatternClass, PatternPart, Span, SpatialPattern};
use crate::model::plan::Part;

/// The events at some anchors of a tensor. What is random about an event is read from a sequence of its anchor.
pub(super) fn hit(pattern: &SpatialPattern, hit: &Hit<'_>, anchors: &[u64], part: &mut Part<'_>) {
    let stream = hit.key.part("event").tensor(&hit.tensor.name);
    let mut by_effect = vec![Vec::new(); hit.prepared.effects.len()];
    // The effects of a class stand behind those of the classes before it, the model's own first.
    let first_effects: Vec<usize> = pattern
        .classes
        .iter()
        .scan(1, |next, class| Some(std::mem::replace(next, *next + class.values.len())))
        .collect();
    for &anchor in anchors {
        let mut words = stream.words(anchor);
        let at = pick(&mut words, &pattern.cumulative);
        let class = &pattern.classes[at];
        let elements = elements(class, &hit.prepared.grid, anchor, &mut words);
        if class.values.is_empty() {
            by_effect[0].extend(elements);
        } else {
            for element in elements {
                by_effect[first_effects[at] + pick(&mut words, &class.cumulative)].push(element);
            }
        }
    }
    for (effect, elements) in by_effect.into_iter().enumerate().filter(|(_, elements)| !elements.is_empty()) {
        hit.apply(effect, elements, part);
    }
}

/// A place in a list of cumulative weights. The only choice of a list of one takes no random number.
fn pick(words: &mut Words, cumulative: &[f64]) -> usize {
    const TWO_64: f64 = 18_446_744_073_709_551_616.0;
    if cumulative.len() < 2 {
        return 0;
    }
    let fraction = words.u64() as f64 / TWO_64;
    // A fraction that was rounded up to 1 belongs to the last choice that has a weight.
    let last = cumulative.partition_point(|&sum| sum < 1.0);
    cumulative.partition_point(|&sum| sum <= fraction).min(last)
}

/// The words that an event hits, rising and each once.
fn elements(class: &PatternClass, grid: &Grid, anchor: u64, words: &mut Words) -> Vec<u64> {
    let mut all: Vec<u64> = class.parts.iter().flat_map(|part| of_part(part, grid, anchor, words)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn of_part(part: &PatternPart, grid: &Grid, anchor: u64, words: &mut Words) -> Vec<u64> {
    use super::Axis::{C, X, Y};
    match part {
        PatternPart::Offsets(offsets) => {
            let at = |&[c, y, x]: &[i64; 3]| {
                let element = grid.step(C, anchor, c)?;
                grid.step(Y, element, y).and_then(|element| grid.step(X, element, x))
            };
            offsets.iter().filter_map(at).collect()
        }
        PatternPart::Spans(spans) => {
            let mut all = vec![anchor];
            for span in spans {
                let steps = steps(span, grid, anchor, words);
                let moved = |element: u64| {
                    let steps = steps.iter();
                    steps.filter_map(move |&step| grid.step(span.axis, element, step)).collect::<Vec<u64>>()
                };
                all = all.into_iter().flat_map(moved).collect();
            }
            all
        }
    }
}

/// The steps from the anchor that a span takes, the same for every line of a rectangle.
fn steps(span: &Span, grid: &Grid, anchor: u64, words: &mut Words) -> Vec<i64> {
    let (extent, index) = (grid.extent(span.axis), grid.index(span.axis, anchor));
    let count = match &span.extent {
        Extent::All => return (0..extent).map(|other| other as i64 - index as i64).collect(),
        Extent::Counts { counts, cumulative } => counts[pick(words, cumulative)].min(extent),
    };
    match span.choice {
        Choice::Step(step) => {
            let fits = (extent - 1 - index) / step + 1;
            (0..count.min(fits)).map(|nth| (nth * step) as i64).collect()
        }
        Choice::Random => {
            let others = subset(words, extent - 1, count - 1);
            // The others are numbered without the anchor.
            let index_of = |other: u64| if other < index { other } else { other + 1 };
            let steps = others.into_iter().map(|other| index_of(other) as i64 - index as i64);
            std::iter::once(0).chain(steps).collect()
        }
    }
}

/// `count` different numbers below `population`, all sets equally likely (R. W. Floyd's sampling: J. Bentley and R. Floyd, "A
/// sample of brilliance", CACM 30(9), 1987).
fn subset(words: &mut Words, population: u64, count: u64) -> std::collections::BTreeSet<u64> {
    let mut chosen = std::collections::BTreeSet::new();
    for last in population - count..population {
        let number = words.below(last + 1);
        if !chosen.insert(number) {
            chosen.insert(last);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use bitquake_sample::StreamKey;
    use bitquake_testing::{assert_binomial, assert_uniform};

    use super::*;

    fn words(trial: u64) -> Words {
        StreamKey { seed: 5, point: 0, trial }.part("test").whole().words(0)
    }

    #[test]
    fn picks_follow_the_weights() {
        let cumulative = super::super::pattern::cumulative([1.0, 0.0, 3.0].into_iter()).unwrap();
        let mut words = words(0);
        let mut counts = [0; 3];
        (0..40_000).for_each(|_| counts[pick(&mut words, &cumulative)] += 1);
        assert_eq!(counts[1], 0);
        // By chance with probability 1e-6.
        assert_binomial(counts[0], 40_000, 0.25, 1e-6);
        assert_eq!(super::super::pattern::cumulative([0.0, 0.0].into_iter()), None);
    }

    #[test]
    fn subsets_are_all_equally_likely() {
        let mut counts = vec![0_u64; 10];
        let all: Vec<Vec<u64>> = (0..5).flat_map(|a| (a + 1..5).map(move |b| vec![a, b])).collect();
        let mut words = words(1);
        for _ in 0..20_000 {
            let chosen: Vec<u64> = subset(&mut words, 5, 2).into_iter().collect();
            counts[all.iter().position(|pair| *pair == chosen).unwrap()] += 1;
        }
        // By chance with probability 1e-6.
        assert_uniform(&counts, 1e-6);
        assert_eq!(subset(&mut words, 3, 3).len(), 3);
        assert!(subset(&mut words, 0, 0).is_empty());
    }
}

use bitquake_bits::{BitSelection, Format};

use super::*;
use crate::pattern::FaultPattern;
use crate::selector::Selector;
use crate::space::Candidate;

const KEY: StreamKey = StreamKey { seed: 7, point: 0, trial: 3 };

fn space(bits: BitSelection) -> FaultSpace {
    let tensors = [("a", Format::F32, 1000), ("b", Format::F16, 500), ("c", Format::U8, 70)];
    let candidates =
        tensors.map(|(name, format, elements)| Candidate { name, format, elements, by_name_only: false });
    FaultSpace::select(candidates, &Selector::all(), bits).unwrap()
}

fn draw(bits: BitSelection, hits: Hits) -> FaultPattern {
    hits.flips(&space(bits), &KEY).unwrap()
}

fn rate(p: f64) -> Hits {
    Hits::Rate(Rate::new(p).unwrap())
}

#[test]
fn certain_rates_and_counts() {
    for hits in [rate(0.0), Hits::Count(0), Hits::Sites(Vec::new())] {
        assert_eq!(draw(BitSelection::All, hits), FaultPattern::empty());
    }
    let all = space(BitSelection::Msb).bits();
    let everything = draw(BitSelection::Msb, rate(1.0));
    assert_eq!(everything, draw(BitSelection::Msb, Hits::Count(all)));
    assert_eq!(everything.tensors()[2].addresses, (0..70).map(|word| word * 8 + 7).collect::<Vec<u64>>());
}

#[test]
fn counts_are_exact_and_too_many_is_an_error() {
    for count in [1, 2, 17, 40_000] {
        assert_eq!(draw(BitSelection::All, Hits::Count(count)).flips(), count);
    }
    let bits = space(BitSelection::All).bits();
    let error = Hits::Count(bits + 1).flips(&space(BitSelection::All), &KEY).unwrap_err();
    assert!(matches!(error, DrawError::TooMany { what: "bits", .. }));
    assert!(error.to_string().contains(&bits.to_string()));
}

#[test]
fn patterns_are_nested() {
    let contains = |more: &FaultPattern, less: &FaultPattern| {
        let both = more.compose(less).unwrap().flips();
        assert_eq!(both, more.flips() - less.flips());
    };
    contains(&draw(BitSelection::All, rate(0.1)), &draw(BitSelection::All, rate(0.01)));
    contains(&draw(BitSelection::All, Hits::Count(90)), &draw(BitSelection::All, Hits::Count(13)));
}

#[test]
fn only_selected_bits_flip() {
    let pattern = draw(BitSelection::Range { low: 3, high: 6 }, rate(0.3));
    for flips in pattern.tensors() {
        assert!(flips.addresses.len() > 20);
        assert!(flips.addresses.iter().all(|&address| (3..=6).contains(&flips.element_and_bit(address).1)));
    }
}

#[test]
fn sites_are_checked() {
    let at = |text: &str| Hits::Sites(vec![text.parse().unwrap()]).flips(&space(BitSelection::All), &KEY);
    assert_eq!(at("b:499:15").unwrap().tensors()[0].addresses, [499 * 16 + 15]);
    assert_eq!(at("b:499:*").unwrap().flips(), 16);
    assert!(matches!(at("d:0:0"), Err(DrawError::NoTensor { .. })));
    assert!(matches!(at("b:500:0"), Err(DrawError::NoElement { elements: 500, .. })));
    assert!(matches!(at("b:0:16"), Err(DrawError::NoBit { .. })));
    assert!(matches!(at("b:0:99"), Err(DrawError::NoBit { .. })));
    let twice = Hits::Sites(["a:1:2", "a@address:30..40"].map(|text| text.parse().unwrap()).to_vec());
    let error = twice.flips(&space(BitSelection::All), &KEY).unwrap_err();
    assert_eq!(error, DrawError::Twice { tensor: "a".into(), index: 1, bit: 2 });
}

//! From what was seen to the bounds of a guard.

/// Bits of a float's word that a bound has as 0: it has 12 significant bits.
const ROUNDED: u32 = 0x0fff;

/// The bounds for a value whose elements were seen from `least` to `greatest`: wider by `margin` times the width at each end, then
/// rounded outwards to 12 significant bits, which is by less than one in 2048.
///
/// The rounding is for engines that compute the same network in another order (other layouts, fused operators, a graph that is
/// cut): their values differ in the last bits, and the greatest of them shall not be taken for a fault.
pub(super) fn bounds([least, greatest]: [f32; 2], margin: f64) -> [f32; 2] {
    let wider = margin * (f64::from(greatest) - f64::from(least));
    let low = (f64::from(least) - wider) as f32;
    let high = (f64::from(greatest) + wider) as f32;
    // A zero is positive at both ends.
    [0.0 - rounded_up(-low), rounded_up(high)]
}

/// The least float of 12 significant bits that is not below `value`, as far as it is finite.
fn rounded_up(value: f32) -> f32 {
    let bits = value.to_bits();
    let rounded = if value < 0.0 { bits & !ROUNDED } else { (bits + ROUNDED) & !ROUNDED };
    f32::from_bits(rounded).clamp(f32::MIN, f32::MAX) + 0.0 // -0 becomes +0
}

/// The smallest range that holds both.
pub(super) fn hull(one: [f32; 2], other: [f32; 2]) -> [f32; 2] {
    [one[0].min(other[0]), one[1].max(other[1])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_by_hand() {
        let cases: &[([f32; 2], f64, [f32; 2])] = &[
            ([0.0, 6.0], 0.0, [0.0, 6.0]),
            ([-0.0, 0.0], 0.0, [0.0, 0.0]),
            ([-1.0, 3.0], 0.25, [-2.0, 4.0]),
            // 1 + 2^-23 up to 1 + 2^-11, and down to 1.
            ([1.000_000_1, 1.000_000_1], 0.0, [1.0, 1.000_488_3]),
            ([-1.000_000_1, -1.000_000_1], 0.0, [-1.000_488_3, -1.0]),
            ([f32::MIN, f32::MAX], 1.0, [f32::MIN, f32::MAX]),
        ];
        for (seen, margin, wanted) in cases {
            assert_eq!(
                bounds(*seen, *margin).map(f32::to_bits),
                wanted.map(f32::to_bits),
                "{seen:?} {margin}"
            );
        }
    }

    proptest! {
        #[test]
        fn bounds_hold_what_was_seen_and_little_more(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            let (least, greatest) = (a.min(b), a.max(b));
            let [low, high] = bounds([least, greatest], 0.0);
            prop_assert!(low <= least && greatest <= high && low.is_finite() && high.is_finite());
            let slack = |seen: f32, bound: f32| (f64::from(seen) - f64::from(bound)).abs();
            for (seen, bound) in [(least, low), (greatest, high)] {
                prop_assert!(slack(seen, bound) <= f64::from(seen.abs()) / 2048.0 + 1e-41);
            }
        }
    }
}

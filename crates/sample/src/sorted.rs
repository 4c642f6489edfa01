//! Sorting of hits.

/// Up to so many numbers comparing is faster.
const FEW: usize = 64;
/// Bits of a number that one pass looks at, at most.
const DIGIT: u32 = 11;

/// Sorts numbers of at most `bits` bits, digit by digit from the lowest; `spare` is memory for a copy.
pub(crate) fn sort(numbers: &mut Vec<u32>, spare: &mut Vec<u32>, bits: u32) {
    if numbers.len() <= FEW {
        return numbers.sort_unstable();
    }
    let passes = bits.div_ceil(DIGIT).max(1);
    let digit = bits.div_ceil(passes);
    spare.resize(numbers.len(), 0);
    for pass in 0..passes {
        by_digit(numbers, spare, pass * digit, (1 << digit) - 1);
        std::mem::swap(numbers, spare);
    }
}

/// Puts `numbers`, fewer than 2^32, into `sorted` by the digit at `shift`; those of one digit stay in order.
fn by_digit(numbers: &[u32], sorted: &mut [u32], shift: u32, mask: u32) {
    let mut next = [0_u32; 1 << DIGIT];
    let digit = |number: u32| (number >> shift & mask) as usize;
    for &number in numbers {
        next[digit(number)] += 1;
    }
    let mut below = 0;
    for next in &mut next[..=mask as usize] {
        below += std::mem::replace(next, below);
    }
    for &number in numbers {
        let place = &mut next[digit(number)];
        sorted[*place as usize] = number;
        *place += 1;
    }
}

#[cfg(test)]
mod tests {
    use bitquake_testing::SplitMix64;

    use super::*;

    #[test]
    fn sorts_as_the_library_does() {
        let mut random = SplitMix64::new(1);
        let mut spare = vec![7; 3];
        for bits in [0, 1, 6, 10, 11, 12, 21, 22, 23, 24, 31, 32] {
            for count in [0, 1, 2, FEW, FEW + 1, 1000, 5003] {
                let mut numbers: Vec<u32> =
                    (0..count).map(|_| (random.next_u64() & ((1 << bits) - 1)) as u32).collect();
                let mut wanted = numbers.clone();
                wanted.sort_unstable();
                sort(&mut numbers, &mut spare, bits);
                assert_eq!(numbers, wanted, "{count} of {bits} bits");
            }
        }
    }
}

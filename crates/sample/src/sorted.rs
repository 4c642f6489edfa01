//! Sorting of hits.

/// Up to so many numbers comparing is faster.
const FEW: usize = 64;
/// Bits of a number that one pass looks at, at most.
const DIGIT: u32 = 12;

/// Sorts numbers of at most `bits` bits, which had better be spread evenly, as hits are; `spare` is memory for a copy.
///
/// Digit by digit from the lowest where two do. Else by the highest digit alone, which has about as many values as there are numbers: each is
/// near its place then.
pub(crate) fn sort(numbers: &mut Vec<u32>, spare: &mut Vec<u32>, bits: u32) {
    if numbers.len() <= FEW {
        return numbers.sort_unstable();
    }
    spare.resize(numbers.len(), 0);
    if bits > 2 * DIGIT {
        let digit = numbers.len().ilog2().min(DIGIT);
        by_digit(numbers, spare, bits - digit, digit);
        std::mem::swap(numbers, spare);
        return insert_each(numbers);
    }
    let digit = bits.div_ceil(2).max(1);
    for shift in [0, digit] {
        by_digit(numbers, spare, shift, digit);
        std::mem::swap(numbers, spare);
    }
}

/// Sorts numbers of which each is near its place.
fn insert_each(numbers: &mut [u32]) {
    for end in 1..numbers.len() {
        let number = numbers[end];
        let mut place = end;
        while place > 0 && numbers[place - 1] > number {
            numbers[place] = numbers[place - 1];
            place -= 1;
        }
        numbers[place] = number;
    }
}

/// Puts `numbers`, fewer than 2^32, into `sorted` by the digit of so many bits at `shift`; those of one digit stay in order.
fn by_digit(numbers: &[u32], sorted: &mut [u32], shift: u32, digit: u32) {
    let mask = (1 << digit) - 1;
    let mut next = [0_u32; 1 << DIGIT];
    let value = |number: u32| (number >> shift & mask) as usize;
    for &number in numbers {
        next[value(number)] += 1;
    }
    let mut below = 0;
    for next in &mut next[..=mask as usize] {
        below += std::mem::replace(next, below);
    }
    for &number in numbers {
        let place = &mut next[value(number)];
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
        for bits in [0, 1, 6, 11, 12, 13, 22, 23, 24, 25, 26, 31, 32] {
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

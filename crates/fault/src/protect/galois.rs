//! Finite fields of 2^m elements, by logarithm tables.

/// GF(2^m), its elements as polynomials in `a` of degree below m: bit t of an element is the coefficient of a^t.
#[derive(Clone, Debug)]
pub(crate) struct Galois {
    /// `power[i]` is a^i, for i below the order 2^m - 1.
    power: Vec<u16>,
    /// `log[x]` is the i with a^i = x; that of 0 is unused.
    log: Vec<u16>,
}

impl Galois {
    /// The field of 2^`m` elements, `polynomial` being a primitive polynomial of degree `m`, bit t its coefficient of
    /// x^t.
    pub(crate) fn new(m: u32, polynomial: u32) -> Self {
        let order = (1_usize << m) - 1;
        let (mut power, mut log) = (vec![0; order], vec![0; order + 1]);
        let mut x = 1_u32;
        for (i, power) in power.iter_mut().enumerate() {
            *power = x as u16;
            log[x as usize] = i as u16;
            x <<= 1;
            if x >> m & 1 == 1 {
                x ^= polynomial;
            }
        }
        Self { power, log }
    }

    /// Of 128 elements, by x^7 + x^3 + 1.
    pub(crate) fn of_128() -> Self {
        Self::new(7, 0x89)
    }

    /// Of 16 elements by x^4 + x + 1 (`m` = 4), else of 256 elements by x^8 + x^4 + x^3 + x^2 + 1.
    pub(crate) fn of_symbols(m: u32) -> Self {
        if m == 4 { Self::new(4, 0x13) } else { Self::new(8, 0x11d) }
    }

    /// Number of elements but 0; also the least n > 0 with a^n = 1.
    pub(crate) fn order(&self) -> usize {
        self.power.len()
    }

    /// a^i, for any i.
    pub(crate) fn power(&self, i: usize) -> u32 {
        self.power[i % self.order()].into()
    }

    /// The i below the order with a^i = x; none for 0.
    pub(crate) fn log(&self, x: u32) -> Option<usize> {
        (x != 0).then(|| self.log[x as usize].into())
    }

    /// The product.
    pub(crate) fn times(&self, x: u32, y: u32) -> u32 {
        match (self.log(x), self.log(y)) {
            (Some(i), Some(j)) => self.power(i + j),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplication of polynomials, then division, bit by bit.
    fn slow_times(x: u32, y: u32, m: u32, polynomial: u32) -> u32 {
        let product = (0..m).filter(|t| y >> t & 1 == 1).fold(0, |sum, t| sum ^ x << t);
        (m..2 * m)
            .rev()
            .fold(product, |rest, t| if rest >> t & 1 == 1 { rest ^ polynomial << (t - m) } else { rest })
    }

    #[test]
    fn products_are_those_of_polynomials() {
        for (field, m, polynomial) in
            [(Galois::of_symbols(4), 4, 0x13), (Galois::of_128(), 7, 0x89), (Galois::of_symbols(8), 8, 0x11d)]
        {
            for x in 0..1 << m {
                for y in 0..1 << m {
                    assert_eq!(field.times(x, y), slow_times(x, y, m, polynomial), "{x} * {y} of 2^{m}");
                }
            }
        }
    }

    #[test]
    fn every_element_but_zero_is_a_power() {
        for field in [Galois::of_symbols(4), Galois::of_128(), Galois::of_symbols(8)] {
            let mut powers: Vec<u32> = (0..field.order()).map(|i| field.power(i)).collect();
            assert!((0..field.order()).all(|i| field.log(field.power(i)) == Some(i)));
            powers.sort_unstable();
            assert!(powers.iter().enumerate().all(|(i, &power)| power as usize == i + 1));
        }
    }
}

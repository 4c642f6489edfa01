//! The instruction sets, found at run time.

use std::fmt;

/// A set of instructions that the kernels are compiled for.
///
/// Results of different sets may differ by rounding: a set with a fused multiply-add rounds once where another rounds twice.
///
/// ```
/// use bitquake_kernels::Isa;
///
/// assert!(Isa::available().contains(&Isa::best()));
/// assert!(Isa::Portable.is_available());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// AVX-512 F: vectors of 16 floats, 32 registers.
    Avx512,
    /// AVX2 and FMA: vectors of 8 floats, 16 registers.
    Avx2,
    /// Plain loops over 16 floats, which the compiler turns into the vectors that every processor of the target has.
    Portable,
}

impl Isa {
    /// All sets, the fastest first.
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The sets that this processor has, the fastest first. Never empty: `Portable` is always there.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest set that this processor has.
    #[must_use]
    pub fn best() -> Isa {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// Whether this processor has the set.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            // Miri interprets no AVX; it checks the portable path, which shares everything but the instructions.
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(not(all(target_arch = "x86_64", not(miri))))]
            Isa::Avx512 | Isa::Avx2 => false,
            Isa::Portable => true,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Avx512 => "AVX-512",
            Isa::Avx2 => "AVX2",
            Isa::Portable => "portable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portable_set_is_everywhere_and_the_last() {
        let available = Isa::available();
        assert_eq!(available.last(), Some(&Isa::Portable));
        assert_eq!(available.first(), Some(&Isa::best()));
    }
}

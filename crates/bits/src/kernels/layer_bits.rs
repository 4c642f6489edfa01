//! The bits of a layer under one number: layer-bit indices, regions, and the deterministic masks built on them (F2 to F8).
//!
//! FKeras counts the bits of a layer from the most significant bit of weight 0 on. Elsewhere in bitquake the bit address
//! `weight * width + bit` is used, which counts from the least significant bit on; [`LayerBits`] speaks both, by its
//! [`BitOrder`]. Differences from the published code, all on purpose (SPEC 3.4): regions are half-open everywhere, the whole
//! layer included; an inverted or empty region, one past the end and overlapping ones are errors; a bit named twice
//! is flipped twice (XOR), not once (OR).

use thiserror::Error;

use super::axis::BitOrder;

/// A bit of a weight: also the (element, bit) of any tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightBit {
    /// The weight, counted over the flattened (C order) tensor.
    pub weight: u64,
    /// The bit; 0 is the least significant.
    pub bit: u32,
}

/// Bits `start` to `end - 1` of a layer, by layer-bit index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BitRegion {
    /// The first index.
    pub start: u64,
    /// One past the last index.
    pub end: u64,
}

/// An index, region or rate that a layer does not have.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum LayerBitError {
    /// Weights without bits, or with too many.
    #[error("a width of {width} bits is impossible for a weight: it must be 1 to 64")]
    Width {
        /// The width asked for.
        width: u32,
    },
    /// More bits than can be counted.
    #[error("{weights} weights of {width} bits have more bits than fit 64 bits")]
    TooLarge {
        /// The number of weights.
        weights: u64,
        /// The bits of a weight.
        width: u32,
    },
    /// A layer-bit index past the end.
    #[error("layer bit {index} is outside the layer, which has {bound} bits")]
    Index {
        /// The index.
        index: u64,
        /// The number of bits.
        bound: u64,
    },
    /// A weight past the end.
    #[error("weight {weight} is outside the layer, which has {bound} weights")]
    Weight {
        /// The weight.
        weight: u64,
        /// The number of weights.
        bound: u64,
    },
    /// A bit that the weights do not have.
    #[error("bit {bit} is outside the {width} bits of a weight")]
    Bit {
        /// The bit.
        bit: u32,
        /// The bits of a weight.
        width: u32,
    },
    /// A region without bits, or with its ends exchanged.
    #[error("the region {start}..{end} holds no bits: its end must be above its start")]
    EmptyRegion {
        /// The first index.
        start: u64,
        /// One past the last index.
        end: u64,
    },
    /// Two regions that share bits.
    #[error("the regions {}..{} and {}..{} overlap", .first.start, .first.end, .second.start, .second.end)]
    Overlap {
        /// The region that begins first.
        first: BitRegion,
        /// The other.
        second: BitRegion,
    },
    /// A bit error rate that is none.
    #[error("a bit error rate of {ber} is impossible: it must be from 0 to 1")]
    Rate {
        /// The rate.
        ber: f64,
    },
}

/// A layer as a row of bits.
///
/// ```
/// use bitquake_bits::kernels::{BitOrder, LayerBits, WeightBit};
/// let layer = LayerBits::new(12, 5, BitOrder::Msb)?; // 12 weights of 5 bits, as FKeras counts them
/// assert_eq!(layer.weight_bit(0)?, WeightBit { weight: 0, bit: 4 });
/// assert_eq!(layer.layer_bit(WeightBit { weight: 1, bit: 4 })?, 5);
/// # Ok::<(), bitquake_bits::kernels::LayerBitError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerBits {
    weights: u64,
    width: u32,
    order: BitOrder,
}

impl LayerBits {
    /// A layer of `weights` weights of `width` bits. With [`BitOrder::Msb`] the layer-bit indices are FKeras's default
    /// ("little-endian" there: index 0 is the sign bit of weight 0), with [`BitOrder::Lsb`] they are the bit addresses of the
    /// rest of bitquake.
    ///
    /// # Errors
    /// [`LayerBitError::Width`] unless the width is 1 to 64, [`LayerBitError::TooLarge`].
    pub fn new(weights: u64, width: u32, order: BitOrder) -> Result<LayerBits, LayerBitError> {
        if !(1..=u64::BITS).contains(&width) {
            return Err(LayerBitError::Width { width });
        }
        if weights.checked_mul(u64::from(width)).is_none() {
            return Err(LayerBitError::TooLarge { weights, width });
        }
        Ok(LayerBits { weights, width, order })
    }

    /// The number of weights.
    pub fn weights(self) -> u64 {
        self.weights
    }

    /// The bits of a weight.
    pub fn width(self) -> u32 {
        self.width
    }

    /// The number of bits; layer-bit indices run from 0 to one less.
    pub fn bits(self) -> u64 {
        self.weights * u64::from(self.width)
    }

    /// The weight and the bit of a layer-bit index (F2).
    ///
    /// # Errors
    /// [`LayerBitError::Index`].
    pub fn weight_bit(self, index: u64) -> Result<WeightBit, LayerBitError> {
        self.check_index(index)?;
        let width = u64::from(self.width);
        // A remainder by a width is below 64.
        Ok(WeightBit { weight: index / width, bit: self.ordered((index % width) as u32) })
    }

    /// The layer-bit index of a weight's bit (F2): the inverse of [`weight_bit`](LayerBits::weight_bit).
    ///
    /// # Errors
    /// [`LayerBitError::Weight`] or [`LayerBitError::Bit`].
    pub fn layer_bit(self, at: WeightBit) -> Result<u64, LayerBitError> {
        self.check_weight(at.weight)?;
        self.check_bit(at.bit)?;
        Ok(at.weight * u64::from(self.width) + u64::from(self.ordered(at.bit)))
    }

    /// A region, checked (F3).
    ///
    /// # Errors
    /// [`LayerBitError::EmptyRegion`] if the end is not above the start, [`LayerBitError::Index`] if it is past the layer.
    pub fn region(self, start: u64, end: u64) -> Result<BitRegion, LayerBitError> {
        if end <= start {
            return Err(LayerBitError::EmptyRegion { start, end });
        }
        self.check_index(end - 1)?;
        Ok(BitRegion { start, end })
    }

    /// The region of all bits (F4); `None` for a layer without weights.
    pub fn whole(self) -> Option<BitRegion> {
        (self.weights > 0).then(|| BitRegion { start: 0, end: self.bits() })
    }

    /// One region of a single bit for each weight, always the same bit (F4).
    ///
    /// # Errors
    /// [`LayerBitError::Bit`].
    pub fn each_weight(self, bit: u32) -> Result<impl Iterator<Item = BitRegion>, LayerBitError> {
        self.check_bit(bit)?;
        let (step, first) = (u64::from(self.width), u64::from(self.ordered(bit)));
        let region = move |weight| BitRegion { start: weight * step + first, end: weight * step + first + 1 };
        Ok((0..self.weights).map(region))
    }

    /// Regions sorted by their start, all within the layer and none overlapping another.
    ///
    /// # Errors
    /// As [`region`](LayerBits::region), and [`LayerBitError::Overlap`] with the first two that share bits.
    pub fn regions(
        self,
        regions: impl IntoIterator<Item = BitRegion>,
    ) -> Result<Vec<BitRegion>, LayerBitError> {
        let mut sorted = regions
            .into_iter()
            .map(|region| self.region(region.start, region.end))
            .collect::<Result<Vec<_>, _>>()?;
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0].end > pair[1].start) {
            Some(pair) => Err(LayerBitError::Overlap { first: pair[0], second: pair[1] }),
            None => Ok(sorted),
        }
    }

    /// The bits of a region.
    ///
    /// # Errors
    /// As [`region`](LayerBits::region).
    pub fn bits_of(self, region: BitRegion) -> Result<impl Iterator<Item = WeightBit>, LayerBitError> {
        let region = self.region(region.start, region.end)?;
        let width = u64::from(self.width);
        let at = move |index| WeightBit { weight: index / width, bit: self.ordered((index % width) as u32) };
        Ok((region.start..region.end).map(at))
    }

    /// The number of flips that a bit error rate means when exactly that many are wanted: `floor(bits * ber)` (F5, F6).
    ///
    /// The product is rounded to `f64` before the floor is taken, so that 1/60 of 60 bits is one bit, as published.
    ///
    /// # Errors
    /// [`LayerBitError::Rate`] unless the rate is from 0 to 1.
    pub fn exact_count(self, ber: f64) -> Result<u64, LayerBitError> {
        self.count_of(self.bits(), ber)
    }

    /// The same for the bits of one region (F3).
    ///
    /// # Errors
    /// [`LayerBitError::Rate`], or as [`region`](LayerBits::region).
    pub fn exact_count_of(self, region: BitRegion, ber: f64) -> Result<u64, LayerBitError> {
        let region = self.region(region.start, region.end)?;
        self.count_of(region.end - region.start, ber)
    }

    /// The bit that draw `draw` of `0..bits()` hits (F5): weight `draw mod n`, bit `draw div n`, so the least significant
    /// bits of all weights come first. A random mask is a choice of distinct draws.
    ///
    /// # Errors
    /// [`LayerBitError::Index`].
    pub fn by_significance(self, draw: u64) -> Result<WeightBit, LayerBitError> {
        self.check_index(draw)?;
        // A quotient by the number of weights is below the width.
        Ok(WeightBit { weight: draw % self.weights, bit: (draw / self.weights) as u32 })
    }

    /// The first `count` bits by significance: all bits 0, then all bits 1, and so on (F6).
    ///
    /// # Errors
    /// [`LayerBitError::Index`] if the layer has fewer bits.
    pub fn least_significant(self, count: u64) -> Result<impl Iterator<Item = WeightBit>, LayerBitError> {
        if count > 0 {
            self.check_index(count - 1)?;
        }
        let weights = self.weights;
        Ok((0..count).map(move |draw| WeightBit { weight: draw % weights, bit: (draw / weights) as u32 }))
    }

    /// The first bit of every region, the only one that is flipped in the third published mask (F8).
    ///
    /// # Errors
    /// As [`regions`](LayerBits::regions).
    pub fn starts(
        self,
        regions: impl IntoIterator<Item = BitRegion>,
    ) -> Result<Vec<WeightBit>, LayerBitError> {
        self.regions(regions)?.into_iter().map(|region| self.weight_bit(region.start)).collect()
    }

    /// One XOR mask for each weight. A bit named twice is flipped twice, that is, left as it was.
    ///
    /// ```
    /// use bitquake_bits::kernels::{BitOrder, LayerBits};
    /// let layer = LayerBits::new(12, 5, BitOrder::Msb)?;
    /// let first = layer.least_significant(layer.exact_count(0.5)?)?;
    /// assert_eq!(layer.masks(first)?, [7, 7, 7, 7, 7, 7, 3, 3, 3, 3, 3, 3]);
    /// # Ok::<(), bitquake_bits::kernels::LayerBitError>(())
    /// ```
    ///
    /// # Errors
    /// [`LayerBitError::Weight`] or [`LayerBitError::Bit`].
    pub fn masks(self, flips: impl IntoIterator<Item = WeightBit>) -> Result<Vec<u64>, LayerBitError> {
        let weights = usize::try_from(self.weights)
            .map_err(|_| LayerBitError::TooLarge { weights: self.weights, width: self.width })?;
        let mut masks = vec![0; weights];
        for WeightBit { weight, bit } in flips {
            self.check_weight(weight)?;
            self.check_bit(bit)?;
            masks[weight as usize] ^= 1 << bit;
        }
        Ok(masks)
    }

    fn count_of(self, bits: u64, ber: f64) -> Result<u64, LayerBitError> {
        if !(0.0..=1.0).contains(&ber) {
            return Err(LayerBitError::Rate { ber });
        }
        // Above 2^53 the number of bits itself is rounded, perhaps upwards.
        Ok(((bits as f64 * ber).floor() as u64).min(bits))
    }

    fn ordered(self, bit: u32) -> u32 {
        match self.order {
            BitOrder::Lsb => bit,
            BitOrder::Msb => self.width - 1 - bit,
        }
    }

    fn check_index(self, index: u64) -> Result<(), LayerBitError> {
        let bound = self.bits();
        if index < bound { Ok(()) } else { Err(LayerBitError::Index { index, bound }) }
    }

    fn check_weight(self, weight: u64) -> Result<(), LayerBitError> {
        let bound = self.weights;
        if weight < bound { Ok(()) } else { Err(LayerBitError::Weight { weight, bound }) }
    }

    fn check_bit(self, bit: u32) -> Result<(), LayerBitError> {
        if bit < self.width { Ok(()) } else { Err(LayerBitError::Bit { bit, width: self.width }) }
    }
}

/// A word of `width` bits as the sign-extended integer that two's complement makes of it (F7): its bits below the top one,
/// minus the top one. XOR of an integer with a mask extended this way flips the same bits of its two's-complement code and
/// stays within the code's range; without it a flipped sign bit leaves the range.
///
/// Bits above the width are ignored; a width of 0 gives 0, one above 64 counts as 64.
///
/// ```
/// use bitquake_bits::kernels::sign_extend;
/// assert_eq!(sign_extend(0b10000, 5), -16);
/// assert_eq!(4 ^ sign_extend(0b10000, 5), -12); // and not 20, which 5 bits do not hold
/// ```
pub fn sign_extend(word: u64, width: u32) -> i64 {
    match width.min(u64::BITS) {
        0 => 0,
        width => (word << (u64::BITS - width)).cast_signed() >> (u64::BITS - width),
    }
}

//! Range guards.

use bitquake_bits::{Format, Words};
use serde::{Deserialize, Serialize};

use super::elements::{by_element, push_bits};
use super::protection::ProtectError;
use super::resolve::Resolution;

/// Replaces values outside a range that good values keep.
///
/// It works on what a word decodes to; NaN is outside. Only words with a flip are looked at, so cost follows the
/// flips: a guard for whose range the clean words are too wide would also change the golden run, which
/// [`RangeGuard::outside`] tells.
///
/// ```
/// use bitquake_bits::{Format, Words};
/// use bitquake_fault::protect::{OnOutside, RangeGuard, Resolution};
/// let bytes = [0.5_f32, -1.0].map(f32::to_le_bytes).concat();
/// let words = Words::packed(Format::F32, &bytes);
/// let guard = RangeGuard::profile(&words, OnOutside::Zero)?;
/// assert_eq!((guard.low(), guard.high()), (-1.0, 0.5));
/// // Bit 30 makes 0.5 huge; the guard makes it zero, which is the flips of 0.5's own bits.
/// let mut resolution = Resolution { seen: vec![30], ..Resolution::default() };
/// guard.apply(&words, &mut resolution)?;
/// assert_eq!(resolution.seen, [24, 25, 26, 27, 28, 29]);
/// assert_eq!(resolution.outcomes.guarded, 1);
/// # Ok::<(), bitquake_fault::protect::ProtectError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RangeGuard {
    low: f64,
    high: f64,
    action: OnOutside,
    zero: Option<u64>,
}

/// What a range guard does to a value outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOutside {
    /// It becomes zero.
    #[default]
    Zero,
    /// It becomes the nearer end of the range, rounded to the nearest word of the format; NaN becomes zero, or the
    /// end next to zero.
    Clamp,
}

impl RangeGuard {
    /// A guard for values in `[low, high]`, both ends included; they may be infinite.
    ///
    /// # Errors
    /// [`ProtectError::GuardRange`] when `low > high` or one is NaN.
    pub fn new(low: f64, high: f64, action: OnOutside) -> Result<Self, ProtectError> {
        if low <= high {
            Ok(Self { low, high, action, zero: None })
        } else {
            Err(ProtectError::GuardRange { low, high })
        }
    }

    /// A guard for the range of the clean words; NaN and infinities among them do not count. Time follows the tensor.
    ///
    /// # Errors
    /// [`ProtectError::NoRange`] if no word is a finite number.
    pub fn profile(words: &Words<'_>, action: OnOutside) -> Result<Self, ProtectError> {
        let format = words.format();
        let finite = words.iter().map(|word| format.decode(word)).filter(|value| value.is_finite());
        let (low, high) = finite
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let none = ProtectError::NoRange { format, elements: words.elements() };
        Self::new(low, high, action).map_err(|_| none)
    }

    /// With another word that stands for zero: the zero point of a quantizer.
    #[must_use]
    pub fn with_zero(self, word: u64) -> Self {
        Self { zero: Some(word), ..self }
    }

    /// The least value that passes.
    #[must_use]
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The greatest value that passes.
    #[must_use]
    pub fn high(&self) -> f64 {
        self.high
    }

    /// How many of the words the guard would replace. Time follows the tensor.
    #[must_use]
    pub fn outside(&self, words: &Words<'_>) -> u64 {
        words.iter().filter(|&word| !self.passes(words.format().decode(word))).count() as u64
    }

    /// Replaces the values outside among those that have flips: changes the flips seen, and counts.
    ///
    /// # Errors
    /// [`ProtectError::NoZero`] if a value is to become zero and the format has none, [`ProtectError::OutOfBounds`]
    /// for flips beyond the words.
    pub fn apply(&self, words: &Words<'_>, resolution: &mut Resolution) -> Result<(), ProtectError> {
        let (format, width) = (words.format(), words.format().width());
        let mut seen = Vec::with_capacity(resolution.seen.len());
        for (element, mask) in by_element(&resolution.seen, width) {
            let clean = words.get(element).ok_or_else(|| ProtectError::OutOfBounds {
                part: "data".to_owned(),
                address: element * u64::from(width),
                bits: words.elements() * u64::from(width),
            })?;
            let value = format.decode(clean ^ mask);
            if self.passes(value) {
                push_bits(&mut seen, element, width, mask);
            } else {
                push_bits(&mut seen, element, width, clean ^ self.replacement(format, value)?);
                resolution.outcomes.guarded += 1;
            }
        }
        resolution.outcomes.seen_flips = seen.len() as u64;
        resolution.seen = seen;
        Ok(())
    }

    fn passes(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// The word that takes the place of a value outside.
    fn replacement(&self, format: Format, value: f64) -> Result<u64, ProtectError> {
        let zero = || self.zero.or(format.encode(0.0).ok()).ok_or(ProtectError::NoZero { format });
        match self.action {
            OnOutside::Zero => zero(),
            OnOutside::Clamp if value.is_nan() && self.passes(0.0) => zero(),
            OnOutside::Clamp => {
                let wanted = if value.is_nan() { 0.0 } else { value };
                let end = wanted.clamp(self.low, self.high);
                format.nearest(end).or_else(|_| zero())
            }
        }
    }
}

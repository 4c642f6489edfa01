//! How the plane of sites and hazards is cut into cells of known Poisson mean.
//!
//! Events of a Poisson process of unit intensity lie in the plane (site, hazard). A site is hit at rate `p` when an event of
//! its column lies below the hazard `-ln(1 - p)`: a Bernoulli draw of exactly `p`, and raising `p` only adds sites. The plane
//! is cut the same way for every rate, so every rate reads the same events:
//!
//! * the *core* holds the lowest hazards of all sites: one cell of 64 events on average, each with its own hazard;
//! * above it each octave of hazard is cut into eight *shells*, and each shell into cells along the sites, so that the mean
//!   number of events in a cell is a power of two, at most 256. Cells shrink as hazards grow.
//!
//! A rate visits the core and the shells below its hazard; only in the last shell do events need a hazard of their own. So
//! the work follows the number of hits, of which at most an eighth more are drawn, and never the number of sites.

use crate::blockset::ones;
use crate::key::Stream;
use crate::poisson::{self, table};
use crate::rate::{Rate, scaled_to_2_128};
use crate::sequences::{Ahead, Plan, Reader, Wanted};

/// Mean number of events in the core, log2.
const CORE_MEAN_LOG2: i32 = 6;
const SHELLS_PER_OCTAVE: u32 = 8;
const SHELLS_LOG2: i32 = 3;
/// Neighbouring cells share one random sequence up to this many sites (log2).
const SEQUENCE_LOG2: u32 = 18;
/// Events that are drawn before any is looked at, one bit of a word for each.
const AT_ONCE: usize = 64;
/// More sites than any memory holds; keeps sequence numbers within their 51 bits.
pub(crate) const MAX_SITES: u64 = 1 << 56;

/// One cut of the plane, all of which lies below the hazard of the rate or is thinned to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shell {
    id: u64,
    cell_log2: u32,
    mean_log2: u32,
    /// Sites (log2) whose cells share a random sequence; the unit of random access.
    pub(crate) span_log2: u32,
    /// Keep an event when its random fraction is below this many 2^-128; `None` keeps all.
    keep_below: Option<u128>,
}

/// Bits of `sites`, rounded up: the smallest `J` with `sites <= 2^J`.
pub(crate) fn width_log2(sites: u64) -> u32 {
    sites.max(1).next_power_of_two().trailing_zeros()
}

/// The shells that a rate below 1 visits, the core first: their spans never grow.
pub(crate) fn shells(sites: u64, rate: Rate) -> Vec<Shell> {
    let hazard = rate.hazard();
    let width = width_log2(sites);
    let core_top = CORE_MEAN_LOG2 - width as i32;
    let mut all = vec![Shell {
        id: 0,
        cell_log2: width,
        mean_log2: CORE_MEAN_LOG2 as u32,
        span_log2: width,
        keep_below: scaled_to_2_128(hazard / power_of_two(core_top)),
    }];
    for octave in core_top.. {
        for part in 0..SHELLS_PER_OCTAVE {
            let thickness = power_of_two(octave - SHELLS_LOG2);
            let low = power_of_two(octave) + f64::from(part) * thickness;
            if low >= hazard {
                return all;
            }
            all.push(shell(width, octave, part, scaled_to_2_128((hazard - low) / thickness)));
        }
    }
    all
}

fn shell(width: u32, octave: i32, part: u32, keep_below: Option<u128>) -> Shell {
    let ideal = poisson::MAX_LOG2 as i32 + SHELLS_LOG2 - octave;
    let cell_log2 = width.min(ideal as u32);
    Shell {
        // Octaves run from -50 (2^56 sites) to 5 (hazard 36.7, the largest below p = 1).
        id: u64::from((octave + 64) as u32 * SHELLS_PER_OCTAVE + part),
        cell_log2,
        mean_log2: (cell_log2 as i32 + octave - SHELLS_LOG2) as u32,
        span_log2: cell_log2.max(SEQUENCE_LOG2.min(width)),
        keep_below,
    }
}

/// `2^exponent`, exact.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

impl Shell {
    /// How many random sequences the shell's cells take for this many sites.
    pub(crate) fn spans(&self, sites: u64) -> u64 {
        sites.div_ceil(1 << self.span_log2)
    }

    /// The sequences of one span.
    fn plan(&self, span: u64) -> Plan {
        let cells = 1_usize << (self.span_log2 - self.cell_log2);
        let mean = 1_usize << self.mean_log2;
        // Two standard deviations more than the mean.
        let events = mean + 2 * mean.isqrt();
        let words = cells.saturating_mul(2 + events * if self.cell_log2 > 32 { 2 } else { 1 });
        let thinning = Wanted {
            sequence: self.id << 52 | 1 << 51 | span,
            words: cells.saturating_mul(4 * events), // a fraction is four words
        };
        Plan {
            own: Wanted { sequence: self.id << 52 | span, words },
            beside: self.keep_below.map(|_| thinning),
        }
    }

    /// Hands over the hits of one span, some at a time, in no order, some perhaps twice. The last span may reach beyond the last site,
    /// and hits do, too.
    fn visit(
        &self,
        span: u64,
        sites: u64,
        words: &mut Reader<'_>,
        fractions: Option<Reader<'_>>,
        hits: &mut impl FnMut(&[u64]),
    ) {
        let mut thinning = self.keep_below.zip(fractions);
        let table = table(self.mean_log2);
        let start = span << self.span_log2;
        let end = sites.min(start + (1 << self.span_log2));
        let mut events = [0; AT_ONCE];
        for cell in (start..end).step_by(1 << self.cell_log2) {
            let mut left = table.count(words.u64());
            while left > 0 {
                let events = &mut events[..left.min(AT_ONCE)];
                left -= events.len();
                words.fill_bits(self.cell_log2, events);
                events.iter_mut().for_each(|event| *event += cell);
                match &mut thinning {
                    None => hits(events),
                    Some((limit, fractions)) => {
                        let kept = fractions.below(*limit, events.len());
                        hits(keep(events, kept));
                    }
                }
            }
        }
    }
}

/// Hands over the hits of some spans of shells: sites, some at a time, in no order, some perhaps twice, and some beyond the last site
/// but within the span.
pub(crate) fn visit<'s>(
    stream: &Stream,
    spans: impl Iterator<Item = (&'s Shell, u64)>,
    sites: u64,
    ahead: &mut Ahead,
    mut hits: impl FnMut(&[u64]),
) {
    ahead.read(
        &stream.key(),
        spans,
        |(shell, span)| shell.plan(*span),
        |(shell, span), mut words, fractions| {
            shell.visit(span, sites, &mut words, fractions, &mut hits);
        },
    );
}

/// Moves the events whose bits are set to the front.
fn keep(events: &mut [u64], kept: u64) -> &[u64] {
    for (place, event) in ones(kept).enumerate() {
        events[place] = events[event as usize];
    }
    &events[..kept.count_ones() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_tile_the_hazards_below_the_rate() {
        for width in [0, 1, 5, 9, 17, 18, 25, 32, 40, 56] {
            let sites = 1u64 << width;
            for p in [1e-15, 1e-9, 1e-3, 0.3, 0.9999, 1.0 - f64::EPSILON / 2.0] {
                let rate = Rate::new(p).unwrap();
                let expected: f64 = shells(sites, rate)
                    .iter()
                    .map(|shell| {
                        let kept = shell.keep_below.map_or(1.0, |limit| limit as f64 / 2f64.powi(128));
                        kept * power_of_two(shell.mean_log2 as i32 - shell.cell_log2 as i32)
                    })
                    .sum();
                assert!(
                    (expected / rate.hazard() - 1.0).abs() < 1e-12,
                    "2^{width} sites, p = {p}: {expected}"
                );
            }
        }
    }

    #[test]
    fn at_most_an_eighth_more_is_drawn_than_kept() {
        for exponent in -600..0 {
            let rate = Rate::new(2f64.powf(f64::from(exponent) / 40.0)).unwrap();
            let all = shells(1 << 32, rate);
            let drawn: f64 =
                all.iter().map(|shell| power_of_two(shell.mean_log2 as i32 - shell.cell_log2 as i32)).sum();
            assert!(drawn <= 1.125 * rate.hazard() || all.len() == 1, "{rate:?}");
        }
    }

    #[test]
    fn ids_of_shells_are_distinct_for_any_number_of_sites() {
        for width in 0..=56 {
            let mut ids: Vec<u64> =
                shells(1 << width, Rate::new(1.0 - 1e-16).unwrap()).iter().map(|shell| shell.id).collect();
            let count = ids.len();
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), count);
            assert!(ids.iter().all(|id| id >> 12 == 0));
        }
    }
}

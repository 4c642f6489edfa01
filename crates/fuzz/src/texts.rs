//! Texts, which are read back from what is written for them.

mod campaigns;

use std::fmt::Display;
use std::str::FromStr;

use bitquake_bits::{BitSelection, Format};
use bitquake_fault::{ChipMap, FaultPattern, Site, SiteRange, SpatialPattern};

use crate::folder::say;

/// Words are parsed in these formats beside the one that the text names.
const FORMATS: [Format; 4] = [Format::F32, Format::F8E4M3, Format::I64, Format::U8];
/// Longer texts are no notation that a person gives in an argument.
const LONGEST_ARGUMENT: usize = 2000;

/// Gives the text to every parser.
pub(crate) fn check(text: &str) {
    pattern(text);
    chip(text);
    spatial(text);
    campaigns::check(text);
    if text.len() <= LONGEST_ARGUMENT {
        text.lines().chain([text]).for_each(argument);
    }
}

fn pattern(text: &str) {
    match FaultPattern::from_json(text) {
        Err(error) => say(&error),
        Ok(pattern) => {
            assert_eq!(FaultPattern::from_json(&pattern.to_json()).ok().as_ref(), Some(&pattern));
            assert_eq!(pattern.compose(&pattern), Ok(FaultPattern::empty()));
            assert_eq!(pattern.compose(&FaultPattern::empty()), Ok(pattern));
        }
    }
}

/// What a pattern does is the same whenever it is read, and does not hang on what people call it.
fn spatial(text: &str) {
    match SpatialPattern::from_json(text) {
        Err(error) => say(&error),
        Ok(pattern) => {
            assert!(!pattern.classes().is_empty());
            let again = SpatialPattern::from_json(text).map(|again| again.digest()).ok();
            assert_eq!(again, Some(pattern.digest()));
        }
    }
}

fn chip(text: &str) {
    match ChipMap::from_csv(text) {
        Err(error) => say(&error),
        Ok(chip) => {
            assert_eq!(ChipMap::from_csv(&chip.to_csv()).as_ref(), Ok(&chip));
            for voltage in [None, Some(0.0), Some(0.85)] {
                let (to_one, to_zero) = chip.rates_at(voltage);
                assert!(
                    (0.0..=1.0).contains(&to_one) && (0.0..=1.0).contains(&to_zero),
                    "{to_one} {to_zero}"
                );
            }
        }
    }
}

/// One argument of a command, or one value of a campaign.
fn argument(text: &str) {
    shown::<Site>(text);
    shown::<SiteRange>(text);
    if let Some(bits) = shown::<BitSelection>(text) {
        for format in FORMATS {
            let mask = bits.mask(format);
            assert!(
                mask.as_ref().map_or(true, |mask| *mask != 0 && mask & !format.mask() == 0),
                "{bits}: {mask:?}"
            );
        }
    }
    let named = shown::<Format>(text);
    let word = text.rsplit(' ').next().unwrap_or_default();
    let of_word = text.split(' ').next().and_then(|name| name.parse().ok());
    for format in FORMATS.into_iter().chain(named).chain(of_word) {
        match format.parse_word(word) {
            Ok(word) => {
                assert_eq!(word & !format.mask(), 0, "{format} {text}");
                assert_eq!(format.parse_word(&format!("{word:#x}")), Ok(word), "{format} {text}");
                format.decode(word);
            }
            Err(error) => say(&error),
        }
    }
}

/// Parses a text; what it gives is shown as a text that gives the same.
fn shown<T: FromStr<Err: std::error::Error> + Display + PartialEq + std::fmt::Debug>(
    text: &str,
) -> Option<T> {
    match text.parse::<T>() {
        Err(error) => {
            say(&error);
            None
        }
        Ok(value) => {
            let shown = value.to_string();
            assert_eq!(shown.parse::<T>().ok().as_ref(), Some(&value), "{text:?} is shown as {shown:?}");
            Some(value)
        }
    }
}

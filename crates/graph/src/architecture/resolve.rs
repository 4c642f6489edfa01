//! The options of a network, checked, with every default filled in.

use super::families::{FamilyRow, find, takers};
use super::initial::Initial;
use super::keys::about;
use super::options::{Activation, Norm, Whitening};
use super::{Architecture, ArchitectureError};

/// The most channels, features, rows or columns, so that no product of sizes overflows.
const MOST: u64 = 65_536;

/// What the bodies of the families read.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) row: &'static FamilyRow,
    pub(super) input: [u64; 3],
    pub(super) classes: u64,
    /// 0 if the family does not take it.
    pub(super) channels: u64,
    pub(super) hidden: Vec<u64>,
    pub(super) norm: Norm,
    pub(super) zero_residuals: bool,
    pub(super) activation: Activation,
    pub(super) initial: Initial,
    pub(super) clamp: bool,
    pub(super) whiten: Option<Whitening>,
    pub(super) rescale: bool,
    pub(super) logit_scale: Option<f32>,
}

impl Resolved {
    pub(super) fn new(options: &Architecture) -> Result<Resolved, ArchitectureError> {
        let row = find(&options.architecture)
            .ok_or_else(|| ArchitectureError::Unknown { name: options.architecture.clone() })?;
        let input = input(options, row)?;
        let norm = options.norm.unwrap_or(row.norm);
        check_activation(options.activation)?;
        check_whitening(options.whiten.as_ref(), input[0])?;
        if let Some(scale) = options.logit_scale {
            positive("logit_scale", f64::from(scale))?;
        }
        Ok(Resolved {
            row,
            input,
            classes: classes(options)?,
            channels: channels(options, row)?,
            hidden: hidden(options, row)?,
            norm,
            zero_residuals: zero_residuals(options, row, norm)?,
            activation: options.activation,
            initial: Initial {
                distribution: options.init,
                fan: options.fan.unwrap_or(row.fan),
                gain: gain(options)?,
            },
            clamp: options.clamp,
            whiten: options.whiten.clone(),
            rescale: options.rescale,
            logit_scale: options.logit_scale,
        })
    }
}

fn input(options: &Architecture, row: &FamilyRow) -> Result<[u64; 3], ArchitectureError> {
    let input = options.input.ok_or_else(|| missing("input"))?;
    let [channels, height, width] = input;
    let least = row.smallest;
    let fits = |size: u64| (least..=MOST).contains(&size);
    if (1..=MOST).contains(&channels) && fits(height) && fits(width) {
        return Ok(input);
    }
    let bound = format!(
        "[channels, height, width], channels from 1, height and width from {least} for {}, none above {MOST}",
        row.name
    );
    Err(out_of_bounds("input", format!("{input:?}"), bound))
}

fn classes(options: &Architecture) -> Result<u64, ArchitectureError> {
    let classes = options.classes.ok_or_else(|| missing("classes"))?;
    within("classes", classes, 2)?;
    Ok(classes)
}

fn channels(options: &Architecture, row: &'static FamilyRow) -> Result<u64, ArchitectureError> {
    let taken = taken("channels", options.channels.as_ref(), row, |row| row.channels.is_some())?;
    let channels = taken.copied().or(row.channels);
    channels.map_or(Ok(0), |channels| within("channels", channels, 1).map(|()| channels))
}

fn hidden(options: &Architecture, row: &'static FamilyRow) -> Result<Vec<u64>, ArchitectureError> {
    let given = taken("hidden", options.hidden.as_ref(), row, |row| row.hidden.is_some())?;
    for &width in given.into_iter().flatten() {
        within("hidden", width, 1)?;
    }
    Ok(given.cloned().or(row.hidden.map(<[u64]>::to_vec)).unwrap_or_default())
}

fn zero_residuals(
    options: &Architecture,
    row: &'static FamilyRow,
    norm: Norm,
) -> Result<bool, ArchitectureError> {
    let takes = |row: &FamilyRow| row.zero_residuals.is_some();
    let given = taken("zero_residuals", options.zero_residuals.as_ref(), row, takes)?;
    if given == Some(&true) && !norm.has_scale() {
        let bound = format!("false with norm = \"{norm}\", which has no scale");
        return Err(out_of_bounds("zero_residuals", "true".to_owned(), bound));
    }
    Ok(norm.has_scale() && given.copied().or(row.zero_residuals).unwrap_or(false))
}

fn gain(options: &Architecture) -> Result<f64, ArchitectureError> {
    let gain = options.gain.unwrap_or_else(|| options.activation.gain());
    positive("gain", gain)?;
    Ok(gain)
}

fn check_activation(activation: Activation) -> Result<(), ArchitectureError> {
    let (Activation::Pact { bits, .. } | Activation::Dorefa { bits }) = activation else { return Ok(()) };
    if !(1..=8).contains(&bits) {
        return Err(out_of_bounds("activation bits", bits.to_string(), "1 to 8".to_owned()));
    }
    if let Activation::Pact { alpha, .. } = activation {
        positive("activation alpha", f64::from(alpha))?;
    }
    Ok(())
}

fn check_whitening(whiten: Option<&Whitening>, channels: u64) -> Result<(), ArchitectureError> {
    let Some(Whitening { mean, std }) = whiten else { return Ok(()) };
    for (key, numbers) in [("whiten mean", mean), ("whiten std", std)] {
        if numbers.len() as u64 != channels {
            let bound = format!("{channels} numbers, one for each channel of input");
            return Err(out_of_bounds(key, format!("{numbers:?}"), bound));
        }
    }
    if !mean.iter().all(|mean| mean.is_finite()) {
        return Err(out_of_bounds("whiten mean", format!("{mean:?}"), "finite".to_owned()));
    }
    std.iter().try_for_each(|&std| positive("whiten std", f64::from(std)))
}

/// The option, if the family takes it or it is not given.
fn taken<'o, T>(
    key: &'static str,
    given: Option<&'o T>,
    row: &'static FamilyRow,
    takes: impl Fn(&FamilyRow) -> bool,
) -> Result<Option<&'o T>, ArchitectureError> {
    if given.is_some() && !takes(row) {
        return Err(ArchitectureError::NotTaken { key, architecture: row.name, takers: takers(takes) });
    }
    Ok(given)
}

fn within(key: &'static str, value: u64, least: u64) -> Result<(), ArchitectureError> {
    if (least..=MOST).contains(&value) {
        return Ok(());
    }
    Err(out_of_bounds(key, value.to_string(), format!("from {least} to {MOST}")))
}

fn positive(key: &'static str, value: f64) -> Result<(), ArchitectureError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(out_of_bounds(key, value.to_string(), "above 0 and finite".to_owned()))
}

fn missing(key: &'static str) -> ArchitectureError {
    ArchitectureError::Missing { key, about: about(key) }
}

fn out_of_bounds(key: &'static str, value: String, bound: String) -> ArchitectureError {
    ArchitectureError::OutOfBounds { key, value, bound }
}

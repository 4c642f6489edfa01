//! A campaign's file with a table `[protect]`.

use std::path::PathBuf;

use bitquake_campaign::{Config, EngineConfig, read_config_beside};
use bitquake_config::{ConfigError, Target, default_dir, explain};
use bitquake_data::DataConfig;
use bitquake_protect::{PlanConfig, ProtectionError};
use bitquake_sample::Rate;
use toml::{Table, Value};

use crate::error::Error;
use crate::guard::GuardConfig;

/// Keys of `[protect]` that are paths.
const PATHS: [&str; 5] = ["ranking", "results", "guard.data.images", "guard.data.more", "guard.data.labels"];
/// A campaign's file with a table `[protect]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectFile {
    /// The campaign that judges, without protections.
    pub campaign: Config,
    /// What plans are made of.
    pub protect: PlanConfig,
    /// Guards on activations, beside which everything planned is judged once more.
    pub guard: Option<GuardConfig>,
    /// The images that guards are calibrated on; those of the campaign if there are no others.
    pub guard_data: Option<DataConfig>,
    /// Where everything goes.
    pub dir: PathBuf,
}

/// Reads campaign files with a table `[protect]`, later ones on top of earlier ones, and `key=value` settings on top of all. Everything goes to
/// `protected/<name>` beside the first file, unless `dir` is changed.
///
/// # Errors
/// [`Error::Campaign`] for files that make no campaign; [`Error::Protection`] for a `[protect]` that makes no sense, and faults that plans are not for:
/// others than independent flips in weights at bit error rates.
pub fn read_protect(files: &[PathBuf], settings: &[String]) -> Result<ProtectFile, Error> {
    let (campaign, mut table): (Config, Table) = read_config_beside(files, settings, "protect", &PATHS)?;
    let wrong = |reason: String| ConfigError::in_files(files, reason);
    let in_guard = |error: &toml::de::Error| wrong(format!("[protect.guard] {}", explain(error)));
    let guard = table.remove("guard").map(Value::try_into::<Table>).transpose();
    let mut guard = guard.map_err(|error| in_guard(&error))?;
    let data = guard.as_mut().and_then(|guard| guard.remove("data"));
    let guard_data = data.map(Value::try_into::<DataConfig>).transpose().map_err(|error| in_guard(&error))?;
    let guard = guard.map(Table::try_into::<GuardConfig>).transpose().map_err(|error| in_guard(&error))?;
    check_guard(guard.as_ref(), guard_data.as_ref(), campaign.run.engine).map_err(wrong)?;
    let protect: PlanConfig = table.try_into().map_err(|error| wrong(explain(&error)))?;
    protect.check()?;
    check_faults(&campaign).map_err(wrong)?;
    let dir = default_dir(files, "protected", &campaign.name);
    Ok(ProtectFile { campaign, protect, guard, guard_data, dir })
}

fn check_guard(
    guard: Option<&GuardConfig>,
    data: Option<&DataConfig>,
    engine: EngineConfig,
) -> Result<(), String> {
    let Some(guard) = guard else { return Ok(()) };
    guard.check()?;
    if engine == EngineConfig::Native {
        return Err("[run] engine = \"native\" has no guards; leave it out, or [protect.guard]".into());
    }
    data.map_or(Ok(()), |data| {
        data.validate_images().map_err(|error| format!("[protect.guard.data] {error}"))
    })
}

fn check_faults(campaign: &Config) -> Result<(), String> {
    let (fault, storage) = (&campaign.fault, &campaign.storage);
    let is_all = fault.bits()? == bitquake_bits::BitSelection::All && fault.protect.is_none();
    if fault.model_name() != "bit-flip" || fault.target() != Target::Weights || fault.also.is_some() {
        return Err(
            "plans are for flips of stored weights alone: [fault] model = \"bit-flip\", target = \"weights\""
                .into(),
        );
    }
    if fault.rates.is_none() || fault.at_least.is_some() || !is_all {
        return Err(
            "plans are for bit error rates of all bits: [fault] rates, without bits, protect and at_least"
                .into(),
        );
    }
    if !storage.protect.is_empty() || !storage.guard.is_empty() {
        return Err(
            "[storage] has protect or guard: plans choose protections, of a memory that has none".into()
        );
    }
    Ok(())
}

/// The rate that plans are made for.
pub(super) fn plan_rate(file: &ProtectFile) -> Result<Rate, Error> {
    let rates = file.campaign.fault.rates.clone().unwrap_or_default();
    let wrong = |reason: String| ProtectionError::Config { reason };
    let rate = match (file.protect.rate, rates.as_slice()) {
        (Some(rate), rates) if rates.contains(&rate) => rate,
        (Some(rate), _) => {
            return Err(wrong(format!(
                "rate {rate} is none of [fault] rates {rates:?}, at which plans are judged"
            ))
            .into());
        }
        (None, [rate]) => *rate,
        (None, _) => {
            return Err(wrong(format!(
                "rate is needed: [fault] has the rates {rates:?}; name the one that plans are made for"
            ))
            .into());
        }
    };
    if !(rate > 0.0 && rate < 0.5) {
        return Err(wrong(format!("rate {rate}; plans are for bit error rates above 0 and below 0.5")).into());
    }
    Rate::new(rate).map_err(|error| wrong(error.to_string()).into())
}

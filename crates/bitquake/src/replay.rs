//! The faulty model of one recorded trial.

use std::path::Path;

use bitquake_campaign::{Campaign, CampaignError, ConfigError, pattern_digest, read_config};
use bitquake_fault::FaultPattern;
use bitquake_record::{CAMPAIGN_FILE, ResultDir};
use bitquake_tensors::TensorFile;

use crate::error::Error;

/// Writes the model of a result directory with exactly the faults of one trial to `out`; returns the faults of the memory.
/// Where the memory held codes, the file's floats are what the faulty codes stand for.
///
/// The model must be the one that the results are of, byte for byte, and the faults must be the ones recorded if the trial
/// has been recorded. `settings` override the configuration, such as `model.path=...` for a model that has been moved.
///
/// # Errors
/// [`Error`], with [`CampaignError::OtherCampaign`] when the model or the data have changed, and
/// [`CampaignError::ReplayDiffers`] when the recorded faults were others. Faults in activations and inputs alone have no model.
pub fn replay(
    dir: &ResultDir,
    point: u32,
    trial: u64,
    out: &Path,
    settings: &[String],
) -> Result<FaultPattern, Error> {
    let golden = dir.require_golden()?;
    let config = read_config(&[dir.path().join(CAMPAIGN_FILE)], settings)?;
    let (campaign, _) = Campaign::prepare(config)?;
    campaign.check_same(&golden, dir)?;
    let (in_memory, in_values) = campaign.exposes();
    if !in_memory {
        let reason = "its faults are in activations or inputs: there is no faulty model to write";
        return Err(
            CampaignError::Config(ConfigError::wrong(dir.path().display().to_string(), reason)).into()
        );
    }
    let mut model = TensorFile::open(&campaign.config().model.path)?;
    campaign.memory().write_levels(&mut model).map_err(CampaignError::from)?;
    let record = dir.trial(point, trial)?;
    let stratum = record.as_ref().and_then(|record| record.stratum);
    let faults = campaign.trial_in(point, trial, stratum, &model)?;
    let drawn = pattern_digest(&faults.stored);
    // With faults in values too, the digest is of both, and only the run draws those.
    if let Some(record) = record.filter(|_| !in_values)
        && record.pattern != drawn
    {
        return Err(CampaignError::ReplayDiffers { point, trial, recorded: record.pattern, drawn }.into());
    }
    faults.seen.apply(&mut model)?;
    model.save(out)?;
    Ok(faults.stored)
}

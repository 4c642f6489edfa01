//! Protections: the crate, plans made for a campaign's memory, and campaigns that judge them under common fault patterns.

mod contender;
mod file;
mod judge;
mod page;
mod source;

pub use bitquake_protect::*;
pub use contender::{Contender, ContenderKind, Plans};
pub use file::{ProtectFile, read_protect};
pub use judge::{JudgeEvent, Judged, Judgement, Residue, judge};

use std::path::{Path, PathBuf};

use bitquake_campaign::Campaign;
use bitquake_config::identity_difference;
use bitquake_data::load_images;
use bitquake_fault::protect::{Kind, Protection};
use bitquake_record::{RecordError, ResultDir, write_atomically};
use bitquake_report::trade_html;
use bitquake_sample::Rate;

use crate::error::Error;
use crate::guard::guard_model;

/// The file with all numbers.
pub const PROTECT_JSON: &str = "protect.json";
/// The file with a row a memory.
pub const PROTECT_CSV: &str = "protect.csv";
/// The page.
pub const PROTECT_HTML: &str = "protect.html";
/// The folder of the layers that apply plans, and of the guarded model.
const PLANS: &str = "plans";
/// The folder of the campaigns' results.
const RESULTS: &str = "results";

/// Makes the plans, and writes them as layers of a campaign: `plans/<name>.toml`.
///
/// # Errors
/// [`Error`] when the campaign cannot be prepared, damage is not known for all its bits, or a file cannot be written.
pub fn plan(file: ProtectFile) -> Result<Plans, Error> {
    let rate = file::plan_rate(&file)?;
    let damage = match (&file.protect.ranking, &file.protect.results) {
        (Some(folder), _) => Damage::from_ranking(folder, &file.protect.by, file.protect.cap)?,
        (None, Some(folder)) => Damage::from_results(folder)?,
        // Refused when the file was read.
        (None, None) => Damage::default(),
    };
    let offers = offers(&file.protect, rate)?;
    let (campaign, _) = Campaign::prepare(file.campaign.clone())?;
    let warnings = source::check_source(&file, campaign.identity())?;
    let memory = exposed(&campaign);
    let bits = all_bits(&campaign);
    let mut contenders = vec![Contender::unprotected(&file.campaign.storage)];
    if file.protect.references {
        for kind in [Kind::Secded, Kind::Tmr] {
            contenders.push(Contender::uniform(&Protection::new(kind), &memory, &file.campaign.storage)?);
        }
    }
    for &budget in &file.protect.budgets {
        let most = (budget * bits as f64) as u64;
        let plan = choose(&memory, &damage, &offers, rate, most)?;
        contenders.push(Contender::planned(budget, plan, &file.campaign.storage));
    }
    if file.guard.is_some() {
        let is_planned = |contender: &&Contender| !matches!(contender.kind, ContenderKind::Uniform);
        let guarded: Vec<Contender> = contenders.iter().filter(is_planned).map(Contender::guarded).collect();
        contenders.extend(guarded);
    }
    let plans = Plans { rate: rate.fraction(), bits, damage: damage.source, contenders, warnings, file };
    let (guarded, bare): (Vec<&Contender>, _) = plans.contenders.iter().partition(|one| one.guarded);
    let checked = |some: Vec<&Contender>| -> Result<Vec<String>, Error> {
        some.into_iter().map(|contender| check_contender(&plans, contender)).collect()
    };
    // Nothing is written before all is well, but for the guarded model, which the rest needs.
    let mut digests = checked(bare)?;
    ResultDir::at(plans.file.dir.join(PLANS)).create()?;
    guard_activations(&plans, &campaign)?;
    digests.extend(checked(guarded)?);
    // The first memory is the unprotected one, which is the campaign as it is.
    let layers = plans.contenders.iter().zip(digests).skip(1);
    layers.into_iter().try_for_each(|(contender, digest)| plans.write_layer(contender, digest))?;
    Ok(plans)
}

/// That a memory costs what its plan counts, and that its folder holds no results of another. Gives the digest of its model.
fn check_contender(plans: &Plans, contender: &Contender) -> Result<String, Error> {
    let (campaign, _) = Campaign::prepare(plans.campaign(contender))?;
    let found = campaign.memory().check_bits();
    if found != contender.check_bits {
        let (name, planned) = (contender.name.clone(), contender.check_bits);
        return Err(ProtectionError::OtherCost { name, planned, found }.into());
    }
    let dir = plans.results(contender);
    match dir.golden()? {
        Some(golden) if golden.identity != *campaign.identity().parts() => {
            let difference = identity_difference(campaign.identity().parts(), &golden.identity);
            let (dir, name) = (dir.path().to_owned(), contender.name.clone());
            Err(ProtectionError::OtherResults { dir, name, difference }.into())
        }
        // As identities have it: of the main file.
        _ => Ok(campaign.identity().parts().get("model").cloned().unwrap_or_default()),
    }
}

/// Writes the model with guards, if there are to be any.
fn guard_activations(plans: &Plans, campaign: &Campaign) -> Result<(), Error> {
    let ProtectFile { guard: Some(guard), guard_data, campaign: config, .. } = &plans.file else {
        return Ok(());
    };
    let data = guard_data.as_ref().map(|data| load_images(data, Path::new(""))).transpose()?;
    let data = data.as_ref().unwrap_or(campaign.data());
    guard_model(&config.model.path, data, guard, config.seed, &plans.guarded_model()).map(drop)
}

/// What tensors may get.
fn offers(config: &PlanConfig, rate: Rate) -> Result<Vec<Offer>, Error> {
    (1..).zip(&config.offers).map(|(place, offer)| Ok(Offer::new(place, offer, rate)?)).collect()
}

/// The tensors that bit errors hit.
fn exposed(campaign: &Campaign) -> Vec<MemoryTensor> {
    let tensor = |tensor: &bitquake_fault::SpaceTensor| MemoryTensor {
        name: tensor.name.clone(),
        format: tensor.format,
        elements: tensor.elements,
    };
    campaign.space().tensors().iter().map(tensor).collect()
}

/// The bits of the whole memory, which budgets are shares of.
fn all_bits(campaign: &Campaign) -> u64 {
    let candidates = campaign.memory().candidates().filter(|candidate| !candidate.by_name_only);
    candidates.map(|candidate| candidate.elements * u64::from(candidate.format.width())).sum()
}

/// Writes `protect.json`, `protect.csv` and `protect.html`; returns the files.
///
/// # Errors
/// [`Error::Record`] for a file that cannot be written, [`Error::Report`] for a page that cannot be made.
pub fn write(judgement: &Judgement, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    ResultDir::at(dir).create()?;
    let json = serde_json::to_string_pretty(judgement)
        .map_err(|error| RecordError::Invalid { path: dir.join(PROTECT_JSON), reason: error.to_string() })?;
    let texts = [
        (PROTECT_JSON, json + "\n"),
        (PROTECT_CSV, page::csv(judgement)),
        (PROTECT_HTML, trade_html(&page::page(judgement))?),
    ];
    for (name, text) in &texts {
        write_atomically(&dir.join(name), text.as_bytes())?;
    }
    Ok(texts.iter().map(|(name, _)| dir.join(name)).collect())
}

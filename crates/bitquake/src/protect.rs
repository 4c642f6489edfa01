//! Protections: the crate, plans made for a campaign's memory, and campaigns that judge them under common fault patterns.

mod contender;
mod judge;
mod page;

pub use bitquake_protect::*;
pub use contender::{Contender, ContenderKind, Plans};
pub use judge::{JudgeEvent, Judged, Judgement, Residue, judge};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitquake_attack::rank::RANK_SUMMARY_FILE;
use bitquake_campaign::{Campaign, Config, read_config_beside};
use bitquake_config::{ConfigError, Identity, Target, default_dir, explain, identity_difference};
use bitquake_fault::protect::{Kind, Protection};
use bitquake_record::{RecordError, ResultDir, write_atomically};
use bitquake_report::trade_html;
use bitquake_sample::Rate;
use serde::Deserialize;
use toml::Table;

use crate::error::Error;
use crate::guard::{GuardConfig, guard_model};

/// The file with all numbers.
pub const PROTECT_JSON: &str = "protect.json";
/// The file with a row a memory.
pub const PROTECT_CSV: &str = "protect.csv";
/// The page.
pub const PROTECT_HTML: &str = "protect.html";
/// The folder of the layers that apply plans, and of the guarded model.
const PLANS: &str = "plans";

/// A campaign's file with a table `[protect]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectFile {
    /// The campaign that judges, without protections.
    pub campaign: Config,
    /// What plans are made of.
    pub protect: PlanConfig,
    /// Guards on activations, beside which everything planned is judged once more.
    pub guard: Option<GuardConfig>,
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
    let (campaign, mut table): (Config, Table) =
        read_config_beside(files, settings, "protect", &["ranking", "results"])?;
    let wrong = |reason: String| ConfigError::in_files(files, reason);
    let guard = table.remove("guard").map(|guard| guard.try_into::<GuardConfig>()).transpose();
    let guard = guard.map_err(|error| wrong(format!("[protect.guard] {}", explain(&error))))?;
    guard.as_ref().map_or(Ok(()), GuardConfig::check).map_err(wrong)?;
    let protect: PlanConfig = table.try_into().map_err(|error| wrong(explain(&error)))?;
    protect.check()?;
    check_faults(&campaign).map_err(wrong)?;
    let dir = default_dir(files, "protected", &campaign.name);
    Ok(ProtectFile { campaign, protect, guard, dir })
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

/// Makes the plans, and writes them as layers of a campaign: `plans/<name>.toml`.
///
/// # Errors
/// [`Error`] when the campaign cannot be prepared, damage is not known for all its bits, or a file cannot be written.
pub fn plan(file: ProtectFile) -> Result<Plans, Error> {
    let rate = plan_rate(&file)?;
    let damage = match (&file.protect.ranking, &file.protect.results) {
        (Some(folder), _) => Damage::from_ranking(folder, &file.protect.by, file.protect.cap)?,
        (None, Some(folder)) => Damage::from_results(folder)?,
        // Refused when the file was read.
        (None, None) => Damage::default(),
    };
    let offers = offers(&file.protect, rate)?;
    let (campaign, _) = Campaign::prepare(file.campaign.clone())?;
    check_source(&file.protect, campaign.identity())?;
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
    let plans = Plans { rate: rate.fraction(), bits, damage: damage.source, contenders, file };
    ResultDir::at(&plans.file.dir.join(PLANS)).create()?;
    if let Some(guard) = &plans.file.guard {
        guard_model(
            &plans.file.campaign.model.path,
            campaign.data(),
            guard,
            plans.file.campaign.seed,
            &plans.guarded_model(),
        )?;
    }
    plans.write_layers()?;
    Ok(plans)
}

/// The rate that plans are made for.
fn plan_rate(file: &ProtectFile) -> Result<Rate, Error> {
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
    // Shares below a half were asked for.
    if !(rate > 0.0 && rate < 0.5) {
        return Err(wrong(format!("rate {rate}; plans are for bit error rates above 0 and below 0.5")).into());
    }
    Rate::new(rate).map_err(|error| wrong(error.to_string()).into())
}

/// That damage is known of this model in this memory.
fn check_source(config: &PlanConfig, mine: &Identity) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Ranked {
        identity: BTreeMap<String, String>,
    }
    let (path, theirs) = match (&config.ranking, &config.results) {
        (Some(folder), _) => {
            let path = folder.join(RANK_SUMMARY_FILE);
            let text = std::fs::read_to_string(&path)
                .map_err(|source| Error::Read { path: path.clone(), source })?;
            let wrong = |error: serde_json::Error| ProtectionError::Damage {
                path: path.clone(),
                reason: format!("is no summary of rankings: {error}"),
            };
            let ranked: Ranked = serde_json::from_str(&text).map_err(wrong)?;
            (path, ranked.identity)
        }
        (None, Some(folder)) => (folder.clone(), ResultDir::at(folder).require_golden()?.identity),
        (None, None) => return Ok(()),
    };
    let of_memory = |parts: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let is_of_memory =
            |key: &str| key == "model" || key.starts_with("model ") || key.starts_with("storage ");
        parts
            .iter()
            .filter(|(key, _)| is_of_memory(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let (mine, theirs) = (of_memory(mine.parts()), of_memory(&theirs));
    if mine == theirs {
        return Ok(());
    }
    let reason = format!("is of another memory: {}", identity_difference(&mine, &theirs));
    Err(ProtectionError::Damage { path, reason }.into())
}

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

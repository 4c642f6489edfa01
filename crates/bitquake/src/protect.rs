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
use bitquake_campaign::{Campaign, Config, EngineConfig, read_config_beside};
use bitquake_config::{ConfigError, Identity, Target, default_dir, explain, identity_difference};
use bitquake_data::{DataConfig, load_images};
use bitquake_fault::protect::{Kind, Protection};
use bitquake_record::{RecordError, ResultDir, write_atomically};
use bitquake_report::trade_html;
use bitquake_sample::Rate;
use serde::Deserialize;
use toml::{Table, Value};

use crate::error::Error;
use crate::guard::{GuardConfig, guard_model};

/// The file with all numbers.
pub const PROTECT_JSON: &str = "protect.json";
/// The file with a row a memory.
pub const PROTECT_CSV: &str = "protect.csv";
/// The page.
pub const PROTECT_HTML: &str = "protect.html";
/// Keys of `[protect]` that are paths.
const PATHS: [&str; 5] = ["ranking", "results", "guard.data.images", "guard.data.more", "guard.data.labels"];
/// In what the faults of upsets must be those that plans are for.
const SAME_FAULTS: [&str; 6] =
    ["fault model", "fault target", "fault select", "fault bits", "fault protect", "fault also"];

/// What an identity is over, by key.
type Parts = BTreeMap<String, String>;

/// The folder of the layers that apply plans, and of the guarded model.
const PLANS: &str = "plans";
/// The folder of the campaigns' results.
const RESULTS: &str = "results";

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
    let warnings = check_source(&file, campaign.identity())?;
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
    for contender in plans.contenders.iter().filter(|contender| !contender.guarded) {
        check_contender(&plans, contender)?;
    }
    ResultDir::at(plans.file.dir.join(PLANS)).create()?;
    guard_activations(&plans, &campaign)?;
    plans.write_layers()?;
    Ok(plans)
}

/// That a memory costs what its plan counts, and that its folder holds no results of another.
fn check_contender(plans: &Plans, contender: &Contender) -> Result<(), Error> {
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
        _ => Ok(()),
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

/// That damage is known of this model in this memory, and, where upsets tell it, of these bits. Gives what to know of it.
fn check_source(file: &ProtectFile, mine: &Identity) -> Result<Vec<String>, Error> {
    let (path, theirs) = source_identity(&file.protect)?;
    let is_measured = file.protect.results.is_some();
    let kept = |parts: &Parts| -> Parts {
        let decides = |key: &str| {
            let of_memory = key == "model" || key.starts_with("model ") || key.starts_with("storage ");
            of_memory || (is_measured && SAME_FAULTS.contains(&key))
        };
        let decisive = parts.iter().filter(|(key, _)| decides(key));
        decisive.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let (of_mine, of_theirs) = (kept(mine.parts()), kept(&theirs));
    if of_mine != of_theirs {
        let difference = identity_difference(&of_mine, &of_theirs);
        let reason = format!("tells of another memory or other faults: {difference}");
        return Err(ProtectionError::Damage { path, reason }.into());
    }
    let mut warnings = Vec::new();
    if images_overlap(mine.parts(), &theirs) {
        let warning =
            "plans follow images that memories are judged on too, and may save a little less on others";
        warnings.push(warning.into());
    }
    if file.guard.is_some() && file.guard_data.is_none() {
        let warning = "guards are calibrated on the images that memories are judged on; [protect.guard.data] names others";
        warnings.push(warning.into());
    }
    Ok(warnings)
}

/// Everything that decided what the source of damage tells, and the file that says so.
fn source_identity(config: &PlanConfig) -> Result<(PathBuf, Parts), Error> {
    #[derive(Deserialize)]
    struct Ranked {
        identity: Parts,
    }
    let Some(folder) = &config.ranking else {
        let folder = config.results.clone().unwrap_or_default();
        return Ok((folder.clone(), ResultDir::at(folder).require_golden()?.identity));
    };
    let path = folder.join(RANK_SUMMARY_FILE);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let wrong = |error: serde_json::Error| ProtectionError::Damage {
        path: path.clone(),
        reason: format!("is no summary of rankings: {error}"),
    };
    let ranked: Ranked = serde_json::from_str(&text).map_err(wrong)?;
    Ok((path, ranked.identity))
}

/// Whether two identities name the same file of images, and images of it in common.
fn images_overlap(a: &Parts, b: &Parts) -> bool {
    let file = |parts: &Parts| parts.get("data 0").or(parts.get("data file 0")).cloned();
    let number = |parts: &Parts, key: &str| parts.get(key).and_then(|value| value.parse::<u64>().ok());
    let range = |parts: &Parts| {
        let first = number(parts, "data skip").unwrap_or(0);
        (first, number(parts, "data limit").map_or(u64::MAX, |limit| first.saturating_add(limit)))
    };
    let ((first, end), (other, other_end)) = (range(a), range(b));
    file(a).is_some() && file(a) == file(b) && first < other_end && other < end
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

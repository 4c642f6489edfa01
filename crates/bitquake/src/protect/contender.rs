//! Memories that are compared: without protection, with the same everywhere, with plans.

use std::path::PathBuf;

use bitquake_campaign::{Config, ModelConfig};
use bitquake_fault::Selector;
use bitquake_fault::protect::Protection;
use bitquake_protect::{MemoryTensor, Plan, PlanConfig, ProtectionError};
use bitquake_record::{ResultDir, write_atomically};
use bitquake_storage::{ProtectRule, StorageSpec};
use serde::Serialize;

use super::{PLANS, ProtectFile, RESULTS};
use crate::error::Error;

/// One memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contender {
    /// Its name, for people.
    pub name: String,
    /// Its name in paths.
    pub slug: String,
    /// What it is.
    #[serde(flatten)]
    pub kind: ContenderKind,
    /// Bits that its protections add.
    pub check_bits: u64,
    /// Whether the network has guards on its activations.
    pub guarded: bool,
    /// What the memory holds, protections included.
    #[serde(skip)]
    pub storage: StorageSpec,
}

/// What is protected in a memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ContenderKind {
    /// Nothing.
    Unprotected,
    /// Everything that bit errors hit, in the same way.
    Uniform,
    /// What a plan chose.
    Planned {
        /// The share of extra bits that it may take.
        budget: f64,
        /// The plan.
        plan: Plan,
    },
}

impl Contender {
    pub(super) fn unprotected(storage: &StorageSpec) -> Self {
        Self {
            name: "unprotected".into(),
            slug: "unprotected".into(),
            kind: ContenderKind::Unprotected,
            check_bits: 0,
            guarded: false,
            storage: storage.clone(),
        }
    }

    /// Every tensor with the same protection.
    ///
    /// # Errors
    /// [`ProtectionError::Offer`] where the protection does not fit.
    pub(super) fn uniform(
        protection: &Protection,
        memory: &[MemoryTensor],
        storage: &StorageSpec,
    ) -> Result<Self, ProtectionError> {
        let check_bits = memory
            .iter()
            .map(|tensor| Ok(protection.layout(tensor.format, tensor.elements)?.check_bits()))
            .sum::<Result<u64, _>>()
            .map_err(|source| ProtectionError::Offer { place: 0, source })?;
        let select = memory.iter().map(|tensor| Selector::literal(&tensor.name)).collect();
        let rule = ProtectRule { select, protection: protection.clone() };
        Ok(Self {
            name: format!("uniform {}", protection.kind),
            slug: format!("uniform-{}", protection.kind),
            kind: ContenderKind::Uniform,
            check_bits,
            guarded: false,
            storage: StorageSpec { protect: vec![rule], ..storage.clone() },
        })
    }

    pub(super) fn planned(budget: f64, plan: Plan, storage: &StorageSpec) -> Self {
        let percent = PlanConfig::percent(budget);
        Self {
            name: format!("plan, {percent} %"),
            slug: format!("plan-{percent}"),
            check_bits: plan.check_bits,
            guarded: false,
            storage: StorageSpec { protect: plan.protect(), ..storage.clone() },
            kind: ContenderKind::Planned { budget, plan },
        }
    }

    /// The same, with guards on the activations of the network.
    pub(super) fn guarded(&self) -> Self {
        let is_bare = matches!(self.kind, ContenderKind::Unprotected);
        let name = if is_bare { "guards".into() } else { format!("{} and guards", self.name) };
        let slug = if is_bare { "guards".into() } else { format!("{}-guards", self.slug) };
        Self { name, slug, guarded: true, ..self.clone() }
    }
}

/// All memories that are compared, and what plans were made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Plans {
    /// The file.
    pub file: ProtectFile,
    /// The raw bit error rate that plans are made for.
    pub rate: f64,
    /// Bits of the memory without protections: what budgets and overheads are shares of.
    pub bits: u64,
    /// Where damage is known from.
    pub damage: String,
    /// The memories, the unprotected one first.
    pub contenders: Vec<Contender>,
    /// What to know before they are compared.
    pub warnings: Vec<String>,
}

/// A layer on top of a campaign's file.
#[derive(Serialize)]
struct Layer<'a> {
    model: LayerModel<'a>,
    storage: &'a StorageSpec,
}

#[derive(Serialize)]
struct LayerModel<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    sha256: String,
}

/// The guarded model, beside the plans.
const GUARDED: &str = "guarded.onnx";

impl Plans {
    /// Where the model with guards is.
    pub(super) fn guarded_model(&self) -> PathBuf {
        self.file.dir.join(PLANS).join(GUARDED)
    }

    /// The campaign that judges a memory.
    pub(super) fn campaign(&self, contender: &Contender) -> Config {
        let mut config = self.file.campaign.clone();
        config.name = format!("{} - {}", config.name, contender.name.replace([',', '%'], "").trim_end());
        config.storage = contender.storage.clone();
        config.output.dir = Some(self.results(contender).path().to_owned());
        if contender.guarded {
            // The digest was that of the model without guards, and was checked.
            config.model = ModelConfig { path: self.guarded_model(), sha256: None };
        }
        config
    }

    /// Where the results of a memory's campaign are.
    pub(super) fn results(&self, contender: &Contender) -> ResultDir {
        ResultDir::at(self.file.dir.join(RESULTS).join(&contender.slug))
    }

    /// Writes what a campaign needs to have a memory, and the digest of the model that it is for: a layer, also of a plan that protects nothing.
    pub(super) fn write_layer(&self, contender: &Contender, sha256: String) -> Result<(), Error> {
        let model = LayerModel { path: contender.guarded.then_some(GUARDED), sha256 };
        let layer = Layer { model, storage: &contender.storage };
        let wrong = |error: toml::ser::Error| ProtectionError::Config { reason: error.to_string() };
        let text = toml::to_string(&layer).map_err(wrong)?;
        let head = format!(
            "# {}: {} more bits, at a bit error rate of {:e}; by {}.\n# Apply it: bitquake run CAMPAIGN.toml {}.toml\n\n",
            contender.name,
            contender.check_bits,
            self.rate,
            self.damage.replace(char::is_control, " "),
            contender.slug
        );
        let path = self.file.dir.join(PLANS).join(format!("{}.toml", contender.slug));
        Ok(write_atomically(&path, (head + &text).as_bytes())?)
    }

    /// The share of extra bits.
    #[must_use]
    pub fn overhead(&self, contender: &Contender) -> f64 {
        contender.check_bits as f64 / self.bits as f64
    }
}

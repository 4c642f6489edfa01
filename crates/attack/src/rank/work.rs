//! All rankings of a file, and what they leave.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitquake_config::{ConfigError, Identity, hex, identity_difference};
use bitquake_data::{Dataset, load};
use bitquake_grad::Network;
use bitquake_record::FolderLock;
use bitquake_sample::{PartKey, StreamKey, subset_of};
use bitquake_tensors::TensorFile;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use toml::Table;

use crate::config::Labels;
use crate::error::AttackError;
use crate::identity::{device_kind, identity_of, table};
use crate::images::chosen;
use crate::rank::agreement::agreements;
use crate::rank::bits::BitScores;
use crate::rank::config::{Diagonal, RankConfig, RankFile, RankingKind, SavedScores, Turn, rank_toml};
use crate::rank::derivatives::{Derivatives, Needs};
use crate::rank::eigen::Eigenpair;
use crate::rank::files::{self, ScoreFile};
use crate::rank::fisher::DrawSums;
use crate::rank::hutchinson::Hutchinson;
use crate::rank::landscape::{Landscape, NetworkLandscape};
use crate::rank::measured::{self, Measured};
use crate::rank::parameters::{
    by_gradient, by_maxima, by_mean_trace, by_sums, by_taylor, of_zeroing, places,
};
use crate::rank::pass::{Demand, Save, Scored, numbered_bits, score_bits};
use crate::rank::snapshot::Snapshots;
use crate::rank::summary::{EigenSummary, RankSummary, RankingSummary, TraceSummary};
use crate::rank::vector::{Vector, is_finite};
use crate::stored::Stored;
use crate::subject::Subject;
use crate::words::{AttackedWords, BitSite};

/// The resolved configuration in the output folder.
pub const RANK_FILE: &str = "rank.toml";
/// What the rankings came to.
pub const RANK_SUMMARY_FILE: &str = "summary.json";

/// Version of the rankings: a change of what the same file ranks raises it.
const RANK_VERSION: u32 = 1;
const SUMMARY_SCHEMA: u32 = 1;

/// Rankings that are ready to be made: the model and the data are loaded and fit.
pub struct Rank {
    config: RankFile,
    identity: Identity,
    words: AttackedWords,
    subject: Subject,
    data: Dataset,
    measured: Option<Measured>,
    dir: PathBuf,
}

/// What happens while rankings are made.
#[derive(Clone, Copy, Debug)]
pub enum RankEvent {
    /// The work is about to begin.
    Begin {
        /// Bits to rank.
        bits: u64,
        /// Images that losses and gradients are of.
        images: u64,
    },
    /// Rankings that were stopped go on.
    Resumed {
        /// Products with the Hessian, and draws of labels, that are there already.
        products: u32,
    },
    /// A product with a random vector was added to the trace.
    Vector {
        /// Its number, from 1.
        number: u32,
        /// How many there are, unless the trace comes to rest before.
        most: u32,
        /// The trace so far.
        trace: f64,
    },
    /// The gradients for drawn labels were added to the diagonal of the Gauss-Newton matrix.
    Draw {
        /// The number of the draw, from 1.
        number: u32,
        /// How many there are.
        of: u32,
    },
    /// A product was taken for an eigenpair that has not come to rest.
    Iteration {
        /// The number of the pair, from 1.
        number: u32,
        /// The number of the product, from 1.
        iteration: u32,
        /// How many there are, unless the eigenvalue comes to rest before.
        most: u32,
        /// The eigenvalue so far.
        value: f64,
    },
    /// An eigenpair was found.
    Eigenpair {
        /// Its number, from 1.
        number: u32,
        /// The eigenvalue.
        value: f64,
        /// Whether it has converged.
        converged: bool,
    },
    /// All bits are ranked in one way.
    Ranked(RankingKind),
}

/// How the work ended.
#[derive(Clone, Debug, PartialEq)]
pub enum RankEnd {
    /// All bits are ranked.
    Finished(Box<RankSummary>),
    /// It was asked to stop. The same rankings go on from what is in the folder.
    Stopped {
        /// Products with the Hessian, and draws of labels, that are there.
        products: u32,
    },
}

impl Rank {
    /// Loads the model and the data, stores the weights, and checks that everything fits.
    ///
    /// # Errors
    /// [`AttackError`]: a file that is bad or missing, an operator that is not supported, a selection that matches nothing, tensors
    /// that cannot be ranked, labels that the network has no class for, measured damage of something else.
    pub fn prepare(config: RankFile) -> Result<Self, AttackError> {
        let model = TensorFile::open(&config.model.path)?;
        config.model.check(&model)?;
        let identity = identity(&config, &model)?;
        let bits = config.rank.bit_selection().map_err(|reason| ConfigError::wrong("rank", reason))?;
        let stored = Stored::new(model, &config.storage, config.seed, &config.rank.select, bits);
        let Stored { model, mut words, .. } = stored.map_err(in_rank)?;
        let network = Network::from_file(&model, config.rank.device)?;
        if !config.rank.batch_norm {
            leave_out_batch_norms(&mut words, &network)?;
        }
        let data = load(&config.data, Path::new(""))?;
        let subject = Subject::new(network, &words).map_err(in_rank)?;
        data.check_labels(subject.classes().into())?;
        let measured =
            config.rank.measured.as_deref().map(|path| measured::read(path, &words)).transpose()?;
        let dir = config.output.dir.clone().unwrap_or_else(|| "rank".into());
        Ok(Self { config, identity, words, subject, data, measured, dir })
    }

    /// Where everything goes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What makes them the same rankings.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Ranks all bits, and writes the files; goes on where the same rankings were stopped. On the CPU the rankings depend neither on that nor
    /// on the number of threads.
    ///
    /// When `stop` is raised, the running product or ranking is finished. Derivatives that were computed lie in
    /// [`RANK_SNAPSHOT_FILE`](crate::rank::RANK_SNAPSHOT_FILE) then; a process that is killed loses those of the last half minute, or of
    /// twenty times as long as they take to write.
    ///
    /// # Errors
    /// [`AttackError`]: a loss or derivatives that are no finite numbers, a folder that holds other rankings or cannot be written.
    pub fn run(self, stop: &AtomicBool, mut observer: impl FnMut(RankEvent)) -> Result<RankEnd, AttackError> {
        let _lock = FolderLock::take(&self.dir)?;
        self.check_folder()?;
        let rows = self.rows();
        observer(RankEvent::Begin { bits: self.words.bits(), images: rows.len() as u64 });
        let labels = self.labels()?;
        let size = usize::try_from(self.config.rank.batch).unwrap_or(usize::MAX);
        let mut landscape = NetworkLandscape::new(&self.subject, &self.data, &labels, &rows, size);
        let snapshots = Snapshots::new(&self.dir, &self.identity);
        let needs = self.needs();
        let found = snapshots.read(&needs, &landscape.sizes())?;
        if let Some(known) = &found {
            observer(RankEvent::Resumed { products: known.products() });
        }
        let (loss, gradient) = landscape.slopes()?;
        if !loss.is_finite() {
            return Err(AttackError::CleanLoss { loss, place: landscape.first_nonfinite()? });
        }
        if !is_finite(&gradient) {
            return Err(AttackError::Curvature { what: "the gradient" });
        }
        let known = found.unwrap_or_else(|| Derivatives::new(&needs, &landscape.sizes()));
        let (known, is_whole) = derive(known, &needs, &mut landscape, snapshots, stop, &mut observer)?;
        let products = known.products();
        if !is_whole {
            return Ok(RankEnd::Stopped { products });
        }
        files::write(&self.dir, RANK_FILE, &rank_toml(&self.config)?)?;
        let knowledge = self.knowledge(gradient, &needs, known);
        match self.rankings(&knowledge, stop, &mut observer)? {
            Some(rankings) => {
                let summary = self.finish(loss, rows.len() as u64, &knowledge, &rankings)?;
                Ok(RankEnd::Finished(Box::new(summary)))
            }
            None => Ok(RankEnd::Stopped { products }),
        }
    }

    /// Makes all rankings; none if it was asked to stop between two.
    fn rankings(
        &self,
        knowledge: &Knowledge,
        stop: &AtomicBool,
        observer: &mut impl FnMut(RankEvent),
    ) -> Result<Option<Vec<(&'static str, Scored)>>, AttackError> {
        let sample = self.sample();
        let mut rankings = Vec::new();
        for (number, &kind) in self.config.rank.rankings.iter().enumerate() {
            if number > 0 && stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            rankings.push((kind.name(), self.ranking(number, kind, knowledge, &sample)?));
            observer(RankEvent::Ranked(kind));
        }
        Ok(Some(rankings))
    }

    /// The images, drawn.
    fn rows(&self) -> Vec<u64> {
        let all: Vec<u64> = (0..self.data.len() as u64).collect();
        let count = self.config.rank.images.min(all.len() as u64);
        chosen(&all, count, &self.key().part("images"))
    }

    fn key(&self) -> PartKey {
        PartKey::from(StreamKey { seed: self.config.seed, point: 0, trial: 0 }).part("rank")
    }

    fn labels(&self) -> Result<Vec<u32>, AttackError> {
        match self.config.rank.labels {
            Labels::True => Ok(self.data.labels().to_vec()),
            Labels::Predicted => {
                let rows: Vec<u64> = (0..self.data.len() as u64).collect();
                self.subject.predict(&self.data, &rows, self.config.rank.batch as usize)
            }
        }
    }

    /// The bits that Kendall's tau is of.
    fn sample(&self) -> Vec<BitSite> {
        let bits = self.words.bits();
        let count = self.config.rank.agreement.bits.min(bits);
        // No more are drawn than there are.
        let numbers = subset_of(&self.key().part("agreement").whole(), bits, count).unwrap_or_default();
        numbered_bits(&self.words, &numbers)
    }

    /// What the rankings of the file need to know.
    fn needs(&self) -> Needs<'_> {
        let RankConfig { curvature, eigen, rankings, .. } = &self.config.rank;
        let is_any = |kinds: &[RankingKind]| rankings.iter().any(|kind| kinds.contains(kind));
        let is_expected = is_any(&[RankingKind::Expected]);
        let by_vectors = is_expected && curvature.diagonal == Diagonal::Hutchinson;
        let by_draws = is_expected && curvature.diagonal == Diagonal::GaussNewton;
        Needs {
            hessian: (by_vectors || is_any(&[RankingKind::Trace])).then_some(curvature),
            gauss_newton: by_draws.then_some(curvature),
            eigen: is_any(&[RankingKind::Sum, RankingKind::Max]).then_some(eigen),
            key: self.key(),
        }
    }

    fn knowledge(&self, gradient: Vector, needs: &Needs<'_>, known: Derivatives) -> Knowledge {
        let Derivatives { hessian, gauss_newton, eigen } = known;
        let hessian = needs.hessian.zip(hessian);
        Knowledge {
            gradient,
            weights: self.weights(),
            hessian: hessian.map(|(config, sums)| sums.into_estimate(config.tolerance)),
            gauss_newton: gauss_newton.map(DrawSums::into_diagonal),
            pairs: eigen.pairs,
        }
    }

    /// What the words stand for.
    fn weights(&self) -> Vector {
        let of = |tensor: &crate::words::AttackedTensor| {
            (0..tensor.elements()).map(|element| tensor.level(element, tensor.word(element)).into()).collect()
        };
        self.words.tensors().iter().map(of).collect()
    }

    /// Ranks all bits in one way, and writes what is of this ranking alone.
    fn ranking(
        &self,
        number: usize,
        kind: RankingKind,
        known: &Knowledge,
        sample: &[BitSite],
    ) -> Result<Scored, AttackError> {
        let top = usize::try_from(self.config.rank.top).unwrap_or(usize::MAX);
        let demand = Demand { top, sample };
        let is_saved = match self.config.rank.scores {
            SavedScores::None => false,
            SavedScores::First => number == 0,
            SavedScores::All => true,
        };
        let name = kind.name();
        let path = self.dir.join(format!("{name}.safetensors"));
        let mut file =
            is_saved.then(|| ScoreFile::create(&path, &self.words, name, &self.identity.id())).transpose()?;
        let mut save = file.as_mut().map(|file| |scores: &[f32]| file.add(scores, &path));
        let save = save.as_mut().map(|save| save as Save<'_>);
        let scored = known
            .with_scores(kind, &self.config.rank, |scores| score_bits(&self.words, scores, demand, save))?;
        file.map(ScoreFile::commit).transpose()?;
        files::write(&self.dir, &format!("{name}.csv"), &files::top_table(&scored.top, &self.words))?;
        let pattern = files::pattern(&scored.top, &self.words)?;
        files::write(&self.dir, &format!("{name}.json"), &pattern.to_json())?;
        Ok(scored)
    }

    fn finish(
        &self,
        loss: f64,
        images: u64,
        known: &Knowledge,
        rankings: &[(&'static str, Scored)],
    ) -> Result<RankSummary, AttackError> {
        let measured = self.measured.as_ref();
        let summary = RankSummary {
            schema: SUMMARY_SCHEMA,
            id: self.identity.id(),
            identity: self.identity.parts().clone(),
            images,
            loss,
            bits: self.words.bits(),
            trace: known.hessian.as_ref().map(TraceSummary::of),
            eigenpairs: known.pairs.iter().map(EigenSummary::of).collect(),
            rankings: self
                .config
                .rank
                .rankings
                .iter()
                .zip(rankings)
                .map(|(&kind, (name, scored))| {
                    let zeroed = known.of_zeroing(kind, &self.config.rank);
                    RankingSummary::of(name, scored, zeroed.as_deref(), &self.words)
                })
                .collect(),
            agreement: agreements(rankings, measured, self.config.rank.agreement, self.words.bits())?,
        };
        files::write(&self.dir, "layers.csv", &files::layer_table(&summary))?;
        files::write(&self.dir, "strata.csv", &files::stratum_table(rankings, measured, &self.words))?;
        files::write(&self.dir, "agreement.csv", &files::agreement_table(&summary.agreement))?;
        let text = serde_json::to_string_pretty(&summary);
        let path = self.dir.join(RANK_SUMMARY_FILE);
        let text = text.map_err(|error| AttackError::Records { path, reason: error.to_string() })?;
        files::write(&self.dir, RANK_SUMMARY_FILE, &(text + "\n"))?;
        Snapshots::new(&self.dir, &self.identity).remove()?;
        Ok(summary)
    }

    /// That the folder holds no other rankings.
    fn check_folder(&self) -> Result<(), AttackError> {
        #[derive(Deserialize)]
        struct Found {
            identity: std::collections::BTreeMap<String, String>,
        }
        let path = self.dir.join(RANK_SUMMARY_FILE);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other,
        };
        let wrong = |reason: String| AttackError::Records { path: path.clone(), reason };
        let text = text.map_err(|error| wrong(format!("cannot read: {error}")))?;
        let found: Found = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("it is no summary of rankings: {error}")))?;
        if found.identity == *self.identity.parts() {
            return Ok(());
        }
        let difference = identity_difference(self.identity.parts(), &found.identity);
        Err(AttackError::OtherRankings { dir: self.dir.clone(), difference })
    }
}

/// Computes the derivatives that are missing; tells whether it was not asked to stop before.
fn derive(
    mut known: Derivatives,
    needs: &Needs<'_>,
    landscape: &mut impl Landscape,
    mut snapshots: Snapshots<'_>,
    stop: &AtomicBool,
    observer: &mut impl FnMut(RankEvent),
) -> Result<(Derivatives, bool), AttackError> {
    while known.advance(needs, landscape, observer)? {
        if stop.load(Ordering::Relaxed) {
            snapshots.write(&known)?;
            return Ok((known, false));
        }
        snapshots.write_if_due(&known)?;
    }
    Ok((known, true))
}

/// What rankings are made of.
struct Knowledge {
    gradient: Vector,
    weights: Vector,
    hessian: Option<Hutchinson>,
    gauss_newton: Option<Vector>,
    pairs: Vec<Eigenpair>,
}

impl Knowledge {
    /// The second derivatives of `expected`.
    fn curvature(&self, config: &RankConfig) -> Option<&Vector> {
        match config.curvature.diagonal {
            Diagonal::GaussNewton => self.gauss_newton.as_ref(),
            Diagonal::Hutchinson => self.hessian.as_ref().map(|found| &found.diagonal),
        }
    }

    /// By tensor, the mean score of replacing an element by 0, in rankings that know the change of a level.
    fn of_zeroing(&self, kind: RankingKind, config: &RankConfig) -> Option<Vec<Option<f64>>> {
        let curvature = match kind {
            RankingKind::Expected => self.curvature(config),
            RankingKind::FirstOrder => None,
            _ => return None,
        };
        Some(of_zeroing(&self.gradient, curvature, &self.weights))
    }

    /// Calls a function with the scores of one ranking.
    fn with_scores<T>(
        &self,
        kind: RankingKind,
        config: &RankConfig,
        work: impl FnOnce(&BitScores<'_>) -> T,
    ) -> T {
        let slopes = &self.gradient;
        let weighted = config.eigen.weighted;
        let of_weights = match kind {
            RankingKind::Expected => {
                return work(&BitScores::Change { slopes, curvature: self.curvature(config) });
            }
            RankingKind::FirstOrder => return work(&BitScores::Change { slopes, curvature: None }),
            RankingKind::Gradient => by_gradient(slopes),
            RankingKind::Taylor => by_taylor(slopes, &self.weights),
            RankingKind::Trace => {
                let sizes: Vec<usize> = slopes.iter().map(Vec::len).collect();
                let traces = self.hessian.as_ref().map_or(&[][..], |found| &found.by_tensor);
                by_mean_trace(traces, &sizes)
            }
            RankingKind::Sum => by_sums(&self.pairs, &self.weights, weighted),
            RankingKind::Max => by_maxima(&self.pairs, &self.weights, weighted),
        };
        match config.turn {
            Turn::MsbFirst => work(&BitScores::MsbFirst { places: &places(&of_weights) }),
            Turn::Power => work(&BitScores::Power { scores: &of_weights }),
        }
    }
}

fn leave_out_batch_norms(words: &mut AttackedWords, network: &Network) -> Result<(), AttackError> {
    let parameters = network.parameters();
    let norms: Vec<&str> =
        network.batch_norm_parameters().iter().map(|&index| parameters[index].name.as_str()).collect();
    words.leave_out(&norms);
    if words.tensors().is_empty() {
        let reason = "batch_norm = false leaves out every selected tensor";
        return Err(AttackError::setting("[rank] select", reason));
    }
    Ok(())
}

/// The same error with the section of rankings.
fn in_rank(error: AttackError) -> AttackError {
    match error {
        AttackError::Space(error) => AttackError::setting("[rank]", error.to_string()),
        AttackError::NotAttackable { tensor, format, reason } => {
            let reason = format!("tensor `{tensor}` ({format}) cannot be ranked: {reason}");
            AttackError::setting("[rank] select", reason)
        }
        other => other,
    }
}

/// Everything that decides the files; not names and paths.
fn identity(config: &RankFile, model: &TensorFile) -> Result<Identity, AttackError> {
    let mut rank: Table = table(&config.rank)?;
    rank.insert("device".into(), device_kind(config.rank.device).into());
    if let Some(path) = &config.rank.measured {
        let cannot =
            |error| AttackError::Measured { path: path.clone(), reason: format!("cannot read: {error}") };
        let bytes = std::fs::read(path).map_err(cannot)?;
        rank.insert("measured".into(), hex(&Sha256::digest(&bytes)).into());
    }
    let sections = [("storage", table(&config.storage)?), ("rank", rank)];
    identity_of(model, &config.data, config.seed, ("ranking", RANK_VERSION), &sections)
}

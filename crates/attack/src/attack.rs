//! All trials of an attack, and what they leave.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitquake_bits::WordStore;
use bitquake_config::{ConfigError, Identity};
use bitquake_data::{Dataset, load};
use bitquake_fault::FaultSpace;
use bitquake_grad::Network;
use bitquake_record::{FolderLock, write_atomically};
use bitquake_storage::Memory;
use bitquake_tensors::TensorFile;

use crate::config::{AttackFile, AttackKind, Goal, attack_toml};
use crate::error::AttackError;
use crate::evaluate::Evaluation;
use crate::feasible::feasible_flips;
use crate::identity::identity;
use crate::images::TrialImages;
use crate::profile::profile;
use crate::record::{
    AttackLine, AttackRecord, AttackRecords, EndRecord, Log, RECORD_FILE, StepRecord, TrialRecord,
};
use crate::stored::Stored;
use crate::subject::Subject;
use crate::summary::Summary;
use crate::trial::{Next, Setting, Trial, trial_key};
use crate::words::AttackedWords;

/// The resolved configuration in the output folder.
pub const ATTACK_FILE: &str = "attack.toml";
/// The table of flips.
pub const PROFILE_FILE: &str = "profile.csv";
/// What it came to.
pub const SUMMARY_FILE: &str = "summary.json";

/// The file of the flips of a trial, a fault pattern over the memory.
#[must_use]
pub fn pattern_file(trial: u64) -> String {
    format!("trial-{trial}.json")
}

/// An attack that is ready to run: the model and the data are loaded and fit.
pub struct Attack {
    config: AttackFile,
    identity: Identity,
    /// The model, its floats what the memory stands for.
    model: TensorFile,
    memory: Memory,
    space: FaultSpace,
    clean: AttackedWords,
    subject: Subject,
    data: Dataset,
    goal: Goal,
    dir: PathBuf,
}

/// What happens while an attack runs.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The work is about to begin.
    Begin {
        /// Bits that may be flipped.
        bits: u64,
        /// Trials that are over already.
        done: u64,
        /// Trials.
        trials: u64,
        /// What counts as reached.
        goal: Goal,
    },
    /// A trial begins, or is resumed after this many flips.
    Trial(&'a TrialRecord, u64),
    /// Flips were made.
    Step(&'a StepRecord),
    /// A trial is over.
    End(&'a EndRecord),
}

/// How an attack ended without an error.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Every trial is over.
    Finished(Summary),
    /// It was asked to stop; what was found is recorded.
    Stopped {
        /// The trial that it stopped in, from 0.
        trial: u64,
        /// Its flips.
        flips: u64,
    },
}

impl Attack {
    /// Loads the model and the data, stores the weights, and checks that everything fits.
    ///
    /// # Errors
    /// [`AttackError`]: a file that is bad or missing, an operator that is not supported, a selection that matches nothing, tensors
    /// that cannot be attacked, classes that are not there, labels that the network has no class for.
    pub fn prepare(config: AttackFile) -> Result<Self, AttackError> {
        let model = TensorFile::open(&config.model.path)?;
        config.model.check(&model)?;
        let identity = identity(&config, &model)?;
        let bits = config.attack.bit_selection().map_err(|reason| ConfigError::wrong("attack", reason))?;
        let Stored { model, memory, space, words: clean } =
            Stored::new(model, &config.storage, config.seed, &config.attack.select, bits)?;
        if let (AttackKind::Ascent, Some(tensor)) = (config.attack.kind, clean.first_float()) {
            let reason = format!(
                "an ascent moves codes, and tensor `{tensor}` is not quantized: leave it out, or give [storage] a family"
            );
            return Err(AttackError::setting("[attack] select", reason));
        }
        let data = load(&config.data, Path::new(""))?;
        let subject = Subject::new(Network::from_file(&model, config.attack.device)?, &clean)?;
        let classes = subject.classes();
        data.check_labels(classes.into())?;
        let wrong = |reason| AttackError::setting("[attack.objective]", reason);
        config.attack.objective.check_classes(classes).map_err(wrong)?;
        let goal = config.stop.goal(config.attack.objective, classes);
        let dir = config.output.dir.clone().unwrap_or_else(|| "attack".into());
        Ok(Self { config, identity, model, memory, space, clean, subject, data, goal, dir })
    }

    /// Where everything goes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What makes it the same attack.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What counts as reached.
    #[must_use]
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// Runs the trials that are not over, and writes what they came to.
    ///
    /// On the CPU the flips do not depend on how often the attack was stopped, or killed: a step is a function of the flips before it. When
    /// `stop` is raised, the running step is finished and recorded.
    ///
    /// # Errors
    /// [`AttackError`]; what was recorded stays.
    pub fn run(mut self, stop: &AtomicBool, mut observer: impl FnMut(Event<'_>)) -> Result<End, AttackError> {
        let _lock = FolderLock::take(&self.dir)?;
        let records = self.records()?;
        let rows: Vec<u64> = (0..self.data.len() as u64).collect();
        let predicted = self.subject.predict(&self.data, &rows, self.config.evaluate.batch as usize)?;
        self.check_goal(&predicted)?;
        self.check_first_trial(&predicted)?;
        let mut log = self.open_log(records)?;
        let trials = self.config.attack.trials;
        let done = log.records().trials.iter().filter(|trial| trial.end.is_some()).count() as u64;
        observer(Event::Begin { bits: self.clean.bits(), done, trials, goal: self.goal });
        let Self { config, memory, space, model, clean, subject, data, goal, dir, .. } = &mut self;
        let setting =
            Setting { config, data, predicted: &predicted, goal: *goal, model, memory, space, stop };
        let mut runner = Runner { setting: &setting, clean, subject, dir, log: &mut log };
        for number in done..trials {
            if let Some(flips) = runner.trial(number, &mut observer)? {
                runner.log.sync()?;
                return Ok(End::Stopped { trial: number, flips });
            }
        }
        self.finish(&log)
    }

    /// The records of the folder, which are of this attack. Without any trial they are as good as none.
    fn records(&self) -> Result<AttackRecords, AttackError> {
        let records = AttackRecords::read(&self.dir)?;
        if records.trials.is_empty() {
            return Ok(AttackRecords::default());
        }
        match &records.attack {
            Some(found) if found.identity != *self.identity.parts() => {
                let difference = self.identity.difference(&found.identity);
                Err(AttackError::OtherAttack { dir: self.dir.clone(), difference })
            }
            _ => Ok(records),
        }
    }

    /// Writes the resolved configuration, and opens the records to add to them.
    fn open_log(&self, records: AttackRecords) -> Result<Log, AttackError> {
        write_atomically(&self.dir.join(ATTACK_FILE), attack_toml(&self.config)?.as_bytes())?;
        let is_new = records.attack.is_none();
        let mut log = Log::open(&self.dir, records)?;
        if is_new {
            log.append(AttackLine::Attack(AttackRecord::new(&self.identity)))?;
        }
        Ok(log)
    }

    /// That a trial can begin, before anything is written.
    fn check_first_trial(&self, predicted: &[u32]) -> Result<(), AttackError> {
        let key = trial_key(self.config.seed, 0);
        TrialImages::draw(&self.config, self.data.labels(), predicted, &key)?;
        feasible_flips(&self.config, 0, &key, &self.space, &self.memory.view(&self.model))?;
        Ok(())
    }

    /// That the goal is not reached without any flip.
    fn check_goal(&self, predicted: &[u32]) -> Result<(), AttackError> {
        let pairs = predicted.iter().copied().zip(self.data.labels().iter().copied());
        let clean = Evaluation::of(pairs, self.config.attack.objective);
        if !clean.reaches(self.goal) {
            return Ok(());
        }
        let (place, reason) = match self.goal {
            Goal::Accuracy(most) => {
                let share = clean.accuracy();
                (
                    "[stop] accuracy",
                    format!(
                        "the network without flips has accuracy {share:.4}, which is not above the goal {most}"
                    ),
                )
            }
            Goal::Success(least) => {
                let share = clean.success().unwrap_or_default();
                (
                    "[stop] success",
                    format!(
                        "without flips {share:.4} of the exposed images get the target, which is not below the goal {least}"
                    ),
                )
            }
        };
        Err(AttackError::setting(place, reason))
    }

    fn finish(&self, log: &Log) -> Result<End, AttackError> {
        let confidence = self.config.evaluate.confidence;
        let tensors: Vec<&str> = self.clean.tensors().iter().map(|tensor| tensor.name()).collect();
        let table = profile(log.records(), &tensors, confidence)?;
        write_atomically(&self.dir.join(PROFILE_FILE), table.as_bytes())?;
        let path = self.dir.join(SUMMARY_FILE);
        let kind = self.config.attack.kind.name();
        let summary = Summary::of(log.records(), kind, self.goal, confidence)?;
        let wrong = |reason: String| AttackError::Records { path: path.clone(), reason };
        let summary = summary.ok_or_else(|| wrong("no trial is over".into()))?;
        let text = serde_json::to_string_pretty(&summary).map_err(|error| wrong(error.to_string()))?;
        write_atomically(&path, (text + "\n").as_bytes())?;
        Ok(End::Finished(summary))
    }
}

/// What runs trials.
struct Runner<'a> {
    setting: &'a Setting<'a>,
    clean: &'a AttackedWords,
    subject: &'a mut Subject,
    dir: &'a Path,
    log: &'a mut Log,
}

impl Runner<'_> {
    /// Runs what is left of a trial. Gives the flips so far if it was stopped on the way.
    fn trial(
        &mut self,
        number: u64,
        observer: &mut impl FnMut(Event<'_>),
    ) -> Result<Option<u64>, AttackError> {
        let mut trial = Trial::new(self.setting, number, self.clean, self.subject)?;
        let recorded = self.log.records().trials.get(number as usize);
        match recorded {
            Some(lines) => trial.replay(lines, &self.dir.join(RECORD_FILE), self.subject)?,
            None => self.log.append(AttackLine::Trial(trial.begin()))?,
        }
        observer(Event::Trial(&trial.begin(), trial.flips()));
        loop {
            if self.setting.stop.load(Ordering::Relaxed) {
                return Ok(Some(trial.flips()));
            }
            match trial.next(self.subject)? {
                Next::Stopped => return Ok(Some(trial.flips())),
                Next::Step(record) => {
                    self.log.append(AttackLine::Step(record.clone()))?;
                    observer(Event::Step(&record));
                }
                Next::End(record) => {
                    self.check(number, trial.words())?;
                    let pattern = trial.words().pattern()?.to_json() + "\n";
                    write_atomically(&self.dir.join(pattern_file(number)), pattern.as_bytes())?;
                    self.log.append(AttackLine::End(record))?;
                    observer(Event::End(&record));
                    return Ok(None);
                }
            }
        }
    }

    /// That the network computed with what the memory holds under the pattern, bit for bit: what a campaign would compute with.
    fn check(&self, trial: u64, words: &AttackedWords) -> Result<(), AttackError> {
        let faulty = self.setting.memory.levels_under(&words.pattern()?, self.setting.model)?;
        for (place, tensor) in words.tensors().iter().enumerate() {
            let found = self.subject.values(place);
            let hit = faulty.iter().find(|(name, _)| name == tensor.name());
            let is_same = match hit {
                Some((_, levels)) => same_bits(levels.iter().copied(), found),
                None => self.setting.model.words(tensor.name()).is_some_and(|words| {
                    same_bits(words.iter().map(|word| f32::from_bits(word as u32)), found)
                }),
            };
            if !is_same {
                return Err(AttackError::SelfCheck { trial, tensor: tensor.name().to_owned() });
            }
        }
        Ok(())
    }
}

fn same_bits(wanted: impl Iterator<Item = f32>, found: &[f32]) -> bool {
    wanted.map(f32::to_bits).eq(found.iter().map(|value| value.to_bits()))
}

//! One trial: flips until the goal is reached, or nothing more can be done.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use bitquake_data::Dataset;
use bitquake_fault::FaultSpace;
use bitquake_sample::{PartKey, StreamKey};
use bitquake_storage::Memory;
use bitquake_tensors::TensorFile;

use crate::ascent::{Ground, ascend};
use crate::config::{AttackFile, AttackKind, EvaluateConfig, Goal, Labels};
use crate::error::AttackError;
use crate::evaluate::Evaluation;
use crate::exhaustive::exhaustive_step;
use crate::feasible::feasible_flips;
use crate::images::TrialImages;
use crate::limits::Room;
use crate::random::{Weighting, random_site};
use crate::record::{EndReason, EndRecord, FlipRecord, StepRecord, TrialLines, TrialRecord};
use crate::search::{Chosen, Effort, Step, changes, step};
use crate::subject::{AttackBatch, Subject, gather};
use crate::victim::Victim;
use crate::words::{AttackedWords, BitSite};

/// What all trials share.
pub(crate) struct Setting<'a> {
    pub(crate) config: &'a AttackFile,
    pub(crate) data: &'a Dataset,
    /// What the clean network says of every image.
    pub(crate) predicted: &'a [u32],
    pub(crate) goal: Goal,
    /// The model's file, its floats what the clean memory stands for.
    pub(crate) model: &'a TensorFile,
    pub(crate) memory: &'a Memory,
    pub(crate) space: &'a FaultSpace,
    pub(crate) stop: &'a AtomicBool,
}

/// A trial on its way.
pub(crate) struct Trial<'a> {
    setting: &'a Setting<'a>,
    number: u64,
    key: PartKey,
    images: TrialImages,
    batch: AttackBatch,
    words: AttackedWords,
    room: Room,
    steps: u64,
    flips: u64,
    /// Flips at the last time that the network was judged.
    judged_at: u64,
    reached: bool,
}

/// What comes next in a trial.
pub(crate) enum Next {
    Step(StepRecord),
    End(EndRecord),
    /// It was asked to stop before the step was found.
    Stopped,
}

/// How the flips of a step are looked for.
enum Choice {
    Flips(Chosen),
    End(EndReason),
    Stopped,
}

/// What decides the random choices of a trial.
pub(crate) fn trial_key(seed: u64, trial: u64) -> PartKey {
    PartKey::from(StreamKey { seed, point: 0, trial })
}

/// What the attacker may do in a trial.
fn room(
    setting: &Setting<'_>,
    number: u64,
    key: &PartKey,
    clean: &AttackedWords,
) -> Result<Room, AttackError> {
    let Setting { config, space, memory, model, .. } = setting;
    let room = Room::new(config.attack.limits, config.stop.flips, clean.tensors().len());
    Ok(match feasible_flips(config, number, key, space, &memory.view(*model))? {
        Some(flips) => room.with_feasible(&flips, clean),
        None => room,
    })
}

impl<'a> Trial<'a> {
    /// A trial before its first flip; the subject gets the clean weights.
    pub(crate) fn new(
        setting: &'a Setting<'a>,
        number: u64,
        clean: &AttackedWords,
        subject: &mut Subject,
    ) -> Result<Self, AttackError> {
        let (config, data) = (setting.config, setting.data);
        let key = trial_key(config.seed, number);
        let images = TrialImages::draw(config, data.labels(), setting.predicted, &key)?;
        let known = match config.attack.labels {
            Labels::True => data.labels(),
            Labels::Predicted => setting.predicted,
        };
        let objective = config.attack.objective;
        let aims = images.attacked.iter().map(|&row| objective.aim(known[row as usize])).collect();
        let batch = AttackBatch { images: gather(data, &images.attacked), aims, sign: objective.sign() };
        subject.load(clean)?;
        let room = room(setting, number, &key, clean)?;
        let words = clean.clone();
        Ok(Self {
            setting,
            number,
            key,
            images,
            batch,
            words,
            room,
            steps: 0,
            flips: 0,
            judged_at: 0,
            reached: false,
        })
    }

    /// What the clean network is worth, which is known.
    pub(crate) fn begin(&self) -> TrialRecord {
        let evaluate = |rows: &[u64]| {
            self.evaluation(rows, rows.iter().map(|&row| self.setting.predicted[row as usize]))
        };
        TrialRecord {
            trial: self.number,
            bits: self.words.bits(),
            sample: evaluate(&self.images.sample),
            full: evaluate(&self.images.judged),
        }
    }

    /// Makes the flips of steps that were recorded before.
    ///
    /// # Errors
    /// [`AttackError::Records`] when a recorded flip is of a bit that is not there; `path` is the file of records.
    pub(crate) fn replay(
        &mut self,
        lines: &TrialLines,
        path: &Path,
        subject: &mut Subject,
    ) -> Result<(), AttackError> {
        let wrong = |reason| AttackError::Records { path: path.to_owned(), reason };
        for record in &lines.steps {
            let sites = record
                .flips
                .iter()
                .map(|flip| self.site(flip))
                .collect::<Result<Vec<_>, _>>()
                .map_err(wrong)?;
            self.make(&sites);
            self.steps += 1;
            if record.sample.is_some() || record.full.is_some() {
                self.judged_at = self.flips;
            }
            self.reached = record.full.is_some_and(|full| full.reaches(self.setting.goal));
        }
        subject.load(&self.words)
    }

    fn site(&self, flip: &FlipRecord) -> Result<BitSite, String> {
        let tensors = self.words.tensors();
        let place = tensors.iter().position(|tensor| {
            tensor.name() == flip.tensor
                && flip.element < tensor.elements()
                && flip.bit < tensor.format().width()
        });
        let tensor = place.ok_or_else(|| {
            format!(
                "bit {} of element {} of tensor `{}` is not attacked",
                flip.bit, flip.element, flip.tensor
            )
        })?;
        Ok(BitSite { tensor, element: flip.element, bit: flip.bit })
    }

    /// Takes one more step, or ends.
    pub(crate) fn next(&mut self, subject: &mut Subject) -> Result<Next, AttackError> {
        let choice = match self.over() {
            Some(reason) => Choice::End(reason),
            None => self.choose(subject)?,
        };
        match choice {
            Choice::Flips(chosen) => self.step(chosen, subject).map(Next::Step),
            Choice::End(reason) => self.end(reason, subject).map(Next::End),
            Choice::Stopped => Ok(Next::Stopped),
        }
    }

    fn over(&self) -> Option<EndReason> {
        let stop = &self.setting.config.stop;
        if self.reached {
            Some(EndReason::Target)
        } else if self.room.flips() == 0 {
            Some(EndReason::Budget)
        } else {
            stop.iterations.filter(|&most| self.steps >= most).map(|_| EndReason::Iterations)
        }
    }

    /// The flips of the next step, or why there are none.
    fn choose(&self, subject: &mut Subject) -> Result<Choice, AttackError> {
        let key = self.key.numbered("step", self.steps);
        let config = &self.setting.config.attack;
        let mut victim = subject.victim(&self.batch);
        let found = match config.kind {
            AttackKind::Random => return Ok(self.random(Weighting::Size, &key)),
            AttackKind::RandomByTensor => return Ok(self.random(Weighting::Tensor, &key)),
            // All flips are made in one step.
            AttackKind::Ascent if self.steps > 0 => return Ok(Choice::End(EndReason::Budget)),
            AttackKind::Ascent => ascend(config.ascent, self.ground(), &self.words, &mut victim, &key)?,
            AttackKind::Progressive => step(&self.words, &mut victim, &config.search, &self.room, &key)?,
            AttackKind::Exhaustive => {
                let stop = self.setting.stop;
                let found =
                    exhaustive_step(&self.words, &mut victim, &self.room, config.search.nonfinite, stop)?;
                let Some(found) = found else { return Ok(Choice::Stopped) };
                found
            }
        };
        match found {
            Step::Flips(chosen) => Ok(Choice::Flips(chosen)),
            Step::NoIncrease(_) => Ok(Choice::End(EndReason::NoIncrease)),
            Step::NotFinite { loss } if self.flips == 0 => {
                let place = subject.first_nonfinite(&self.batch)?;
                Err(AttackError::CleanLoss { loss, place })
            }
            Step::NotFinite { .. } => Ok(Choice::End(EndReason::NotFinite)),
        }
    }

    fn random(&self, weighting: Weighting, key: &PartKey) -> Choice {
        let Some(site) = random_site(&self.words, &self.room, weighting, key) else {
            return Choice::End(EndReason::Exhausted);
        };
        let effort = Effort::default();
        Choice::Flips(Chosen { sites: vec![site], loss_before: f64::NAN, loss: None, effort })
    }

    fn ground(&self) -> Ground<'a> {
        let Setting { memory, space, .. } = self.setting;
        Ground { memory, space, budget: self.room.flips() }
    }

    fn step(&mut self, chosen: Chosen, subject: &mut Subject) -> Result<StepRecord, AttackError> {
        let changed = changes(&self.words, &chosen.sites);
        subject.victim(&self.batch).commit(&changed)?;
        let flips = self.make(&chosen.sites);
        let step = self.steps;
        self.steps += 1;
        let (sample, full) = self.judge(subject)?;
        let finite = |loss: f64| Some(loss).filter(|loss| loss.is_finite());
        Ok(StepRecord {
            trial: self.number,
            step,
            flips,
            loss_before: finite(chosen.loss_before),
            loss: chosen.loss.and_then(finite),
            effort: chosen.effort,
            flip_count: self.flips,
            distance: self.words.distance(),
            sample,
            full,
        })
    }

    /// Flips bits of the words, one after the other.
    fn make(&mut self, sites: &[BitSite]) -> Vec<FlipRecord> {
        let finite = |level: f32| Some(level).filter(|level| level.is_finite());
        let mut flips = Vec::with_capacity(sites.len());
        for &site in sites {
            let word_before = self.words.tensors()[site.tensor].word(site.element);
            self.words.flip(site);
            self.room.take(&self.words.tensors()[site.tensor], site);
            self.flips += 1;
            let tensor = &self.words.tensors()[site.tensor];
            let word_after = tensor.word(site.element);
            flips.push(FlipRecord {
                tensor: tensor.name().to_owned(),
                element: site.element,
                bit: site.bit,
                word_before,
                word_after,
                level_before: finite(tensor.level(site.element, word_before)),
                level_after: finite(tensor.level(site.element, word_after)),
            });
        }
        flips
    }

    /// Judges the network if it is time: on the sample, and where the goal lies within its interval or beyond, on all images.
    fn judge(&mut self, subject: &Subject) -> Result<(Option<Evaluation>, Option<Evaluation>), AttackError> {
        if self.flips - self.judged_at < self.setting.config.evaluate.every {
            return Ok((None, None));
        }
        self.judged_at = self.flips;
        let goal = self.setting.goal;
        let sample = self.evaluate(&self.images.sample, subject)?;
        let is_all = self.images.sample.len() == self.images.judged.len();
        let full = if is_all {
            Some(sample)
        } else if sample.may_reach(goal, self.setting.config.evaluate.confidence)? {
            Some(self.evaluate(&self.images.judged, subject)?)
        } else {
            None
        };
        self.reached = full.is_some_and(|full| full.reaches(goal));
        Ok((Some(sample), full))
    }

    fn end(&self, reason: EndReason, subject: &Subject) -> Result<EndRecord, AttackError> {
        let full = self.evaluate(&self.images.judged, subject)?;
        // The last flips may have reached the goal between two times of judging.
        let reason = if full.reaches(self.setting.goal) { EndReason::Target } else { reason };
        Ok(EndRecord {
            trial: self.number,
            reason,
            flip_count: self.flips,
            distance: self.words.distance(),
            full,
        })
    }

    fn evaluate(&self, rows: &[u64], subject: &Subject) -> Result<Evaluation, AttackError> {
        let EvaluateConfig { batch, .. } = self.setting.config.evaluate;
        let predicted = subject.predict(self.setting.data, rows, batch as usize)?;
        Ok(self.evaluation(rows, predicted))
    }

    fn evaluation(&self, rows: &[u64], predicted: impl IntoIterator<Item = u32>) -> Evaluation {
        let labels = rows.iter().map(|&row| self.setting.data.labels()[row as usize]);
        Evaluation::of(predicted.into_iter().zip(labels), self.setting.config.attack.objective)
    }

    /// Flips so far.
    pub(crate) fn flips(&self) -> u64 {
        self.flips
    }

    /// The words with the flips so far.
    pub(crate) fn words(&self) -> &AttackedWords {
        &self.words
    }
}

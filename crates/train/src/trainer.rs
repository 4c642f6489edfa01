//! The loop over epochs and batches.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bitquake_config::Identity;
use bitquake_data::{Batch, Feed, Parts};
use bitquake_grad::{Executor, Network};
use bitquake_record::{FolderLock, write_atomically};
use bitquake_tensors::TensorFile;

use crate::error::TrainError;
use crate::export::{self, Exported, Which};
use crate::learner::{Learner, StepFailure};
use crate::log::{EpochRecord, Log, LogLine, Losses, StepsRecord, now};
use crate::recipe::{Recipe, identity, recipe_toml};
use crate::schedule::Timeline;
use crate::sets::Sets;
use crate::snapshot::{BEST_SNAPSHOT, Best, Header, LAST_SNAPSHOT, Progress, Snapshot, epoch_snapshot};
use bitquake_record::Score;

/// The resolved recipe in the output folder.
pub const RECIPE_FILE: &str = "recipe.toml";

/// A training that is ready to run: the model and the data are loaded and fit.
pub struct Training {
    recipe: Recipe,
    identity: Identity,
    /// The ONNX file that the training starts from.
    model: TensorFile,
    learner: Learner,
    sets: Sets,
    time: Timeline,
    dir: PathBuf,
}

/// What happens while a training runs.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The first step, or the first after resuming, is about to begin.
    Begin(Begin),
    /// A step is done.
    Step(StepEvent),
    /// An epoch is done, judged and recorded.
    Epoch(&'a EpochRecord),
}

/// What a training begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// What computes the passes.
    pub executor: Executor,
    /// Numbers that are trained.
    pub weights: u64,
    /// Training images in an epoch.
    pub images: u64,
    /// Steps of the whole training.
    pub steps: u64,
    /// Steps that are done already.
    pub done: u64,
    /// The epoch that it begins in, from 0.
    pub epoch: u64,
    /// The number of epochs.
    pub epochs: u64,
}

/// A finished step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepEvent {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Steps of the training that are finished.
    pub step: u64,
    /// Passes of this epoch so far, without faults.
    pub clean: Score,
    /// Passes of this epoch so far, with faults.
    pub perturbed: Score,
    /// Training images a second, in this epoch so far.
    pub images_per_second: f64,
}

/// How a training ended without an error.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Every epoch is trained, and the models are written.
    Finished(Summary),
    /// It was asked to stop; what is needed to resume after its last step is saved.
    Stopped {
        /// The epoch that it stopped in, from 0.
        epoch: u64,
        /// Steps that are finished.
        step: u64,
        /// Steps of the whole training.
        steps: u64,
    },
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The models that were written: the last, the best on the validation images, the averaged.
    pub models: Vec<TrainedModel>,
    /// A campaign on the test images, if those are files of their own, with the `[storage]` of the last model.
    pub campaign: Option<PathBuf>,
}

/// A model that a training gives.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainedModel {
    /// `last`, `best` or `averaged`.
    pub name: &'static str,
    /// The epoch that it is of, from 0.
    pub epoch: u64,
    /// What it scores on the validation images, without faults.
    pub validation: Option<Score>,
    /// What it scores on the test images, without faults.
    pub test: Option<Score>,
    /// The files.
    pub files: Exported,
}

/// The state of a run beside the learner's.
struct Run<'a> {
    stop: &'a AtomicBool,
    header: Header,
    log: Log,
    begun: Instant,
    images: u64,
}

impl Training {
    /// Loads the model and the data, and checks that they fit each other and the recipe.
    ///
    /// # Errors
    /// [`TrainError`]: a file that is bad or missing, an operator that is not supported, a device that is not there, labels that
    /// the network has no class for, an empty split.
    pub fn prepare(recipe: Recipe) -> Result<Self, TrainError> {
        let (data, seed) = (&recipe.data, recipe.seed);
        let parts =
            Parts::load(&data.files, &data.split, seed, Path::new("")).map_err(TrainError::data("[data]"))?;
        let model = recipe.model.starting_model(parts.training.data(), seed)?;
        let identity = identity(&recipe, &model)?;
        let mut network = Network::from_file(&model, recipe.train.device.0)?;
        network.set_memory_limit(recipe.train.memory_limit())?;
        let learner = Learner::new(&recipe, network)?;
        let sets = Sets::new(parts, &recipe, learner.input_shape(), learner.classes().into())?;
        let steps_per_epoch = sets.training.batches() as u64;
        let train = &recipe.train;
        let time = Timeline { first_epoch: train.first_epoch, epochs: train.epochs, steps_per_epoch };
        let dir = recipe.output.dir.clone().unwrap_or_else(|| "trained".into());
        Ok(Self { recipe, identity, model, learner, sets, time, dir })
    }

    /// Where everything goes.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What makes it the same training.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Trains, from the newest snapshot in the output folder if there is one, and writes the models.
    ///
    /// On the CPU the weights do not depend on how often the training was stopped, or killed: a snapshot holds all that steps change.
    /// When `stop` is raised, the running step is finished and saved.
    ///
    /// # Errors
    /// [`TrainError`]; what the newest snapshot has stays.
    pub fn run(mut self, stop: &AtomicBool, mut observer: impl FnMut(Event<'_>)) -> Result<End, TrainError> {
        let _lock = FolderLock::take(&self.dir)?;
        let header = self.resume()?;
        write_atomically(&self.dir.join(RECIPE_FILE), recipe_toml(&self.recipe)?.as_bytes())?;
        let log = Log::open(&self.dir, &header.progress)?;
        let mut run = Run { stop, header, log, begun: Instant::now(), images: 0 };
        observer(Event::Begin(self.begin(&run.header.progress)));
        while run.header.progress.epoch < self.time.epochs {
            if !self.epoch(&mut run, &mut observer)? {
                let Progress { epoch, step, .. } = run.header.progress;
                return Ok(End::Stopped { epoch, step, steps: self.time.steps() });
            }
        }
        self.finish(&run.header).map(End::Finished)
    }

    /// The state of the newest snapshot, put back; that of the beginning without one.
    fn resume(&mut self) -> Result<Header, TrainError> {
        let Some(snapshot) = Snapshot::read(&self.dir.join(LAST_SNAPSHOT))? else {
            let progress = Progress { epoch: self.time.first_epoch, ..Progress::default() };
            return Ok(Header { progress, ..Header::new(self.identity.parts().clone()) });
        };
        if snapshot.header.identity != *self.identity.parts() {
            let difference = self.identity.difference(&snapshot.header.identity);
            return Err(TrainError::OtherRecipe { dir: self.dir.clone(), difference });
        }
        self.learner.restore(&snapshot)?;
        Ok(snapshot.header)
    }

    /// Training images in an epoch.
    fn images(&self) -> u64 {
        self.sets.training.epoch(0).batches().rows() as u64
    }

    fn begin(&self, progress: &Progress) -> Begin {
        Begin {
            executor: self.learner.executor().clone(),
            weights: self.learner.trained(),
            images: self.images(),
            steps: self.time.steps(),
            done: progress.step,
            epoch: progress.epoch,
            epochs: self.time.epochs,
        }
    }

    /// What is left of an epoch, and its end. False if it was stopped on the way.
    fn epoch(&mut self, run: &mut Run<'_>, observer: &mut impl FnMut(Event<'_>)) -> Result<bool, TrainError> {
        let epoch = run.header.progress.epoch;
        if run.header.progress.batch == 0 {
            self.learner.begin_epoch(epoch, self.time.epochs);
        }
        (run.begun, run.images) = (Instant::now(), 0);
        let (batches, mut batch) = (self.sets.training.clone(), Batch::new());
        let batches = batches.epoch(epoch);
        while batches.fill(run.header.progress.batch as usize, &mut batch) {
            self.step(run, &batch)?;
            observer(Event::Step(run.step_event()));
            if run.stop.load(Ordering::Relaxed) {
                run.log.sync()?;
                self.learner.snapshot(run.header.clone())?.write(&self.dir.join(LAST_SNAPSHOT))?;
                return Ok(false);
            }
        }
        let record = self.end_epoch(run)?;
        observer(Event::Epoch(&record));
        Ok(true)
    }

    fn step(&mut self, run: &mut Run<'_>, batch: &Batch) -> Result<(), TrainError> {
        let progress = &mut run.header.progress;
        let rate = self.rate(progress.step);
        let diverged = |what, loss, place| {
            let (epoch, step) = (progress.epoch, progress.step);
            TrainError::Diverged { what, epoch, step, loss, place }
        };
        let scores = self.learner.step(batch, progress.step, rate).map_err(|failure| match failure {
            StepFailure::NotFinite { what, loss, place } => diverged(what, loss, place),
            StepFailure::Error(error) => error,
        })?;
        progress.batch += 1;
        progress.step += 1;
        progress.clean.add(scores.clean);
        progress.perturbed.add(scores.perturbed);
        progress.clean_line.add(scores.clean);
        progress.perturbed_line.add(scores.perturbed);
        run.images += batch.len() as u64;
        let every = self.recipe.train.log_every;
        if every > 0 && run.header.progress.step.is_multiple_of(every) {
            run.steps_line(rate, self.learner.population())?;
        }
        Ok(())
    }

    /// The learning rate of a step.
    fn rate(&self, step: u64) -> f64 {
        self.recipe.optimiser.rate() * self.recipe.schedule.factor(step, self.time)
    }

    /// Judges an epoch, records it, and saves what is needed to go on after it.
    fn end_epoch(&mut self, run: &mut Run<'_>) -> Result<EpochRecord, TrainError> {
        let seconds = run.begun.elapsed();
        let record = self.judge_epoch(run, seconds)?;
        run.log.append(&LogLine::Epoch(record.clone()))?;
        run.log.sync()?;
        let progress = &mut run.header.progress;
        let epoch = progress.epoch;
        *progress = Progress { epoch: epoch + 1, step: progress.step, ..Progress::default() };
        let snapshot = self.learner.snapshot(run.header.clone())?;
        // The newest last: killed in between, this epoch is done again, and gives the same best once more.
        if record.is_best {
            snapshot.write(&self.dir.join(BEST_SNAPSHOT))?;
        }
        if self.recipe.output.keep_all {
            snapshot.write(&epoch_snapshot(&self.dir, epoch))?;
        }
        snapshot.write(&self.dir.join(LAST_SNAPSHOT))?;
        Ok(record)
    }

    /// The scores of an epoch; the best epoch so far is noted in the header.
    fn judge_epoch(&mut self, run: &mut Run<'_>, seconds: Duration) -> Result<EpochRecord, TrainError> {
        let Progress { epoch, step, clean, perturbed, .. } = run.header.progress;
        let evaluation = match &self.sets.validation {
            Some(feed) => Some(self.learner.evaluate(feed, epoch)?),
            None => None,
        };
        if let Some(loss) = evaluation.map(|found| found.clean.loss()).filter(|loss| !loss.is_finite()) {
            let what = "the loss on the validation images is not finite";
            return Err(TrainError::Diverged { what, epoch, step, loss, place: None });
        }
        let is_best = evaluation.is_some_and(|found| is_better(&found.clean, run.header.best.as_ref()));
        if let Some(found) = evaluation.filter(|_| is_best) {
            run.header.best = Some(Best { epoch, score: found.clean });
        }
        Ok(EpochRecord {
            epoch,
            step,
            rate: self.rate(step.saturating_sub(1)),
            clean: Losses::of(&clean),
            perturbed: Losses::of(&perturbed),
            validation: evaluation.and_then(|found| Losses::of(&found.clean)),
            validation_perturbed: evaluation.and_then(|found| Losses::of(&found.perturbed?)),
            validation_averaged: evaluation.and_then(|found| Losses::of(&found.averaged?)),
            is_best,
            images_per_second: run.images as f64 / seconds.as_secs_f64().max(1e-9),
            time: now(),
        })
    }

    /// Writes the models and judges them on the test images.
    fn finish(&mut self, header: &Header) -> Result<Summary, TrainError> {
        let last = self.time.epochs - 1;
        let mut models = vec![self.write_model("last", last, Which::Trained)?];
        if self.learner.has_average() {
            models.push(self.write_model("averaged", last, Which::Averaged)?);
        }
        if let Some(best) = &header.best {
            if let Some(snapshot) = Snapshot::read(&self.dir.join(BEST_SNAPSHOT))? {
                self.learner.restore(&snapshot)?;
            }
            models.push(self.write_model("best", best.epoch, Which::Trained)?);
        }
        let campaign = export::write_campaign(&self.recipe, &self.dir, &self.learner.fault_select())?;
        Ok(Summary { models, campaign })
    }

    /// Writes the learner's model, or that of its averaged weights, and judges it.
    fn write_model(
        &mut self,
        name: &'static str,
        epoch: u64,
        which: Which,
    ) -> Result<TrainedModel, TrainError> {
        let files = export::write(&self.model, &mut self.learner, which, &self.dir, name)?;
        let mut score = |feed: Option<&Feed>| -> Result<Option<Score>, TrainError> {
            let Some(feed) = feed else { return Ok(None) };
            let found = self.learner.evaluate(feed, epoch)?;
            Ok(match which {
                Which::Trained => Some(found.clean),
                Which::Averaged => found.averaged,
            })
        };
        let validation = score(self.sets.validation.as_ref())?;
        let test = score(self.sets.test.as_ref())?;
        Ok(TrainedModel { name, epoch, validation, test, files })
    }
}

/// Fewer errors, or as few with a lower loss.
fn is_better(score: &Score, best: Option<&Best>) -> bool {
    best.is_none_or(|Best { score: best, .. }| {
        score.wrong < best.wrong || (score.wrong == best.wrong && score.loss() < best.loss())
    })
}

impl Run<'_> {
    fn step_event(&self) -> StepEvent {
        let Progress { epoch, step, clean, perturbed, .. } = self.header.progress;
        let images_per_second = self.images as f64 / self.begun.elapsed().as_secs_f64().max(1e-9);
        StepEvent { epoch, step, clean, perturbed, images_per_second }
    }

    fn steps_line(&mut self, rate: f64, population: u32) -> Result<(), TrainError> {
        let progress = &mut self.header.progress;
        let (epoch, step) = (progress.epoch, progress.step);
        let clean = Losses::of(&std::mem::take(&mut progress.clean_line));
        let perturbed = Losses::of(&std::mem::take(&mut progress.perturbed_line));
        let record = StepsRecord { epoch, step, rate, clean, perturbed, population, time: now() };
        self.log.append(&LogLine::Steps(record))
    }
}

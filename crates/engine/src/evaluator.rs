//! Evaluating images on a model with faults.

mod native;

use std::collections::BTreeMap;
use std::sync::Arc;

use bitquake_data::Dataset;
use bitquake_fault::FaultPattern;
use ort::session::Session;

use crate::chain::golden::{GoldenRun, Kept, boundaries_to_keep};
use crate::chain::plan::ChainPlan;
use crate::chain::rows::{NoFaults, RowFaults, RowValues, Stop};
use crate::chain::session::Settings;
use crate::chain::sessions::Sessions;
use crate::chain::state::{Block, Carried};
use crate::chain::value_map::ValueMap;
use crate::chain::walk::{End, Walk, WalkScratch, Walker};
use crate::error::EngineError;
use crate::judge::{ClassifierJudge, Judge};
use crate::model::Model;
use crate::native::Native;
use crate::outcome::Outcome;
use crate::runtime::Runtime;

/// Optimisers of ONNX Runtime that multiply weights into other weights before any image is seen.
///
/// They are off in every run, golden ones too: folding `gamma` into a convolution's weights turns `(x * w) * gamma` into
/// `x * (w * gamma)`, which overflows elsewhere, and so gives other images a NaN or an infinity when a weight is huge.
///
/// ONNX Runtime ignores names that it does not know, without a word; the oracle tests fail when one of these no longer works.
pub const DISABLED_OPTIMISERS: &str =
    "ConvBNFusion;MatMul_BatchNormalization_Fusion;ConvMulFusion;ConvAddFusion";

/// How an evaluator uses threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Within one call of the engine.
    Engine(usize),
    /// None but the caller's own.
    Caller,
}

/// Called for each row of a run: its number, and its output unless that is, bit for bit, the golden one of its image.
pub type EachRow<'e> = &'e mut dyn FnMut(usize, Option<&[f32]>);

/// One copy of the model's bytes, and what computes with them: the sessions of its links in ONNX Runtime, or the project's own kernels.
pub struct Evaluator<'d> {
    pub(crate) model: Model,
    pub(crate) data: &'d Dataset,
    pub(crate) plan: Arc<ChainPlan>,
    pub(crate) settings: Settings,
    /// Of each link, its session without faults, once it was needed.
    pub(crate) sessions: Vec<Option<Session>>,
    pub(crate) judge: Arc<dyn Judge>,
    pub(crate) values: Option<Arc<dyn ValueMap>>,
    /// What computes instead of sessions.
    native: Option<Native>,
    threads: usize,
    batch: usize,
    lets_go: bool,
    walked: WalkScratch,
}

impl<'d> Evaluator<'d> {
    /// Prepares to evaluate `data` in batches of `batch` images, the model in one piece.
    ///
    /// # Errors
    /// [`EngineError`] when the runtime is missing or the images do not fit the model.
    pub fn new(model: Model, data: &'d Dataset, batch: u64, threads: Threads) -> Result<Self, EngineError> {
        let plan = ChainPlan::whole(&model, data.image_shape());
        Self::chained(model, Arc::new(plan), data, batch, threads)
    }

    /// Prepares to evaluate `data` on a model cut as `plan` says.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn chained(
        model: Model,
        plan: Arc<ChainPlan>,
        data: &'d Dataset,
        batch: u64,
        threads: Threads,
    ) -> Result<Self, EngineError> {
        model.check_shape(data.image_shape())?;
        Runtime::load()?;
        let batch = model.batch(batch) as usize;
        Ok(Self::without_sessions(model, plan, data, batch, threads))
    }

    fn without_sessions(
        model: Model,
        plan: Arc<ChainPlan>,
        data: &'d Dataset,
        batch: usize,
        threads: Threads,
    ) -> Self {
        let sessions = plan.links.iter().map(|_| None).collect();
        let judge = Arc::new(ClassifierJudge { kind: model.kind });
        Self {
            model,
            data,
            plan,
            settings: Settings::new(threads),
            sessions,
            judge,
            values: None,
            native: None,
            threads: if let Threads::Engine(threads) = threads { threads } else { 1 },
            batch,
            lets_go: true,
            walked: WalkScratch::default(),
        }
    }

    /// Whether rows that became golden ones, bit for bit, are let go before the end; they are by default.
    #[must_use]
    pub fn letting_go(self, lets_go: bool) -> Self {
        Self { lets_go, ..self }
    }

    /// Another judge than that of a classifier.
    #[must_use]
    pub fn judged_by(self, judge: Arc<dyn Judge>) -> Self {
        Self { judge, ..self }
    }

    /// What happens to values where links end, from now on; nothing by default. A golden run is of the values that it had.
    pub fn set_values(&mut self, values: Option<Arc<dyn ValueMap>>) {
        self.values = values;
    }

    /// The model as stored, without faults.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Where the model is cut.
    #[must_use]
    pub fn plan(&self) -> &ChainPlan {
        &self.plan
    }

    /// The images.
    #[must_use]
    pub fn data(&self) -> &'d Dataset {
        self.data
    }

    /// Images in one call of the engine.
    #[must_use]
    pub fn batch(&self) -> u64 {
        self.batch as u64
    }

    /// Runs the model as it is, and keeps values at boundaries for trials, in up to `budget` bytes.
    ///
    /// # Errors
    /// [`EngineError`] from the engine, or when the output is not one row of classes for each image.
    pub fn golden(&mut self, budget: usize) -> Result<GoldenRun, EngineError> {
        if self.native.is_some() {
            return self.golden_natively();
        }
        let mut run = GoldenRun::empty(&self.plan);
        let kept = boundaries_to_keep(&self.plan, self.data.len(), budget);
        let mut values: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for value in self.plan.values_at(&kept) {
            values.insert(value, Vec::with_capacity(self.data.len() * self.plan.values[value].elements()));
        }
        let mut keep = |value: usize, rows: &[f32]| {
            if let Some(kept) = values.get_mut(&value) {
                kept.extend_from_slice(rows);
            }
        };
        let judge = Arc::clone(&self.judge);
        let images: Vec<u32> = (0..self.data.len() as u32).collect();
        let nothing = GoldenRun::empty(&self.plan);
        let batch = self.batch;
        let mut sessions = Sessions::new(self, &FaultPattern::empty())?;
        for (block, first) in images.chunks(batch).zip((0..).step_by(batch)) {
            let block = Block { first, all: true, ..sessions.block(block, &NoFaults, &nothing) };
            let (outputs, mut classes) = (&mut run.golden.outputs, None);
            sessions.run(&block, &mut keep, &mut |row, output| {
                let output = output.unwrap_or_default();
                if row == 0 && judge.is_classifier() {
                    classes = Some(output.len());
                }
                outputs.extend_from_slice(output);
            })?;
            if let Some(classes) = classes {
                check_labels(sessions.model, sessions.data, classes)?;
            }
        }
        self.predict(&mut run);
        run.values = (0..self.plan.values.len()).map(|value| values.remove(&value).map(Kept::new)).collect();
        run.kept = kept;
        // A walk knows the arithmetic of nodes, and nothing of what happens to values between links.
        if self.plan.hits_values && self.values.is_none() {
            let walk = Walk::new(&self.model, &self.plan);
            if let Some(walk) = walk.and_then(|walk| walk.proved(&self.plan, &run, self.data)) {
                walk.lay_channels_last(&self.plan, &mut run);
                run.walk = Some(Arc::new(walk));
            }
        }
        Ok(run)
    }

    /// What the outputs of a golden run come to.
    fn predict(&self, run: &mut GoldenRun) {
        let width = run.golden.outputs.len() / self.data.len().max(1);
        let rows = run.golden.outputs.chunks_exact(width.max(1)).enumerate();
        let labels = self.data.labels();
        run.golden.predictions =
            rows.map(|(row, output)| self.judge.golden(output, label(labels, row))).collect();
    }

    /// Runs rows: of each, its image, and by `faults` what happens to its values at boundaries; `pattern` flips bits of stored
    /// tensors for all rows. `each` hears of every row once, in any order.
    ///
    /// # Errors
    /// [`EngineError`] from the engine, or for a pattern of another model. Stored tensors are as before in any case.
    ///
    /// # Panics
    /// For an image that the data set does not have.
    pub fn run(
        &mut self,
        images: &[u32],
        pattern: &FaultPattern,
        faults: &dyn RowFaults,
        golden: &GoldenRun,
        each: EachRow<'_>,
    ) -> Result<(), EngineError> {
        if self.native.is_some() {
            return self.run_natively(images, pattern, faults, golden, each);
        }
        if let Some(walk) = golden.walk.as_deref().filter(|_| self.lets_go && pattern.flips() == 0) {
            return self.run_walking(images, walk, faults, golden, each);
        }
        let order = order_by_first_stop(images.len(), faults, pattern.flips() > 0);
        let images: Vec<u32> = order.iter().map(|&row| images[row]).collect();
        let faults = Reordered { faults, order: &order };
        let (batch, lets_go) = (self.batch, self.lets_go);
        let faulty = Faulty::new(self, pattern)?;
        let mut sessions = Sessions::new(faulty.evaluator, pattern)?;
        for (rows, first) in images.chunks(batch).zip((0..).step_by(batch)) {
            let block = Block { first, lets_go, ..sessions.block(rows, &faults, golden) };
            sessions.run(&block, &mut |_, _| (), &mut |row, output| each(order[row], output))?;
        }
        Ok(())
    }

    /// As [`run`](Self::run) without faults in stored tensors: follows the faults of each row through its image as far as that
    /// can be done, and gives the rest of the way to links.
    fn run_walking(
        &mut self,
        images: &[u32],
        walk: &Walk,
        faults: &dyn RowFaults,
        golden: &GoldenRun,
        each: EachRow<'_>,
    ) -> Result<(), EngineError> {
        let (batch, plan, data) = (self.batch, Arc::clone(&self.plan), self.data);
        let mut walker = Walker::new(walk, &plan, golden, data, std::mem::take(&mut self.walked));
        let mut sessions = Sessions::new(self, &FaultPattern::empty())?;
        // Rows that wait until enough of them are to be taken up at a boundary.
        let mut waiting: BTreeMap<usize, Vec<Carried>> = BTreeMap::new();
        let mut run = |rows: &[Carried], each: EachRow<'_>| {
            let block_images: Vec<u32> = rows.iter().map(|carried| images[carried.row]).collect();
            let order: Vec<usize> = rows.iter().map(|carried| carried.row).collect();
            let faults = Reordered { faults, order: &order };
            let block =
                Block { lets_go: true, carried: rows, ..sessions.block(&block_images, &faults, golden) };
            sessions.run(&block, &mut |_, _| (), &mut |row, output| each(order[row], output))
        };
        for (row, &image) in images.iter().enumerate() {
            match walker.row(image as usize, row, faults)? {
                End::Golden => each(row, None),
                End::At(carried) => {
                    let rows = waiting.entry(carried.place).or_default();
                    rows.push(carried);
                    if rows.len() == batch {
                        run(&std::mem::take(rows), each)?;
                    }
                }
            }
        }
        let waiting: Vec<Carried> = waiting.into_values().flatten().collect();
        waiting.chunks(batch).try_for_each(|rows| run(rows, each))?;
        self.walked = walker.into_scratch();
        Ok(())
    }

    /// As [`run`](Self::run) without faults in stored tensors, but no row is let go before the end.
    pub(crate) fn run_through(
        &mut self,
        images: &[u32],
        faults: &dyn RowFaults,
        golden: &GoldenRun,
        each: EachRow<'_>,
    ) -> Result<(), EngineError> {
        let lets_go = std::mem::replace(&mut self.lets_go, false);
        let run = self.run(images, &FaultPattern::empty(), faults, golden, each);
        self.lets_go = lets_go;
        run
    }

    /// Runs images with faults and judges them. `images`, `pattern` and `faults` are as for [`run`](Self::run).
    ///
    /// When the engine refuses the faulty model or fails while running it, every image is a detected unrecoverable error.
    ///
    /// # Errors
    /// [`EngineError::Pattern`] when the pattern was made for another model.
    ///
    /// # Panics
    /// For an image that the data set does not have.
    pub fn judge(
        &mut self,
        images: &[u32],
        pattern: &FaultPattern,
        faults: &dyn RowFaults,
        golden: &GoldenRun,
    ) -> Result<Outcome, EngineError> {
        let one = vec![0; images.len()];
        match self.judge_groups(images, &one, 1, pattern, faults, golden) {
            Ok(outcomes) => Ok(outcomes[0]),
            Err(error) if error.is_refusal() => {
                Ok(Outcome::all_due(images.iter().map(|&image| &golden.golden.predictions[image as usize])))
            }
            Err(other) => Err(other),
        }
    }

    /// The same for several groups of rows at once, each with an outcome of its own: row `r` is of group `groups[r]`, below
    /// `count`.
    ///
    /// # Errors
    /// As [`run`](Self::run): when the engine fails, no group has an outcome.
    ///
    /// # Panics
    /// For an image that the data set does not have, or a group that does not exist.
    pub fn judge_groups(
        &mut self,
        images: &[u32],
        groups: &[usize],
        count: usize,
        pattern: &FaultPattern,
        faults: &dyn RowFaults,
        golden: &GoldenRun,
    ) -> Result<Vec<Outcome>, EngineError> {
        let judge = Arc::clone(&self.judge);
        let labels = self.data.labels();
        let mut outcomes = vec![Outcome::default(); count];
        self.run(images, pattern, faults, golden, &mut |row, output| {
            let (image, outcome) = (images[row] as usize, &mut outcomes[groups[row]]);
            match (golden.golden.image(image, label(labels, image)), output) {
                (Some(golden), Some(output)) => outcome.add(&*judge, output, golden),
                (Some(golden), None) => outcome.add_masked(&*judge, golden),
                (None, _) => {}
            }
        })?;
        Ok(outcomes)
    }

    /// Runs all images with a pattern's faults in the weights.
    ///
    /// # Errors
    /// As [`judge`](Self::judge).
    pub fn trial(&mut self, pattern: &FaultPattern, golden: &GoldenRun) -> Result<Outcome, EngineError> {
        let images: Vec<u32> = (0..self.data.len() as u32).collect();
        self.judge(&images, pattern, &NoFaults, golden)
    }

    /// The outputs of the first `images` images with a pattern's faults in the weights, one row of classes each: run from the
    /// start to the end.
    ///
    /// # Errors
    /// [`EngineError`] from the engine or for the pattern.
    pub fn outputs(&mut self, pattern: &FaultPattern, images: usize) -> Result<Vec<f32>, EngineError> {
        if self.native.is_some() {
            return self.outputs_natively(pattern, images);
        }
        let images: Vec<u32> = (0..images.min(self.data.len()) as u32).collect();
        let nothing = GoldenRun::empty(&self.plan);
        let batch = self.batch;
        let mut outputs = Vec::new();
        let faulty = Faulty::new(self, pattern)?;
        let mut sessions = Sessions::new(faulty.evaluator, pattern)?;
        for rows in images.chunks(batch) {
            let block = Block { all: true, ..sessions.block(rows, &NoFaults, &nothing) };
            let each: EachRow<'_> = &mut |_, output| outputs.extend_from_slice(output.unwrap_or_default());
            sessions.run(&block, &mut |_, _| (), each)?;
        }
        Ok(outputs)
    }
}

/// Rows in the order of the boundaries at which their faults begin, so that those of a block wake together and no link is run
/// for a handful of them. Faulty weights wake all rows.
fn order_by_first_stop(rows: usize, faults: &dyn RowFaults, all_wake: bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows).collect();
    if !all_wake {
        let first = |row: usize| faults.stops(row).first().map_or(usize::MAX, |stop| stop.boundary);
        order.sort_by_key(|&row| first(row));
    }
    order
}

/// The label of an image; 0 where there are none.
fn label(labels: &[u32], image: usize) -> u32 {
    labels.get(image).copied().unwrap_or(0)
}

fn check_labels(model: &Model, data: &Dataset, classes: usize) -> Result<(), EngineError> {
    data.check_labels(classes as u64).map_err(|error| EngineError::Labels {
        model: model.file.clone(),
        classes: classes as u64,
        message: error.to_string(),
    })
}

/// Rows in another order.
struct Reordered<'r> {
    faults: &'r dyn RowFaults,
    order: &'r [usize],
}

impl RowFaults for Reordered<'_> {
    fn stops(&self, row: usize) -> &[Stop] {
        self.faults.stops(self.order[row])
    }

    fn apply(&self, row: usize, boundary: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        self.faults.apply(self.order[row], boundary, values)
    }
}

/// An evaluator with faults in its model, which go when this goes: after every session, which may read the bytes that
/// change, and on every way out.
struct Faulty<'e, 'd> {
    evaluator: &'e mut Evaluator<'d>,
    pattern: &'e FaultPattern,
}

impl<'e, 'd> Faulty<'e, 'd> {
    fn new(evaluator: &'e mut Evaluator<'d>, pattern: &'e FaultPattern) -> Result<Self, EngineError> {
        pattern.apply(&mut evaluator.model.image)?;
        Ok(Self { evaluator, pattern })
    }
}

impl Drop for Faulty<'_, '_> {
    fn drop(&mut self) {
        // It fitted a moment ago, so there is no error to tell.
        let _ = self.pattern.apply(&mut self.evaluator.model.image);
    }
}

//! Evaluating images on a model with faulty weights.

use bitquake_data::Dataset;
use bitquake_fault::FaultPattern;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

use crate::error::EngineError;
use crate::judge::ClassifierJudge;
use crate::lend::LentSession;
use crate::model::Model;
use crate::outcome::{Golden, Outcome};
use crate::prediction::{OutputKind, Prediction};
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

/// One copy of the model's bytes, and the sessions built from them.
pub struct Evaluator<'d> {
    model: Model,
    runtime: &'static Runtime,
    data: &'d Dataset,
    batch: usize,
    threads: Threads,
}

impl<'d> Evaluator<'d> {
    /// Prepares to evaluate `data` in batches of `batch` images.
    ///
    /// # Errors
    /// [`EngineError`] when the runtime is missing or the images do not fit the model.
    pub fn new(model: Model, data: &'d Dataset, batch: u64, threads: Threads) -> Result<Self, EngineError> {
        model.check_shape(data.image_shape())?;
        let batch = model.batch(batch) as usize;
        Ok(Self { model, runtime: Runtime::load()?, data, batch, threads })
    }

    /// The model as stored, without faults.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Images in one call of the engine.
    #[must_use]
    pub fn batch(&self) -> u64 {
        self.batch as u64
    }

    /// Runs the model as it is.
    ///
    /// # Errors
    /// [`EngineError`] from the engine, or when the output is not one row of classes for each image.
    pub fn golden(&mut self) -> Result<Golden, EngineError> {
        let mut golden = Golden { outputs: Vec::new(), predictions: Vec::new() };
        self.run(&FaultPattern::empty(), self.data.len(), |label, row, kind| {
            golden.outputs.extend_from_slice(row);
            golden.predictions.push(Prediction::of(row, label, kind));
        })?;
        Ok(golden)
    }

    /// Runs the model with a pattern's faults in its weights, and undoes them.
    ///
    /// When the engine refuses the faulty model or fails while running it, every image is a detected unrecoverable error.
    ///
    /// # Errors
    /// [`EngineError::Pattern`] when the pattern was made for another model.
    pub fn trial(&mut self, pattern: &FaultPattern, golden: &Golden) -> Result<Outcome, EngineError> {
        let mut outcome = Outcome::default();
        let mut images = 0..golden.predictions.len();
        let run = self.run(pattern, self.data.len(), |label, row, kind| {
            if let Some(golden) = images.next().and_then(|place| golden.image(place, label)) {
                outcome.add(&ClassifierJudge { kind }, row, golden);
            }
        });
        match run {
            Ok(()) => Ok(outcome),
            Err(EngineError::Load { .. } | EngineError::Run { .. } | EngineError::Unsupported { .. }) => {
                Ok(Outcome::all_due(&golden.predictions))
            }
            Err(other) => Err(other),
        }
    }

    /// The outputs of the first `images` images with a pattern's faults, one row of classes each.
    ///
    /// # Errors
    /// [`EngineError`] from the engine or for the pattern.
    pub fn outputs(&mut self, pattern: &FaultPattern, images: usize) -> Result<Vec<f32>, EngineError> {
        let mut outputs = Vec::new();
        self.run(pattern, images.min(self.data.len()), |_, row, _| outputs.extend_from_slice(row))?;
        Ok(outputs)
    }

    fn run(
        &mut self,
        pattern: &FaultPattern,
        images: usize,
        each: impl FnMut(u32, &[f32], OutputKind),
    ) -> Result<(), EngineError> {
        Faulty::new(self, pattern)?.evaluator.evaluate(images, each)
    }

    /// A session that reads the bytes as they are now.
    fn session(&self) -> Result<LentSession<'_>, EngineError> {
        self.builder()
            .and_then(|builder| LentSession::build(builder, &self.model.image))
            .map_err(|error| EngineError::Load { model: self.model.file.clone(), message: error.to_string() })
    }

    fn builder(&self) -> ort::Result<SessionBuilder> {
        let intra = match self.threads {
            Threads::Engine(threads) => threads,
            Threads::Caller => 1,
        };
        Ok(Session::builder(self.runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_disabled_optimizers(DISABLED_OPTIMISERS)?
            .with_intra_threads(intra)?
            .with_inter_threads(1)?)
    }

    fn evaluate(
        &self,
        images: usize,
        mut each: impl FnMut(u32, &[f32], OutputKind),
    ) -> Result<(), EngineError> {
        let mut session = self.session()?;
        let mut padding = Vec::new();
        for start in (0..images).step_by(self.batch) {
            let end = images.min(start + self.batch);
            let (rows, pixels) = self.feed(start..end, &mut padding);
            let mut shape = vec![rows as i64];
            shape.extend(self.data.image_shape().iter().map(|&dim| dim as i64));
            let (input, output) = (self.model.input.as_str(), self.model.output.as_str());
            let outputs = session.run(input, (shape, pixels)).map_err(|error| self.failed(&error))?;
            let output = outputs.get(output).ok_or_else(|| self.odd_output("is missing".into()))?;
            let (shape, values) =
                output.try_extract_tensor::<f32>().map_err(|error| self.odd_output(error.to_string()))?;
            let classes = self.classes(shape, rows)?;
            if start == 0 {
                self.check_labels(classes)?;
            }
            for (label, row) in self.data.labels()[start..end].iter().zip(values.chunks_exact(classes)) {
                each(*label, row, self.model.kind);
            }
        }
        Ok(())
    }

    /// The images of a range, padded with zeros when the model wants full batches.
    fn feed<'a>(&'a self, range: std::ops::Range<usize>, padding: &'a mut Vec<f32>) -> (usize, &'a [f32]) {
        let (rows, pixels) = (range.len(), self.data.images(range));
        match self.model.fixed_batch {
            Some(batch) if rows < batch as usize => {
                padding.clear();
                padding.extend_from_slice(pixels);
                padding.resize(pixels.len() / rows * batch as usize, 0.0);
                (batch as usize, padding)
            }
            _ => (rows, pixels),
        }
    }

    /// Classes in each row of an output.
    fn classes(&self, shape: &[i64], rows: usize) -> Result<usize, EngineError> {
        let classes = match shape {
            [batch, classes, rest @ ..] if *batch == rows as i64 && rest.iter().all(|&dim| dim == 1) => {
                *classes
            }
            _ => 0,
        };
        if classes < 2 {
            let wanted = "models that give one row of at least 2 class scores for each image are supported";
            return Err(self.odd_output(format!("has shape {shape:?} for {rows} images; {wanted}")));
        }
        Ok(classes as usize)
    }

    fn check_labels(&self, classes: usize) -> Result<(), EngineError> {
        self.data.check_labels(classes as u64).map_err(|error| EngineError::Labels {
            model: self.model.file.clone(),
            classes: classes as u64,
            message: error.to_string(),
        })
    }

    fn odd_output(&self, reason: String) -> EngineError {
        let reason = format!("output `{}` {reason}", self.model.output);
        EngineError::Unsupported { model: self.model.file.clone(), reason }
    }

    fn failed(&self, error: &ort::Error) -> EngineError {
        EngineError::Run { model: self.model.file.clone(), message: error.to_string() }
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

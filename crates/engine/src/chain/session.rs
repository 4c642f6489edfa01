//! Building sessions and running them.

use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::TensorRef;

use crate::error::EngineError;
use crate::evaluator::{DISABLED_OPTIMISERS, Threads};
use crate::lend::{self, LentSession};
use crate::model::Model;
use crate::runtime::Runtime;

/// One input of a run: its name, its shape with the batch first, its elements.
pub(crate) type Feed<'v> = (&'v str, Vec<i64>, &'v [f32]);

/// How sessions are set up: the same for golden and faulty ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    intra_threads: usize,
    level: Level,
}

/// How the runtime may change the graph before it runs it.
#[derive(Clone, Copy, Debug)]
enum Level {
    /// As in every campaign.
    Optimized,
    /// Not at all.
    AsWritten,
}

impl Settings {
    pub(crate) fn new(threads: Threads) -> Self {
        match threads {
            Threads::Engine(threads) => Self { intra_threads: threads, level: Level::Optimized },
            Threads::Caller => Self::one_thread(),
        }
    }

    pub(crate) fn one_thread() -> Self {
        Self { intra_threads: 1, level: Level::Optimized }
    }

    /// One thread, and every operator as the file has it: nothing is fused, and values keep the layout of the file.
    pub(crate) fn as_written() -> Self {
        Self { intra_threads: 1, level: Level::AsWritten }
    }

    fn builder(self) -> ort::Result<SessionBuilder> {
        // Loaded before any model is, so an error cannot come up here.
        let runtime = Runtime::load().map_err(|error| ort::Error::new(error.to_string()))?;
        let level = match self.level {
            Level::Optimized => GraphOptimizationLevel::All,
            Level::AsWritten => GraphOptimizationLevel::Disable,
        };
        Ok(Session::builder(runtime.environment())?
            .with_optimization_level(level)?
            .with_disabled_optimizers(DISABLED_OPTIMISERS)?
            .with_intra_threads(self.intra_threads)?
            .with_inter_threads(1)?)
    }
}

/// A session that copies what it needs, and may outlive changes of the model.
pub(crate) fn build_owned(bytes: &[u8], model: &Model, settings: Settings) -> Result<Session, EngineError> {
    let build = || lend::build_owned(settings.builder()?, bytes, &model.image);
    build().map_err(|error| load_error(model, &error))
}

/// A session that reads large weights where they are in the model's image.
pub(crate) fn build_lent<'i>(
    bytes: &[u8],
    model: &'i Model,
    settings: Settings,
) -> Result<LentSession<'i>, EngineError> {
    let build = || LentSession::build(settings.builder()?, bytes, &model.image);
    build().map_err(|error| load_error(model, &error))
}

pub(crate) fn run_owned<'s>(
    session: &'s mut Session,
    model: &Model,
    feeds: &[Feed<'_>],
) -> Result<SessionOutputs<'s>, EngineError> {
    run(session, feeds).map_err(|error| run_error(model, &error))
}

pub(crate) fn run<'s>(session: &'s mut Session, feeds: &[Feed<'_>]) -> ort::Result<SessionOutputs<'s>> {
    let mut inputs = Vec::with_capacity(feeds.len());
    for (name, shape, elements) in feeds {
        let tensor = TensorRef::from_array_view((shape.clone(), *elements))?;
        inputs.push(((*name).to_owned(), SessionInputValue::from(tensor)));
    }
    session.run(inputs)
}

fn load_error(model: &Model, error: &ort::Error) -> EngineError {
    EngineError::Load { model: model.file.clone(), message: error.to_string() }
}

pub(crate) fn run_error(model: &Model, error: &ort::Error) -> EngineError {
    EngineError::Run { model: model.file.clone(), message: error.to_string() }
}

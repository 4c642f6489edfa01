//! Runs a graph with faulty weights, in ONNX Runtime or in the project's own kernels.
//!
//! The model is held as the bytes of its file. A fault pattern flips bits in these bytes, a session is built from them, the
//! images are evaluated, and the pattern is applied again to undo it: faults act on what is stored, and undo is exact.
//!
//! A session is rebuilt for every pattern, because ONNX Runtime copies or repacks most weights when it builds one: edits of a
//! weight that it has already seen would be ignored. Large weights that it does not repack are read where they are. Optimisations that fold one weight into another before the images are
//! seen (batch-norm into a convolution, say) are switched off, see [`DISABLED_OPTIMISERS`]: folding moves overflows and
//! hides infinities, and a campaign is about those.
//!
//! A [`Native`] model runs in the project's own kernels instead: its weights are edited where they are, no session is built. Everything else
//! is the same, seen from an [`Evaluator`].

mod chain;
mod direct;
mod distance;
mod error;
mod evaluator;
mod judge;
mod lend;
mod model;
mod native;
mod outcome;
mod prediction;
mod runtime;
mod self_check;
mod softmax;
mod splice;
mod sum;
mod watch;

pub use chain::{
    Activation, ChainPlan, CutRequest, Exposure, GoldenRun, NoFaults, RowFaults, RowValues, Stop, Value,
    ValueMap, activations,
};
pub use direct::{DirectError, DirectNode, Operand, Scratch, StoredValues, Touched};
pub use distance::{Distance, Distances, Extent, Measure};
pub use error::EngineError;
pub use evaluator::{DISABLED_OPTIMISERS, EachRow, Evaluator, Threads};
pub use judge::{ClassifierJudge, DistanceJudge, GoldenImage, Judge, Verdict};
pub use model::Model;
pub use native::Native;
pub use outcome::{CleanOutcome, Golden, Outcome, OutputKind, Prediction};
pub use runtime::{RUNTIME_VERSION, Runtime};
pub use self_check::{
    Change, SelfCheckError, check_reuse, check_values, flip_highest, highest_bits, self_check,
};
pub use splice::{SpliceMemory, SplicedFaults, SplicedRows, Splicer};
pub use watch::{ValueRange, Watched, watch, watch_variant};

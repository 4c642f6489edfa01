//! Guards on activations: calibrated on images without faults, and written as nodes of the model.
//!
//! [`guard`] makes of a model and images a guarded model, a plain ONNX file that campaigns judge and other tools run. What the nodes are
//! is told in [`bitquake_graph::guard`].

mod choice;
mod config;
mod error;
mod golden;
mod range;

use std::path::{Path, PathBuf};

use bitquake_config::ConfigError;
use bitquake_data::{Dataset, load_images};
use bitquake_engine::{Model, ValueRange};
use bitquake_graph::guard::{Guardable, RangeGuard, Scope, insert};
use bitquake_tensors::TensorFile;
use serde::Serialize;

pub use bitquake_graph::guard::{GuardAction, LeftOut};
pub use config::{GuardConfig, GuardFile, read_guard};
pub use error::GuardingError;

use crate::error::Error;
use choice::{nothing, scope};
use golden::{Golden, drawn};

/// What was guarded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuardSummary {
    /// The model.
    pub model: PathBuf,
    /// The guarded model.
    pub output: PathBuf,
    /// How many images the ranges are of; on these, the outputs of both models are the same, bit for bit.
    pub images: u64,
    /// What becomes of elements beyond a range.
    pub action: GuardAction,
    /// By how much ranges are wider than what was seen, at each end, as a share of their width.
    pub margin: f64,
    /// The guarded values, in the order of the graph.
    pub values: Vec<GuardedValue>,
    /// Values that the operators give and that are not guarded.
    pub left_out: Vec<LeftOut>,
}

/// A guarded value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuardedValue {
    /// Its name.
    pub value: String,
    /// The operator that computes it.
    pub op: String,
    /// The guarded values that it passes on, if it is guarded for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<String>,
    /// Its elements for one image.
    pub elements: u64,
    /// The least element that was seen.
    pub least: f32,
    /// The greatest element that was seen.
    pub greatest: f32,
    /// The least element that the guard lets through.
    pub low: f32,
    /// The greatest element that the guard lets through.
    pub high: f32,
}

/// Guards the model of a file, and writes it to `out`.
///
/// # Errors
/// As [`guard_model`], and for the data.
pub fn guard(file: &GuardFile, out: &Path) -> Result<GuardSummary, Error> {
    let data = load_images(&file.data, Path::new(""))?;
    guard_model(&file.model.path, &data, &file.guard, file.seed, out)
}

/// Guards the values of a model that `config` asks for, with the ranges that they have on `data`, and writes it to `out`. `seed`
/// decides which images are drawn, if not all are taken.
///
/// Both models are run on the images without optimizations of the graph, and must give the same outputs, bit for bit, before
/// anything is written. Every tensor keeps its name and its bytes, so the fault space is the same.
///
/// # Errors
/// [`Error::Guard`]: operators that are not there, a selection that matches nothing, fewer images than asked for, an operator set that is too old, or
/// guards that change an output. [`Error::Config`] for numbers that make no sense, [`Error::Tensors`] and [`Error::Engine`] for a
/// model that cannot be read, written or run on the images.
pub fn guard_model(
    path: &Path,
    data: &Dataset,
    config: &GuardConfig,
    seed: u64,
    out: &Path,
) -> Result<GuardSummary, Error> {
    config.check().map_err(|reason| ConfigError::wrong("guard", reason))?;
    if is_same_file(path, out) {
        return Err(GuardingError::Overwrite { path: out.to_owned() }.into());
    }
    let file = TensorFile::open(path)?;
    let model = Model::new(file.clone())?;
    let mut scope = scope(&file, config)?;
    let drawn = drawn(data, config.images, seed)?;
    let data = drawn.as_ref().unwrap_or(data);
    let golden = Golden::of(&model, &scope, data, config.batch)?;
    // As many as are run: the last batch of a model that fixes its size is filled.
    let rows = (data.len() as u64).next_multiple_of(model.batch(1));
    let values = guarded_values(&mut scope, &golden, config.margin, rows);
    if values.is_empty() {
        return Err(nothing(&file, reasons(&scope.left_out)));
    }
    let guards: Vec<RangeGuard> = values.iter().map(|value| value.guard(config.action)).collect();
    let insert = |main: &[u8]| {
        insert(main, &guards).map_err(|source| GuardingError::Insert { path: file.path().to_owned(), source })
    };
    golden.check(path, &model, &insert(model.image().main())?, data, config.batch)?;
    let (_, main) = file.content_hash_parts().next().unwrap_or_default();
    file.save_variant(out, &insert(main)?)?;
    Ok(GuardSummary {
        model: path.to_owned(),
        output: out.to_owned(),
        images: data.len() as u64,
        action: config.action,
        margin: config.margin,
        values,
        left_out: scope.left_out,
    })
}

fn reasons(left_out: &[LeftOut]) -> String {
    let reasons: Vec<String> =
        left_out.iter().map(|one| format!("`{}`: {}", one.value, one.reason)).collect();
    reasons.join("; ")
}

/// Whether both exist and are one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// The values of the scope with their ranges. Those that cannot have a range go to those that are left out.
fn guarded_values(scope: &mut Scope, golden: &Golden, margin: f64, rows: u64) -> Vec<GuardedValue> {
    let mut values: Vec<GuardedValue> = Vec::new();
    for Guardable { value, op, follows } in std::mem::take(&mut scope.values) {
        let range = match golden.ranges.get(&value).copied().flatten() {
            None => Err("it is not float32"),
            Some(ValueRange { non_finite: 1.., .. }) => {
                Err("it has NaN or infinite elements without any fault")
            }
            Some(range @ ValueRange { ends: Some(ends), .. }) => Ok((range, ends)),
            Some(_) => Err("it has no elements"),
        };
        match range {
            Err(reason) => scope.left_out.push(LeftOut { value, op, reason: reason.to_owned() }),
            Ok((range, seen)) => {
                let own = range::bounds(seen, if follows.is_empty() { margin } else { 0.0 });
                let passed = values.iter().filter(|one| follows.contains(&one.value));
                let [low, high] = passed.fold(own, |ends, one| range::hull(ends, [one.low, one.high]));
                let [least, greatest] = seen;
                let elements = range.elements / rows;
                values.push(GuardedValue { value, op, follows, elements, least, greatest, low, high });
            }
        }
    }
    values
}

impl GuardedValue {
    fn guard(&self, action: GuardAction) -> RangeGuard {
        RangeGuard { value: self.value.clone(), low: self.low, high: self.high, action }
    }
}

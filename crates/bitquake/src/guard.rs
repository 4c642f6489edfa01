//! Guards on activations: calibrated on images without faults, and written as nodes of the model.
//!
//! [`guard`] makes of a model and images a guarded model, a plain ONNX file that campaigns judge and other tools run. What the nodes are
//! is told in [`bitquake_graph::guard`].

mod config;
mod error;
mod range;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bitquake_data::{Dataset, load_images};
use bitquake_engine::{Model, ValueRange, watch, watch_variant};
use bitquake_fault::{Name, Selector};
use bitquake_graph::Graph;
use bitquake_graph::guard::{ACTIVATION_FUNCTIONS, Guardable, RangeGuard, Scope, insert};
use bitquake_sample::{StreamKey, subset_of};
use bitquake_tensors::TensorFile;
use serde::Serialize;

pub use bitquake_graph::guard::{GuardAction, LeftOut};
pub use config::{GuardConfig, GuardFile, read_guard};
pub use error::GuardingError;

use crate::error::Error;

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
    config.check().map_err(|reason| bitquake_config::ConfigError::wrong("guard", reason))?;
    if is_same_file(path, out) {
        return Err(GuardingError::Overwrite { path: out.to_owned() }.into());
    }
    let file = TensorFile::open(path)?;
    let model = Model::new(file.clone())?;
    let mut scope = scope(&file, config)?;
    let drawn = drawn(data, config.images, seed)?;
    let data = drawn.as_ref().unwrap_or(data);
    let golden = Golden::of(&model, &scope, data, config.batch)?;
    let values = guarded_values(&mut scope, &golden, config.margin, data.len() as u64);
    if values.is_empty() {
        let reasons: Vec<String> =
            scope.left_out.iter().map(|one| format!("`{}`: {}", one.value, one.reason)).collect();
        return Err(nothing(&file, reasons.join("; ")));
    }
    let guards: Vec<RangeGuard> = values.iter().map(|value| value.guard(config.action)).collect();
    let insert = |main: &[u8]| {
        insert(main, &guards).map_err(|source| GuardingError::Insert { path: file.path().to_owned(), source })
    };
    golden.check(&file, &model, &insert(model.image().main())?, data, config.batch)?;
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

/// Whether both exist and are one file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn nothing(file: &TensorFile, reason: String) -> Error {
    GuardingError::Nothing { path: file.path().to_owned(), reason }.into()
}

/// The values that are to be guarded.
fn scope(file: &TensorFile, config: &GuardConfig) -> Result<Scope, Error> {
    let graph = Graph::from_file(file).map_err(|error| nothing(file, error.to_string()))?;
    let ops: Vec<&str> = match &config.ops {
        Some(ops) => ops.iter().map(String::as_str).collect(),
        None => ACTIVATION_FUNCTIONS.to_vec(),
    };
    let counts = graph.op_counts();
    if let Some(op) = ops.iter().find(|op| config.ops.is_some() && !counts.contains_key(**op)) {
        let known = counts.into_keys().collect();
        return Err(
            GuardingError::NoOperator { path: file.path().to_owned(), op: (*op).to_owned(), known }.into()
        );
    }
    let mut scope = Scope::of(&graph, &ops);
    if scope.values.is_empty() && scope.left_out.is_empty() {
        let known: Vec<String> = counts.into_keys().collect();
        return Err(nothing(
            file,
            format!(
                "no activation functions among its operators ({}); name some as [guard] ops",
                known.join(", ")
            ),
        ));
    }
    if !scope.values.is_empty() {
        let names: Vec<Name<'_>> =
            scope.values.iter().map(|one| Name { text: &one.value, by_name_only: false }).collect();
        let selector = Selector::new(&config.select).map_err(GuardingError::from)?;
        let mut chosen = selector.matches(&names).map_err(GuardingError::from)?.into_iter();
        scope.values.retain(|_| chosen.next().unwrap_or(false));
    }
    if config.follow {
        scope.follow(&graph);
    }
    Ok(scope)
}

/// Some of the images, drawn; none if all are wanted.
fn drawn(data: &Dataset, wanted: Option<u64>, seed: u64) -> Result<Option<Dataset>, Error> {
    let available = data.len() as u64;
    let Some(wanted) = wanted.filter(|&wanted| wanted != available) else { return Ok(None) };
    let key = StreamKey { seed, point: 0, trial: 0 }.part("guard images");
    let places = subset_of(&key.whole(), available, wanted)
        .map_err(|_| GuardingError::Images { wanted, available })?;
    let places = places.into_iter().map(|place| place as usize);
    let mut images = Vec::with_capacity(wanted as usize * data.image_len());
    places.for_each(|place| images.extend_from_slice(data.images(place..place + 1)));
    Ok(Some(Dataset::new(images, data.image_shape().to_vec(), vec![0; wanted as usize])?))
}

/// What the model does without guards.
struct Golden {
    /// Of each value that is to be guarded; none if it is not float32.
    ranges: HashMap<String, Option<ValueRange>>,
    /// The float32 outputs of all images.
    outputs: BTreeMap<String, Vec<f32>>,
}

impl Golden {
    fn of(model: &Model, scope: &Scope, data: &Dataset, batch: u64) -> Result<Self, Error> {
        let values: Vec<&str> = scope.values.iter().map(|one| one.value.as_str()).collect();
        let mut ranges: HashMap<String, Option<ValueRange>> =
            values.iter().map(|&value| (value.to_owned(), Some(ValueRange::default()))).collect();
        let mut outputs: BTreeMap<String, Vec<f32>> =
            model.outputs().map(|name| (name.to_owned(), Vec::new())).collect();
        watch(model, &values, data, batch, &mut |(name, elements)| {
            if let Some(range) = ranges.get_mut(name) {
                match (range.as_mut(), elements) {
                    (Some(range), Some(elements)) => range.add(elements),
                    _ => *range = None,
                }
            }
            if let Some(output) = outputs.get_mut(name) {
                output.extend_from_slice(elements.unwrap_or_default());
            }
        })?;
        Ok(Self { ranges, outputs })
    }

    /// That a guarded variant of the model gives the same outputs.
    fn check(
        &self,
        file: &TensorFile,
        model: &Model,
        guarded: &[u8],
        data: &Dataset,
        batch: u64,
    ) -> Result<(), Error> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut first: Option<GuardingError> = None;
        watch_variant(model, guarded, data, batch, &mut |(name, elements)| {
            let Some((name, wanted)) = self.outputs.get_key_value(name) else { return };
            let done = seen.entry(name).or_default();
            let elements = elements.unwrap_or_default();
            let wanted = wanted.get(*done..).unwrap_or_default();
            let odd =
                elements.iter().zip(wanted).position(|(found, wanted)| found.to_bits() != wanted.to_bits());
            if let Some(place) = odd {
                first.get_or_insert_with(|| GuardingError::Differs {
                    path: file.path().to_owned(),
                    output: name.clone(),
                    element: (*done + place) as u64,
                    found: elements[place].to_string(),
                    wanted: wanted[place].to_string(),
                });
            }
            *done += elements.len();
        })?;
        first.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// The values of the scope with their ranges. Those that cannot have a range go to those that are left out.
fn guarded_values(scope: &mut Scope, golden: &Golden, margin: f64, images: u64) -> Vec<GuardedValue> {
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
                let elements = range.elements / images;
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

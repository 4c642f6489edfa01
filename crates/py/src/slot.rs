//! A tensor of a PyTorch module: where the module keeps it, what it is for, and where its words lie.

use bitquake::bits::Format;
use bitquake::fault::{Candidate, Name};
use bitquake::tensors::Role;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::dtypes::{Dtype, Dtypes};
use crate::error::{raise, usage};
use crate::module::holds;
use crate::tensor::is_plain;

/// Said of tensors of fewer words than elements: a pattern would speak of more bits than there are.
pub const OVERLAPS: &str = "sees its words several times, as expanded tensors and windows that overlap do";

/// What batch normalisations measure and do not train, by the name of the buffer.
const STATISTICS: [&str; 2] = ["running_mean", "running_var"];

/// A tensor of a module under its name in the state dict.
pub struct Slot {
    pub name: String,
    pub kept: Kept,
    /// As of a tensor of a model file.
    pub role: Role,
    /// Whether forward passes write to it and do not read it: the statistics of a normalisation in training mode.
    pub is_updated: bool,
    /// Its dimensions, slowest first.
    pub shape: Vec<u64>,
    /// Where its words are, or why it has none that could be flipped here.
    pub words: Result<Located, String>,
    /// Other names of the same words, once [`find_tied`] has looked.
    pub also: Vec<String>,
}

/// Who keeps a tensor: a module, of which part, which of its dicts, under which key; what hands changed words to a module that keeps a packed
/// copy of them; and why it cannot be reached, if that is known.
pub struct Kept {
    /// The module itself has no number.
    pub number: Option<usize>,
    pub part: Py<PyAny>,
    pub owner: Py<PyAny>,
    pub key: Py<PyAny>,
    pub tensor: Py<PyAny>,
    pub commit: Option<Py<PyAny>>,
    pub refused: Option<&'static str>,
}

/// On which device words lie (`None` for the host), from which byte to which, and how.
#[derive(PartialEq, Eq)]
pub struct Located {
    device: Option<String>,
    start: usize,
    end: usize,
    strides: Vec<u64>,
    pub format: Format,
    /// By its address: several dtypes have one format.
    dtype: usize,
}

impl Kept {
    pub fn new<'py>(
        number: Option<usize>,
        part: &Bound<'py, PyAny>,
        owner: &Bound<'py, PyAny>,
        key: Bound<'py, PyAny>,
        tensor: Bound<'py, PyAny>,
    ) -> Self {
        let [part, owner] = [part, owner].map(|held| held.clone().unbind());
        Self { number, part, owner, key: key.unbind(), tensor: tensor.unbind(), commit: None, refused: None }
    }
}

impl Slot {
    /// The tensor that a module keeps, under this name.
    pub fn new(py: Python<'_>, name: String, kept: Kept, dtypes: &mut Dtypes) -> PyResult<Self> {
        let tensor = kept.tensor.bind(py);
        let dtype = dtypes.of(tensor)?;
        let key = name.rsplit('.').next().unwrap_or_default();
        let role = match (dtype.is_setting, STATISTICS.contains(&key)) {
            (true, _) => Role::Attribute,
            (false, true) => Role::Statistic,
            (false, false) => Role::Weight,
        };
        let is_updated =
            role == Role::Statistic && kept.part.bind(py).getattr(intern!(py, "training"))?.is_truthy()?;
        let shape = numbers(&tensor.getattr(intern!(py, "shape"))?)?;
        let words = match kept.refused {
            Some(why) => Err(why.to_owned()),
            None => Located::of(tensor, dtype, &shape)?,
        };
        Ok(Self { name, kept, role, is_updated, shape, words, also: Vec::new() })
    }

    /// Whether the module still holds it, with its memory where it was.
    pub fn is_there(&self, py: Python<'_>) -> PyResult<bool> {
        let kept = &self.kept;
        let start: usize = kept.tensor.bind(py).call_method0(intern!(py, "data_ptr"))?.extract()?;
        Ok(self.words.as_ref().is_ok_and(|words| words.start == start)
            && holds(kept.owner.bind(py), kept.key.bind(py), &kept.tensor)?)
    }

    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Whether the words of both are the same.
    fn is_tied(&self, other: &Slot) -> bool {
        let words = self.words.as_ref().ok().zip(other.words.as_ref().ok());
        words.is_some_and(|(own, others)| own == others) && self.shape == other.shape
    }

    /// What it is to a selection, by its own name or by all of them.
    pub fn selectable(&self, by_all: bool) -> Name<'_> {
        let Candidate { name: text, by_name_only, .. } = self.candidate();
        Name { text, by_name_only, also: if by_all { &self.also } else { &[] } }
    }

    /// What it is to a fault space. A tensor whose words have no format can be selected, as any word, to be refused by its name.
    pub fn candidate(&self) -> Candidate<'_> {
        Candidate {
            name: &self.name,
            format: self.words.as_ref().map_or(Format::F32, |words| words.format),
            elements: self.elements(),
            by_name_only: self.role == Role::Attribute || self.is_updated,
        }
    }
}

impl Located {
    fn of(tensor: &Bound<'_, PyAny>, dtype: &Dtype, shape: &[u64]) -> PyResult<Result<Self, String>> {
        let py = tensor.py();
        if is_made_of_others(tensor)? {
            return Ok(Err(format!("is a {}, which is made of other tensors", tensor.get_type().name()?)));
        }
        let layout = tensor.getattr(intern!(py, "layout"))?;
        if !layout.is(strided(py)?) {
            return Ok(Err(format!("is {layout}")));
        }
        let is_host = tensor.getattr(intern!(py, "is_cpu"))?.is_truthy()?;
        if !is_host && tensor.getattr(intern!(py, "is_meta"))?.is_truthy()? {
            return Ok(Err("is on the meta device: it has no bits".to_owned()));
        }
        let strides = numbers(&tensor.call_method0(intern!(py, "stride"))?)?;
        if overlap(shape, &strides, 1) {
            return Ok(Err(OVERLAPS.to_owned()));
        }
        let Some(format) = dtype.format else {
            return Ok(Err(format!("is {}, whose words have no format", dtype.name)));
        };
        let device =
            if is_host { None } else { Some(tensor.getattr(intern!(py, "device"))?.str()?.extract()?) };
        let start: usize = tensor.call_method0(intern!(py, "data_ptr"))?.extract()?;
        let last: u64 =
            shape.iter().zip(&strides).map(|(size, stride)| size.saturating_sub(1) * stride).sum();
        let end = start.saturating_add((last as usize).saturating_add(1).saturating_mul(dtype.bytes));
        Ok(Ok(Self { device, start, end, strides, format, dtype: dtype.address }))
    }
}

/// Whether words at these strides, each `word` long, may lie on each other. (A grid whose axes interleave without a word in common is taken for one
/// that does; nobody makes such.)
fn overlap(shape: &[u64], strides: &[u64], word: u64) -> bool {
    if shape.contains(&0) {
        return false;
    }
    let axes = shape.iter().zip(strides).filter(|(size, _)| **size > 1);
    let mut axes: Vec<(u64, u64)> = axes.map(|(&size, &stride)| (stride, size)).collect();
    axes.sort_unstable();
    let mut reach = word;
    for (stride, size) in axes {
        if stride < reach {
            return true;
        }
        reach = reach.saturating_add((size - 1).saturating_mul(stride));
    }
    false
}

/// The same for arrays, whose strides may be negative.
#[pyfunction]
pub fn overlaps(shape: Vec<u64>, strides: Vec<i64>, word: u64) -> bool {
    overlap(&shape, &strides.iter().map(|stride| stride.unsigned_abs()).collect::<Vec<_>>(), word)
}

/// Whether it is of a class that keeps other tensors, and no words of its own.
fn is_made_of_others(tensor: &Bound<'_, PyAny>) -> PyResult<bool> {
    static ASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if is_plain(tensor)? {
        return Ok(false);
    }
    let module = "torch.utils._python_dispatch";
    ASK.import(tensor.py(), module, "is_traceable_wrapper_subclass")?.call1((tensor,))?.is_truthy()
}

/// The layout of words that lie at strides.
fn strided(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static STRIDED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    STRIDED.import(py, "torch", "strided")
}

/// A shape, or strides.
fn numbers(tuple: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
    tuple.cast::<PyTuple>()?.iter_borrowed().map(|number| number.extract()).collect()
}

/// Tells each the other names of its words; returns whether there are any.
pub fn find_tied(slots: &mut [Slot]) -> bool {
    let starts = slots.iter().enumerate().filter(|(_, slot)| slot.elements() > 0);
    let mut starts: Vec<(usize, usize)> =
        starts.filter_map(|(place, slot)| Some((slot.words.as_ref().ok()?.start, place))).collect();
    starts.sort_unstable();
    let mut are_there = false;
    for together in starts.chunk_by(|a, b| a.0 == b.0).filter(|together| together.len() > 1) {
        for &(_, place) in together {
            let others = together.iter().map(|&(_, other)| other).filter(|&other| other != place);
            let others = others.filter(|&other| slots[other].is_tied(&slots[place]));
            let names: Vec<String> = others.map(|other| slots[other].name.clone()).collect();
            are_there |= !names.is_empty();
            slots[place].also = names;
        }
    }
    are_there
}

/// Each stored bit once: of tied tensors the first. Those without elements are left out.
///
/// # Errors
/// If tensors share a part of their memory, or one has no words that could be flipped.
pub fn distinct(py: Python<'_>, slots: Vec<Slot>) -> PyResult<Vec<Slot>> {
    let mut found: Vec<(&Located, usize)> = Vec::with_capacity(slots.len());
    for (place, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.elements() > 0) {
        let refused = |why| format!("`{}` {why}: leave it out with `select`", slot.name);
        let words = slot.words.as_ref().map_err(|why| raise(py, "UnsupportedError", refused(why)))?;
        found.push((words, place));
    }
    found.sort_by_key(|(words, place)| (&words.device, words.start, words.end, *place));
    let mut is_first = vec![false; slots.len()];
    let mut last: Option<(&Located, &Slot)> = None;
    for (words, place) in found {
        let slot = &slots[place];
        if let Some((before, other)) = last {
            if slot.is_tied(other) {
                continue;
            }
            if before.device == words.device && words.start < before.end {
                let (name, other) = (&slot.name, &other.name);
                let message = format!(
                    "tensors `{other}` and `{name}` share part of their memory, or interleave in it: select one of them"
                );
                return Err(usage(py, message));
            }
        }
        is_first[place] = true;
        last = Some((words, slot));
    }
    Ok(slots.into_iter().zip(is_first).filter_map(|(slot, is_first)| is_first.then_some(slot)).collect())
}

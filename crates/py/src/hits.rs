//! Words of a value that are hit, changed where they are.

use numpy::{Element, IntoPyArray, PyArray1, PyReadonlyArray1, PyReadwriteArrayDyn};
use pyo3::prelude::*;

use crate::error::usage;

/// Numbers whose bits are a word.
trait Number: Element + Copy {
    fn word(self) -> u64;
    fn of_word(word: u64) -> Self;
}

impl Number for f32 {
    fn word(self) -> u64 {
        self.to_bits().into()
    }

    fn of_word(word: u64) -> Self {
        Self::from_bits(word as u32)
    }
}

impl Number for f64 {
    fn word(self) -> u64 {
        self.to_bits()
    }

    fn of_word(word: u64) -> Self {
        Self::from_bits(word)
    }
}

/// Words before, and after.
type Words<'py> = (Bound<'py, PyArray1<u64>>, Bound<'py, PyArray1<u64>>);
/// What is hit: the places of words, in C order, the bits that change where a word holds 0, and where it holds 1; and which part of these
/// columns is meant.
type Hits<'py> = (PyReadonlyArray1<'py, i64>, PyReadonlyArray1<'py, u64>, PyReadonlyArray1<'py, u64>);

/// Changes the words of `values`, in place, that the rows `start..end` of the columns say; returns them as they were and as they are. `None`,
/// and nothing is changed, where the values are neither float32 nor float64 or do not lie one after the other.
#[pyfunction]
pub fn hit_words<'py>(
    py: Python<'py>,
    values: &Bound<'py, PyAny>,
    columns: Hits<'py>,
    start: usize,
    end: usize,
) -> PyResult<Option<Words<'py>>> {
    if let Ok(values) = values.extract::<PyReadwriteArrayDyn<'py, f32>>() {
        return hit(py, values, &columns, start..end);
    }
    match values.extract::<PyReadwriteArrayDyn<'py, f64>>() {
        Ok(values) => hit(py, values, &columns, start..end),
        Err(_) => Ok(None),
    }
}

fn hit<'py, T: Number>(
    py: Python<'py>,
    mut values: PyReadwriteArrayDyn<'py, T>,
    (places, if_zero, if_one): &Hits<'py>,
    rows: std::ops::Range<usize>,
) -> PyResult<Option<Words<'py>>> {
    let Ok(values) = values.as_slice_mut() else { return Ok(None) };
    let columns = (
        places.as_slice()?.get(rows.clone()),
        if_zero.as_slice()?.get(rows.clone()),
        if_one.as_slice()?.get(rows.clone()),
    );
    let (Some(places), Some(if_zero), Some(if_one)) = columns else {
        return Err(usage(py, format!("there are no rows {rows:?} of hits")));
    };
    let count = values.len();
    let is_within = |place: &i64| usize::try_from(*place).is_ok_and(|place| place < count);
    if let Some(place) = places.iter().find(|place| !is_within(place)) {
        return Err(usage(py, format!("word {place} of {count} words cannot be hit")));
    }
    let (mut before, mut after) = (Vec::with_capacity(places.len()), Vec::with_capacity(places.len()));
    for ((place, zero), one) in places.iter().zip(if_zero).zip(if_one) {
        let value = &mut values[*place as usize];
        let old = value.word();
        let new = old ^ (!old & zero | old & one);
        *value = T::of_word(new);
        before.push(old);
        after.push(new);
    }
    Ok(Some((before.into_pyarray(py), after.into_pyarray(py))))
}

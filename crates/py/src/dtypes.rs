//! The dtypes of PyTorch and NumPy, and the formats of their words.

use bitquake::bits::{Format, UnknownFormat};
use pyo3::intern;
use pyo3::prelude::*;

use crate::error::usage;

/// The format of each dtype's words, by the names that NumPy, ml_dtypes and PyTorch have for it.
const FORMATS: [(&str, &str); 20] = [
    ("float64", "f64"),
    ("float32", "f32"),
    ("float16", "f16"),
    ("bfloat16", "bf16"),
    ("float8_e4m3fn", "f8e4m3"),
    ("float8_e5m2", "f8e5m2"),
    ("float8_e4m3fnuz", "f8e4m3fnuz"),
    ("float8_e5m2fnuz", "f8e5m2fnuz"),
    ("float8_e8m0fnu", "f8e8m0"),
    ("int64", "i64"),
    ("uint64", "u64"),
    ("int32", "i32"),
    ("uint32", "u32"),
    ("int16", "i16"),
    ("uint16", "u16"),
    ("int8", "i8"),
    ("uint8", "u8"),
    ("quint8", "u8"),
    ("qint8", "i8"),
    ("qint32", "i32"),
];

/// Integers so wide are positions, lengths and counters; codes are narrower, or quantized tensors. Truth values are masks.
const SETTINGS: [&str; 5] = ["bool", "int32", "int64", "uint32", "uint64"];

/// The names of dtypes whose words have a format, and that format's name.
#[pyfunction]
pub fn dtypes() -> Vec<(&'static str, &'static str)> {
    FORMATS.to_vec()
}

/// A dtype of PyTorch.
pub struct Dtype {
    /// Where its object is: there is one of each.
    pub address: usize,
    pub name: String,
    /// Of its words, if they have one.
    pub format: Option<Format>,
    /// Of one word.
    pub bytes: usize,
    /// Whether tensors of it are settings of a network, and no weights.
    pub is_setting: bool,
}

/// The dtypes met so far: few.
#[derive(Default)]
pub struct Dtypes(Vec<Dtype>);

impl Dtypes {
    /// That of a tensor.
    pub fn of(&mut self, tensor: &Bound<'_, PyAny>) -> PyResult<&Dtype> {
        let dtype = tensor.getattr(intern!(tensor.py(), "dtype"))?;
        let address = dtype.as_ptr() as usize;
        let place = match self.0.iter().position(|known| known.address == address) {
            Some(place) => place,
            None => {
                self.0.push(Dtype::read(&dtype)?);
                self.0.len() - 1
            }
        };
        Ok(&self.0[place])
    }
}

impl Dtype {
    fn read(dtype: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = dtype.py();
        let text: String = dtype.str()?.extract()?;
        let name = text.strip_prefix("torch.").unwrap_or(&text);
        let known = FORMATS.iter().find(|(dtype, _)| *dtype == name);
        let format = known.map(|(_, format)| format.parse()).transpose();
        Ok(Self {
            address: dtype.as_ptr() as usize,
            name: name.to_owned(),
            format: format.map_err(|error: UnknownFormat| usage(py, error))?,
            bytes: dtype.getattr(intern!(py, "itemsize"))?.extract()?,
            is_setting: SETTINGS.contains(&name),
        })
    }
}

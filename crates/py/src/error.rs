//! Errors of the library as Python exceptions: one class for each kind.

use bitquake::ErrorKind;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// The exception classes live in Python, where each can also be a built-in one, such as `ValueError`.
const CLASSES: &str = "bitquake._errors";

/// An exception of the class of that name.
pub fn raise(py: Python<'_>, class: &str, message: String) -> PyErr {
    let class = py.import(CLASSES).and_then(|module| module.getattr(class));
    match class.and_then(|class| Ok(class.cast_into::<PyType>()?)) {
        Ok(class) => PyErr::from_type(class, message),
        Err(error) => error,
    }
}

/// A wrong request.
pub fn usage(py: Python<'_>, message: impl ToString) -> PyErr {
    raise(py, "UsageError", message.to_string())
}

/// Any error of the library, by its kind.
pub fn of(py: Python<'_>, error: impl Into<bitquake::Error>) -> PyErr {
    let error = error.into();
    let class = match error.kind() {
        ErrorKind::Usage => "UsageError",
        ErrorKind::BadInput => "BadInputError",
        ErrorKind::Stopped => "StoppedError",
        ErrorKind::SelfCheck => "SelfCheckError",
    };
    raise(py, class, error.to_string())
}

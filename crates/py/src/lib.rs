//! The Rust half of the Python package `bitquake`: converts, releases the interpreter, calls the library, converts back. What users see is
//! in `python/bitquake`.

mod attack;
mod command;
mod dtypes;
mod error;
mod fault;
mod files;
mod floats;

mod hits;
mod hooks;
mod hosted;
mod memory;
mod method;
mod module;
mod pattern;
mod placed;
mod results;
mod slot;
mod slots;
mod tensor;
mod text;
mod threads;
mod toggle;
mod words;

/// Private: see the package.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    #[pymodule_export]
    use crate::attack::PyAttacked;
    #[pymodule_export]
    use crate::command::command;
    #[pymodule_export]
    use crate::dtypes::dtypes;
    #[pymodule_export]
    use crate::fault::{PyFault, PyFaults, PySource};
    #[pymodule_export]
    use crate::files::read_tensors;
    #[pymodule_export]
    use crate::floats::PyFloats;
    #[pymodule_export]
    use crate::hits::PyHits;
    #[pymodule_export]
    use crate::hooks::{PyCalls, PyLayerHook, PyLayerHooks, PyMade};
    #[pymodule_export]
    use crate::hosted::{
        PyGolden, PyGoldenOutputs, PyHosted, PyProof, PyProved, PyResultOf, PyRun, PyTrial, PyTrialOutputs,
    };
    #[pymodule_export]
    use crate::memory::{PyMemory, PyPlan};
    #[pymodule_export]
    use crate::method::PyMethod;
    #[pymodule_export]
    use crate::pattern::PyPattern;
    #[pymodule_export]
    use crate::placed::PyPlaced;
    #[pymodule_export]
    use crate::results::{export, rebuild, results_json, run_campaign};
    #[pymodule_export]
    const OVERLAPS: &str = crate::slot::OVERLAPS;
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    use crate::slot::overlaps;
    #[pymodule_export]
    use crate::slots::{PySlot, PySlots};
    #[pymodule_export]
    use crate::text::{bit_strings, decode, field, formats, literal, settle, subset, width};
    #[pymodule_export]
    use crate::threads::after_fork;
    #[pymodule_export]
    use crate::toggle::PyToggle;
}

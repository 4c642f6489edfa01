//! The tensors of a PyTorch module, found in one walk through the modules in it.

use std::cell::RefCell;
use std::collections::HashMap;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::dtypes::Dtypes;
use crate::error::usage;
use crate::slot::{Kept, Slot};
use crate::tensor::is_plain;

/// Modules do not lie deeper in each other, unless one holds itself.
const DEEPEST: usize = 500;

/// The parameters and the persistent buffers of a module, in the order of its state dict, tied ones under each name.
///
/// `types` leaves those that lie directly in modules of these classes.
///
/// # Errors
/// For a module of several replicas, one that has not seen its first input, and one that holds itself; and if `types` leave nothing.
pub fn slots_of<'py>(module: &Bound<'py, PyAny>, types: Option<Bound<'py, PyTuple>>) -> PyResult<Vec<Slot>> {
    let mut walk = Walk { types, kinds: HashMap::new(), dtypes: Dtypes::default(), slots: Vec::new() };
    walk.all(module, "", 0)?;
    if let Some(types) = &walk.types
        && walk.slots.is_empty()
    {
        let names = types.iter().map(|class| Ok(class.cast::<PyType>()?.name()?.to_string()));
        let names = names.collect::<PyResult<Vec<_>>>()?.join(" or ");
        return Err(usage(
            module.py(),
            format!("no parameters or buffers lie directly in a module of type {names}"),
        ));
    }
    Ok(walk.slots)
}

struct Walk<'py> {
    types: Option<Bound<'py, PyTuple>>,
    /// By the addresses of the classes.
    kinds: HashMap<usize, (Bound<'py, PyType>, Kind)>,
    dtypes: Dtypes,
    slots: Vec<Slot>,
}

/// What there is to know of a class of modules.
#[derive(Clone, Copy)]
struct Kind {
    /// Several replicas, whose tensors are copies.
    is_replicated: bool,
    /// Its tensors are packed, and handed out and taken back by methods.
    is_packed: bool,
    /// It tells itself which modules are in it.
    names_own: bool,
}

impl<'py> Walk<'py> {
    /// The tensors of a module and of all modules in it.
    fn all(&mut self, part: &Bound<'py, PyAny>, prefix: &str, depth: usize) -> PyResult<()> {
        let py = part.py();
        if depth > DEEPEST {
            return Err(usage(
                py,
                format!("modules lie more than {DEEPEST} deep in each other: one holds itself"),
            ));
        }
        if self.kind_of(part)?.names_own {
            let named = part.call_method1(intern!(py, "named_modules"), (py.None(), prefix, false))?;
            for named in named.try_iter()? {
                let (prefix, part): (String, Bound<'py, PyAny>) = named?.extract()?;
                self.own(&part, &prefix)?;
            }
            return Ok(());
        }
        self.own(part, prefix)?;
        if self.kind_of(part)?.is_packed {
            return Ok(()); // a part of it would hand out the same once more
        }
        for (key, child) in items(&part.getattr(intern!(py, "_modules"))?)? {
            if !child.is_none() {
                self.all(&child, &joined(prefix, &key)?, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The tensors that lie directly in a module.
    fn own(&mut self, part: &Bound<'py, PyAny>, prefix: &str) -> PyResult<()> {
        let py = part.py();
        let kind = self.kind_of(part)?;
        if kind.is_replicated {
            let name =
                if prefix.is_empty() { part.get_type().name()?.to_string() } else { prefix.to_owned() };
            let message = format!(
                "`{name}` is a DataParallel, whose replicas are copies of their own: give the module inside, `.module`"
            );
            return Err(usage(py, message));
        }
        let parameters = part.getattr(intern!(py, "_parameters"))?;
        let buffers = part.getattr(intern!(py, "_buffers"))?;
        let (own, measured) = (items(&parameters)?, items(&buffers)?);
        for (key, tensor) in &own {
            if is_lazy(tensor)? {
                let name = joined(prefix, key)?;
                return Err(usage(py, format!("`{name}` has no shape yet: run the module once first")));
            }
        }
        if let Some(types) = &self.types
            && !part.is_instance(types)?
        {
            return Ok(());
        }
        for (key, tensor) in own {
            self.keep(py, prefix, Kept::new(part, &parameters, key, tensor))?;
        }
        if !measured.is_empty() {
            let transient = part.getattr(intern!(py, "_non_persistent_buffers_set"))?;
            for (key, tensor) in measured {
                if !transient.contains(&key)? {
                    self.keep(py, prefix, Kept::new(part, &buffers, key, tensor))?;
                }
            }
        }
        if kind.is_packed { self.unpacked(part, prefix) } else { Ok(()) }
    }

    /// The tensors of a quantized module, which keeps them packed: unpacked here, and packed again when their words change.
    fn unpacked(&mut self, part: &Bound<'py, PyAny>, prefix: &str) -> PyResult<()> {
        static PARTIAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = part.py();
        let (weight, bias): (Bound<'py, PyAny>, Bound<'py, PyAny>) =
            part.call_method0(intern!(py, "_weight_bias"))?.extract()?;
        let pack = part.getattr(intern!(py, "set_weight_bias"))?;
        let commit = PARTIAL.import(py, "functools", "partial")?.call1((pack, &weight, &bias))?.unbind();
        let owner = PyDict::new(py);
        owner.set_item(intern!(py, "weight"), weight)?;
        owner.set_item(intern!(py, "bias"), bias)?;
        for (key, tensor) in items(&owner)? {
            let kept = Kept::new(part, &owner, key, tensor);
            self.keep(py, prefix, Kept { commit: Some(commit.clone_ref(py)), ..kept })?;
        }
        Ok(())
    }

    fn keep(&mut self, py: Python<'py>, prefix: &str, kept: Kept) -> PyResult<()> {
        if !kept.tensor.is_none(py) {
            let name = joined(prefix, kept.key.bind(py))?;
            self.slots.push(Slot::new(py, name, kept, &mut self.dtypes)?);
        }
        Ok(())
    }

    fn kind_of(&mut self, part: &Bound<'py, PyAny>) -> PyResult<Kind> {
        let class = part.get_type();
        let address = class.as_ptr() as usize;
        if let Some((_, kind)) = self.kinds.get(&address) {
            return Ok(*kind);
        }
        let kind = Kind::read(&class)?;
        self.kinds.insert(address, (class, kind));
        Ok(kind)
    }
}

impl Kind {
    fn read(class: &Bound<'_, PyType>) -> PyResult<Self> {
        static MODULE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        static PARALLEL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = class.py();
        let named = intern!(py, "named_modules");
        let usual = MODULE.import(py, "torch.nn", "Module")?.getattr(named)?;
        Ok(Self {
            is_replicated: class.is_subclass(PARALLEL.import(py, "torch.nn", "DataParallel")?)?,
            // A module that is asked for what it does not have looks through all its tensors; its class does not.
            is_packed: class.hasattr(intern!(py, "set_weight_bias"))?
                && class.hasattr(intern!(py, "_weight_bias"))?,
            names_own: !class.getattr(named)?.is(&usual),
        })
    }
}

/// What a dict holds, or what a scripted module has in its place.
fn items<'py>(dict: &Bound<'py, PyAny>) -> PyResult<Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>> {
    let Ok(dict) = dict.cast_exact::<PyDict>() else {
        return dict.call_method0("items")?.try_iter()?.map(|item| item?.extract()).collect();
    };
    let items = RefCell::new(Vec::with_capacity(dict.len()));
    dict.locked_for_each(|key, value| {
        items.borrow_mut().push((key, value));
        Ok(())
    })?;
    Ok(items.into_inner())
}

fn joined(prefix: &str, key: &Bound<'_, PyAny>) -> PyResult<String> {
    let key: String = key.extract()?;
    Ok(if prefix.is_empty() { key } else { format!("{prefix}.{key}") })
}

/// Whether a parameter waits for the first input, which tells its shape.
fn is_lazy(tensor: &Bound<'_, PyAny>) -> PyResult<bool> {
    static ASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    if tensor.is_none() || is_plain(tensor)? {
        return Ok(false);
    }
    ASK.import(tensor.py(), "torch.nn.parameter", "is_lazy")?.call1((tensor,))?.is_truthy()
}

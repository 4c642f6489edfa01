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
pub fn slots_of<'py>(
    module: &Bound<'py, PyAny>,
    types: Option<Bound<'py, PyTuple>>,
) -> PyResult<(Vec<Part>, Vec<Slot>)> {
    let (parts, slots) = (Vec::new(), Vec::new());
    let mut walk = Walk { types, kinds: HashMap::new(), dtypes: Dtypes::default(), parts, slots };
    walk.all(module, "", None, 0)?;
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
    Ok((walk.parts, walk.slots))
}

struct Walk<'py> {
    types: Option<Bound<'py, PyTuple>>,
    /// By the addresses of the classes.
    kinds: HashMap<usize, (Bound<'py, PyType>, Kind)>,
    dtypes: Dtypes,
    parts: Vec<Part>,
    slots: Vec<Slot>,
}

/// A module in a module: which part that is, where it keeps this one, and under which key. Parts come after those that they are in.
pub struct Part {
    above: Option<usize>,
    pub owner: Py<PyAny>,
    key: Py<PyAny>,
    pub part: Py<PyAny>,
}

impl Part {
    /// Of each part whether it is where it was, with all that it is in.
    pub fn are_there(py: Python<'_>, parts: &[Self]) -> PyResult<Vec<bool>> {
        let mut are_there: Vec<bool> = Vec::with_capacity(parts.len());
        for Self { above, owner, key, part } in parts {
            let is_there =
                above.is_none_or(|above| are_there[above]) && holds(owner.bind(py), key.bind(py), part)?;
            are_there.push(is_there);
        }
        Ok(are_there)
    }
}

/// Whether a dict, or what a scripted module has in its place, has this under a key.
pub fn holds(owner: &Bound<'_, PyAny>, key: &Bound<'_, PyAny>, value: &Py<PyAny>) -> PyResult<bool> {
    let found = match owner.cast_exact::<PyDict>() {
        Ok(owner) => owner.get_item(key)?,
        Err(_) if owner.contains(key)? => Some(owner.get_item(key)?),
        Err(_) => None,
    };
    Ok(found.is_some_and(|found| found.is(value)))
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
    fn all(
        &mut self,
        part: &Bound<'py, PyAny>,
        prefix: &str,
        number: Option<usize>,
        depth: usize,
    ) -> PyResult<()> {
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
                self.own(&part, &prefix, number)?;
            }
            return Ok(());
        }
        self.own(part, prefix, number)?;
        if self.kind_of(part)?.is_packed {
            return Ok(()); // a part of it would hand out the same once more
        }
        let modules = part.getattr(intern!(py, "_modules"))?;
        for (key, child) in items(&modules)? {
            if !child.is_none() {
                let prefix = joined(prefix, &key)?;
                let owner = modules.clone().unbind();
                self.parts.push(Part {
                    above: number,
                    owner,
                    key: key.unbind(),
                    part: child.clone().unbind(),
                });
                self.all(&child, &prefix, Some(self.parts.len() - 1), depth + 1)?;
            }
        }
        Ok(())
    }

    /// The tensors that lie directly in a module, which is in this part, or is it.
    fn own(&mut self, part: &Bound<'py, PyAny>, prefix: &str, number: Option<usize>) -> PyResult<()> {
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
        for (key, tensor) in own.iter().chain(&measured) {
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
            self.keep(py, prefix, Kept::new(number, part, &parameters, key, tensor))?;
        }
        if !measured.is_empty() {
            let transient = part.getattr(intern!(py, "_non_persistent_buffers_set"))?;
            for (key, tensor) in measured {
                if !transient.contains(&key)? {
                    self.keep(py, prefix, Kept::new(number, part, &buffers, key, tensor))?;
                }
            }
        }
        if kind.is_packed { self.unpacked(part, prefix, number) } else { Ok(()) }
    }

    /// The tensors of a quantized module, which keeps them packed: unpacked here, and packed again when their words change.
    fn unpacked(&mut self, part: &Bound<'py, PyAny>, prefix: &str, number: Option<usize>) -> PyResult<()> {
        static PARTIAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = part.py();
        let given = part.call_method0(intern!(py, "_weight_bias"))?;
        let Ok((weight, bias)) = given.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>() else {
            let mut tensors = Vec::new();
            leaves(&given, &mut tensors)?;
            for (key, tensor) in tensors {
                let refused = Some("is packed by its module in a way that cannot be opened here");
                self.keep(py, prefix, Kept { refused, ..Kept::new(number, part, &given, key, tensor) })?;
            }
            return Ok(());
        };
        // What is packed as float16 is handed out as float32.
        let is_other = !weight.getattr(intern!(py, "is_quantized"))?.is_truthy()?;
        let refused = is_other.then_some("is packed by its module in other words than it hands out");
        let pack = part.getattr(intern!(py, "set_weight_bias"))?;
        let commit = PARTIAL.import(py, "functools", "partial")?.call1((pack, &weight, &bias))?.unbind();
        let owner = PyDict::new(py);
        owner.set_item(intern!(py, "weight"), &weight)?;
        owner.set_item(intern!(py, "bias"), bias)?;
        for (key, tensor) in items(&owner)? {
            let refused = refused.filter(|_| tensor.is(&weight));
            let kept = Kept::new(number, part, &owner, key, tensor);
            self.keep(py, prefix, Kept { commit: Some(commit.clone_ref(py)), refused, ..kept })?;
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

/// The tensors in dicts of dicts.
fn leaves<'py>(
    given: &Bound<'py, PyAny>,
    found: &mut Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>,
) -> PyResult<()> {
    for (key, value) in items(given)? {
        if value.is_instance_of::<PyDict>() {
            leaves(&value, found)?;
        } else {
            found.push((key, value));
        }
    }
    Ok(())
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

"""The tensors of a PyTorch module: where the module keeps each, what it is for, and whether it is still the same
memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Callable

from ._errors import UsageError
from ._words import EXPANDED, FORMATS, is_expanded

#: What batch normalisations measure and do not train, by the name of the buffer.
_STATISTICS = frozenset({"running_mean", "running_var"})
#: Integers so wide are positions, lengths and counters; codes are narrower, or quantized tensors. Truth values are
#: masks.
_SETTING_DTYPES = frozenset({"bool", "int32", "int64", "uint32", "uint64"})


class Slot:
    """A tensor of a module under its name in the state dict.

    ``role`` is that of a tensor of a model file: ``"weight"``; ``"statistic"``, the running mean and variance of a
    batch normalisation; ``"attribute"``, a setting that happens to be stored as a tensor (``num_batches_tracked``,
    index tables, masks), which only its full name selects. ``format`` is that of its words, or ``None``, and ``why``
    says why it has none. ``commit`` hands changed words to a module that keeps a packed copy of them.
    """

    __slots__ = ("name", "module", "owner", "key", "tensor", "role", "format", "why", "start", "commit")

    def __init__(self, name: str, module: Any, owner: Any, key: str, tensor: Any) -> None:
        self.name, self.module, self.owner, self.key = name, module, owner, key
        self.tensor: Any = tensor
        self.commit: Callable[[], None] | None = None
        self.format: Any
        self.format, self.why = _format_of(tensor)
        self.start: int = self.tensor.data_ptr() if self.why is None else 0
        self.role = self._role()

    def _role(self) -> str:
        if _dtype_name(self.tensor.dtype) in _SETTING_DTYPES:
            return "attribute"
        return "statistic" if self.key in _STATISTICS else "weight"

    @property
    def is_updated(self) -> bool:
        """Whether forward passes write to it and do not read it: the statistics of a normalisation in training mode."""
        return self.role == "statistic" and self.module.training


def slots_of(module: Any, types: Any = None) -> list[Slot]:
    """The parameters and the persistent buffers of a module, in the order of its state dict, tied ones under each name.

    ``types`` leaves those that lie directly in modules of these classes.

    Raises :class:`UsageError` for a module of several replicas, and for one that has not seen its first input.
    """
    slots = []
    for prefix, part in module.named_modules(remove_duplicate=False):
        _check_part(prefix, part)
        if types is None or isinstance(part, types):
            slots += [*_kept(prefix, part), *_packed(prefix, part)]
    if types is not None and not slots:
        raise UsageError(f"no parameters or buffers lie directly in a module of type {_type_names(types)}")
    return slots


def _kept(prefix: str, part: Any) -> Iterator[Slot]:
    transient = part._non_persistent_buffers_set
    owners: tuple[Any, Any] = (part._parameters, part._buffers)
    for owner in owners:
        for key, tensor in owner.items():
            if tensor is not None and not (owner is part._buffers and key in transient):
                yield Slot(joined(prefix, key), part, owner, key, tensor)


def _packed(prefix: str, part: Any) -> Iterator[Slot]:
    """The weight of a quantized module, which keeps it packed: unpacked here, and packed again when its words change.
    """
    kind = type(part)  # a module that is asked for what it does not have looks through all its tensors
    if not hasattr(kind, "set_weight_bias") or not hasattr(kind, "_weight_bias"):
        return
    weight, bias = part._weight_bias()
    slot = Slot(joined(prefix, "weight"), part, {"weight": weight}, "weight", weight)
    slot.commit = lambda: part.set_weight_bias(weight, bias)
    yield slot


def joined(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


def _check_part(prefix: str, part: Any) -> None:
    import torch

    if isinstance(part, torch.nn.DataParallel):
        raise UsageError(f"`{prefix or type(part).__name__}` is a DataParallel, whose replicas are copies of their own: give the module inside, `.module`")
    for key, tensor in part._parameters.items():
        if torch.nn.parameter.is_lazy(tensor):
            raise UsageError(f"`{joined(prefix, key)}` has no shape yet: run the module once first")


def _format_of(tensor: Any) -> tuple[str | None, str | None]:
    """The format of a tensor's words, or why it has none here."""
    import torch

    dtype = _dtype_name(tensor.dtype)
    if type(tensor) not in (torch.nn.Parameter, torch.Tensor) and torch.utils._python_dispatch.is_traceable_wrapper_subclass(tensor):
        return None, f"is a {type(tensor).__name__}, which is made of other tensors"
    if tensor.layout is not torch.strided:
        return None, f"is {tensor.layout}"
    if tensor.is_meta:
        return None, "is on the meta device: it has no bits"
    if is_expanded(tensor.shape, tensor.stride()):
        return None, EXPANDED
    format = FORMATS.get(dtype)
    return (format, None) if format else (None, f"is {dtype}, whose words have no format")


@lru_cache(maxsize=None)
def _dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def check_types(types: Any) -> Any:
    """Module classes as ``isinstance`` takes them."""
    classes = types if isinstance(types, (tuple, list)) else (types,)
    if types is not None and not all(isinstance(one, type) for one in classes):
        raise UsageError(f"types are module classes, such as torch.nn.Linear, not {types!r}")
    return None if types is None else tuple(classes)


def _type_names(types: tuple) -> str:
    return " or ".join(one.__name__ for one in types)

"""Named tensors of whatever holds them: one array, a dict of arrays, a PyTorch module, a Keras model."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import Any

from . import _core
from ._errors import UnsupportedError, UsageError
from ._words import Words, words_of
from .faults import Fault


def collected(x: Any) -> bool:
    """Whether ``x`` holds tensors by name, rather than being one."""
    return isinstance(x, Mapping) or _is_module(x) or _is_keras(x)


def collect(x: Any, name: str = "x", *, format: str | None = None, only: Collection[str] | None = None) -> list[Words]:
    """The tensors of ``x`` as words, each stored bit once: tensors that share their memory go by the first name. ``only`` are the names
    that count.
    """
    if isinstance(x, Mapping):
        for key in x:
            if not isinstance(key, str):
                raise UsageError(f"the keys of a dict of arrays are their names, not {key!r}")
        return distinct([words_of(value, key, format=format) for key, value in x.items() if only is None or key in only])
    if _is_keras(x):  # with the backend of PyTorch it is a module, too
        from .keras import keras_words

        return distinct([words for words in keras_words(x) if only is None or words.name in only])
    if _is_module(x):
        return distinct([_words_of_slot(slot, format) for slot in _slots(x) if only is None or slot.name in only])
    return [words_of(x, name, format=format)]


def exposed(x: Any, fault: Fault, name: str = "x", *, format: str | None = None) -> tuple[list[Words], Any]:
    """The tensors of ``x`` that a fault may hit, and the fault over them. What has no words is an error if it is selected."""
    if _is_module(x) and not _is_keras(x) and format is None:
        return exposed_in_module(x, fault)
    if isinstance(x, Mapping):
        tensors, fault = _with_words(x, fault, format)
    else:
        tensors = collect(x, name, format=format)
    source = _core.Source(fault._core, 0, [words.exposed() for words in tensors])
    chosen = {tensor[0] for tensor in source.tensors}
    return [words for words in tensors if words.name in chosen], source


def _with_words(arrays: Mapping, fault: Fault, format: str | None) -> tuple[list[Words], Fault]:
    """Those of a dict that have words, and the fault over them. One that has none is an error if it is selected."""
    found, wordless = [], {}
    for key, value in arrays.items():
        try:
            found += collect({key: value}, format=format)
        except UnsupportedError as error:
            wordless[key] = error
    if wordless:
        chosen = [name for name, is_selected in zip(arrays, fault._core.selects(list(arrays))) if is_selected]
        for name in chosen:
            if name in wordless:
                raise wordless[name]
        fault = fault.with_(select=[*map(_core.literal, chosen)])
    return distinct(found), fault


def names_of(module: Any) -> list[str]:
    """The names of its tensors, tied ones under each."""
    return [words.name for words in collect(module)] if _is_keras(module) else _core.Slots.of(uncompiled(module)).names


def exposed_in_module(module: Any, fault: Fault) -> tuple[list[Words], Any]:
    """The same by the names of the state dict, which a Keras model has, too, where its backend is PyTorch."""
    slots, source = _core.Slots.exposed(uncompiled(module), fault._core)
    return [_words_of_slot(slot, None) for slot in slots], source


def uncompiled(module: Any) -> Any:
    """Of a compiled module the one that was compiled, whose names and memory are the same."""
    return module._orig_mod if type(module).__name__ == "OptimizedModule" else module


def _slots(module: Any) -> list[Any]:
    """The parameters and the persistent buffers of a module, by the names of its state dict; truth values (a mask) are left out."""
    return [slot for slot in _core.Slots.of(uncompiled(module)) if str(slot.tensor.dtype) != "torch.bool"]


def _words_of_slot(slot: Any, format: str | None) -> Words:
    if slot.commit is not None:
        raise UnsupportedError(f"`{slot.name}` is packed by a quantized module, which bq.faulty can open")
    words = words_of(slot.tensor, slot.name, format=format)
    words.by_name_only, words.also = slot.role == "attribute", slot.also
    return words


def distinct(tensors: list[Words]) -> list[Words]:
    """Without second names of the same words. Tensors that share only a part of their memory are an error: a bit of it would count
    twice."""
    first: dict[tuple, Words] = {}
    for words in tensors:
        if words.elements:
            own = first.setdefault(_memory(words), words)
            if own is not words:
                own.also = [*own.also, words.name]
    spans = sorted((span for span in first), key=lambda span: (span[0], span[1]))
    for (device, start, end, _, _), (other, next_start, _, _, _) in zip(spans, spans[1:]):
        if device == other and next_start < end:
            names = [words.name for key, words in first.items() if key[:2] in ((device, start), (device, next_start))]
            raise UsageError(f"tensors {' and '.join(f'`{name}`' for name in names)} share part of their memory, or interleave in it: select one of them")
    return list(first.values())


def _memory(words: Words) -> tuple:
    """Where a tensor's words lie: device, first byte, end, and how they are laid out."""
    cells = words.cells
    if words.on_host:
        start, device = cells.__array_interface__["data"][0], "cpu"
        strides = cells.strides
    else:
        start, device = cells.data_ptr(), str(cells.device)
        strides = tuple(stride * words.container for stride in cells.stride())
    reach = [(size - 1) * stride for size, stride in zip(words.shape, strides)]
    low, high = sum(step for step in reach if step < 0), sum(step for step in reach if step > 0)
    return (device, start + low, start + high + words.container, words.shape, strides)


def _is_module(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.nn.Module)


def _is_keras(x: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(x, (keras.Model, keras.Layer))

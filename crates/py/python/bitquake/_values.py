"""The value that a module gives: found in tuples, dicts and objects, changed word by word, put back."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from . import _core
from ._errors import UnsupportedError
from ._torch import _UNSIGNED, _integers


def hits_of(faults: Any, name: str, format: str, container: int, elements: int) -> _core.Hits:
    """What the faults of one tensor do, whatever its words hold: a bit that flips changes 0 and 1, one stuck at 1 changes 0
    alone.
    """
    masks = faults.masks(name)
    if masks is not None:
        return _core.Hits(*masks)
    # Saturation keeps the sign of a float and sets all other bits to known ones: words of zeros and of ones tell which.
    sides = []
    for byte in (0, 255):
        words = np.full(container * elements, byte, dtype=np.uint8)
        sides.append(faults.resolve([(name, format, container, elements, words)])[0].masks(name))
    places = np.union1d(sides[0][0], sides[1][0])
    return _core.Hits(places, *(_spread(places, own, masks) for own, masks in sides))


def repeated(hits: _core.Hits, images: int, elements: int) -> _core.Hits:
    """The same hits in each of some images."""
    starts = np.arange(images, dtype=np.uint64) * np.uint64(elements)
    places = (starts[:, None] + hits.elements).reshape(-1)
    return _core.Hits(places, np.tile(hits.if_zero, images), np.tile(hits.if_one, images))


def flip(hits: _core.Hits, value: torch.Tensor) -> tuple[Any, Any]:
    """Changes the words of a tensor in place; gives them as they were and as they are, on the tensor's device."""
    if not value.is_cpu:
        return _flip_on_device(hits, _integers(value.detach()))
    return hits.flip(value.detach()) or _flip_on_host(hits, _integers(value.detach()).numpy())


def _flip_on_host(hits: _core.Hits, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    host, at = cells.view(_UNSIGNED[cells.itemsize]), np.unravel_index(hits.elements.astype(np.intp), cells.shape)
    old = host[at]
    new = old ^ ((~old & hits.if_zero.astype(old.dtype)) | (old & hits.if_one.astype(old.dtype)))
    host[at] = new
    return old, new


def _flip_on_device(hits: _core.Hits, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = cells.element_size()
    if_zero, if_one = (
        torch.from_numpy(masks.astype(_UNSIGNED[size]).view(f"i{size}")).to(cells.device) for masks in (hits.if_zero, hits.if_one)
    )
    places: Any = (hits.elements.view(np.int64),)
    if cells.is_contiguous():
        cells = cells.view(-1)
    else:
        places = np.unravel_index(places[0], tuple(cells.shape))
    at = tuple(torch.from_numpy(place).to(cells.device) for place in places)
    old = cells[at]
    new = old ^ ((~old & if_zero) | (old & if_one))
    cells.index_put_(at, new)
    return old, new


def _spread(places: np.ndarray, own: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Masks at more places, 0 where there was none."""
    spread = np.zeros(len(places), dtype=np.uint64)
    spread[np.searchsorted(places, own)] = masks
    return spread


class StraightThrough(torch.autograd.Function):
    """Hits in a copy of a value; the gradient passes as if nothing had been hit."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, hits: _core.Hits, told: list) -> torch.Tensor:
        changed = value.clone()
        told.append(flip(hits, changed))
        return changed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        return gradient, None, None


def put(hits: _core.Hits, value: torch.Tensor, is_own: bool) -> tuple[torch.Tensor, tuple[Any, Any]]:
    """The value with its hits, and the words before and after.

    In place, which costs no copy, where nobody else holds the memory (``is_own``) and no gradient is wanted.
    """
    if torch.is_grad_enabled() and value.requires_grad:
        told: list = []
        return StraightThrough.apply(value, hits, told), told[0]
    if not (is_own and _is_dense(value)):
        value = value.clone()
    return value, flip(hits, value)


def check_memory(value: torch.Tensor) -> None:
    """That a value has memory of its own kind: those inside transforms of torch.func stand for others."""
    functorch = getattr(torch._C, "_functorch", None)
    if functorch is not None and functorch.is_functorch_wrapped_tensor(value):
        raise UnsupportedError("values inside transforms of torch.func have no bits: put faults into weights there")


def _is_dense(value: torch.Tensor) -> bool:
    """Whether each element has a word of its own."""
    return value.is_contiguous() or (value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last))


@lru_cache(maxsize=256)
def _facts(kind: Any) -> tuple[bool, bool, bool, bool]:
    """Of a class of modules, whether it is PyTorch's own, an activation of those, a dropout, and whether all of it have an
    ``inplace``.
    """
    home = kind.__module__
    is_own = home.startswith("torch.nn.modules.")
    return is_own, home == "torch.nn.modules.activation", home == "torch.nn.modules.dropout", hasattr(kind, "inplace")


class Layer:
    """What is known of a module's outputs before it runs.

    PyTorch's own layers fill memory of their own, or give a view of what they were given; of others nothing is known.
    """

    __slots__ = ("number", "name", "is_alone", "is_known", "is_in_place", "may_hand_on")

    def __init__(self, number: int, name: str, module: Any, is_alone: bool) -> None:
        self.number, self.name = number, name
        #: Whether nothing but the layer has to do with its output: no other hook, which may keep it or give another one.
        self.is_alone = is_alone
        kind: Any = type(module)
        is_own, is_activation, is_dropout, has_default = _facts(kind)
        is_in_place = bool(module.inplace if has_default else vars(module).get("inplace"))
        self.is_known = is_own and not module._modules
        #: Its output lies in the memory of its input, which nobody else can expect to be as it was.
        self.is_in_place = is_activation and is_in_place
        self.may_hand_on = is_dropout or not is_in_place

    def hands_on(self, given: list[torch.Tensor], value: torch.Tensor) -> bool:
        """Whether it gives one of the tensors that it was given: it computes nothing then, as a dropout in eval mode."""
        return self.may_hand_on and any([tensor is value for tensor in given])

    def owns(self, given: list[torch.Tensor], value: torch.Tensor) -> bool:
        """Whether a value lies in memory that the module has just filled: of no tensor that it was given, and nothing that
        it keeps.
        """
        if not self.is_alone:
            return False
        if not self.is_known or self.is_in_place:
            return self.is_in_place
        start = value.untyped_storage().data_ptr()
        return all([tensor.untyped_storage().data_ptr() != start for tensor in given])


def tensors_in(given: Any) -> list[torch.Tensor]:
    """All tensors among arguments."""
    if isinstance(given, torch.Tensor):
        return [given]
    if type(given) is tuple and len(given) == 1 and isinstance(given[0], torch.Tensor):
        return [given[0]]  # as most layers are called
    if isinstance(given, Mapping):
        given = given.values()
    elif not isinstance(given, (list, tuple)):
        return []
    return [tensor for part in given for tensor in tensors_in(part)]


def pick(output: Any, key: Any = None) -> tuple[Any, torch.Tensor] | None:
    """Where in an output its value is, and the value: the tensor at ``key``, or the first one; ``None`` if there is
    none.
    """
    if isinstance(output, torch.Tensor):
        return None, output
    for place, part in _parts(output):
        if isinstance(part, torch.Tensor) and key in (None, place):
            return place, part
    return None


def _parts(output: Any) -> list[tuple[Any, Any]]:
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, (list, tuple)):
        return list(enumerate(output))
    if is_dataclass(output):
        return [(field.name, getattr(output, field.name)) for field in fields(output)]
    return []


def replaced(output: Any, place: Any, value: torch.Tensor) -> Any:
    """An output with another value; the one that was given stays as it is."""
    if place is None:
        return value
    if isinstance(output, tuple):
        parts = [value if at == place else part for at, part in enumerate(output)]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    changed = copy.copy(output)
    if isinstance(output, (Mapping, list)):
        changed[place] = value
    else:
        object.__setattr__(changed, place, value)
    return changed


def shapes_of(given: Any) -> tuple:
    """Shapes and dtypes of all tensors among arguments."""
    return tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_in(given))


def _is_image(value: Any) -> bool:
    """Whether it is one image: three axes, the first of which are colours."""
    return isinstance(value, torch.Tensor) and value.dim() == 3 and value.shape[0] in (1, 3, 4)


def images_in(args: tuple, kwargs: Mapping) -> int | None:
    """How many images a call is given: of a list of images, as detectors take them, its length; else the size of the first axis of the
    first tensor that has one.
    """
    for given in (*args, *kwargs.values()):
        if isinstance(given, list) and given and all(map(_is_image, given)):
            return len(given)
        sizes = [tensor.shape[0] for tensor in tensors_in(given) if tensor.dim()]
        if sizes:
            return int(sizes[0])
    return None


__all__ = ["Layer", "check_memory", "hits_of", "images_in", "pick", "put", "repeated", "replaced", "shapes_of", "tensors_in"]

"""Arrays of any library as words: the bytes that hold them, shared, and the format of the words.

Everything that flips bits goes through :func:`words_of`. It never copies; what cannot be reached in place is an error, but for strided
and CUDA tensors, whose flips are written one by one (:meth:`Words.flip`).
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from . import _core
from ._errors import UnsupportedError, UsageError

if sys.byteorder != "little":
    raise ImportError("bitquake needs a little-endian machine: bytes are read as words in that order")

#: The format of each dtype, by the names that NumPy, ml_dtypes and PyTorch have for it.
FORMATS = dict(_core.dtypes())

_BYTE = np.dtype("u1")
_UNSIGNED = {1: _BYTE, 2: np.dtype("u2"), 4: np.dtype("u4"), 8: np.dtype("u8")}


@dataclass
class Words:
    """One tensor as words.

    ``cells`` has the tensor's shape and an unsigned dtype of the same size, and shares its memory: a NumPy array, or, for
    a tensor on another device, a PyTorch tensor of a signed dtype.
    """

    name: str
    format: str
    cells: Any
    container: int
    writable: bool = True
    shape: tuple = field(default=())
    #: A setting, such as a counter: globs do not reach it.
    by_name_only: bool = False
    #: Other names of the same words.
    also: list = field(default_factory=list)
    #: The tensor whose changes PyTorch counts.
    counted: Any = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def on_host(self) -> bool:
        return isinstance(self.cells, np.ndarray)

    def bytes(self) -> np.ndarray:
        """The bytes of the words in C order: shared where the array lies that way, else a copy."""
        cells = self.cells if self.on_host else self.cells.cpu().numpy()
        return np.ascontiguousarray(cells).reshape(-1).view(_BYTE)

    @property
    def is_shared(self) -> bool:
        """Whether :meth:`bytes` is the tensor's own memory."""
        return self.on_host and self.cells.flags.c_contiguous

    def described(self) -> tuple:
        """What ``_core`` takes: name, format, bytes of a word, elements, bytes."""
        return (self.name, self.format, self.container, self.elements, self.bytes())

    def exposed(self) -> tuple:
        """What a fault space is made of."""
        return (self.name, self.format, list(self.shape), self.by_name_only, self.also)

    def check_writable(self) -> None:
        if not self.writable:
            raise UsageError(f"`{self.name}` is read-only: its bits cannot be flipped in place")
        strides, word = (self.cells.strides, self.cells.itemsize) if self.on_host else (self.cells.stride(), 1)
        if _core.overlaps(self.shape, strides, word):
            raise UnsupportedError(f"`{self.name}` {_core.OVERLAPS}: flip bits of what it is a view of")

    def flip(self, elements: np.ndarray, masks: np.ndarray) -> None:
        """Flips the bits of ``masks`` in the words at flat C-order places, each place at most once."""
        if len(elements) == 0:
            return
        if self.on_host:
            self.cells[self._at(elements)] ^= masks.astype(self.cells.dtype)
            return
        from ._torch import flip_on_device

        flip_on_device(self.cells, self._at(elements), masks)

    def count_change(self) -> None:
        """Tells autograd of a change for good: a backward pass through what was computed with the words of before is refused."""
        if self.counted is not None:
            count_change(self.counted)

    def taken(self, elements: np.ndarray) -> Any:
        """A copy of the words at flat C-order places."""
        found = self.cells[self._at(elements)]
        return found.copy() if self.on_host else found.clone()

    def put(self, elements: np.ndarray, taken: Any) -> None:
        """Writes words back that were taken from these places."""
        if len(elements):
            self.cells[self._at(elements)] = taken

    def _at(self, elements: np.ndarray) -> Any:
        """Flat places as an index of the cells, where they are."""
        places = np.unravel_index(elements.astype(np.intp), self.shape) if self.shape else ()
        if self.on_host:
            return places
        from ._torch import on_device

        return on_device(places, self.cells.device)


def words_of(x: Any, name: str = "x", *, format: str | None = None) -> Words:
    """The words of a NumPy array, a PyTorch tensor, a Keras variable, or anything with the buffer protocol.

    ``format`` says what the words are where the dtype does not: ``"i4"`` for 4-bit codes in the low bits of bytes. Of floats, it must take
    all bits: others would be left out without a word.
    """
    if type(x).__module__.split(".")[0] == "torch" or hasattr(x, "untyped_storage"):
        from ._torch import cells_of

        cells, dtype, writable = cells_of(x, name)
        counted = x
    else:
        cells, dtype, writable = _numpy_cells(x, name)
        counted = None
    container = cells.dtype.itemsize
    if format is None:
        format = FORMATS.get(dtype)
        if format is None:
            raise UnsupportedError(f"`{name}` is {dtype}: its words have no format; known are {', '.join(FORMATS)}")
    elif _core.width(format) > container * 8:
        raise UsageError(f"`{name}` is {dtype}: {container * 8} bits are too few for words of {format}")
    elif _core.width(format) < container * 8 and FORMATS.get(dtype, "").startswith(("f", "bf")):
        raise UsageError(f"`{name}` is {dtype}, whose words are no {format}: bits are not converted; narrow words lie in integers")
    return Words(name, format, cells, container, writable, tuple(cells.shape), counted=counted)


def plain_words(x: Any, name: str) -> tuple | None:
    """What :meth:`Words.described` gives of an array that may be written and whose words lie one after the other: what most are, and
    in less time. ``None`` for all others.
    """
    if type(x) is np.ndarray:
        format, flags = _format_of(x.dtype), x.flags
        if format is None or not (flags.c_contiguous and flags.writeable):
            return None
        return (name, format, x.itemsize, x.size, x.reshape(-1).view(_BYTE))
    torch = sys.modules.get("torch")
    if torch is None or type(x) is not torch.Tensor or x.layout is not torch.strided:
        return None
    from ._torch import format_of, shared_bytes

    format = format_of(x.dtype)
    content = None if format is None else shared_bytes(x)
    return None if content is None else (name, format, x.element_size(), x.numel(), content)


def forget_casts() -> None:
    """Has PyTorch forget the casts of weights that autocast keeps: bits of the weights are other ones now."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.clear_autocast_cache()


def count_change(x: Any) -> None:
    """Counts a change in place of a PyTorch tensor; arrays, and tensors of inference, count none."""
    if type(x) is not np.ndarray and not x.is_inference():
        sys.modules["torch"].autograd.graph.increment_version(x)


@lru_cache(maxsize=64)
def _format_of(dtype: np.dtype) -> str | None:
    _, name, problem = _cell_of(dtype)
    return None if problem else FORMATS.get(name)


def _numpy_cells(x: Any, name: str) -> tuple:
    if not isinstance(x, np.ndarray):
        raise UnsupportedError(
            f"`{name}` is a {type(x).__name__}: bits are flipped in NumPy arrays and PyTorch tensors"
        )
    unsigned, dtype, problem = _cell_of(x.dtype)
    if unsigned is None:
        raise UnsupportedError(f"`{name}` is {problem}")
    return x.view(unsigned), dtype, x.flags.writeable


@lru_cache(maxsize=64)
def _cell_of(dtype: np.dtype) -> tuple:
    """The unsigned dtype of the words of a dtype, and its name; or neither, and why it has no words."""
    if not dtype.isnative:
        return None, None, f"{dtype}, in the byte order of another machine: convert it with x.astype(x.dtype.newbyteorder('='))"
    unsigned = _UNSIGNED.get(dtype.itemsize)
    if unsigned is None or dtype.hasobject or dtype.fields is not None or dtype.kind in "SUMmc":
        return None, None, f"{dtype}: its words have no format; known are {', '.join(FORMATS)}"
    if dtype.kind == "b":
        return None, None, "bool: flip bits of the numbers that it was made from, or give x.view('uint8')"
    return unsigned, dtype.name, None

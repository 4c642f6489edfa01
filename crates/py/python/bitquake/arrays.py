"""Bits of arrays: looked at, flipped, sampled, compared."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from . import _core
from ._collect import collect, exposed
from ._errors import BoundsError, UsageError
from ._words import FORMATS, Words, count_change, forget_casts, plain_words, words_of
from .faults import one_amount
from .patterns import FaultPattern, apply_to, hit_of

_NUMPY = {format: name for name, format in reversed(list(FORMATS.items())) if not name.startswith("q")}


def bits(x: Any, *, order: str = "lsb", format: str | None = None) -> Any:
    """All bits of an array: uint8 zeros and ones, with one more axis at the end.

    Bit 0, the least significant, comes first; ``order="msb"`` turns that round. A PyTorch tensor gives a tensor. Bits are those that
    the memory holds: nothing is converted.

    >>> import bitquake as bq, numpy as np
    >>> bq.bits(np.array([1, -1], dtype=np.int8)).tolist()
    [[1, 0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]]
    >>> bq.bits(np.float32(0.5), order="msb")[:10].tolist()
    [0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
    """
    words = words_of(_array(x), format=format)
    all_bits = np.unpackbits(words.bytes().reshape(-1, words.container), axis=1, bitorder="little")
    all_bits = all_bits[:, : _core.width(words.format)]
    shaped = _ordered(all_bits, order).reshape(*words.shape, all_bits.shape[1])
    return _like(x, np.ascontiguousarray(shaped))


def from_bits(values: Any, dtype: Any, *, order: str = "lsb") -> Any:
    """The array whose :func:`bits` these are; ``dtype`` is a NumPy or PyTorch dtype, or a format such as ``"bf16"``.

    >>> import bitquake as bq, numpy as np
    >>> x = np.array([1.5, -2.0], dtype=np.float16)
    >>> bq.from_bits(bq.bits(x), np.float16)
    array([ 1.5, -2. ], dtype=float16)
    """
    flat = _host(values)
    name = _dtype_name(dtype)
    width = _core.width(FORMATS[name])
    if flat.ndim == 0 or flat.shape[-1] != width:
        raise UsageError(f"{name} has {width} bits, but the last axis of the bits has {flat.shape[-1] if flat.ndim else 0}")
    if not np.isin(flat, (0, 1)).all():
        raise UsageError("bits are zeros and ones")
    packed = np.packbits(_ordered(flat.astype(np.uint8), order), axis=-1, bitorder="little")
    return _as_dtype(packed, name, dtype)


def bit_strings(x: Any, *, style: str = "binary", format: str | None = None) -> Any:
    """The words of an array as text of fixed width, most significant bit first.

    ``style`` is ``"binary"``, ``"fields"`` (sign, exponent and mantissa apart) or ``"hex"``. Gives an array of texts of the same
    shape; of a single number, a text.

    >>> import bitquake as bq, numpy as np
    >>> bq.bit_strings(np.int8(-3))
    '11111101'
    >>> bq.bit_strings(np.array([1.0, -0.5], dtype=np.float32), style="fields").tolist()
    ['0.01111111.00000000000000000000000', '1.01111110.00000000000000000000000']
    """
    words = words_of(_array(x), format=format)
    texts = _core.bit_strings([words.described()], style)
    return np.array(texts, dtype=str).reshape(words.shape) if words.shape else texts[0]


def from_bit_strings(texts: Any, dtype: Any) -> Any:
    """The array whose :func:`bit_strings` these are. Points, underscores and spaces between digits are skipped.

    >>> import bitquake as bq
    >>> bq.from_bit_strings("0.10000000.10000000000000000000000", "f32")
    array(3., dtype=float32)
    """
    array = np.asarray(texts)
    name = _dtype_name(dtype)
    width = _core.width(FORMATS[name])
    rows = []
    for text in array.reshape(-1):
        digits = [digit for digit in str(text) if digit not in "._ "]
        if len(digits) != width or set(digits) - {"0", "1"}:
            raise UsageError(f"`{text}` is no word of {name}: that is {width} digits, 0 or 1")
        rows.append([int(digit) for digit in digits])
    return from_bits(np.array(rows, dtype=np.uint8).reshape(*array.shape, width), dtype, order="msb")


def flip_(x: Any, index: Any, bit: Any, *, name: str = "x", format: str | None = None) -> FaultPattern:
    """Flips bits of elements in place.

    ``index`` is a flat place, a tuple of places along the axes, a list of either, a tuple of arrays as ``np.nonzero`` gives it, or a boolean
    mask of the array's shape. ``bit`` is one bit for all of them, or one for each; 0 is the least significant. Everything is checked on the host before anything is touched.
    Of a tensor it counts as a change in place, also when it is undone: a backward pass through what was computed before is refused; :func:`faulty` is for gradients under faults.

    >>> import bitquake as bq, numpy as np
    >>> x = np.zeros((2, 3), dtype=np.float32)
    >>> bq.flip_(x, [(0, 1), (1, 2)], 30)
    FaultPattern(2 flips in x)
    >>> x
    array([[0., 2., 0.],
           [0., 0., 2.]], dtype=float32)
    >>> bq.flip_(x, 6, 0)
    Traceback (most recent call last):
    ...
    bitquake.BoundsError: `x`: element 6 is out of bounds, there are 6
    """
    words = words_of(x, name, format=format)
    words.check_writable()
    elements = _elements(index, words)
    width = _core.width(words.format)
    bit = _one_each(_whole(bit, "bit"), elements, name)
    wrong = (bit < 0) | (bit >= width)
    if wrong.any():
        raise BoundsError(f"`{name}`: bit {bit[wrong][0]} is out of bounds, {words.format} has {width}")
    addresses, counts = np.unique(elements.astype(np.uint64) * np.uint64(width) + bit.astype(np.uint64), return_counts=True)
    if (counts > 1).any():
        twice = int(addresses[counts > 1][0])
        raise UsageError(f"`{name}`: bit {twice % width} of element {twice // width} is named twice")
    pattern = FaultPattern(_core.Pattern([(name, words.format, words.elements, addresses)]), {name: words.shape})
    apply_to(pattern._core, [words])
    return pattern


def inject_(
    x: Any,
    fault: Any,
    *,
    seed: int = 0,
    trial: int = 0,
    name: str = "x",
    nonfinite: str = "allow",
    format: str | None = None,
) -> FaultPattern:
    """Draws faults and applies them in place, to an array, a dict of arrays, or a module.

    The flips hang on the fault, ``seed``, ``trial`` and the names of the tensors alone: not on device, threads or strides. Patterns of one
    seed and trial are nested: those at a rate are among those at any higher one. Of tensors they count as changes in place, as :func:`flip_` says.

    ``nonfinite`` says what becomes of numbers that were finite and are not any more: ``"allow"``, ``"clamp"`` (to the largest finite
    number), ``"zero"``, or ``"reject"`` (an error, and nothing is changed).

    >>> import bitquake as bq, numpy as np
    >>> x = np.zeros(10_000, dtype=np.uint8)
    >>> pattern = bq.inject_(x, 0.01, seed=1)
    >>> pattern.flips == int(np.unpackbits(x).sum())
    True
    >>> pattern.undo_(x); bool(x.any())
    False
    """
    _check_key(seed=seed, trial=trial)
    if nonfinite == "allow" and format is None and type(fault) is float and fault > 0 and type(name) is str:
        plain = plain_words(x, name)
        if plain is not None:
            pattern, dormant = _source_at(fault, *plain[:2], x.shape).inject(seed, trial, [plain])
            if pattern.flips:
                count_change(x)
            forget_casts()
            return FaultPattern(pattern, {name: tuple(x.shape)}, dormant)
    fault = one_amount(fault)
    tensors, source = exposed(x, fault, name, format=format)
    for words in tensors:
        words.check_writable()
    shapes = {words.name: words.shape for words in tensors}
    if nonfinite == "allow" and all(words.is_shared for words in tensors):
        pattern, dormant = source.inject(seed, trial, [words.described() for words in tensors])
        # To list many flips takes longer than to make them; they are in all tensors.
        for words in tensors if pattern.flips > 100_000 else hit_of(pattern, tensors):
            words.count_change()
        forget_casts()
        return FaultPattern(pattern, shapes, dormant)
    faults = source.draw(seed, trial)
    pattern, dormant = resolved(faults, tensors)
    if nonfinite != "allow":
        pattern = _settled(pattern, tensors, nonfinite)
    apply_to(pattern, tensors)
    return FaultPattern(pattern, shapes, dormant)


@lru_cache(maxsize=64)
def _source_at(rate: float, name: str, format: str, shape: tuple) -> Any:
    """Bit errors at a rate in one array, of which there are many trials."""
    return _core.Source(one_amount(rate)._core, 0, [(name, format, list(shape), False, [])])


def resolved(faults: Any, tensors: list[Words]) -> tuple[Any, int]:
    """The flips that faults come to in these tensors, and how many faults change nothing."""
    flips = faults.flips()
    if flips is not None:
        return flips, 0
    hit = set(faults.tensors)
    return faults.resolve([words.described() for words in tensors if words.name in hit])


def _settled(pattern: Any, tensors: list[Words], policy: str) -> Any:
    """The flips that are left when numbers that would not be finite are settled."""
    from .patterns import _gather

    left = {}
    for words in tensors:
        elements, masks = pattern.masks(words.name)
        before = _gather(words, elements)
        after = _core.settle(words.name, words.format, elements, before, before ^ masks, policy)
        left[words.name] = (words, elements, before ^ after)
    return FaultPattern.of_masks(left)._core


def diff(a: Any, b: Any, *, format: str | None = None) -> FaultPattern:
    """The bits in which two arrays, dicts of arrays or modules differ: the pattern that turns ``a`` into ``b``.

    >>> import bitquake as bq, numpy as np
    >>> bq.diff(np.float32([1, 2]), np.float32([1, -2])).to_frame()["bit"].tolist()
    [31]
    """
    before, after = collect(a, format=format), collect(b, format=format)
    names = [{words.name for words in side} for side in (before, after)]
    if names[0] != names[1]:
        raise UsageError(f"only one of the two has {', '.join(sorted(names[0] ^ names[1]))}")
    pattern = _core.Pattern.between(*([words.described() for words in side] for side in (before, after)))
    return FaultPattern(pattern, {words.name: words.shape for words in before})


@dataclass(frozen=True)
class Selection:
    """What :func:`sample` chose: how many out of how many, as flat places and along the axes."""

    of: str
    population: int
    flat: np.ndarray
    index: tuple
    bit: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.flat)

    def __repr__(self) -> str:
        return f"Selection({len(self):,} of {self.population:,} {self.of})"


def sample(
    x: Any,
    *,
    fraction: float | None = None,
    count: int | None = None,
    of: str = "elements",
    seed: int = 0,
    trial: int = 0,
    name: str = "x",
) -> Selection:
    """Chooses elements, bits or filters of an array at random, each set of that size as likely.

    ``fraction`` is of all of them, whatever the shape; the number is the nearest whole one (halves to the even one), and at least 1. A filter is what
    one place of the first axis holds.

    >>> import bitquake as bq, numpy as np
    >>> chosen = bq.sample(np.zeros((64, 3, 3, 3), dtype=np.float32), fraction=0.05)
    >>> chosen, len(chosen.index)
    (Selection(86 of 1,728 elements), 4)
    """
    words = words_of(x, name)
    width = _core.width(words.format)
    populations = {"elements": words.elements, "bits": words.elements * width, "filters": words.shape[0] if words.shape else 1}
    if of not in populations:
        raise UsageError(f"of is `elements`, `bits` or `filters`, not `{of}`")
    population = populations[of]
    if (fraction is None) == (count is None):
        raise UsageError("give a fraction or a count")
    if fraction is not None:
        if not 0 < fraction <= 1:
            raise UsageError(f"the fraction is {fraction}: it must be above 0 and at most 1")
        count = min(population, max(1, round(fraction * population)))
    _check_key(seed=seed, trial=trial)
    if not hasattr(count, "__index__") or not 0 <= operator.index(count) <= population:
        raise UsageError(f"the count is {count!r}: it must be a whole number up to {population}")
    chosen = np.array(_core.subset(population, operator.index(count), seed, trial, name), dtype=np.int64)
    if of == "filters":
        return Selection(of, population, chosen, (chosen,))
    flat, bit = (chosen // width, chosen % width) if of == "bits" else (chosen, None)
    index = np.unravel_index(flat, words.shape) if words.shape else ()
    return Selection(of, population, flat, index, bit)


def _check_key(**numbers: Any) -> None:
    for name, value in numbers.items():
        if type(value) is int and 0 <= value < 1 << 64:
            continue
        if isinstance(value, bool) or not hasattr(value, "__index__") or not 0 <= operator.index(value) < 1 << 64:
            raise UsageError(f"{name} is a whole number from 0 to 2^64 - 1, not {value!r}")


def _whole(values: Any, what: str) -> np.ndarray:
    array = _as_array(values, what)
    far = array[array >= 1 << 63].tolist() if array.dtype == np.uint64 else array.reshape(-1).tolist() if array.dtype == object else []
    for value in far:
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise BoundsError(f"{what} {value} is out of bounds")
    if array.size and array.dtype.kind not in "iu":  # an empty list has no whole numbers, and no others
        raise UsageError(f"{what} is a whole number, not {array.dtype}")
    return array.astype(np.int64)


def _as_array(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(_host(values))
    except ValueError as error:
        raise UsageError(f"{what} is no array of whole numbers: {error}") from None


def _one_each(bit: np.ndarray, elements: np.ndarray, name: str) -> np.ndarray:
    if bit.shape not in ((), (1,), elements.shape):
        raise UsageError(f"`{name}`: {bit.size} bits for {elements.size} elements: give one bit for all of them, or one for each")
    return np.broadcast_to(bit, elements.shape)


def _elements(index: Any, words: Words) -> np.ndarray:
    """Flat places, each of which exists."""
    if isinstance(index, tuple):
        index = _rows(index)
    array = None if isinstance(index, tuple) else _as_array(index, "an index")
    if array is not None and array.dtype == bool:
        if array.shape != words.shape:
            raise BoundsError(f"`{words.name}`: the mask is {list(array.shape)}, the tensor {list(words.shape)}")
        return np.flatnonzero(array)
    rows = array if array is not None else np.asarray([_whole(index, "an index")])
    if rows.ndim < 2:
        flat = np.atleast_1d(_whole(rows, "an index"))
        _check_places(words, flat, words.elements, "element {place} is out of bounds, there are {size}")
        return np.where(flat < 0, flat + words.elements, flat)
    rows = _whole(rows, "an index")
    if rows.ndim != 2 or rows.shape[1] != len(words.shape):
        raise BoundsError(f"`{words.name}` has {len(words.shape)} axes: an index has as many places, not {rows.shape[-1]}")
    for axis, size in enumerate(words.shape):
        _check_places(words, rows[:, axis], size, f"index {{place}} is out of bounds, axis {axis} has {{size}}")
    return np.ravel_multi_index(tuple(np.where(rows < 0, rows + np.array(words.shape), rows).T), words.shape)


def _rows(index: tuple) -> Any:
    """Of one array an axis, all as long, a row a place; a tuple of whole numbers stays."""
    axes = [_as_array(places, "an index") for places in index]
    if all(axis.ndim == 0 for axis in axes):
        return index
    if len({axis.shape for axis in axes}) > 1:
        raise UsageError(f"an index is no array of whole numbers: its axes have {', '.join(str(list(axis.shape)) for axis in axes)} places")
    return np.stack(axes, axis=-1)


def _check_places(words: Words, places: np.ndarray, size: int, message: str) -> None:
    wrong = (places < -size) | (places >= size)
    if wrong.any():
        raise BoundsError(f"`{words.name}`: " + message.format(place=int(places[wrong][0]), size=size))


def _ordered(values: np.ndarray, order: str) -> np.ndarray:
    if order not in ("lsb", "msb"):
        raise UsageError(f"order is `lsb` or `msb`, not `{order}`")
    return values if order == "lsb" else values[..., ::-1]


def _array(x: Any) -> Any:
    """NumPy scalars as arrays; Python numbers have no format."""
    if isinstance(x, (bool, int, float, list, tuple)):
        raise UsageError(f"{x!r} has no dtype: give a NumPy array, such as np.float32({x!r})")
    return np.asarray(x) if isinstance(x, np.generic) else x


def _host(x: Any) -> np.ndarray:
    return x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)


def _like(x: Any, values: np.ndarray) -> Any:
    if not hasattr(x, "untyped_storage"):
        return values
    import torch

    return torch.from_numpy(values).to(x.device)


def _dtype_name(dtype: Any) -> str:
    """The name of a dtype that has a format."""
    name = str(dtype).removeprefix("torch.")
    if name in _NUMPY:
        return _NUMPY[name]
    if name not in FORMATS:
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = str(dtype)
    if name not in FORMATS or name.startswith("q"):  # quantized tensors are made by their quantizers
        raise UsageError(f"`{dtype}` has no format; known are {', '.join(FORMATS)}")
    return name


def _as_dtype(packed: np.ndarray, name: str, dtype: Any) -> Any:
    """Bytes, the last axis a word, as an array of a dtype."""
    shape = packed.shape[:-1]
    if str(dtype).startswith("torch."):
        import torch

        return torch.from_numpy(np.ascontiguousarray(packed)).reshape(-1).view(dtype).reshape(shape)
    try:
        target = np.dtype(name)
    except TypeError:
        import ml_dtypes

        target = np.dtype(getattr(ml_dtypes, name))
    return np.ascontiguousarray(packed).reshape(-1).view(target).reshape(shape)


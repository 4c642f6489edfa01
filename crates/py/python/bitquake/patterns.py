"""Fault patterns: which bits were flipped, as a value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from ._collect import collect, collected
from ._errors import UsageError
from ._words import Words, forget_casts


class FaultPattern:
    """Which bits of which tensors are flipped: a value that can be undone, listed, explained, saved and combined.

    A pattern speaks of elements (of the flattened tensor, C order) and bits (0 is the least significant), so the same pattern fits
    a NumPy array, a CUDA tensor and a model file, and files that ``bitquake inject --pattern`` reads.

    >>> import bitquake as bq, numpy as np
    >>> x = np.full(3, 0.5, dtype=np.float32)
    >>> pattern = bq.flip_(x, 1, 23)
    >>> x
    array([0.5, 1. , 0.5], dtype=float32)
    >>> pattern
    FaultPattern(1 flip in x)
    >>> pattern.undo_(x)
    >>> x
    array([0.5, 0.5, 0.5], dtype=float32)
    """

    __slots__ = ("_core", "_dormant", "_shapes", "__weakref__")

    def __init__(self, core: Any, shapes: dict[str, tuple] | None = None, dormant: int = 0) -> None:
        self._core, self._shapes, self._dormant = core, shapes or {}, dormant

    @classmethod
    def of_masks(cls, flips: dict[str, tuple[Words, np.ndarray, np.ndarray]]) -> FaultPattern:
        """A pattern from the words hit and the bits to flip in each."""
        tensors = []
        for words, elements, masks in flips.values():
            width = _core.width(words.format)
            bits = np.arange(width, dtype=np.uint64)
            is_hit = (masks[:, None] >> bits & np.uint64(1)).astype(bool)
            addresses = (elements[:, None] * np.uint64(width) + bits)[is_hit]
            tensors.append((words.name, words.format, words.elements, np.sort(addresses)))
        shapes = {name: words.shape for name, (words, _, _) in flips.items()}
        return cls(_core.Pattern(tensors), shapes)

    @classmethod
    def load(cls, path: str | Path) -> FaultPattern:
        """Reads a pattern that was saved here or by the command ``bitquake``."""
        return cls(_core.Pattern.load(Path(path)))

    def save(self, path: str | Path) -> None:
        """Saves the pattern as JSON, whole or not at all."""
        self._core.save(Path(path))

    @property
    def flips(self) -> int:
        """How many bits are flipped."""
        return self._core.flips

    @property
    def dormant(self) -> int:
        """Faults that were drawn and changed nothing, such as a bit stuck at what it holds."""
        return self._dormant

    @property
    def tensors(self) -> dict[str, int]:
        """The tensors that are hit, and how many of their bits."""
        return {name: flips for name, _, _, flips in self._core.tensors}

    def apply_(self, x: Any) -> None:
        """Flips the bits in an array, a dict of arrays or a module. Doing it again undoes it.

        Where ``x`` is not what the pattern was made for, an error says so and nothing is changed.
        """
        apply_to(self._core, self._target(x))

    def undo_(self, x: Any) -> None:
        """Flips the bits back. A pattern is its own opposite: this is :meth:`apply_`."""
        self.apply_(x)

    def _target(self, x: Any) -> list[Words]:
        hit = self._core.tensors
        if collected(x):
            return collect(x, only={name for name, *_ in hit})
        if len(hit) > 1:
            raise UsageError(f"the pattern hits {len(hit)} tensors: give them as a dict or a module")
        return collect(x, hit[0][0] if hit else "x")

    def addresses(self, tensor: str | None = None) -> np.ndarray:
        """The bit addresses of a tensor's flips, rising: element times width plus bit."""
        return self._core.addresses(self._name(tensor))

    def masks(self, tensor: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The elements of a tensor that are hit, rising, and the bits flipped in each as a mask."""
        return self._core.masks(self._name(tensor))

    def _name(self, tensor: str | None) -> str:
        if tensor is not None:
            return tensor
        names = list(self.tensors)
        if len(names) > 1:
            raise UsageError(f"which tensor? The pattern hits {', '.join(names)}")
        return names[0] if names else ""

    def columns(self, clean: Any = None, *, faulty: Any = None) -> dict[str, list]:
        """What :meth:`to_frame` shows, as a dict of lists."""
        if clean is not None and faulty is not None:
            raise UsageError("give the clean words or the faulty ones, not both")
        before = {}
        for words in self._target(clean if faulty is None else faulty) if (clean is not None or faulty is not None) else []:
            before[words.name] = words
        table: dict[str, list] = {key: [] for key in ("tensor", "element", "index", "bit", "field")}
        if before:
            table.update({key: [] for key in ("old", "new", "ratio", "became")})
        for name, format, _, _ in self._core.tensors:
            self._rows(table, name, format, before.get(name), is_faulty=faulty is not None)
        return table

    def _rows(self, table: dict, name: str, format: str, words: Words | None, *, is_faulty: bool) -> None:
        addresses = self._core.addresses(name)
        width = np.uint64(_core.width(format))
        elements, bits = addresses // width, addresses % width
        shape = words.shape if words is not None else self._shapes.get(name)
        fields = [_core.field(format, bit) for bit in range(int(width))]
        table["tensor"] += [name] * len(addresses)
        table["element"] += elements.tolist()
        table["index"] += _indices(elements, shape)
        table["bit"] += bits.tolist()
        table["field"] += [fields[bit] for bit in bits]
        if words is None:
            return
        hit, masks = self._core.masks(name)
        here = _gather(words, hit)
        old, new = (here ^ masks, here) if is_faulty else (here, here ^ masks)
        place = np.searchsorted(hit, elements)
        old, new = (_numbers(format, side)[place] for side in (old, new))
        with np.errstate(all="ignore"):
            ratio = new / old
        became = np.select([np.isnan(new), np.isinf(new)], ["nan", "inf"], "")
        for key, column in (("old", old), ("new", new), ("ratio", ratio), ("became", became)):
            table[key] += column.tolist()

    def to_frame(self, clean: Any = None, *, faulty: Any = None, library: str = "pandas") -> Any:
        """One row a flip: tensor, element, index in the tensor's shape, bit, field.

        With the ``clean`` words, or the ``faulty`` ones, also the numbers before and after, their ratio, and whether the number became
        NaN or infinite. All flips of one word are in its numbers. ``library`` is ``"pandas"`` or ``"polars"``.

        >>> import bitquake as bq, numpy as np
        >>> x = np.ones((2, 2), dtype=np.float32)
        >>> pattern = bq.flip_(x, (1, 0), 30)
        >>> pattern.to_frame(faulty=x)[["element", "index", "bit", "field", "old", "new", "became"]].values.tolist()
        [[2, (1, 0), 30, 'exponent', 1.0, inf, 'inf']]
        """
        columns = self.columns(clean, faulty=faulty)
        if library not in ("pandas", "polars"):
            raise UsageError(f"library is `pandas` or `polars`, not `{library}`")
        frame = __import__(library).DataFrame({**columns, **_of_one_type(columns)} if library == "polars" else columns)
        if columns["bit"]:
            return frame
        # Columns of nothing have no types, which frames that are put together want.
        kinds = {"tensor": str, "field": str, "became": str, "element": int, "bit": int, "old": float, "new": float, "ratio": float}
        kinds = {key: kind for key, kind in kinds.items() if key in columns}
        return frame.astype(kinds) if library == "pandas" else frame.cast(kinds)

    def explain(self, clean: Any) -> dict[str, Any]:
        """What the flips do to clean words: counts by direction, by bit, NaN and infinities, the largest change; in all and
        by tensor."""
        return self._core.explain([words.described() for words in self._target(clean)])

    def __len__(self) -> int:
        return self.flips

    def __bool__(self) -> bool:
        return self.flips > 0

    def __xor__(self, other: FaultPattern) -> FaultPattern:
        """Both patterns, one after the other: what both flip is flipped by neither."""
        return FaultPattern(self._core.compose(other._core), {**self._shapes, **other._shapes})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FaultPattern) and self._core == other._core

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self.flips > 100_000:
            return f"FaultPattern({self.flips:,} flips)"
        names = list(self.tensors)
        where = f" in {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}" if names else ""
        return f"FaultPattern({self.flips:,} flip{'' if self.flips == 1 else 's'}{where})"

    def _repr_html_(self) -> str:
        from ._html import pattern_table

        return pattern_table(self)

    def __reduce__(self) -> tuple:
        return (_from_json, (self._core.to_json(), self._shapes, self._dormant))


def _of_one_type(columns: dict[str, list]) -> dict[str, list]:
    """The numbers of words as floats, where they are not all whole ones of 64 bits with a sign: a column of polars has one type."""
    wide = {key: columns[key] for key in ("old", "new") if key in columns}
    whole = range(-(1 << 63), 1 << 63)
    return {key: [*map(float, values)] for key, values in wide.items() if not all(type(value) is int and value in whole for value in values)}


def _from_json(text: str, shapes: dict, dormant: int) -> FaultPattern:
    return FaultPattern(_core.Pattern.from_json(text), shapes, dormant)


def _numbers(format: str, words: np.ndarray) -> np.ndarray:
    """What words say; whole numbers that a float64 does not hold stay whole."""
    if format in ("i64", "u64"):
        return words.view(np.dtype(format[0] + "8"))
    return np.array(_core.decode(format, words.tolist()))


def _indices(elements: np.ndarray, shape: tuple | None) -> list:
    if not shape:
        return [(int(element),) if shape is None else () for element in elements]
    return list(zip(*(axis.tolist() for axis in np.unravel_index(elements.astype(np.intp), shape))))


def _gather(words: Words, elements: np.ndarray) -> np.ndarray:
    """The words at flat places, as uint64."""
    cells = words.cells if words.on_host else words.cells.cpu().numpy().view(f"u{words.container}")
    at = np.unravel_index(elements.astype(np.intp), words.shape) if words.shape else np.zeros(len(elements), int)
    found = cells[at] if words.shape else np.full(len(elements), cells[()])
    return found.astype(np.uint64)


def apply_to(pattern: Any, target: list[Words]) -> None:
    """Applies a core pattern: in place where memory is shared, else word by word where the tensor is."""
    shared, described, others = _divided(pattern, target)
    shared.apply(described)
    for words, elements, masks in others:
        words.flip(elements, masks)
    for words in hit_of(pattern, target):
        words.count_change()
    forget_casts()


def _divided(pattern: Any, target: list[Words]) -> tuple[Any, list[tuple], list[tuple[Words, np.ndarray, np.ndarray]]]:
    """The part of a pattern that ``_core`` applies to memory that it shares, that memory, and what is left: tensors, places, masks."""
    for words in target:
        words.check_writable()
    shared = [words for words in target if words.is_shared]
    others = {words.name: words for words in target if not words.is_shared}
    if not others:
        return pattern, [words.described() for words in shared], []
    hit = {name: (format, elements) for name, format, elements, _ in pattern.tensors}
    _check(hit, target)
    rest = [(name, format, elements, pattern.addresses(name)) for name, (format, elements) in hit.items() if name not in others]
    left = [(words, *pattern.masks(name)) for name, words in others.items() if name in hit]
    return _core.Pattern(rest), [words.described() for words in shared if words.name in hit], left


def hit_of(pattern: Any, tensors: list[Words]) -> list[Words]:
    """Those that a core pattern hits."""
    names = {name for name, _, _, flips in pattern.tensors if flips}
    return [words for words in tensors if words.name in names]


class _Written:
    """Flips in memory some of which is not shared. What was there is written back: as often as it takes, since an interruption may come at
    any word.
    """

    __slots__ = ("_toggle", "_others", "_clean")

    def __init__(self, toggle: Any, others: list[tuple[Words, np.ndarray, np.ndarray]]) -> None:
        self._toggle, self._others = toggle, others
        self._clean = [words.taken(elements) for words, elements, _ in others]

    def make(self) -> None:
        self._toggle.make()
        for words, elements, masks in self._others:
            words.flip(elements, masks)

    def undo(self) -> None:
        self._toggle.undo()
        for (words, elements, _), clean in zip(self._others, self._clean):
            words.put(elements, clean)


def flips_in(pattern: Any, target: list[Words]) -> _core.Toggle | _Written:
    """The flips of a core pattern in these tensors, to be made and undone, for :func:`under`."""
    shared, described, others = _divided(pattern, target)
    toggle = _core.Toggle(shared, described)
    return _Written(toggle, others) if others else toggle


def under(flips: Any, run: Callable[[], Any]) -> Any:
    """What ``run`` gives while bits are flipped; afterwards they are as before, also after an interruption."""
    try:
        flips.make()
        forget_casts()
        return run()
    finally:
        try:
            flips.undo()
        except BaseException:
            flips.undo()  # an interruption: those that were undone stay so
            raise
        forget_casts()


def _check(hit: dict[str, tuple[str, int]], target: list[Words]) -> None:
    there = {words.name: (words.format, words.elements) for words in target}
    for name, wanted in hit.items():
        found = there.get(name)
        if found is None:
            raise UsageError(f"the pattern flips bits of tensor `{name}`, which is not there")
        if found != wanted:
            raise UsageError(
                f"the pattern was made for tensor `{name}` as {wanted[1]} words of {wanted[0]}, here it has {found[1]} of {found[0]}"
            )

"""What faults in activations did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from . import _core
from ._errors import UsageError
from .patterns import _indices

#: Of so many words that were hit a record keeps where they are and what they held. All are counted.
KEPT = 1_000_000


@dataclass
class Hit:
    """Words that were hit in one value of one pass.

    ``dims`` are the dimensions of what one draw is over, an image or a batch, with so many ``elements``; ``first`` is
    the number of the first image, ``None`` for draws over a batch. ``words`` holds the words before and after.
    """

    layer: str
    format: str
    dims: tuple
    elements: int
    hits: Any
    words: tuple
    number: int
    first: int | None

    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The words before and after, as uint64."""
        before, after = (_host(side, _core.width(self.format)) for side in self.words)
        return before, after

    def counts(self) -> tuple[int, int]:
        """Bits that were changed, and faults that changed nothing."""
        before, after = self.sides()
        changed = before ^ after
        return _ones(changed), _ones((self.hits.if_zero | self.hits.if_one) & ~changed)

    def add_rows(self, table: dict[str, list]) -> None:
        """A row for each bit that was changed."""
        before, after = self.sides()
        width = _core.width(self.format)
        is_flipped = ((before ^ after)[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)).astype(bool)
        word, bit = np.nonzero(is_flipped)
        places = self.hits.elements[word]
        draws, places = places // self.elements, places % self.elements
        table["pass"] += [self.number] * len(word)
        table["image"] += [None] * len(word) if self.first is None else (draws + self.first).tolist()
        table["layer"] += [self.layer] * len(word)
        table["element"] += places.tolist()
        table["index"] += _indices(places, self.dims)
        table["bit"] += bit.tolist()
        fields = [_core.field(self.format, place) for place in range(width)]
        table["field"] += [fields[place] for place in bit]
        for key, side in (("old", before), ("new", after)):
            table[key] += np.array(_core.decode(self.format, side.tolist()))[word].tolist()


class Turn(NamedTuple):
    """A pass of a module: its number, the number of its first image, and how many it has."""

    faults: Any
    number: int
    first: int
    images: int

    @property
    def draws(self) -> int:
        """How many draws there are over each value."""
        return 1 if self.faults.per == "batch" else self.images

    def elements_of(self, shape: tuple) -> int:
        """How many elements of a value one draw is over."""
        return math.prod(shape) // self.draws

    def told(self, name: str, format: str, rows: tuple, shape: tuple, hits: Any, words: tuple) -> Hit:
        """Words that were hit in a value."""
        dims = self.faults.dims_of(rows, self.images) if rows else tuple(shape)
        first = None if self.faults.per == "batch" else self.first
        return Hit(name, format, dims, self.elements_of(shape), hits, words, self.number, first)


class ActivationRecord:
    """What the faults of a block of :func:`faulty_activations` changed, pass by pass while it runs, and afterwards.

    Everything is counted; places and words are kept of the first million words that were hit.
    """

    def __init__(self, passes: Any) -> None:
        self._passes = passes
        self._hits: list[Hit] = []
        self._kept = 0
        #: What was hit in some passes, and of each pass the turn and its values, until someone asks.
        self._later: list[tuple[Any, Turn, dict[str, tuple]]] = []
        self._waiting = 0
        self._flips, self._dormant, self._left_out = 0, 0, 0
        self._counted = 0

    def add(self, hit: Hit) -> None:
        """Notes a hit; what is on another device is fetched when someone asks."""
        self._settle()
        self._add(hit)

    def add_later(self, made: Any, turn: Turn, values: dict[str, tuple]) -> None:
        """Notes what ``_core`` has hit in a pass, of whose values these are the formats and dimensions; looked at when someone asks."""
        self._later.append((made, turn, values))
        self._waiting += len(made)
        if self._waiting > KEPT:
            self._settle()

    def _settle(self) -> None:
        later, self._later, self._waiting = self._later, [], 0
        for made, turn, values in later:
            for name, shape, hits, words in made.hits:
                self._add(turn.told(name, *values[name], shape, hits, words))

    def _add(self, hit: Hit) -> None:
        if self._kept < KEPT:
            self._hits.append(hit)
            self._kept += len(hit.hits)
            return
        flips, dormant = hit.counts()
        self._flips, self._dormant, self._left_out = self._flips + flips, self._dormant + dormant, self._left_out + len(hit.hits)

    def _all(self) -> list[Hit]:
        """The hits that are kept."""
        self._settle()
        return self._hits

    def _count(self) -> None:
        hits = self._all()
        for hit in hits[self._counted :]:
            flips, dormant = hit.counts()
            self._flips, self._dormant = self._flips + flips, self._dormant + dormant
        self._counted = len(hits)

    @property
    def flips(self) -> int:
        """How many bits were changed."""
        self._count()
        return self._flips

    @property
    def dormant(self) -> int:
        """Faults that changed nothing, such as a bit stuck at what it held."""
        self._count()
        return self._dormant

    @property
    def left_out(self) -> int:
        """Words that were hit and counted, but of which nothing else is known any more."""
        self._settle()
        return self._left_out

    @property
    def images(self) -> int:
        """How many images were run."""
        return self._passes.first + self._passes.images

    @property
    def passes(self) -> int:
        """How often the module ran."""
        return self._passes.number + 1

    @property
    def layers(self) -> dict[str, int]:
        """The values that were hit, and in how many of their words."""
        words: dict[str, int] = {}
        for hit in self._all():
            words[hit.layer] = words.get(hit.layer, 0) + len(hit.hits)
        return words

    def columns(self) -> dict[str, list]:
        """What :meth:`to_frame` shows, as a dict of lists."""
        table: dict[str, list] = {key: [] for key in ("pass", "image", "layer", "element", "index", "bit", "field", "old", "new")}
        for hit in self._all():
            hit.add_rows(table)
        return table

    def to_frame(self, *, library: str = "pandas") -> Any:
        """One row for each bit that was changed: pass, image, layer, element and index in the image, bit, field, the
        number before and after.

        All flips of one word are in its numbers. Where draws are over a batch, ``image`` is empty, and places are
        those in the batch. ``library`` is ``"pandas"`` or ``"polars"``.
        """
        if library not in ("pandas", "polars"):
            raise UsageError(f"library is `pandas` or `polars`, not `{library}`")
        return __import__(library).DataFrame(self.columns())

    def __len__(self) -> int:
        return self.flips

    def __repr__(self) -> str:
        flips, images = self.flips, self.images
        return f"ActivationRecord({flips:,} flip{'' if flips == 1 else 's'} in {images:,} image{'' if images == 1 else 's'})"

    def _repr_html_(self) -> str:
        from ._html import table

        return table(repr(self), ["layer", "words hit"], [[layer, f"{words:,}"] for layer, words in self.layers.items()])


def _host(words: Any, width: int) -> np.ndarray:
    """Words of any library as uint64."""
    host = words if isinstance(words, np.ndarray) else words.cpu().numpy()
    return host.view(f"u{host.itemsize}").astype(np.uint64) & np.uint64((1 << width) - 1)


def _ones(words: np.ndarray) -> int:
    """How many bits are 1."""
    return int(np.unpackbits(np.ascontiguousarray(words).view(np.uint8)).sum(dtype=np.int64))

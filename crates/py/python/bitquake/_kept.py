"""What faults over a module's weights were prepared last, for the next block on the same module.

Nothing here holds a module, a tensor or memory of one.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from ._slots import Slot
from ._survey import Survey, survey
from ._watch import Exposed, Held, Watched
from .faults import Fault

#: So many different faults are kept of one module.
_MOST = 4
#: Keys of a fault that say all of it: no file that could change in between.
_PLAIN = frozenset({"model", "target", "select", "bits", "rates", "counts", "fractions", "value", "length", "at_least"})
_kept: WeakKeyDictionary = WeakKeyDictionary()


class Request(NamedTuple):
    """What was asked for, as far as it decides over tensors and draws."""

    fault: Any
    select: Any
    types: Any


class Prepared(NamedTuple):
    """A fault over tensors, with their names and shapes: what does not hang on where they are."""

    fault: Fault
    source: Any
    shapes: dict[str, tuple]


class Kept(NamedTuple):
    """What was prepared for a module with this signature: the formats of its tensors by name; for each its key, the number in
    a survey of the dict that holds it, and of the tensor; where its memory begins; and the names of those that are
    statistics, with the numbers of the modules that measure them.
    """

    request: Request
    signature: tuple
    prepared: Prepared
    formats: dict[str, str]
    keys: list[str]
    owners: list[int]
    tensors: list[int]
    starts: list[int]
    statistics: list[str]
    measured: list[int]


def find(module: Any, request: Request) -> tuple[Prepared, Watched, Exposed] | None:
    """What was prepared for such a request, over the tensors that the module has now; ``None`` if anything is not as it was."""
    kept = [one for one in _of(module) if one.request == request]
    found = survey(module) if kept else None
    if found is None or not found.has(kept[0].signature):
        return None
    return kept[0].prepared, *_again(kept[0], found)


def _again(kept: Kept, found: Survey) -> tuple[Watched, Exposed]:
    owners, parts = found.owners, found.parts
    tensors = tuple([*map(found.tensors.__getitem__, kept.tensors)])
    held = Held([*map(owners.__getitem__, kept.owners)], kept.keys, tensors)
    watched = Watched(kept.formats, held, kept.starts, {})
    return watched, Exposed(tensors, kept.statistics, [*map(parts.__getitem__, kept.measured)])


def keep(module: Any, request: Request, prepared: Prepared, slots: list[Slot]) -> None:
    """Keeps what was prepared, where a survey can tell whether it holds still."""
    if not _is_plain(request, prepared.fault):
        return
    found = survey(module)
    if found is None or not found.is_usual():
        return
    signature, places = found.signature(), found.places_of(slots)
    if signature is None or places is None:
        return
    formats, starts = {slot.name: slot.format for slot in slots}, [slot.start for slot in slots]
    statistics = [slot.name for slot in slots if slot.role == "statistic"]
    # Dicts of parameters come first in a survey, one a module, and then those of buffers.
    measured = [owner % len(found.parts) for owner, slot in zip(places[0], slots) if slot.role == "statistic"]
    one = Kept(request, signature, prepared, formats, [slot.key for slot in slots], *places, starts, statistics, measured)
    others = [other for other in _of(module) if other.request != request]
    with suppress(TypeError):  # a module that is no key
        _kept[module] = (one, *others[: _MOST - 1])


def _is_plain(request: Request, fault: Fault) -> bool:
    """Whether a request means the same at any time: no file, no class that decides itself what belongs to it."""
    return _PLAIN.issuperset(fault.table) and all(type(one) is type for one in request.types or ())


def _of(module: Any) -> tuple[Kept, ...]:
    try:
        return _kept.get(module, ())
    except TypeError:  # a module that is no key
        return ()

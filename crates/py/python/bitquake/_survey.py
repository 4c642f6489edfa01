"""What the tensors of a module are, read in one walk: where a survey says that all is as it was, what was prepared for the
module holds still.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from operator import attrgetter, eq, itemgetter
from typing import Any, NamedTuple

from ._slots import Slot

#: A tree of so many modules is none: a module that holds itself.
_MOST_PARTS = 1_000_000
#: What a walk raises that meets a module, or a tensor, of an unusual kind.
_UNUSUAL = (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)


class Survey(NamedTuple):
    """All modules in a module, their dicts of attributes, those of parameters and then of buffers, what these hold, and the
    tensors of that.
    """

    parts: list[Any]
    dicts: list[dict]
    owners: list[dict]
    values: list[Any]
    tensors: list[Any]

    def signature(self) -> tuple | None:
        """All that the slots of the module hang on; ``None`` where a tensor is of an unusual kind. It holds neither modules nor
        tensors, so that keeping it keeps no memory.
        """
        one: dict = {}  # many tensors have one shape
        try:
            aspects = [[frozenset(item) if type(item) is set else item for item in aspect] for aspect in self._lists()]
            containers = [[one.setdefault((type(item), item), item) for item in aspect] for aspect in self._containers()]
            return (*aspects, *containers)
        except _UNUSUAL:
            return None

    def has(self, signature: tuple) -> bool:
        """Whether this is the signature. Nothing is made that would have to be kept until all of it is compared: so many new
        containers would have Python look for garbage.
        """
        aspects = iter(signature)
        try:
            if not all(own == next(aspects) for own in self._lists()):
                return False
            return all(all(map(eq, own, next(aspects))) for own in self._containers())
        except _UNUSUAL:
            return False

    def _lists(self) -> Iterator[list]:
        """Aspects of modules and tensors whose items are no containers, or are there anyway, the cheapest first. They tell how many of
        each there are, too.
        """
        from torch import Tensor

        yield [*map(type, self.parts)]
        yield [*map(type, self.values)]
        for holders in (map(itemgetter("_modules"), self.dicts), self.owners):
            holders = [*holders]
            yield [*map(len, holders)]
            yield [*chain.from_iterable(holders)]
        yield [*map(itemgetter("training"), self.dicts)]
        yield [*map(itemgetter("_non_persistent_buffers_set"), self.dicts)]
        yield [*map(Tensor.data_ptr, self.tensors)]
        yield [*map(attrgetter("dtype"), self.tensors)]
        yield [*map(attrgetter("device"), self.tensors)]

    def _containers(self) -> tuple[Iterator, ...]:
        """The others."""
        from torch import Tensor

        return map(attrgetter("shape"), self.tensors), map(Tensor.stride, self.tensors)

    def places_of(self, slots: list[Slot]) -> tuple[list, list] | None:
        """The numbers of the dicts that hold some slots, and of their tensors; ``None`` if one is not there."""
        owners = {id(owner): place for place, owner in enumerate(self.owners)}
        tensors = {id(tensor): place for place, tensor in enumerate(self.tensors)}
        holders, held = [owners.get(id(slot.owner)) for slot in slots], [tensors.get(id(slot.tensor)) for slot in slots]
        return None if None in holders or None in held else (holders, held)

    def is_usual(self) -> bool:
        """Whether the names in the module are those that PyTorch's own class tells."""
        from torch.nn import Module

        return all([type(part).named_modules is Module.named_modules for part in self.parts])


def survey(module: Any) -> Survey | None:
    """A survey; ``None`` for a module of an unusual kind, of which it would not tell enough."""
    try:
        parts, dicts = _parts(module)
        owners = [*map(itemgetter("_parameters"), dicts), *map(itemgetter("_buffers"), dicts)]
        values = [*chain.from_iterable([owner.values() for owner in owners if owner])]
    except _UNUSUAL:
        return None
    return Survey(parts, dicts, owners, values, [value for value in values if value is not None])


def _parts(module: Any) -> tuple[list, list[dict]]:
    """The module and all modules below it, level by level (which name belongs to which, their keys tell), and their dicts."""
    parts, dicts = [module], []
    for part in parts:
        own = part.__dict__
        dicts.append(own)
        children = own["_modules"]
        if children:
            parts.extend(children.values())
            if len(parts) > _MOST_PARTS:
                raise ValueError("a module that holds itself")
    return parts, dicts

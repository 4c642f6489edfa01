"""What the tensors of a module are, read in one walk: equal surveys mean that what was prepared for the module before holds
still.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ._slots import Slot

#: A tree of so many modules is none: a module that holds itself.
_MOST_PARTS = 1_000_000


class Survey(NamedTuple):
    """All modules in a module, their dicts of parameters and then of buffers, and the tensors.

    ``signature`` is all that the slots of the module hang on. It holds neither modules nor tensors, so that keeping it
    keeps no memory.
    """

    parts: list[Any]
    owners: list[dict]
    tensors: list[Any]
    signature: tuple


def survey(module: Any) -> Survey | None:
    """A survey; ``None`` for a module of an unusual kind, of which it would not tell enough."""
    from torch import Tensor

    try:
        parts, dicts = _parts(module)
        owners = [own["_parameters"] for own in dicts] + [own["_buffers"] for own in dicts]
        values = [value for owner in owners if owner for value in owner.values()]
        tensors = [value for value in values if value is not None]
        signature = (
            [*map(type, parts)],
            [tuple(own["_modules"]) for own in dicts],
            [own["training"] for own in dicts],
            [*map(tuple, owners)],
            [frozenset(names) if names else None for names in [own["_non_persistent_buffers_set"] for own in dicts]],
            [*map(type, values)],
            [*map(Tensor.data_ptr, tensors)],
            [tensor.shape for tensor in tensors],
            [*map(Tensor.stride, tensors)],
            [tensor.dtype for tensor in tensors],
            [tensor.device for tensor in tensors],
        )
    except (AttributeError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None
    return Survey(parts, owners, tensors, signature)


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


def places_of(slots: list[Slot], found: Survey) -> tuple[list, list] | None:
    """The numbers in a survey of the dicts that hold some slots, and of their tensors; ``None`` if one is not there."""
    owners = {id(owner): place for place, owner in enumerate(found.owners)}
    tensors = {id(tensor): place for place, tensor in enumerate(found.tensors)}
    holders, held = [owners.get(id(slot.owner)) for slot in slots], [tensors.get(id(slot.tensor)) for slot in slots]
    return None if None in holders or None in held else (holders, held)


def is_usual(found: Survey) -> bool:
    """Whether the names and tensors of a module are those that PyTorch's own classes tell."""
    from torch.nn import Module

    return all([type(part).named_modules is Module.named_modules and not hasattr(part, "_weight_bias") for part in found.parts])

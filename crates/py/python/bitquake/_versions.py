"""Version counters: PyTorch counts in-place changes of a tensor, and refuses a backward pass through one that changed
since its forward pass.
"""

from __future__ import annotations

import itertools
from operator import attrgetter
from typing import Any

import torch

_numbers = itertools.count(1)
_version_of = attrgetter("_version")
#: Counters have 32 bits; blocks that lie so far apart may share a number.
_BLOCKS = 1 << 30


def _set_all(tensors: tuple, versions: Any) -> None:
    torch._C._autograd._unsafe_set_version_counter(tensors, versions)


def _set_each(tensors: tuple, versions: Any) -> None:
    for tensor, version in zip(tensors, versions):
        torch._C._autograd._unsafe_set_version_counter(tensor, version)  # type: ignore[arg-type]


def _setter() -> Any:
    """How this PyTorch sets counters: of many tensors at once, of one, or not at all."""
    probe = torch.zeros(1)
    for setter in (_set_all, _set_each):
        try:
            setter((probe,), [3])
        except (AttributeError, TypeError):
            continue
        if probe._version == 3:
            return setter
    return None


_SETTER = _setter()


class Versions:
    """The counters of some tensors around a block in which their bits are others.

    Inside, the counters have a number of this block; afterwards, when the bits are those from before, also the numbers
    from before. So a graph that was recorded before the block goes backward after it, and one that was recorded inside
    only inside.
    """

    __slots__ = ("_tensors", "_before", "_inside")

    def __init__(self, tensors: tuple) -> None:
        self._tensors = tensors
        self._before: list[int] = []
        self._inside: list[int] = []

    def note(self) -> None:
        """To be called before the bits are changed."""
        try:
            self._before = [*map(_version_of, self._tensors)]
        except RuntimeError:
            # Inference tensors do not count their changes, and are in no graph either.
            self._tensors = tuple(tensor for tensor in self._tensors if not tensor.is_inference())
            self._before = [*map(_version_of, self._tensors)]

    def enter(self) -> None:
        """To be called when the bits have been changed; what that did to the counters is forgotten."""
        torch.clear_autocast_cache()  # it holds casts of what the bits were before
        number = next(_numbers) % _BLOCKS
        self._inside = [version + number for version in self._before]
        if _SETTER is not None:
            _SETTER(self._tensors, self._inside)
            return
        # An older PyTorch: a graph from before the block is refused after it, too.
        for tensor in self._tensors:
            torch.autograd.graph.increment_version(tensor)
        self._inside = [*map(_version_of, self._tensors)]

    def written(self) -> list:
        """The tensors that someone wrote to inside."""
        now = [*map(_version_of, self._tensors)]
        if now == self._inside:
            return []
        return [tensor for tensor, version, inside in zip(self._tensors, now, self._inside) if version != inside]

    def leave(self, written: list) -> None:
        """To be called when the bits have been changed back."""
        torch.clear_autocast_cache()
        if _SETTER is None or written:
            for tensor in self._tensors:
                torch.autograd.graph.increment_version(tensor)
        else:
            _SETTER(self._tensors, self._before)

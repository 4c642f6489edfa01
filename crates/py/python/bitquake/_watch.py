"""Tensors of a module whose bits are other ones for a while."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from ._core import Slot, Slots
from ._errors import UsageError
from ._words import Words, words_of
from .patterns import FaultPattern, apply_to

_NAMES = 5


class Exposed(NamedTuple):
    """What a block may change, and nobody else inside of it.

    ``tensors`` count their changes. PyTorch's batch normalisation updates ``statistics`` (their names, and the modules that hold
    them) without counting.
    """

    tensors: tuple
    statistics: list[tuple[str, Any]]

    def check(self) -> None:
        for name, module in self.statistics:
            if module.training:
                raise UsageError(
                    f"`{name}` is updated in training mode, where its flips could not be undone: use module.eval(), or leave it out with `select`"
                )


class Watched:
    """Tensors of a module, as words where they are needed. Views are made of those alone that ``_core`` does not flip at their
    addresses, once.
    """

    __slots__ = ("_slots", "_by_name", "_words", "_described")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._by_name: dict[str, Slot] = {}
        self._words: dict[str, Words] = {}
        self._described: dict[str, tuple] = {}

    def _slot(self, name: str) -> Slot:
        if not self._by_name:
            self._by_name = dict(zip(self._slots.names, self._slots))
        return self._by_name[name]

    def words(self, name: str) -> Words:
        words = self._words.get(name)
        if words is None:
            words = self._words[name] = words_of(self._slot(name).tensor, name)
        return words

    def described(self, name: str) -> tuple:
        """What ``_core`` takes: shared where the words lie one after the other on the host, else a copy."""
        return self._shared(name) or self.words(name).described()

    def _shared(self, name: str) -> tuple | None:
        from ._torch import shared_bytes

        told = self._described.get(name)
        if told is None:
            slot = self._slot(name)
            tensor = slot.tensor
            content = shared_bytes(tensor)
            if content is None:
                return None
            told = self._described[name] = (name, slot.format, tensor.element_size(), tensor.numel(), content)
        return told

    def flipped(self, pattern: Any) -> Callable[[], None]:
        """Applies a core pattern, and gives what undoes it: applying it again."""
        placed = self._slots.placed(pattern)
        both = self._flip_of(pattern) if placed is None else placed.flip
        both()
        return both

    def _flip_of(self, pattern: Any) -> Callable[[], None]:
        names = [name for name, *_ in pattern.tensors]
        words = [self.words(name) for name in names]
        commits = [commit for name in names if (commit := self._slot(name).commit) is not None]

        def both() -> None:
            apply_to(pattern, words)
            for commit in commits:
                commit()

        return both

    def all_shared(self) -> list[tuple] | None:
        """What ``_core`` takes of all tensors, if it can change them where they are."""
        if any(slot.commit is not None for slot in self._slots):
            return None
        shared = [self._shared(name) for name in self._slots.names]
        return [told for told in shared if told is not None] if all(shared) else None

    def check_there(self, since: str) -> None:
        gone = self.gone()
        if gone:
            raise UsageError(f"{_listed(gone)} moved or replaced since {since}")

    def gone(self) -> list[str]:
        """The tensors that the module does not hold any more, or elsewhere."""
        return self._slots.gone()

    def named(self, tensors: list) -> list[str]:
        """The names of some of them."""
        wanted = {id(tensor) for tensor in tensors}
        return [slot.name for slot in self._slots if id(slot.tensor) in wanted]


class Block:
    """A ``with`` block inside of which bits are flipped.

    ``put`` flips the module's words, and gives what the block hands out and what flips them back.
    """

    __slots__ = ("_watched", "_exposed", "_put", "_since", "_undo", "_versions")

    def __init__(self, watched: Watched, exposed: Exposed, put: Callable[[], tuple[FaultPattern, Callable[[], None]]], since: str) -> None:
        self._watched, self._exposed, self._put, self._since = watched, exposed, put, since
        self._undo: Any = None
        self._versions: Any = None

    def __enter__(self) -> FaultPattern:
        from ._versions import Versions

        if self._undo is not None:
            raise UsageError("the block is entered already: make one for each time")
        self._watched.check_there(self._since)
        self._exposed.check()
        versions = Versions(self._exposed.tensors)
        versions.note()
        given, undo = self._put()
        try:
            versions.enter()
        except BaseException:
            undo()
            raise
        self._undo, self._versions = undo, versions
        return given

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        written = self._versions.written()
        undo, self._undo = self._undo, None
        undo()
        self._versions.leave(written)
        problem = self._problem(written)
        if problem and error is None:
            raise UsageError(problem)
        if problem and hasattr(error, "add_note"):
            error.add_note(problem)

    def _problem(self, written: list) -> str:
        gone = self._watched.gone()
        if gone:
            return (
                f"{_listed(gone)} moved or replaced inside the block: what the module holds now was made of faulty words; "
                "only the old memory has its bits back"
            )
        if written:
            return (
                f"{_listed(self._watched.named(written))} written to inside the block: flips were made again in words that may be other ones by now; "
                "write outside of it, or leave the tensors out with `select`"
            )
        return ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(f'`{name}`' for name in names[:_NAMES])}{more} {'was' if len(names) == 1 else 'were'}"


__all__ = ["Block", "Exposed", "Watched"]

"""Tensors of a module whose bits are other ones for a while."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable, NamedTuple

import numpy as np

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

    __slots__ = ("_slots", "_packed", "_by_name", "_words", "_described")

    def __init__(self, slots: Slots) -> None:
        self._slots, self._packed = slots, slots.packed
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

    def flips(self, pattern: Any) -> Any:
        """The flips of a core pattern, to be made and undone."""
        return self._slots.placed(pattern) or Flips(self._flip_of(pattern))

    def _flip_of(self, pattern: Any) -> Callable[[], None]:
        names = [name for name, *_ in pattern.tensors]
        words = [self.words(name) for name in names]
        packed = {id(slot.commit): slot for slot in self._packed if slot.name in names}  # once a module

        def flip() -> None:
            there = [*filter(_is_as_packed, packed.values())]  # what was packed since is not to be overwritten
            apply_to(pattern, words)
            for slot in there:
                slot.commit()

        return flip

    def check_there(self, since: str) -> None:
        gone = self.gone()
        if gone:
            raise UsageError(f"{_listed(gone)} moved or replaced since {since}")

    def gone(self) -> list[str]:
        """The tensors that the module does not hold any more, or elsewhere."""
        return self._slots.gone() + [slot.name for slot in self._packed if not _is_as_packed(slot)]

    def named(self, tensors: list) -> list[str]:
        """The names of some of them."""
        wanted = {id(tensor) for tensor in tensors}
        return [slot.name for slot in self._slots if id(slot.tensor) in wanted]


class Flips:
    """Flips that are made, and undone, by the same change. An interruption comes when most of the work is done, so what was begun counts
    as done.
    """

    __slots__ = ("_flip", "_are_made")

    def __init__(self, flip: Callable[[], None]) -> None:
        self._flip, self._are_made = flip, False

    def make(self) -> None:
        if not self._are_made:
            self._are_made = True
            self._flip()

    def undo(self) -> None:
        if self._are_made:
            self._are_made = False
            self._flip()


class Block:
    """A ``with`` block inside of which bits are flipped.

    ``draw`` gives what the block hands out, and the flips.
    """

    __slots__ = ("_watched", "_exposed", "_draw", "_since", "_flips", "_versions")

    def __init__(self, watched: Watched, exposed: Exposed, draw: Callable[[], tuple[FaultPattern, Any]], since: str) -> None:
        self._watched, self._exposed, self._draw, self._since = watched, exposed, draw, since
        self._flips: Any = None
        self._versions: Any = None

    def __enter__(self) -> FaultPattern:
        from ._versions import Versions

        if self._flips is not None:
            raise UsageError("the block is entered already: make one for each time")
        self._watched.check_there(self._since)
        self._exposed.check()
        self._versions = Versions(self._exposed.tensors)
        self._versions.note()
        # An interruption may come after each line, so what undoes the flips is there before they are made.
        given, self._flips = self._draw()
        try:
            self._flips.make()
            self._versions.enter()
        except BaseException:
            self._leave([])
            raise
        return given

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        written: list = []
        problem = ""
        try:
            written, gone = self._versions.written(), self._watched.gone()
            problem = self._problem(written, gone)
        finally:
            self._leave(written)
        if problem and error is None:
            raise UsageError(problem)
        if problem and hasattr(error, "add_note"):
            error.add_note(problem)

    def _leave(self, written: list) -> None:
        self._flips.undo()
        self._versions.leave(written)
        self._flips = None

    def __del__(self) -> None:
        """Bits are flipped back, too, where a block was not left, or an interruption came before the first line of ``__exit__``."""
        if getattr(self, "_flips", None) is not None:
            with suppress(Exception):
                self._leave(self._versions.written())

    def _problem(self, written: list, gone: list[str]) -> str:
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


def _is_as_packed(slot: Slot) -> bool:
    """Whether its module still packs what was unpacked of it."""
    return all([*map(_same, slot.commit.args, slot.module._weight_bias())])


def _same(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    if a.is_quantized:
        return a.equal(b)
    return np.array_equal(words_of(a).bytes(), words_of(b).bytes())  # NaN is the same as NaN


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(f'`{name}`' for name in names[:_NAMES])}{more} {'was' if len(names) == 1 else 'were'}"


__all__ = ["Block", "Exposed", "Watched"]

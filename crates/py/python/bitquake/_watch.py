"""Tensors of a module whose bits are other ones for a while."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from ._errors import UnsupportedError, UsageError
from ._slots import Slot
from ._words import Words, words_of
from .patterns import FaultPattern, apply_to

_NAMES = 5


class Exposed(NamedTuple):
    """What a block may change, and nobody else inside of it.

    ``counted`` are the tensors that count their changes; inference tensors do not, and are in no graph either.
    PyTorch's batch normalisation updates ``statistics`` without counting.
    """

    counted: tuple
    statistics: list[Slot]

    def check(self) -> None:
        for slot in self.statistics:
            if slot.is_updated:
                raise UsageError(
                    f"`{slot.name}` is updated in training mode, where its flips could not be undone: use module.eval(), or leave it out with `select`"
                )


class Watched:
    """Tensors of a module, as words where they are needed. Views are made of the tensors that are hit, once."""

    __slots__ = ("slots", "_held", "_pointers", "_starts", "_words", "_described")

    def __init__(self, slots: list[Slot]) -> None:
        self.slots = {slot.name: slot for slot in slots}
        self._held = [(slot.owner, slot.key, slot.tensor) for slot in slots]
        self._pointers = [slot.tensor.data_ptr for slot in slots]
        self._starts = [slot.start for slot in slots]
        self._words: dict[str, Words] = {}
        self._described: dict[str, tuple] = {}

    def exposed(self, names: Any = None) -> Exposed:
        """All tensors, or those of these names, as what a block may change."""
        slots = list(self.slots.values()) if names is None else [self.slots[name] for name in names]
        counted = tuple(slot.tensor for slot in slots if not slot.tensor.is_inference())
        return Exposed(counted, [slot for slot in slots if slot.role == "statistic"])

    def words(self, name: str) -> Words:
        words = self._words.get(name)
        if words is None:
            words = self._words[name] = words_of(self.slots[name].tensor, name)
            if words.is_shared:
                self._described[name] = words.described()
        return words

    def described(self, name: str) -> tuple:
        """What ``_core`` takes: shared where the words lie one after the other on the host, else a copy."""
        words = self.words(name)
        return self._described.get(name) or words.described()

    def flip(self, pattern: Any) -> None:
        """Applies a core pattern; doing it again undoes it."""
        names = [name for name, *_ in pattern.tensors]
        words = [self.words(name) for name in names]
        if all(name in self._described for name in names):
            pattern.apply([self._described[name] for name in names])
        else:
            apply_to(pattern, words)
        for name in names:
            commit = self.slots[name].commit
            if commit is not None:
                commit()

    def flipped(self, pattern: Any) -> Callable[[], None]:
        """Applies a core pattern, and gives what undoes it."""
        self.flip(pattern)
        return lambda: self.flip(pattern)

    def all_shared(self) -> list[tuple] | None:
        """What ``_core`` takes of all tensors, if it can change them where they are."""
        if any(slot.commit is not None for slot in self.slots.values()):
            return None
        described = [self.described(name) for name in self.slots]
        return described if len(self._described) == len(self.slots) else None

    def check_there(self, since: str) -> None:
        gone = self.gone()
        if gone:
            raise UsageError(f"{_listed(gone)} moved or replaced since {since}")

    def gone(self) -> list[str]:
        """The tensors that the module does not hold any more, or elsewhere."""
        is_held = all([owner.get(key) is tensor for owner, key, tensor in self._held])
        if is_held and [pointer() for pointer in self._pointers] == self._starts:
            return []
        return [name for name, slot in self.slots.items() if not slot.is_there()]


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
        versions = Versions(self._exposed.counted)
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
            places = {id(tensor) for tensor in written}
            names = [slot.name for slot in self._watched.slots.values() if id(slot.tensor) in places]
            return (
                f"{_listed(names)} written to inside the block: flips were made again in words that may be other ones by now; "
                "write outside of it, or leave the tensors out with `select`"
            )
        return ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{', '.join(f'`{name}`' for name in names[:_NAMES])}{more} {'was' if len(names) == 1 else 'were'}"


def once(slots: list[Slot]) -> list[Slot]:
    """Each stored bit once: of tied tensors the first. Tensors that share a part of their memory are an error."""
    first: dict[tuple, Slot] = {}
    for slot in slots:
        if slot.tensor.numel():
            tensor = slot.tensor
            first.setdefault((tensor.device, slot.start, tuple(tensor.shape), tensor.stride(), tensor.dtype), slot)
    spans = sorted((_span(slot), slot.name) for slot in first.values())
    for ((device, _, end), name), ((other, start, _), next_name) in zip(spans, spans[1:]):
        if device == other and start < end:
            raise UsageError(f"tensors `{name}` and `{next_name}` share part of their memory: select one of them")
    return list(first.values())


def _span(slot: Slot) -> tuple[str, int, int]:
    """The device of a tensor, its first byte, and the byte behind its last."""
    tensor = slot.tensor
    if tensor.is_contiguous():
        reach = tensor.numel()
    else:
        reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return (str(tensor.device), slot.start, slot.start + reach * tensor.element_size())


def check_formats(slots: list[Slot]) -> None:
    """That each tensor has words to flip."""
    for slot in slots:
        if slot.why is not None:
            raise UnsupportedError(f"`{slot.name}` {slot.why}: leave it out with `select`")


__all__ = ["Block", "Watched", "check_formats", "once"]

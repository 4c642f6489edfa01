"""Tensors of a module whose bits are other ones for a while."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, NamedTuple

from ._errors import UnsupportedError, UsageError
from ._slots import Slot
from ._words import Words, words_of
from .patterns import FaultPattern, apply_to

_NAMES = 5


class Exposed(NamedTuple):
    """What a block may change, and nobody else inside of it.

    ``tensors`` count their changes. PyTorch's batch normalisation updates ``statistics`` (their names; ``modules`` hold them)
    without counting.
    """

    tensors: tuple
    statistics: list[str]
    modules: list[Any]

    @classmethod
    def of(cls, slots: Iterable[Slot]) -> Exposed:
        slots = list(slots)
        measured = [slot for slot in slots if slot.role == "statistic"]
        return cls(tuple([slot.tensor for slot in slots]), [slot.name for slot in measured], [slot.module for slot in measured])

    def check(self) -> None:
        for name, module in zip(self.statistics, self.modules):
            if module.training:
                raise UsageError(
                    f"`{name}` is updated in training mode, where its flips could not be undone: use module.eval(), or leave it out with `select`"
                )


class Held(NamedTuple):
    """Of some tensors who holds each, under which key, and the tensors."""

    owners: list[Any]
    keys: list[str]
    tensors: tuple


class Watched:
    """Tensors of a module, as words where they are needed. Views are made of the tensors that are hit, once.

    ``formats`` are those of their words, by name. ``held`` are, of each, who holds it, under which key, and the tensor;
    ``starts`` where its memory begins; ``commits`` what hands changed words to a module that keeps a packed copy of them.
    """

    __slots__ = ("names", "_formats", "_held", "_starts", "_tensors", "_commits", "_bytes_of", "_start_of", "_words", "_described")

    def __init__(self, formats: dict[str, str], held: Held, starts: list[int], commits: dict[str, Callable[[], None]]) -> None:
        from ._torch import shared_bytes, start_of

        names = list(formats)
        self._bytes_of, self._start_of = shared_bytes, start_of
        self.names, self._formats, self._held, self._starts, self._commits = names, formats, held, starts, commits
        self._tensors = dict(zip(names, held.tensors))
        self._words: dict[str, Words] = {}
        self._described: dict[str, tuple] = {}

    @classmethod
    def of(cls, slots: list[Slot]) -> Watched:
        held = Held([slot.owner for slot in slots], [slot.key for slot in slots], tuple([slot.tensor for slot in slots]))
        commits = {slot.name: slot.commit for slot in slots if slot.commit is not None}
        return cls({slot.name: slot.format for slot in slots}, held, [slot.start for slot in slots], commits)

    def words(self, name: str) -> Words:
        words = self._words.get(name)
        if words is None:
            words = self._words[name] = words_of(self._tensors[name], name)
        return words

    def described(self, name: str) -> tuple:
        """What ``_core`` takes: shared where the words lie one after the other on the host, else a copy."""
        return self._shared(name) or self.words(name).described()

    def _shared(self, name: str) -> tuple | None:
        told = self._described.get(name)
        if told is None:
            tensor = self._tensors[name]
            content = self._bytes_of(tensor)
            if content is None:
                return None
            told = self._described[name] = (name, self._formats[name], tensor.element_size(), tensor.numel(), content)
        return told

    def flipped(self, pattern: Any, names: list[str] | None = None) -> Callable[[], None]:
        """Applies a core pattern, which hits the tensors of these names, and gives what undoes it: applying it again."""
        if names is None:
            names = [name for name, *_ in pattern.tensors]
        flip = self._flip_of(pattern, names)
        commits = [self._commits[name] for name in names if name in self._commits]

        def both() -> None:
            flip()
            for commit in commits:
                commit()

        both()
        return both

    def _flip_of(self, pattern: Any, names: list[str]) -> Callable[[], None]:
        shared = [self._shared(name) for name in names]
        if all(shared):
            return lambda: pattern.apply(shared)
        words = [self.words(name) for name in names]
        return lambda: apply_to(pattern, words)

    def all_shared(self) -> list[tuple] | None:
        """What ``_core`` takes of all tensors, if it can change them where they are."""
        if self._commits:
            return None
        shared = [self._shared(name) for name in self.names]
        return [told for told in shared if told is not None] if all(shared) else None

    def check_there(self, since: str) -> None:
        gone = self.gone()
        if gone:
            raise UsageError(f"{_listed(gone)} moved or replaced since {since}")

    def gone(self) -> list[str]:
        """The tensors that the module does not hold any more, or elsewhere."""
        starts = [*map(self._start_of, self._held.tensors)]
        if starts == self._starts and all([owner.get(key) is tensor for owner, key, tensor in zip(*self._held)]):
            return []
        found = zip(self.names, *self._held, starts, self._starts)
        return [name for name, owner, key, tensor, now, start in found if now != start or owner.get(key) is not tensor]

    def named(self, tensors: list) -> list[str]:
        """The names of some of them."""
        wanted = {id(tensor) for tensor in tensors}
        return [name for name, tensor in self._tensors.items() if id(tensor) in wanted]


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


__all__ = ["Block", "Exposed", "Held", "Watched", "check_formats", "once"]

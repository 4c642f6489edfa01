"""What a memory holds of a PyTorch module: codes, whose bits are faulted in place of those of floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _core
from ._core import Slot
from ._errors import UsageError
from ._watch import Block, Exposed, Watched
from ._words import Words, forget_casts
from .faults import Fault, one_amount, to_toml
from .patterns import FaultPattern
from .weights import check_module, with_selection

_SINCE = "it was quantized: quantize again"


class Storage:
    """A module as a memory of codes. Made by :func:`quantize`; as a context manager it gives the original floats back
    at the end.

    The module's floats are what the codes stand for, until :meth:`restore_`. They must stay so: training the module in
    between, or moving it, makes the storage stale, which :meth:`faulty` says by a :class:`UsageError`.
    """

    def __init__(self, module: Any, table: Mapping, seed: int) -> None:
        self.module, self.text = module, to_toml(table)
        slots = _core.Slots.storable(module)
        self.watched, self._slots = Watched(slots), {slot.name: slot for slot in slots}
        self._shapes = {slot.name: slot.shape for slot in slots}
        #: The clean words of coded tensors whose own memory cannot be handed to ``_core``.
        self._copies: dict[str, tuple] = {}
        plan = _core.Plan(self.text, [(slot.name, slot.format, list(slot.shape), _role(slot)) for slot in slots])
        self._memory: Any = plan.store(self._native(), seed, 0)
        self._coded = [self._slots[name] for name in self._memory.coded]
        self._originals = [slot.tensor.detach().clone() for slot in self._coded]
        self._versions = self._now()
        self._sources: list[tuple[Fault, Any, Exposed]] = []

    @property
    def memory(self) -> Any:
        """The half in ``_core``, for campaigns and attacks."""
        return self._held()

    @property
    def words(self) -> list[Words]:
        """The module's own tensors, with the levels of the codes."""
        self._check_current()
        return [self.watched.words(name) for name in self._slots]

    @property
    def tensors(self) -> dict[str, str]:
        """All that is stored, also scales, zero points and check bits, and the formats of the words."""
        return {name: format for name, format, _ in self._held().tensors}

    @property
    def coded(self) -> list[str]:
        """The tensors that are stored as codes."""
        return self._held().coded

    @property
    def check_bits(self) -> int:
        """How many bits the protections add."""
        return self._held().check_bits

    def codes(self, tensor: str) -> np.ndarray:
        """The codes of a tensor as whole numbers (int64), in its shape."""
        return self._of(tensor, self._held().codes(tensor)).reshape(self._shapes[tensor])

    def scales(self, tensor: str) -> np.ndarray:
        """The scale of each unit of a tensor (float32): one, or one for each channel or group."""
        return np.array(self._of(tensor, self._held().scales(tensor)), dtype=np.float32)

    def faulty(self, fault: Any, *, seed: int = 0, trial: int = 0, select: Any = None) -> Block:
        """A context manager: inside, the module computes with what codes under the faults of a trial decode to.

        It gives the :class:`FaultPattern` of the stored words, before any protection corrects them. Globs of the fault
        reach codes and check bits; scales and other parts by ``"*@scale"`` and the like; running means and variances
        by name. What :func:`faulty` says of blocks holds here.
        """
        from .arrays import _check_key

        _check_key(seed=seed, trial=trial)
        fault = with_selection(one_amount(fault), select)
        if fault.target != "weights":
            raise UsageError(f"the target of the fault is {fault.target}: a storage holds weights")
        source, exposed = self._source(fault)
        return Block(self.watched, exposed, lambda: self._draw(source, seed, trial), _SINCE)

    def seen(self, pattern: FaultPattern) -> FaultPattern:
        """The flips of the module's floats that a pattern of stored words comes to, once the protections have done
        their work.
        """
        self._check_current()
        return FaultPattern(self._held().translate(pattern._core, self._native()), self._shapes)

    def restore_(self) -> None:
        """Writes the original floats back, bit for bit. The storage cannot be used any more."""
        self._held()
        self.watched.check_there("it was quantized: the original floats have no place to go")
        try:
            self.put_back()
        except BaseException:
            self.put_back()  # an interruption: half of them would be of no use
            raise
        self._memory = None

    def put_back(self) -> None:
        """Writes the original floats back, as often as it is called."""
        for slot, original in zip(self._coded, self._originals):
            _write(slot.tensor, original)
        self._commit()

    def __enter__(self) -> Storage:
        self._held()
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._memory is not None:
            self.restore_()

    def __repr__(self) -> str:
        if self._memory is None:
            return "Storage(restored)"
        return f"Storage({len(self._coded)} of {len(self._slots)} tensors as codes)"

    def _draw(self, source: Any, seed: int, trial: int) -> tuple[FaultPattern, Any]:
        self._check_current()
        stored, seen, dormant = self._held().trial(source, seed, trial, self._native())
        return FaultPattern(stored, self._shapes, dormant), self.watched.flips(seen)

    def _source(self, fault: Fault) -> tuple[Any, Exposed]:
        """The fault over the memory, and the floats that it may change; the last few are kept."""
        for known, source, exposed in self._sources:
            if known == fault:
                return source, exposed
        source = self._held().source(fault._core, 0)
        owners = {self._held().owner(name) for name, *_ in source.tensors}
        hit = [slot for name, slot in self._slots.items() if name in owners]
        statistics = [(slot.name, slot.module) for slot in hit if slot.role == "statistic"]
        exposed = Exposed(tuple([slot.tensor for slot in hit]), statistics)
        self._sources = [(fault, source, exposed), *self._sources[:3]]
        return source, exposed

    def _native(self) -> list[tuple]:
        """The words of the module, those of coded tensors as they are without faults."""
        return [self._copies.get(name) or self.watched.described(name) for name in self._slots]

    def write_levels(self) -> None:
        """Gives the module what its codes stand for. Until then it is as it was; from the first line on :meth:`put_back` undoes it."""
        names = [slot.name for slot in self._coded]
        for name in names:
            words = self.watched.words(name)
            if not words.is_shared:
                told = words.described()
                self._copies[name] = (*told[:-1], told[-1].copy())
        self._memory.write_levels([self._copies.get(name) or self.watched.described(name) for name in names])
        for slot in self._coded:
            if slot.name in self._copies:
                _write(slot.tensor, _as_tensor(self._copies[slot.name][-1], slot.tensor))
            else:
                _count(slot.tensor)
        self._commit()
        self._versions = self._now()

    def _commit(self) -> None:
        """Hands the floats to modules that keep packed copies of them, and has autocast forget casts of what they were."""
        forget_casts()
        for commit in {id(slot.commit): slot.commit for slot in self._coded if slot.commit is not None}.values():
            commit()

    def _now(self) -> list[int]:
        return [slot.tensor._version for slot in self._coded if not slot.tensor.is_inference()]

    def _check_current(self) -> None:
        self._held()
        now = self._now()
        if now == self._versions:
            return
        changed = self._changed()
        if changed:
            raise UsageError(f"{', '.join(f'`{name}`' for name in changed)} changed since {_SINCE} (inside a block of faults of its own a storage cannot be used)")
        self._versions = now  # flips that were undone

    def _changed(self) -> list[str]:
        """The coded tensors that are not what their codes stand for."""
        here = [self.watched.words(slot.name).described() for slot in self._coded]
        levels = [(*told[:-1], told[-1].copy()) for told in here]
        self._memory.write_levels(levels)
        return [own[0] for own, level in zip(here, levels) if not np.array_equal(own[-1], level[-1])]

    def _held(self) -> Any:
        if self._memory is None:
            raise UsageError("the original floats were restored: quantize again")
        return self._memory

    def _of(self, tensor: str, found: Any) -> Any:
        if found is None:
            raise UsageError(f"`{tensor}` is not stored as codes; these are: {', '.join(self.coded) or 'none'}")
        return found


def quantize(module: Any, quantizer: Any = None, *, seed: int = 0, **keys: Any) -> Storage:
    """Stores a module's weights as codes, and writes what the codes stand for into its floats: the quantized network.

    ``quantizer`` is a family such as ``"symmetric"``, or the table ``[storage]`` of a campaign as a dict
    (docs/storage.md); its keys may also be given by name. ``override``, ``protect`` and ``guard`` are lists of tables.
    Float weights are quantized, each tied one once; integers and complex buffers stay as they are, and the running means and variances of
    batch normalisations too, unless an override selects them. ``seed`` is for stochastic rounding.

    Raises :class:`UsageError` for unknown keys, values that a quantizer does not take (NaN, infinity) and overrides
    that match nothing; the module is unchanged then.

    >>> import bitquake as bq, torch
    >>> module = torch.nn.Linear(64, 10).eval()
    >>> with bq.quantize(module, "symmetric", bits=4, override=[{"select": ["bias"], "bits": 8}]) as storage:
    ...     codes = storage.codes("weight")
    ...     with storage.faulty(bq.Fault(count=2), seed=1, select="weight") as pattern:
    ...         y = module(torch.ones(1, 64))
    >>> storage, codes.shape, int(abs(codes).max()) <= 8, pattern
    (Storage(restored), (10, 64), True, FaultPattern(2 flips in weight))
    """
    from .arrays import _check_key

    _check_key(seed=seed)
    storage = Storage(check_module(module), table_of(quantizer, keys), seed)
    try:
        storage.write_levels()
        return storage
    except BaseException:
        storage.put_back()  # nobody else can, after an interruption
        raise


def table_of(quantizer: Any, keys: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The table `[storage]` of what :func:`quantize` takes."""
    if isinstance(quantizer, str):
        quantizer = {"family": quantizer}
    given = {} if quantizer is None else quantizer
    if not isinstance(given, Mapping):
        raise UsageError(f"a quantizer is the name of a family or a dict of the keys of [storage], such as `storage` of a RobustTraining, not {quantizer!r}")
    table = {**given, **(keys or {})}
    if not table:
        raise UsageError("how is the module to be stored? Give a family, such as `symmetric`, or a dict of the keys of [storage]")
    return table


def _role(slot: Slot) -> str:
    # What a normalisation writes in training mode is no part of the memory.
    return "attribute" if slot.is_updated else slot.role


def _as_tensor(content: np.ndarray, like: Any) -> Any:
    import torch

    return torch.from_numpy(content).view(like.dtype).view(like.shape)


def _write(tensor: Any, values: Any) -> None:
    import torch

    if not tensor.is_inference():
        tensor.detach().copy_(values)
        return
    with torch.inference_mode():
        tensor.copy_(values)


def _count(tensor: Any) -> None:
    """Tells autograd of a change that it did not see."""
    import torch

    if not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)

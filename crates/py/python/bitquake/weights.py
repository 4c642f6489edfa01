"""Faults in the weights of a PyTorch module, for the time of a ``with`` block."""

from __future__ import annotations

from typing import Any

from . import _core
from ._errors import UsageError
from ._watch import Block, Exposed, Watched
from .faults import Fault, one_amount
from .patterns import FaultPattern

_SINCE = "the faults were prepared: prepare them again"


class WeightFaults:
    """A fault model over the parameters and buffers of a module, ready for any number of trials.

    What :func:`faulty` does, with all that does not depend on the trial done once. Each :meth:`faulty` costs what the
    flips cost, and some microseconds for each tensor.

    ``fault``
        a :class:`Fault` with one amount, a dict of its keys, or a bit error rate.
    ``select``
        globs over the names of the state dict, ``!glob`` leaves out; in place of those of the fault.
    ``types``
        module classes: only what lies directly in such modules.
    ``nonfinite``
        what becomes of numbers that were finite and are not any more, as for :func:`inject_`.

    Which tensors globs reach is decided as for model files. Parameters and buffers of floats or of codes up to 16 bits
    wide are reached, the running means and variances of batch normalisations too, unless those are in training mode,
    where they are written and not read (and an error if they were selected before, or by name). Integers of 32 and 64
    bits (``num_batches_tracked``, index tables) are settings: only their full names select them. Boolean tensors,
    sparse ones and those on the meta device have no words, expanded ones and overlapping windows fewer than elements, and selecting one is an
    :class:`UnsupportedError`. Tied weights are hit once, under the first selected name. Buffers that are not persistent
    have no name in the state dict and are never hit.

    >>> import bitquake as bq, torch
    >>> module = torch.nn.Linear(100, 10).eval()
    >>> memory = bq.WeightFaults(module, bq.Fault(count=3), select="weight")
    >>> memory
    WeightFaults(32,000 bits of 1 tensor)
    >>> for trial in range(2):
    ...     with memory.faulty(seed=1, trial=trial) as pattern:
    ...         print(pattern)
    FaultPattern(3 flips in weight)
    FaultPattern(3 flips in weight)
    """

    def __init__(self, module: Any, fault: Any, *, select: Any = None, types: Any = None, nonfinite: str = "allow") -> None:
        module = check_module(module)
        check_nonfinite(nonfinite)
        self._nonfinite = nonfinite
        self.fault = with_selection(one_amount(fault), select)
        if self.fault.target != "weights":
            raise UsageError(f"the target of the fault is {self.fault.target}: bq.faulty_activations takes it")
        self._slots, self._source = _core.Slots.exposed(module, self.fault._core, check_types(types))
        self._watched, self._exposed = Watched(self._slots), Exposed(self._slots.tensors, self._slots.statistics)

    @property
    def bits(self) -> int:
        """How many bits may be hit."""
        return self._source.bits

    @property
    def tensors(self) -> dict[str, str]:
        """The tensors that may be hit, and the formats of their words."""
        return {name: format for name, format, _, _ in self._source.tensors}

    def faulty(self, *, seed: int = 0, trial: int = 0) -> Block:
        """A context manager: inside, the bits of a trial are flipped; it gives the :class:`FaultPattern`.

        See :func:`faulty` for what holds inside and afterwards. Raises :class:`UsageError` if a tensor was moved or
        replaced since.
        """
        from .arrays import _check_key

        _check_key(seed=seed, trial=trial)
        return Block(self._watched, self._exposed, lambda: self._draw(seed, trial), _SINCE)

    def _draw(self, seed: int, trial: int) -> tuple[FaultPattern, Any]:
        """The pattern of a trial, and its flips."""
        from .arrays import _settled

        names, flips, faults = self._source.hit(seed, trial)
        dormant = 0
        if flips is None:
            flips, dormant = faults.resolve([self._watched.described(name) for name in names])
        if self._nonfinite != "allow":
            flips = _settled(flips, [self._watched.words(name) for name, *_ in flips.tensors], self._nonfinite)
        return FaultPattern(flips, self._slots.shapes(names), dormant), self._watched.flips(flips)

    def __repr__(self) -> str:
        tensors = len(self._slots)
        return f"WeightFaults({self.bits:,} bits of {tensors} tensor{'' if tensors == 1 else 's'})"


def faulty(
    module: Any,
    fault: Any,
    *,
    seed: int = 0,
    trial: int = 0,
    select: Any = None,
    types: Any = None,
    nonfinite: str = "allow",
) -> Block:
    """Faults in the stored bits of a module's parameters and buffers, for the time of a ``with`` block, which gives the
    :class:`FaultPattern`.

    At its end, and on an exception, the same bits are flipped back: the module is what it was, bit for bit. Bits are
    flipped where the memory holds them, in the same tensors, on any device: parameters keep their identity, stay
    leaves, and their gradients are those of the faulty weights. For many trials on one module make a
    :class:`WeightFaults`, which also says which tensors are reached and what the arguments are.

    Inside the block the module must not be written to. ``optimizer.step()`` or ``load_state_dict`` leave words that
    the flips were not made for. They are flipped back all the same, and a :class:`UsageError` names the tensors; it
    also names those that were moved or replaced (``module.half()``, ``.to(device)``, assigning a parameter). Writing
    through ``tensor.data`` escapes PyTorch's version counters, and so this check.

    Autograd is told: a backward pass of something computed inside must happen inside, else PyTorch raises, as after
    any other change in place. Graphs recorded before the block are good again after it. One module may be in several
    nested blocks, but not in those of several threads at once.

    >>> import bitquake as bq, torch
    >>> module = torch.nn.Linear(4, 2).eval()
    >>> x, clean = torch.ones(1, 4), module(torch.ones(1, 4))
    >>> with bq.faulty(module, bq.Fault(count=1, bits="sign"), seed=3) as pattern:
    ...     changed = module(x)
    >>> pattern.flips, bool((changed != clean).any()), bool((module(x) == clean).all())
    (1, True, True)
    """
    return WeightFaults(module, fault, select=select, types=types, nonfinite=nonfinite).faulty(seed=seed, trial=trial)


def with_selection(fault: Fault, select: Any) -> Fault:
    """The fault with other globs, one or several."""
    if select is None:
        return fault
    return fault.with_(select=[select] if isinstance(select, str) else list(select))


def check_module(module: Any) -> Any:
    """A module; of a compiled one the module that was compiled."""
    from ._collect import _is_module, uncompiled

    if not _is_module(module):
        raise UsageError(f"a torch.nn.Module is needed here, not a {type(module).__name__}: bq.inject_ takes arrays and dicts of them")
    return uncompiled(module)


def check_types(types: Any) -> Any:
    """Module classes as ``isinstance`` takes them."""
    classes = types if isinstance(types, (tuple, list)) else (types,)
    if types is not None and not all(isinstance(one, type) for one in classes):
        raise UsageError(f"types are module classes, such as torch.nn.Linear, not {types!r}")
    return None if types is None else tuple(classes)


def check_nonfinite(policy: str) -> None:
    if policy not in ("allow", "clamp", "zero", "reject"):
        raise UsageError(f"nonfinite is `allow`, `clamp`, `zero` or `reject`, not `{policy}`")

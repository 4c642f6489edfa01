"""Stored weights as ``torch.nn.utils.parametrize`` parametrizations, one layer at a time. Needs PyTorch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from ._core import Floats
from ._errors import UnsupportedError, UsageError
from ._gradients import copied, core_of, fresh
from ._method import core_method, table_of
from .storage import table_of as storage_of


class FakeQuantize(torch.nn.Module):
    """A weight as its codes have it: forward gives the decoded levels, backward goes straight through the rounding.

    ``quantizer`` is a family, or has the fields of a campaign's ``[storage]``. The gradient passes as it is, but for families that clip: that of LSQ is 0 where a
    weight saturates, that of DoReFa goes through its tangent. With ``ranges={"rule": "learn"}`` the range of WCAT and the step of LSQ
    are a parameter of this module, ``range``, which ``parameters()`` has and the optimizer moves; its other keys (``clip``,
    ``scale_gradient``, ``lowest``, ``lsq``) are those of docs/training.md. Stochastic rounding draws once for each weight, and keeps that.

    Float32 on any device; computed on the host. Before a module is exported, ``torch.nn.utils.parametrize.remove_parametrizations`` leaves the levels in it.

    >>> import bitquake as bq, torch
    >>> from torch.nn.utils.parametrize import register_parametrization
    >>> layer = torch.nn.Linear(64, 1)
    >>> quantizer = {"family": "symmetric", "bits": 2, "range": {"fixed": 0.1}}
    >>> _ = register_parametrization(layer, "weight", bq.FakeQuantize(quantizer))
    >>> sorted({round(value, 3) for value in layer.weight.flatten().tolist()})
    [-0.1, 0.0, 0.1]
    >>> layer.weight.sum().backward()
    >>> layer.parametrizations.weight.original.grad.unique().tolist()
    [1.0]
    """

    def __init__(self, quantizer: str | Mapping[str, Any], *, ranges: Mapping[str, Any] | None = None, seed: int = 0) -> None:
        super().__init__()
        rule = dict(ranges or {}).get("rule", "refit")
        if rule not in ("refit", "learn"):
            raise UsageError(f"the ranges of one layer are refitted or learnt (`refit`, `learn`), not `{rule}`")
        self._table = table_of({"quantization": storage_of(quantizer), "ranges": ranges})
        self._seed = seed
        self._name = "weight"
        self._core: Any = None
        self._shape: Any = None
        #: Which forward pass the method's arithmetic is about.
        self._turn = 0
        self.register_parameter("range", None)
        #: No learnt range falls below it. It follows from the weights of the beginning, so copies and state dicts have it.
        self._least: float | None = None

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        _check(self._name, weight)
        if self._core is None:
            self._begin(weight)
        elif weight.shape != self._shape:
            raise UsageError(f"a weight of {list(weight.shape)}, after one of {list(self._shape)}: make a {type(self).__name__} for each layer")
        # Training alone writes to it: what is measured stays as it is, under faults too.
        if self.range is not None and self.training and torch.is_grad_enabled() and self.range.item() < self._least:
            with torch.no_grad():
                self.range.fill_(self._least)
        return _Levels.apply(weight, self.range, self)

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """What is assigned to the parametrized weight becomes its master."""
        return weight

    def _begin(self, weight: torch.Tensor) -> None:
        self._shape = weight.shape
        self._core = core_method(self._table, [(self._name, list(weight.shape), _array(weight))], self._seed)
        for _, value, *_, least in self._core.ranges:
            if self.range is None:
                self.range = torch.nn.Parameter(torch.tensor(value, device=weight.device))
            if self._least is None:
                self._least = least

    def _store(self, values: np.ndarray) -> None:
        """Codes of these values in the range of now."""
        if self.range is not None:
            value = self.range.item()
            self._core.set_ranges([self._least if value < self._least else value])
        self._core.begin(Floats.of_arrays([values]))
        self._turn += 1

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._least is not None:
            destination[f"{prefix}least"] = torch.tensor(self._least, dtype=torch.float64)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        least = state_dict.pop(f"{prefix}least", None)
        if least is not None:
            self._least = float(least)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _write(self, values: np.ndarray, out: np.ndarray) -> None:
        self._store(values)
        self._core.clean_levels(Floats.of_arrays([out]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_core": None}

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self._table["quantization"].items())


class RandomBitErrors(FakeQuantize):
    """A weight as its codes have it under random bit errors, in training mode; in evaluation mode without.

    Give the bit error ``rate``, or a ``fault`` (the keys of a campaign's ``[fault]``, with one amount). Faults hang on ``seed``, ``name`` and the step,
    so give each layer a name of its own. The step is how often the weight was seen with other values than before: reading a weight several
    times, or accumulating gradients, keeps the faults until the optimizer has moved it. State dicts have it.

    >>> import bitquake as bq, torch
    >>> from torch.nn.utils.parametrize import register_parametrization
    >>> layer = torch.nn.Linear(64, 64)
    >>> errors = bq.RandomBitErrors({"family": "symmetric", "bits": 8}, rate=0.01, seed=1, name="weight")
    >>> _ = register_parametrization(layer, "weight", errors)
    >>> faulty, clean = layer.train().weight, layer.eval().weight
    >>> int((faulty != clean).sum()), errors.flips
    (300, 314)
    """

    def __init__(
        self,
        quantizer: str | Mapping[str, Any],
        *,
        name: str,
        rate: float | None = None,
        fault: Any = None,
        ranges: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(quantizer, ranges=ranges, seed=seed)
        if (rate is None) == (fault is None):
            raise UsageError("give a rate or a fault")
        errors = {"rate": rate, "fault": fault, "combination": "adversarial", "curriculum": "always"}
        # With these statistics, of which one layer has none, there is no clean pass.
        self._table = table_of({**self._table, "bit_errors": errors, "statistics": "perturbed"})
        self._name = name
        self._step = 0
        self._seen: np.ndarray | None = None
        self._digest: str | None = None
        self._flips = 0

    @property
    def step(self) -> int:
        """What keys the faults beside the seed and the name."""
        return self._step

    @property
    def flips(self) -> int:
        """The flips of the last forward pass in training mode."""
        return self._flips

    def _write(self, values: np.ndarray, out: np.ndarray) -> None:
        if not self.training:
            super()._write(values, out)
            return
        self._advance(values)
        self._store(values)
        self._flips = self._core.perturbed_levels(self._step, 0, Floats.of_arrays([out]))

    def _advance(self, values: np.ndarray) -> None:
        if self._seen is None:
            self._step += self._digest is not None and self._digest != _digest(values)
        else:
            self._step += not np.array_equal(self._seen.view(np.uint32), values.view(np.uint32))
        self._seen = values.copy()

    def get_extra_state(self) -> torch.Tensor:
        """A tensor, which is what whoever copies or saves state dicts expects: the step, and of the weights last seen, if any, a digest."""
        digest = self._digest if self._seen is None else _digest(self._seen)
        halves = [0, 0] if digest is None else [int.from_bytes(bytes.fromhex(half), "big", signed=True) for half in (digest[:16], digest[16:])]
        return torch.tensor([self._step, int(digest is not None), *halves])

    def set_extra_state(self, state: torch.Tensor) -> None:
        step, has_digest, *halves = state.tolist()
        digest = b"".join(half.to_bytes(8, "big", signed=True) for half in halves).hex()
        self._step, self._digest, self._seen = step, digest if has_digest else None, None

    def extra_repr(self) -> str:
        errors = self._table["bit_errors"]
        amount = f"rate={errors['rate']}" if "rate" in errors else f"fault={errors['fault']}"
        return f"{super().extra_repr()}, {amount}, name={self._name!r}, seed={self._seed}"


class _Levels(torch.autograd.Function):
    """Levels of a weight; the gradient goes back as the family has it."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, range_: Any, stored: FakeQuantize) -> torch.Tensor:
        values, levels = _array(weight), fresh(weight.shape)
        stored._write(values, levels.numpy().reshape(-1))
        ctx.stored, ctx.turn = stored, stored._turn
        ctx.save_for_backward(weight)
        return levels.to(weight.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple:
        stored, (weight,) = ctx.stored, ctx.saved_tensors
        if stored._turn != ctx.turn or ctx.turn < 0:
            stored._store(_array(weight))
        ctx.turn = -1  # told once; a second backward pass begins anew
        own = copied(gradient)
        stored._core.combine(0.0, core_of([own]))
        stored._turn += 1
        of_range = None
        if stored.range is not None:
            of_range = torch.full_like(stored.range, stored._core.ranges[0][2])
        return own.to(weight.device), of_range, None


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().contiguous().numpy().reshape(-1)


def _is_exporting() -> bool:
    """Whether torch.export looks; older ones do not tell."""
    asked = getattr(torch.compiler, "is_exporting", None)
    return asked is not None and asked()


def _digest(values: np.ndarray) -> str:
    return hashlib.blake2b(values.tobytes(), digest_size=16).hexdigest()


def _check(name: str, weight: torch.Tensor) -> None:
    if weight.is_meta:
        raise UnsupportedError(f"`{name}` is on the meta device: it has no values")
    if torch.onnx.is_in_onnx_export() or _is_exporting():
        raise UnsupportedError(
            f"`{name}` is quantized in Python, which no exported file can hold: first let remove_parametrizations(module, '{name}') "
            "of torch.nn.utils.parametrize leave its levels in the module"
        )
    if weight.dtype is not torch.float32:
        raise UnsupportedError(f"`{name}` is {str(weight.dtype).split('.')[-1]}: only float32 weights are quantized here")

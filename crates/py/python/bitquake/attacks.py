"""Attacks and rankings of PyTorch modules: gradients from torch, the search for bits from the library."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _core
from ._collect import exposed_in_module, uncompiled
from ._errors import UnsupportedError, UsageError
from ._words import Words, forget_casts
from .arrays import _check_key
from .faults import Fault, to_toml
from .patterns import FaultPattern
from .weights import check_module

_KINDS = ("progressive", "exhaustive", "random", "random-by-tensor")


@dataclass
class Attack:
    """What :func:`attack` found: the flips in the order in which they were made, and what they did to the loss."""

    #: The flips of what is stored, as a value that can be applied, saved and undone.
    pattern: FaultPattern
    #: One dict a step: ``flips`` (tensor, element, bit), ``loss_before``, ``loss``, ``probes``, ``distance``, and what ``evaluate`` gave.
    steps: list[dict[str, Any]] = field(default_factory=list)
    #: Why it ended: ``budget``, ``target`` (the goal), ``no-increase``, ``not-finite`` or ``exhausted``.
    end: str = "budget"

    def __repr__(self) -> str:
        return f"Attack({self.pattern.flips} flips in {len(self.steps)} steps, ended by {self.end})"


def attack(
    model: Any,
    inputs: Any,
    labels: Any,
    *,
    budget: int = 20,
    kind: str = "progressive",
    loss: Callable[[Any, Any], Any] | None = None,
    select: list[str] | None = None,
    bits: str = "all",
    limits: Mapping[str, Any] | None = None,
    search: Mapping[str, Any] | None = None,
    evaluate: Callable[[], float] | None = None,
    goal: float | None = None,
    seed: int = 0,
) -> Attack:
    """Looks for the flips that raise the loss most, one step after the other, and leaves the module as it was.

    ``model`` is a module, whose float32 words are attacked, or what :func:`quantize` gave, whose codes are. ``kind`` is the progressive
    bit search (``"progressive"``), the best of all single bits a step (``"exhaustive"``), or random bits to compare with (``"random"`` by
    size, ``"random-by-tensor"``). ``loss(outputs, labels)`` is cross entropy by default. ``limits`` and ``search`` are the tables
    ``[attack.limits]`` and ``[attack.search]`` of the command line. After each step ``evaluate()`` is called, on the module with the
    flips; the attack ends when it gives ``goal`` or less.

    >>> import bitquake as bq, torch
    >>> _ = torch.manual_seed(0)
    >>> net, x = torch.nn.Linear(8, 3), torch.randn(64, 8)
    >>> found = bq.attack(net, x, net(x).argmax(1), budget=3, select=["weight"], bits="sign")
    >>> found.pattern.flips, found.steps[0]["loss"] > found.steps[0]["loss_before"]
    (3, True)
    """
    if kind not in _KINDS:
        raise UsageError(f"kind is one of {', '.join(_KINDS)}, not `{kind}`")
    _check_key(seed=seed, budget=budget)
    if budget < 1:
        raise UsageError("the budget is 0: nothing may be flipped")
    if goal is not None and evaluate is None:
        raise UsageError("a goal is what `evaluate` gives: there is none")
    with _Subject(model, inputs, labels, loss, select, bits).at_work() as subject:
        attacked = subject.attacked(budget, limits, search)
        found = Attack(FaultPattern(attacked.pattern))
        for number in range(budget):
            step = _step(attacked, subject, kind, seed, number)
            if step["kind"] != "flips":
                found.end = step["kind"]
                break
            subject.set(attacked.commit(step["sites"]))
            found.steps.append(_told(step, attacked, evaluate))
            if goal is not None and found.steps[-1].get("score", goal + 1) <= goal:
                found.end = "target"
                break
            if attacked.left == 0:
                break
        found.pattern = FaultPattern(attacked.pattern, {words.name: words.shape for words in subject.words})
        return found


def _step(attacked: Any, subject: _Subject, kind: str, seed: int, number: int) -> dict[str, Any]:
    if kind == "progressive":
        return attacked.search_step(subject, seed, number)
    if kind == "exhaustive":
        return attacked.exhaustive_step(subject)
    site = attacked.random_site(seed, number, kind == "random-by-tensor")
    return {"kind": "exhausted"} if site is None else {"kind": "flips", "sites": [site], "probes": 0}


def _told(step: dict[str, Any], attacked: Any, evaluate: Callable[[], float] | None) -> dict[str, Any]:
    names = [name for name, _, _ in attacked.tensors]
    told = {"flips": [(names[tensor], element, bit) for tensor, element, bit in step["sites"]]}
    told.update({key: step.get(key) for key in ("loss_before", "loss", "probes")})
    told["distance"] = attacked.distance
    if evaluate is not None:
        told["score"] = float(evaluate())
    return told


@dataclass(repr=False)
class Ranking:
    """What :func:`rank` found: which stored bits matter, by the expected change of the loss when each is flipped."""

    #: The best bits, one dict each: ``tensor``, ``element``, ``bit``, ``score``.
    top: list[dict[str, Any]]
    #: One dict for each tensor and bit position: ``tensor``, ``bit``, ``mean`` and ``largest`` score.
    strata: list[dict[str, Any]]
    #: Hutchinson's estimate of the Hessian's trace, with its standard error and the trace of each tensor, if curvature was asked for.
    trace: dict[str, Any] | None = None

    def to_frame(self, *, library: str = "pandas") -> Any:
        """The best bits as a frame of ``pandas`` or ``polars``."""
        from .results import _frame

        return _frame(self.top, library)

    def __repr__(self) -> str:
        best = f", the first in {self.top[0]['tensor']}" if self.top else ""
        return f"Ranking({len(self.top):,} bits{best}, and {len(self.strata):,} means by tensor and bit)"


def rank(
    model: Any,
    inputs: Any,
    labels: Any,
    *,
    curvature: bool = False,
    vectors: int = 50,
    tolerance: float = 0.01,
    top: int = 100,
    loss: Callable[[Any, Any], Any] | None = None,
    select: list[str] | None = None,
    bits: str = "all",
    seed: int = 0,
) -> Ranking:
    """Ranks every stored bit by the expected change of the loss, ``g d + h d^2 / 2``, where d is what its flip changes the weight by.

    The gradient g comes from torch; with ``curvature`` also the diagonal h of the Hessian, estimated from at most ``vectors`` products
    with random signs (double backward).

    >>> import bitquake as bq, torch
    >>> _ = torch.manual_seed(0)
    >>> net, x = torch.nn.Linear(8, 3), torch.randn(64, 8)
    >>> ranking = bq.rank(net, x, net(x).argmax(1), select=["weight"], bits="sign", top=2)
    >>> [bit["bit"] for bit in ranking.top]
    [31, 31]
    """
    _check_key(seed=seed, top=top, vectors=vectors)
    if not 1 <= vectors < 1 << 32 or not tolerance >= 0:
        raise UsageError(f"vectors is {vectors} and tolerance {tolerance}: from 1 to 2^32 - 1, and 0 or more")
    with _Subject(model, inputs, labels, loss, select, bits).at_work() as subject:
        attacked = subject.attacked(1, None, None)
        value, gradients = subject.slopes()
        if not np.isfinite(value) or not all(np.isfinite(gradient).all() for gradient in gradients):
            raise UsageError(f"the loss without flips is {value}, or its gradient is no finite number everywhere: nothing can be ranked by it")
        trace = attacked.hutchinson(subject, vectors, tolerance, seed) if curvature else None
        diagonal = trace.pop("diagonal") if trace is not None else None
        ranked = attacked.rank([gradient.astype(np.float64) for gradient in gradients], diagonal, top)
        names = [name for name, _, _ in attacked.tensors]
        best = [dict(zip(("tensor", "element", "bit", "score"), (names[bit[0]], *bit[1:]))) for bit in ranked["top"]]
        strata = [dict(zip(("tensor", "bit", "mean", "largest"), (names[row[0]], *row[1:]))) for row in ranked["strata"]]
        return Ranking(best, strata, trace)


class _Subject:
    """A module on one batch: what the search asks for losses and gradients."""

    def __init__(self, model: Any, inputs: Any, labels: Any, loss: Any, select: Any, bits: str) -> None:
        self._storage = model if hasattr(model, "memory") else None
        self._module = self._storage.module if self._storage is not None else check_module(model)
        self._inputs, self._labels = inputs, labels
        if loss is None:
            from torch.nn.functional import cross_entropy as loss
        self._loss = loss
        self._fault = Fault(rate=0.0, select=select, bits=bits)
        self.words: list[Words] = []
        self._tensors: list = []
        self._clean: list = []
        self._wanted: list = []

    @contextmanager
    def at_work(self) -> Any:
        """The module in evaluation mode; bit for bit as before afterwards."""
        import torch

        if torch.is_inference_mode_enabled():
            raise UsageError("attacks and rankings need gradients, which there are none of inside torch.inference_mode()")
        modules = {module: module.training for module in self._module.modules()}
        try:
            self._module.eval()
            self._parameters = dict(uncompiled(self._module).named_parameters(remove_duplicate=False))
            self.words = self._storage.words if self._storage is not None else self._reached()
            yield self
        finally:
            self._restore()
            for module, training in modules.items():
                module.training = training

    def _reached(self) -> list[Words]:
        """What is selected; without a selection all parameters of floats, since nothing else has a gradient."""
        if self._fault.table.get("select") is None:
            own = uncompiled(self._module).named_parameters()
            self._fault = self._fault.with_(select=[_core.literal(name) for name, tensor in own if tensor.is_floating_point()])
        return exposed_in_module(self._module, self._fault)[0]

    def attacked(self, budget: int, limits: Any, search: Any) -> Any:
        read = [words.described() for words in self.words]
        if self._storage is not None:
            memory = self._storage.memory
        else:
            told = [(words.name, words.format, list(words.shape), _role(words)) for words in self.words]
            memory = _core.Plan(to_toml({"family": "native"}), told).store(read, 0, 0)
        source = memory.source(self._fault._core, 0)
        attacked = _core.Attacked(memory, source, read, budget, json.dumps(dict(limits or {})), json.dumps(dict(search or {})))
        self._tensors = [self._parameter(name) for name, _, _ in attacked.tensors]
        self._clean = [tensor.detach().clone() for tensor in self._tensors]
        self._wanted = [tensor.requires_grad for tensor in self._tensors]
        for tensor in self._tensors:
            tensor.requires_grad_(True)
        return attacked

    def _parameter(self, name: str) -> Any:
        tensor = self._parameters.get(name)
        if tensor is None or not tensor.is_floating_point() or tensor.is_inference():
            raise UnsupportedError(f"`{name}` has no gradient: attacks and rankings are of float parameters; select others")
        return tensor

    def _restore(self) -> None:
        import torch

        with torch.no_grad():
            for tensor, clean, wanted in zip(self._tensors, self._clean, self._wanted):
                tensor.data.copy_(clean)
                tensor.requires_grad_(wanted)
        forget_casts()

    def _value(self) -> Any:
        forget_casts()
        import torch

        from ._torch import logits_of

        outputs = self._module(self._inputs)
        value = self._loss(logits_of(outputs), self._labels)
        if not isinstance(value, torch.Tensor) or value.numel() != 1:
            told = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise UsageError(f"the loss is {told}: it must be a tensor of one number")
        return value

    def _gradients(self, **options: Any) -> tuple[Any, tuple]:
        import torch

        with torch.enable_grad():
            value = self._value()
            return value, torch.autograd.grad(value, self._tensors, allow_unused=True, materialize_grads=True, **options)

    def slopes(self) -> tuple[float, list[np.ndarray]]:
        """The loss, and its gradient by each attacked tensor."""
        value, gradients = self._gradients()
        return float(value.detach()), [_flat(gradient, np.float32) for gradient in gradients]

    def product(self, direction: list[np.ndarray]) -> list[np.ndarray]:
        """The Hessian times a direction, by double backward."""
        import torch

        with torch.enable_grad():
            _, gradients = self._gradients(create_graph=True)
            given = [torch.from_numpy(values).to(tensor).reshape(tensor.shape) for values, tensor in zip(direction, self._tensors)]
            inner = sum((gradient * values).sum() for gradient, values in zip(gradients, given))
            if not inner.requires_grad:
                return [np.zeros(tensor.numel()) for tensor in self._tensors]
            products = torch.autograd.grad(inner, self._tensors, allow_unused=True, materialize_grads=True)
        return [_flat(product, np.float64) for product in products]

    def losses(self, probes: list[list[tuple[int, int, float]]]) -> list[float]:
        """The loss under each of several sets of changes."""
        import torch

        found = []
        with torch.no_grad():
            for probe in probes:
                before = [(tensor, element, self._cell(tensor, element).clone()) for tensor, element, _ in probe]
                try:
                    self.set(probe)
                    found.append(float(self._value()))
                finally:
                    for tensor, element, value in before:
                        self._cell(tensor, element).copy_(value)
        return found

    def set(self, changes: list[tuple[int, int, float]]) -> None:
        """Gives elements other values."""
        import torch

        with torch.no_grad():
            for tensor, element, level in changes:
                self._cell(tensor, element).fill_(level)

    def _cell(self, tensor: int, element: int) -> Any:
        values = self._tensors[tensor].data  # bits are put back: what watches for other changes need not know
        return values[tuple(np.unravel_index(element, tuple(values.shape)))] if values.dim() else values


def _role(words: Words) -> str:
    """What a tensor is for: settings are reached by their full names alone, and no quantizer has to do with statistics."""
    if words.by_name_only:
        return "attribute"
    return "statistic" if words.name.rsplit(".", 1)[-1] in ("running_mean", "running_var") else "weight"


def _flat(tensor: Any, dtype: Any) -> np.ndarray:
    import torch

    wide = tensor.detach().to("cpu", torch.float64 if dtype is np.float64 else torch.float32)
    return np.ascontiguousarray(wide.numpy().reshape(-1))

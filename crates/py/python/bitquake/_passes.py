"""The passes of one training step: levels into the parameters, the user's closure, gradients to the method. Imported only when a
module comes along."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ._core import Floats
from ._errors import UsageError
from ._parameters import Parameters, PassGradients
from ._running import RunningStatistics


class Passes:
    """One step's passes over one batch."""

    def __init__(
        self,
        module: Any,
        parameters: Parameters,
        core: Any,
        rule: str,
        closure: Callable[[], Any],
        scaler: Any,
    ) -> None:
        self._parameters = parameters
        self._core = core
        self._closure = closure
        self._scaler = scaler
        self._statistics = RunningStatistics(module, rule)
        self._there = [False] * len(parameters.names)
        #: The loss and the gradients of the pass before, of which the method is told when it is known whether another one follows.
        self._last: tuple[float, PassGradients] | None = None
        #: Whether no pass overflowed under the scale of the scaler.
        self.is_finite = True
        self._scale = 1.0
        self._clean: float | None = None
        self._perturbed: list[float] = []

    @property
    def losses(self) -> tuple[float | None, float | None]:
        """The clean loss, and the mean of the others."""
        mean = sum(self._perturbed) / len(self._perturbed) if self._perturbed else None
        return self._clean, mean

    def run(self, step: int) -> Any:
        """All passes; returns the first loss."""
        has_clean, perturbed, is_attack, _ = self._core.passes
        first = None
        if has_clean:
            self._core.clean_levels(self._parameters.floats())
            self._clean, first = self._pass()
            if not perturbed:
                return first
            self._statistics.after_clean()
        for k in range(perturbed):
            self._tell()
            self._perturb(step, k, is_attack)
            self._statistics.rewind()
            loss, tensor = self._pass()
            self._statistics.after_perturbed()
            self._perturbed.append(loss)
            first = tensor if first is None else first
        self._statistics.settle()
        return first

    def _tell(self) -> None:
        """Tells the method of the pass before, if there was one: another one follows."""
        if self._last is not None:
            loss, gradients = self._last
            self._core.add(loss, gradients.core)

    def undo(self) -> None:
        """Buffers as they were before the step."""
        self._statistics.rewind()

    def _perturb(self, step: int, k: int, is_attack: bool) -> None:
        if not is_attack:
            self._core.perturbed_levels(step, k, self._parameters.floats())
            return
        # The search shows levels in the parameters while it looks, so its result goes elsewhere first.
        worst = [np.empty_like(array) for array in self._parameters.arrays()]
        self._core.attacked_levels(step, k, self._slope, Floats.of_arrays(worst))
        self._parameters.put(worst)

    def _slope(self, levels: list[np.ndarray]) -> tuple[float, Floats]:
        """What the search asks: the loss at these levels, and its gradient."""
        self._parameters.put(levels)
        self._statistics.rewind()
        self._pass()
        assert self._last is not None
        loss, gradients = self._last
        return loss, gradients.core

    def _pass(self) -> tuple[float, Any]:
        """Forward and backward with what the arrays of the parameters hold. Returns the loss, as a number and as a tensor."""
        self._parameters.push()
        # Freed before the next ones are made: memory that is not where it was before would have PyTorch ask for new pages.
        self._last = None
        self._parameters.drop_gradients()
        loss = self._closure()
        _check(loss)
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        try:
            scaled.backward()
        except RuntimeError as error:
            if "backward through the graph a second time" in str(error):
                raise UsageError("the closure calls backward() itself: let it return the loss, which is done here") from error
            raise
        self._scale = 1.0 if self._scaler is None else float(self._scaler.get_scale())
        gradients = self._parameters.gradients(1.0 / self._scale)
        self._there = [any(pair) for pair in zip(self._there, gradients.there)]
        if self._scaler is not None:
            self.is_finite = self.is_finite and gradients.core.are_finite
        value = loss.item()
        self._last = value, gradients
        return value, loss.detach()

    def combine(self, before: list[Any], *, is_scaled: bool) -> float:
        """Leaves the gradient of the masters in ``.grad``; returns the factor that it has."""
        factor = self._scale if is_scaled else 1.0
        assert self._last is not None, "passes were run"
        loss, gradients = self._last
        self._core.combine(loss, gradients.core)
        self._parameters.receive(gradients.tensors, self._there, before, factor)
        if self.is_finite:
            return factor
        self._parameters.fill_gradients(math.inf)
        return math.inf


def _check(loss: Any) -> None:
    if not isinstance(loss, torch.Tensor):
        raise UsageError(f"the closure returned {type(loss).__name__}, not the loss: let it return the tensor, and leave backward() out")
    if loss.numel() != 1:
        raise UsageError(f"the closure returned a tensor of {list(loss.shape)}: the loss is one number")
    if not loss.requires_grad:
        raise UsageError("the loss that the closure returned depends on no parameter: it was detached, or computed under no_grad")

"""Which pass the running statistics of normalizations follow. Imported only when a module comes along."""

from __future__ import annotations

from typing import Any

import torch

#: The part of the clean pass in the rule `average`.
CLEAN_SHARE = 0.9


class RunningStatistics:
    """The buffers of a module over the passes of one step: running means and variances, and whatever else a pass moves.

    Every pass begins with the buffers of before the step. What is left at its end is, by the rule of the table: that of the ``clean``
    pass; ``average``, 0.9 of that and 0.1 of the mean of the perturbed passes; or that mean (``perturbed``). A step with passes of one
    kind alone leaves theirs. Whole numbers, such as counts of batches, are those of one pass.
    """

    def __init__(self, module: torch.nn.Module, rule: str) -> None:
        self._rule = rule
        owners = [(owner, key) for owner in module.modules() if owner._buffers for key, buffer in owner._buffers.items() if buffer is not None]
        self._places = list({id(owner._buffers[key]): (owner, key) for owner, key in owners}.values())
        self._tensors = [owner._buffers[key] for owner, key in self._places]
        self._before = self._now()
        self._clean: list | None = None
        self._perturbed: list | None = None
        self._passes = 0

    def _now(self) -> list:
        return [_value(owner._buffers[key]) for owner, key in self._places]

    def rewind(self) -> None:
        """To before the step."""
        self._set(self._before)

    def _set(self, values: list) -> None:
        # A forward pass may have put another tensor, or none, in the place of a buffer.
        for (owner, key), tensor, value in zip(self._places, self._tensors, values):
            fits = value is not None and value.shape == tensor.shape and value.dtype == tensor.dtype and value.device == tensor.device
            owner._buffers[key] = tensor if fits else value
            if fits and not _is_expanded(tensor):
                tensor.data.copy_(value)

    def after_clean(self) -> None:
        self._clean = self._now()

    def after_perturbed(self) -> None:
        if self._clean is not None and self._rule == "clean":
            return
        self._passes += 1
        now = self._now()
        share = 1.0 / self._passes
        self._perturbed = now if self._perturbed is None else _mixed(self._perturbed, 1.0 - share, now, share)

    def settle(self) -> None:
        """Leaves what the rule says."""
        clean, perturbed = self._clean, self._perturbed
        if clean is None or perturbed is None:
            left = perturbed if clean is None else clean
        elif self._rule == "average":
            left = _mixed(clean, CLEAN_SHARE, perturbed, 1.0 - CLEAN_SHARE)
        else:
            left = perturbed
        self._set(self._before if left is None else left)


def _value(buffer: Any) -> torch.Tensor | None:
    return None if buffer is None else buffer.detach().clone()


def _mixed(a: list, of_a: float, b: list, of_b: float) -> list:
    return [of_a * x + of_b * y if _can_mix(x, y) else x for x, y in zip(a, b)]


def _can_mix(a: Any, b: Any) -> bool:
    return a is not None and b is not None and a.is_floating_point() and a.shape == b.shape


def _is_expanded(tensor: torch.Tensor) -> bool:
    """Whether an element stands for several, so that nothing can be written."""
    return any(size > 1 and not stride for size, stride in zip(tensor.shape, tensor.stride()))

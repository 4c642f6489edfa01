"""The learnt ranges of quantizers as PyTorch parameters. Imported only when a module comes along."""

from __future__ import annotations

from typing import Any

import torch

from ._errors import UsageError


class LearntRanges:
    """WCAT ranges and LSQ steps, one number for each tensor that has one, and who moves them.

    That is the optimizer whose parameter groups hold :attr:`parameters`; else a plain step of gradient descent at the learning rate
    ``rate``, or at that of the optimizer's first group.
    """

    def __init__(self, core: Any, optimizer: Any, rate: float | None) -> None:
        self._core = core
        self._optimizer = optimizer
        self._rate = rate
        ranges = core.ranges
        self.names = [name for name, *_ in ranges]
        self.parameters = [torch.nn.Parameter(torch.tensor(value, dtype=torch.float32)) for _, value, *_ in ranges]
        self._gradients = [0.0] * len(ranges)
        if self.names and optimizer is None and rate is None:
            raise UsageError(
                "ranges are learnt, and nobody moves them: give the optimizer, or range_rate, a learning rate "
                "(0 where an optimizer of your own has `range_parameters`)"
            )

    def gather(self, factor: float) -> None:
        """Adds the gradients of the last pass; those that an optimizer sees are multiplied with a factor."""
        for place, (_, _, gradient, *_) in enumerate(self._core.ranges if self.names else ()):
            self._gradients[place] += gradient
            parameter = self.parameters[place]
            new = torch.full_like(parameter, gradient * factor, requires_grad=False)
            parameter.grad = new if parameter.grad is None else parameter.grad + new

    def drop(self) -> None:
        """Forgets gradients that no optimizer has seen."""
        self._gradients = [0.0] * len(self.names)
        for parameter in self._of_nobody():
            parameter.grad = None  # nobody's `zero_grad` reaches it

    def _of_nobody(self) -> list:
        """Those that the optimizer does not move, if there is one."""
        if not self.names or self._optimizer is None:
            return []
        moved = {id(parameter) for group in self._optimizer.param_groups for parameter in group["params"]}
        return [parameter for parameter in self.parameters if id(parameter) not in moved]

    def take_gradients(self) -> list:
        return [parameter.grad for parameter in self.parameters]

    def give_gradients_back(self, gradients: list) -> None:
        for parameter, gradient in zip(self.parameters, gradients):
            parameter.grad = gradient

    def move(self) -> None:
        """A step of gradient descent for those that the optimizer did not move; then the method is told."""
        if not self.names:
            return
        self._descend()
        self.tell()
        self.drop()

    def tell(self) -> None:
        self._core.set_ranges([parameter.item() for parameter in self.parameters])

    def read(self) -> None:
        """What the method made of them: none is below its lower bound."""
        for parameter, (_, value, *_) in zip(self.parameters, self._core.ranges if self.names else ()):
            parameter.data.fill_(value)

    def _descend(self) -> None:
        rate = self._rate if self._rate is not None else float(self._optimizer.param_groups[0]["lr"])
        own = {id(parameter) for parameter in (self.parameters if self._optimizer is None else self._of_nobody())}
        for parameter, gradient, (_, _, _, decay, factor, _) in zip(self.parameters, self._gradients, self._core.ranges):
            if id(parameter) in own:
                value = parameter.item()
                parameter.data.fill_(value - rate * factor * (gradient + decay * value))

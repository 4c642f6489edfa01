"""The trained parameters of a module as float32 arrays on the host. Imported only when a module comes along."""

from __future__ import annotations

from operator import attrgetter
from typing import Any, Callable

import numpy as np
import torch

from ._errors import UnsupportedError, UsageError


#: What tells that a tensor is where it was.
_WHERE = (torch.Tensor.data_ptr, attrgetter("dtype"), attrgetter("device"))


class Parameters:
    """The parameters of a module that are trained, each stored one once, as flat arrays in C order.

    The array of a contiguous CPU tensor is the parameter's own memory; of any other it is a copy, which :meth:`load` and :meth:`push` move
    between the parameter and the host. Parameters that share their memory (tied weights) go by their first name, and the gradient of
    that one is the sum of theirs.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        trained = [(name, tensor) for name, tensor in module.named_parameters() if tensor.requires_grad]
        for name, tensor in trained:
            _check(name, tensor)
        groups = _grouped([(name, tensor) for name, tensor in trained if tensor.numel()])
        if not groups:
            raise UsageError(f"{type(module).__name__} has no parameter that is trained: each has requires_grad=False, or there is none")
        self.names = [group[0][0] for group in groups]
        self._tied = [[tensor for _, tensor in group] for group in groups]
        self._tensors = [tied[0] for tied in self._tied]
        self._arrays: list[np.ndarray] = [np.empty(0, np.float32) for _ in groups]
        self._staged: list[Any] = [None for _ in groups]
        #: Of each parameter where it was when its array was made: address, dtype, device.
        self._bound: list[list] = [[None] * len(groups) for _ in _WHERE]
        self._zeros: dict[int, np.ndarray] = {}

    @property
    def shapes(self) -> list[list[int]]:
        return [list(tensor.shape) for tensor in self._tensors]

    @property
    def ids(self) -> set[int]:
        """The identities of all of them, tied ones too."""
        return {id(tensor) for tied in self._tied for tensor in tied}

    def arrays(self) -> list[np.ndarray]:
        """One array a parameter; those of parameters that were moved since (``module.to``) are made anew."""
        now = [[*map(aspect, self._tensors)] for aspect in _WHERE]
        if now != self._bound:
            for place, (own, before) in enumerate(zip(zip(*now), zip(*self._bound))):
                if own != before:
                    self._bind(place, self._tensors[place])
            self._bound = now
        return self._arrays

    def _bind(self, place: int, tensor: torch.Tensor) -> None:
        _check(self.names[place], tensor)
        plain = tensor.detach()
        is_shared = plain.device.type == "cpu" and plain.is_contiguous()
        self._staged[place] = None if is_shared else torch.empty(tensor.shape, dtype=torch.float32)
        self._arrays[place] = (plain if is_shared else self._staged[place]).numpy().reshape(-1)

    def load(self) -> list[np.ndarray]:
        """The arrays, with what the parameters hold now."""
        arrays = self.arrays()
        for tensor, staged in zip(self._tensors, self._staged):
            if staged is not None:
                staged.copy_(tensor.data)
        return arrays

    def push(self) -> None:
        """Gives the parameters what their arrays hold. Autograd does not see it, but casts that autocast keeps would be stale."""
        for tensor, staged in zip(self._tensors, self._staged):
            if staged is not None:
                tensor.data.copy_(staged)
        torch.clear_autocast_cache()

    def show(self, values: list[np.ndarray]) -> None:
        """Gives the parameters these values."""
        for array, new in zip(self.arrays(), values):
            np.copyto(array, new)
        self.push()

    def take_gradients(self) -> list[Any]:
        """What ``.grad`` holds, one a parameter, tied ones too; afterwards it holds nothing."""
        taken = [[tensor.grad for tensor in tied] for tied in self._tied]
        self.drop_gradients()
        return taken

    def drop_gradients(self) -> None:
        for tied in self._tied:
            for tensor in tied:
                tensor.grad = None

    def give_gradients_back(self, taken: list[Any]) -> None:
        for tied, gradients in zip(self._tied, taken):
            for tensor, gradient in zip(tied, gradients):
                tensor.grad = gradient

    def gradients(self, factor: float = 1.0) -> tuple[list[np.ndarray], list[bool]]:
        """``.grad`` times a factor as arrays, zeros where there is none, and whether there is one."""
        arrays, there = [], []
        for name, tied in zip(self.names, self._tied):
            found = [tensor.grad for tensor in tied if tensor.grad is not None]
            there.append(bool(found))
            arrays.append(_host(name, found, factor) if found else self._nothing(tied[0].numel()))
        return arrays, there

    def _nothing(self, count: int) -> np.ndarray:
        if count not in self._zeros:
            self._zeros[count] = np.zeros(count, np.float32)
        return self._zeros[count]

    def receive(self, write: Callable[[list[np.ndarray]], None], there: list[bool], before: list[Any], factor: float) -> None:
        """Has ``write`` fill arrays with gradients, which times a factor are added to those of ``before`` and become ``.grad``."""
        slots = [_slot(tied[0]) for tied in self._tied]
        write([array for array, _ in slots])
        for place, (_, gradient) in enumerate(slots):
            self._receive(place, gradient, there[place], before[place], factor)

    def _receive(self, place: int, gradient: torch.Tensor, is_there: bool, before: list[Any], factor: float) -> None:
        first, *others = self._tied[place]
        if factor != 1.0:
            gradient.mul_(factor)
        first.grad = _sum(before[0], _like(first, gradient) if is_there else None)
        for tensor, own in zip(others, before[1:]):
            tensor.grad = own

    def fill_gradients(self, value: float) -> None:
        for tensor in self._tensors:
            if tensor.grad is not None:
                tensor.grad.fill_(value)


def _check(name: str, tensor: torch.Tensor) -> None:
    if isinstance(tensor, torch.nn.parameter.UninitializedParameter):
        raise UnsupportedError(f"parameter `{name}` has no shape yet: run the module once first")
    if tensor.is_meta:
        raise UnsupportedError(f"parameter `{name}` is on the meta device: it has no values")
    if tensor.layout is not torch.strided:
        raise UnsupportedError(f"parameter `{name}` is {tensor.layout}: only strided ones are trained here")
    if tensor.dtype is not torch.float32:
        dtype = str(tensor.dtype).split(".")[-1]
        raise UnsupportedError(
            f"parameter `{name}` is {dtype}: masters are float32; keep the parameters so and let autocast compute in {dtype}"
        )


def _grouped(named: list[tuple[str, torch.Tensor]]) -> list[list[tuple[str, torch.Tensor]]]:
    """Parameters by the memory that they are views of. Those that share a part of it are an error: its bits would be stored twice."""
    groups: dict[tuple, list[tuple[str, torch.Tensor]]] = {}
    for name, tensor in named:
        where = (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        groups.setdefault(where, []).append((name, tensor))
    spans = sorted((where[0], where[1], _end(group[0][1]), group[0][0]) for where, group in groups.items())
    for (device, _, end, name), (other, start, _, next_name) in zip(spans, spans[1:]):
        if device == other and start < end:
            raise UsageError(f"parameters `{name}` and `{next_name}` share part of their memory, so their bits would be stored twice")
    return list(groups.values())


def _end(tensor: torch.Tensor) -> int:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr() + (reach + 1) * tensor.element_size()


def _host(name: str, gradients: list[torch.Tensor], factor: float) -> np.ndarray:
    if factor == 1.0 and len(gradients) == 1 and _is_plain(gradients[0]):
        return gradients[0].numpy().reshape(-1)
    if any(gradient.layout is not torch.strided for gradient in gradients):
        raise UnsupportedError(f"the gradient of parameter `{name}` is sparse: build its module with sparse=False")
    total = gradients[0].detach()
    for more in gradients[1:]:
        total = total + more.detach()
    if factor != 1.0:
        total = total * factor
    return total.cpu().contiguous().numpy().reshape(-1)


def _is_plain(gradient: torch.Tensor) -> bool:
    """Whether it is an array on the host, and part of no graph."""
    return gradient.layout is torch.strided and gradient.is_cpu and gradient.is_contiguous() and not (gradient.requires_grad or gradient.is_neg())


def _slot(tensor: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
    """Memory for a gradient: that of the last pass, which is needed no more, where it can be written in place."""
    gradient = tensor.grad
    if gradient is None or not _is_plain(gradient):
        gradient = torch.empty(tensor.shape, dtype=torch.float32)
    return gradient.numpy().reshape(-1), gradient


def _like(tensor: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A gradient where its parameter is, laid out as that is."""
    if gradient.device == tensor.device and gradient.stride() == tensor.stride():
        return gradient
    return torch.empty_like(tensor, requires_grad=False).copy_(gradient)


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a + b

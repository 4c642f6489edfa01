"""The trained parameters of a module as float32 arrays on the host. Imported only when a module comes along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch

from ._core import Floats
from ._errors import UnsupportedError, UsageError
from ._gradients import copied, core_of, fresh, plain


#: What tells that the array of a tensor is still its own: it keeps that memory, so that nothing else can be there. (One that is a copy is
#: good for a tensor that moves, too.)
_WHERE = (torch.Tensor.data_ptr, attrgetter("dtype"))


class PassGradients(NamedTuple):
    """The gradients of a pass, one a parameter: plain tensors, the same as ``_core`` reads and writes them, and which parameters have one (the
    others have zeros).
    """

    tensors: list[torch.Tensor]
    core: Floats
    there: list[bool]


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
        self._frozen = [(name, tensor) for name, tensor in module.named_parameters() if not tensor.requires_grad]
        self._module = module
        self._slots = _slots(module, self.ids)
        self._are_tied = any(len(tied) > 1 for tied in self._tied)
        self._arrays: list[np.ndarray] = [np.empty(0, np.float32) for _ in groups]
        self._staged: list[Any] = [None for _ in groups]
        #: Of each parameter where it was when its array was made: address, dtype.
        self._bound: list[list] = [[None] * len(groups) for _ in _WHERE]
        self._floats: Floats

    @property
    def tensors(self) -> tuple:
        """Each stored one once."""
        return tuple(self._tensors)

    def check_trained(self) -> None:
        """That the same parameters are trained as at first."""
        for name, kept, key, value in self._slots:
            if kept.get(key) is not value:
                self._check_replaced(name)
                break
        for name, tensor in zip(self.names, self._tensors):
            if not tensor.requires_grad:
                raise UsageError(f"parameter `{name}` was frozen since the training was prepared: make another one, which leaves it as it is")
        for name, tensor in self._frozen:
            if tensor.requires_grad:
                raise UsageError(f"parameter `{name}` was frozen when the training was prepared: make another one, which quantizes and hits it")

    def _check_replaced(self, name: str) -> None:
        """That the module still has what is trained, and nothing more: a layer may have been wrapped."""
        trained = {id(tensor) for tensor in self._module.parameters() if tensor.requires_grad and tensor.numel()}
        if trained != {id(tensor) for tied in self._tied for tensor in tied if tensor.requires_grad}:
            raise UsageError(
                f"`{name}` was replaced since the training was prepared (load_state_dict(assign=True), or a new layer): what the module runs "
                "with now would not be trained; make another optimizer and another training"
            )
        self._slots = _slots(self._module, self.ids)

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
            self._floats = Floats.of_arrays(self._arrays)
            self._bound = now
        return self._arrays

    def floats(self) -> Floats:
        """The arrays as ``_core`` reads and writes them."""
        self.arrays()
        return self._floats

    def _bind(self, place: int, tensor: torch.Tensor) -> None:
        _check(self.names[place], tensor)
        plain = tensor.detach()
        is_shared = plain.device.type == "cpu" and plain.is_contiguous()
        self._staged[place] = None if is_shared else fresh(tensor.shape)
        self._arrays[place] = (plain if is_shared else self._staged[place]).numpy().reshape(-1)

    def load(self) -> Floats:
        """What the parameters hold now."""
        floats = self.floats()
        for tensor, staged in zip(self._tensors, self._staged):
            if staged is not None:
                staged.copy_(tensor.data)
        return floats

    def values(self) -> list[np.ndarray]:
        """Copies of what the parameters hold now."""
        self.load()
        return [array.copy() for array in self._arrays]

    def push(self) -> None:
        """Gives the parameters what their arrays hold. Autograd does not see it, but casts that autocast keeps would be stale."""
        for tensor, staged in zip(self._tensors, self._staged):
            if staged is not None:
                tensor.data.copy_(staged)
        torch.clear_autocast_cache()

    def fill(self, write: Callable[[Floats], Any]) -> None:
        """Gives the parameters what ``write`` puts into their arrays."""
        write(self.floats())
        self.push()

    def count_change(self) -> None:
        """Tells autograd of a change for good."""
        for tensor in self._tensors:
            torch.autograd.graph.increment_version(tensor)

    def show(self, values: list[np.ndarray]) -> None:
        """Gives the parameters these values."""
        self.put(values)
        self.push()

    def put(self, values: list[np.ndarray]) -> None:
        """Puts values into the arrays."""
        for array, own in zip(self.arrays(), values):
            np.copyto(array, own)

    def take_gradients(self) -> list[Any]:
        """What ``.grad`` holds, one a parameter, tied ones too; afterwards it holds nothing."""
        taken = [[tensor.grad for tensor in tied] for tied in self._tied]
        self.drop_gradients()
        return taken

    def have_gradients(self) -> bool:
        """Whether any ``.grad`` holds anything but zeros."""
        return any(tensor.grad is not None and bool(tensor.grad.any()) for tied in self._tied for tensor in tied)

    def drop_gradients(self) -> None:
        for tied in self._tied:
            for tensor in tied:
                tensor.grad = None

    def give_gradients_back(self, taken: list[Any]) -> None:
        for tied, gradients in zip(self._tied, taken):
            for tensor, gradient in zip(tied, gradients):
                tensor.grad = gradient

    def gradients(self, factor: float = 1.0) -> PassGradients:
        """What ``.grad`` holds, times a factor."""
        if factor == 1.0 and not self._are_tied:
            own = [tensor.grad for tensor in self._tensors]
            core = Floats.of_tensors(own)
            if core is not None:
                return PassGradients(own, core, [True] * len(own))
        found = [[tensor.grad for tensor in tied if tensor.grad is not None] for tied in self._tied]
        sums = [_sum_of(name, own, factor) if own else fresh(tensor.shape).zero_() for name, own, tensor in zip(self.names, found, self._tensors)]
        if Floats.of_tensors(sums) is None:  # two parameters have the same gradient, which each of them is to have for itself
            sums = [*map(copied, sums)]
        return PassGradients(sums, core_of(sums), [bool(own) for own in found])

    def receive(self, gradients: list[torch.Tensor], there: list[bool], before: list[Any], factor: float) -> None:
        """Gradients times a factor, added to those of ``before``, become ``.grad``. Their memory is used."""
        for place, gradient in enumerate(gradients):
            first, *others = self._tied[place]
            if factor != 1.0:
                gradient.mul_(factor)
            first.grad = _sum(before[place][0], _like(first, gradient) if there[place] else None)
            for tensor, own in zip(others, before[place][1:]):
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


def _slots(module: torch.nn.Module, trained: set[int]) -> list[tuple[str, dict, str, Any]]:
    """Where a module keeps its trained parameters, and the modules that they are in: name, what keeps it, by which key, and the thing itself."""
    found = []
    for path, part in module.named_modules():
        for kept, is_ours in ((part._parameters, lambda value: id(value) in trained), (part._modules, lambda value: _holds(value, trained))):
            if isinstance(kept, dict):  # a scripted module has none, and nothing of it can be replaced
                found += [(f"{path}.{key}".lstrip("."), kept, key, value) for key, value in kept.items() if is_ours(value)]
    return found


def _holds(module: torch.nn.Module | None, trained: set[int]) -> bool:
    return module is not None and any(id(parameter) in trained for parameter in module.parameters())


def _grouped(named: list[tuple[str, torch.Tensor]]) -> list[list[tuple[str, torch.Tensor]]]:
    """Parameters by the memory that they are views of. Those that share a part of it are an error: its bits would be stored twice."""
    groups: dict[tuple, list[tuple[str, torch.Tensor]]] = {}
    for name, tensor in named:
        where = (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        groups.setdefault(where, []).append((name, tensor))
    spans = sorted((where[0], where[1], _end(group[0][1]), group[0][0]) for where, group in groups.items())
    for (device, _, end, name), (other, start, _, next_name) in zip(spans, spans[1:]):
        if device == other and start < end:
            raise UsageError(f"parameters `{name}` and `{next_name}` share part of their memory, or interleave in it, so their bits would be stored twice")
    return list(groups.values())


def _end(tensor: torch.Tensor) -> int:
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.data_ptr() + (reach + 1) * tensor.element_size()


def _sum_of(name: str, gradients: list[torch.Tensor], factor: float) -> torch.Tensor:
    """The sum of gradients times a factor, as a plain tensor, which is the gradient itself where it can be."""
    if any(gradient.layout is not torch.strided for gradient in gradients):
        raise UnsupportedError(f"the gradient of parameter `{name}` is sparse: build its module with sparse=False")
    total = gradients[0].detach()
    for more in gradients[1:]:
        total = total + more.detach()
    return plain(total if factor == 1.0 else total * factor)


def _like(tensor: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """A gradient where its parameter is, laid out as that is."""
    if gradient is tensor.grad or gradient.device == tensor.device and gradient.stride() == tensor.stride():
        return gradient
    return torch.empty_like(tensor, requires_grad=False).copy_(gradient)


def _sum(a: Any, b: Any) -> Any:
    if a is None or b is None:
        return b if a is None else a
    return a + b

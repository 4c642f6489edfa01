"""PyTorch tensors as words. Imported only when a tensor comes along."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ._errors import UnsupportedError
from ._words import FORMATS

_SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
#: What NumPy has, too.
_NUMPY = frozenset({torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8})
_BYTE = np.dtype(np.uint8)
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def cells_of(tensor: Any, name: str) -> tuple:
    """Cells that share the tensor's memory, the name of its dtype, and whether it may be written."""
    if tensor.layout is not torch.strided:
        raise UnsupportedError(f"`{name}` is {tensor.layout}: flip bits of its values, which are a tensor of their own")
    if tensor.is_meta:
        raise UnsupportedError(f"`{name}` is on the meta device: it has no bits")
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype is torch.bool or tensor.is_complex():
        raise UnsupportedError(f"`{name}` is {dtype}: give {'x.view(torch.uint8)' if tensor.dtype is torch.bool else 'torch.view_as_real(x)'}")
    if tensor.is_nested:
        raise UnsupportedError(f"`{name}` is a nested tensor: flip bits of x.values(), or of its parts")
    if not _is_whole(tensor):
        raise UnsupportedError(f"`{name}` has lost its memory: its storage has {tensor.untyped_storage().nbytes()} bytes, too few for {list(tensor.shape)}")
    words = _integers(tensor.detach(), f"`{name}`")
    if words.device.type != "cpu":
        return words, dtype, True
    return words.numpy().view(_UNSIGNED[words.element_size()]), dtype, True


@lru_cache(maxsize=64)
def format_of(dtype: torch.dtype) -> str | None:
    """The format of a dtype's words, if it has one."""
    return FORMATS.get(str(dtype).removeprefix("torch."))


def shared_bytes(tensor: torch.Tensor) -> Any:
    """The tensor's memory as bytes, if its words lie on the host one after the other; else ``None``."""
    if not (tensor.is_cpu and tensor.is_contiguous() and _is_whole(tensor)):
        return None
    if tensor.dtype in _NUMPY:
        return None if tensor.is_neg() else np.frombuffer(tensor.numpy(force=True), _BYTE)  # one that needs a gradient, too
    if tensor.is_conj() or tensor.is_neg() or tensor.is_quantized:
        return None
    return tensor.detach().view(_SIGNED[tensor.element_size()]).numpy().reshape(-1).view(np.uint8)


def _is_whole(tensor: torch.Tensor) -> bool:
    """Whether the storage still holds all elements: it can be made smaller, as those who shard parameters do."""
    if tensor.is_contiguous():
        elements = tensor.numel()
    else:
        elements = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return (tensor.storage_offset() + elements) * tensor.element_size() <= tensor.untyped_storage().nbytes() or not tensor.numel()


def _integers(tensor: torch.Tensor, name: str = "a value") -> torch.Tensor:
    """The same memory as whole numbers."""
    if tensor.is_conj() or tensor.is_neg():
        raise UnsupportedError(f"{name} is lazily negated or conjugated and has no bits of its own: resolve it first")
    if tensor.is_quantized:
        bare = torch.empty(0, dtype=_SIGNED[tensor.element_size()], device=tensor.device)
        return bare.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
    return tensor.view(_SIGNED[tensor.element_size()])


def on_device(places: tuple, device: Any) -> tuple:
    """Places along the axes, which were checked on the host."""
    return tuple(torch.from_numpy(place).to(device) for place in places)


def flip_on_device(cells: torch.Tensor, at: tuple, masks: np.ndarray) -> None:
    """The flips, one word each, where the tensor is."""
    signed = masks.astype(_UNSIGNED[cells.element_size()]).view(f"i{cells.element_size()}")
    masks = torch.from_numpy(signed).to(cells.device)
    if not at:
        cells ^= masks[0]
        return
    cells.index_put_(at, cells[at] ^ masks)


def logits_of(outputs: Any) -> Any:
    """What a module gave under `logits`, as a key or as an attribute; of one that names none, all of it."""
    if hasattr(outputs, "keys") and "logits" in outputs:
        return outputs["logits"]
    return getattr(outputs, "logits", outputs)

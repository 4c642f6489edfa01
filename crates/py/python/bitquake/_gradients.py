"""Gradients as ``_core`` reads and writes them. Imported only when a tensor comes along."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ._core import Gradients


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it, as one that :func:`core_of` takes."""
    if Gradients.of([tensor]) is not None:
        return tensor
    copy = fresh(tensor.shape)
    copy.copy_(tensor.detach())  # which gives the class of what is copied
    return copy


def fresh(shape: Sequence[int]) -> torch.Tensor:
    """A plain tensor, whatever PyTorch's defaults are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def core_of(tensors: list[torch.Tensor]) -> Gradients:
    """Plain tensors, one a parameter."""
    core = Gradients.of(tensors)
    assert core is not None, "plain tensors"
    return core

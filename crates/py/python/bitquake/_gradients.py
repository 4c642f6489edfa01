"""Gradients as ``_core`` reads and writes them. Imported only when a tensor comes along."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ._core import Floats


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it, as one that :func:`core_of` takes."""
    return copied(tensor) if Floats.of_tensors([tensor]) is None else tensor


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """A copy, as a plain tensor."""
    copy = fresh(tensor.shape)
    copy.copy_(tensor.detach())  # which gives the class of what is copied
    return copy


def fresh(shape: Sequence[int]) -> torch.Tensor:
    """A plain tensor, whatever PyTorch's defaults are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def core_of(tensors: list[torch.Tensor]) -> Floats:
    """Plain tensors, one a parameter, each in memory of its own."""
    core = Floats.of_tensors(tensors)
    assert core is not None, "plain tensors"
    return core

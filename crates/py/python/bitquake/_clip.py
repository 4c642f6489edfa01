"""Weight clipping."""

from __future__ import annotations

from typing import Any

from ._errors import UsageError
from .faults import Fault
from .weights import check_module


def clip_weights_(module: Any, w_max: float, *, select: str | list[str] = "*") -> int:
    """Clips the float parameters of a module to ``-w_max..w_max`` in place, and returns how many values changed.

    ``select`` is a glob over their names, or several; ``!glob`` leaves out. Values that are not numbers stay.

    >>> import bitquake as bq, torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.05, -0.7]]))
    >>> bq.clip_weights_(model, 0.1), model.weight.tolist()
    (1, [[0.05000000074505806, -0.10000000149011612]])
    """
    if not 0 < w_max < float("inf"):
        raise UsageError(f"w_max is {w_max}: it must be a finite number above 0")
    module = check_module(module)
    named = {name: parameter.data for name, parameter in module.named_parameters() if parameter.is_floating_point()}
    is_selected = Fault(rate=0.0, select=select)._core.selects([*named])
    chosen = [values for values, selected in zip(named.values(), is_selected) if selected]
    changed = 0
    for values in chosen:
        changed += int((values.abs() > w_max).sum())
        values.clamp_(-w_max, w_max)
    return changed

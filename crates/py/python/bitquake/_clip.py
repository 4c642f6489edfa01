"""Weight clipping."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from ._errors import UsageError


def clip_weights_(module: Any, w_max: float, *, select: str | list[str] = "*") -> int:
    """Clips the float parameters of a module to ``-w_max..w_max`` in place, and returns how many values changed.

    ``select`` is a glob over their names, or several. Values that are not numbers stay.

    >>> import bitquake as bq, torch
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.05, -0.7]]))
    >>> bq.clip_weights_(model, 0.1), model.weight.tolist()
    (1, [[0.05000000074505806, -0.10000000149011612]])
    """
    if not 0 < w_max < float("inf"):
        raise UsageError(f"w_max is {w_max}: it must be a finite number above 0")
    globs = [select] if isinstance(select, str) else list(select)
    chosen = [
        parameter.data
        for name, parameter in module.named_parameters()
        if parameter.is_floating_point() and any(fnmatchcase(name, glob) for glob in globs)
    ]
    if not chosen:
        raise UsageError(f"no float parameter is named {' or '.join(f'`{glob}`' for glob in globs)}")
    changed = 0
    for values in chosen:
        changed += int((values.abs() > w_max).sum())
        values.clamp_(-w_max, w_max)
    return changed

"""The table of a training method: what Python says of it, as ``_core.Method`` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _core
from ._errors import UsageError
from .faults import Fault, to_toml

#: Keys of `[method]` in a recipe that speak of what the loop does, which here is the user's.
_OF_THE_LOOP = {
    "noisy_labels": "labels are what the closure computes its loss with: replace them there",
    "pact_decay": "the weight decay of a parameter is that of its group in the optimizer",
}


def table_of(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The table as plain dicts, without what is ``None``; faults are their keys."""
    table = {key: _plain(value) for key, value in keys.items() if value is not None}
    for key, reason in _OF_THE_LOOP.items():
        if key in table:
            raise UsageError(f"`{key}` is no key here: {reason}")
    return table


def _plain(value: Any) -> Any:
    if isinstance(value, Fault):
        return value.table
    if isinstance(value, Mapping):
        return {str(key): _plain(Fault(**item) if key == "fault" and isinstance(item, Mapping) else item) for key, item in value.items() if item is not None}
    return value.item() if isinstance(value, np.generic) else value


def core_method(table: Mapping[str, Any], tensors: list[tuple], seed: int) -> Any:
    """The method at work on tensors: name, dimensions, values."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= seed.__index__() < 1 << 64:
        raise UsageError(f"seed is a whole number from 0 to 2^64 - 1, not {seed!r}")
    return _core.Method(to_toml(table), tensors, seed.__index__())


def combination(table: Mapping[str, Any]) -> str:
    return str(_errors(table).get("combination", "average"))


def curriculum(table: Mapping[str, Any]) -> str:
    return str(_errors(table).get("curriculum", "average"))


def _errors(table: Mapping[str, Any]) -> Mapping[str, Any]:
    return table.get("bit_errors", {})


def storage_of(core: Any) -> dict[str, Any]:
    return json.loads(core.storage())

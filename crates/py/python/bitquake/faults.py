"""Fault models, by the words of a campaign's ``[fault]`` table."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from . import _core
from ._errors import UsageError

#: Keys that select bits; one of them may be given as a number.
_BITS = ("bits", "protect")
#: Amounts may be given one at a time: ``rate=1e-3`` is ``rates=[1e-3]``.
_SINGULAR = {"rate": "rates", "count": "counts", "fraction": "fractions", "voltage": "voltages"}


class Fault:
    """What happens to bits, with which probability.

    Takes the keys of ``[fault]`` in a campaign (``bitquake`` documents them in docs/faults.md); one amount may be given as ``rate``,
    ``count``, ``fraction`` or ``voltage``, several as ``rates`` and so on. The same fault, seed and trial hit the same bits
    everywhere: in an array, a module, a file, a campaign.

    >>> import bitquake as bq
    >>> bq.Fault(rate=1e-3)
    Fault(rates=[0.001])
    >>> bq.Fault(model="burst", length=3, count=2, bits="exponent").model
    'burst'
    >>> bq.Fault(rats=1e-3)
    Traceback (most recent call last):
    ...
    bitquake.UsageError: ...unknown key `rats`...
    """

    __slots__ = ("_core", "_table")

    def __init__(self, model: str | None = None, **keys: Any) -> None:
        table = {} if model is None else {"model": model}
        for key, value in keys.items():
            if key in _SINGULAR:
                if isinstance(value, (list, tuple)):
                    raise UsageError(f"`{key}` is one number; several are `{_SINGULAR[key]}`")
                key, value = _SINGULAR[key], [value]
            if key in _BITS and isinstance(value, numbers.Integral) and not isinstance(value, bool):
                value = str(value)
            if key == "select" and isinstance(value, str):
                value = [value]
            if value is not None:
                table[key] = value
        self._table = table
        self._core = _core.Fault(to_toml(table))

    @property
    def model(self) -> str:
        """The name of the model, such as ``"bit-flip"``."""
        return self._core.model

    @property
    def amounts(self) -> list[tuple[str, float]]:
        """The points: for each what it says (``"rate"``, ``"count"`` ...), and how much."""
        return self._core.amounts

    @property
    def target(self) -> str:
        """What is exposed: ``"weights"``, ``"activations"`` or ``"inputs"``."""
        return self._core.target

    @property
    def table(self) -> dict[str, Any]:
        """The keys of ``[fault]``."""
        return dict(self._table)

    def with_(self, **keys: Any) -> Fault:
        """The same fault with other keys.

        >>> import bitquake as bq
        >>> bq.Fault(rate=1e-3).with_(bits="sign")
        Fault(rates=[0.001], bits='sign')
        """
        return Fault(**{**self._table, **keys})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fault) and self._core == other._core

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Fault({', '.join(f'{key}={value!r}' for key, value in self._table.items())})"

    def __reduce__(self) -> tuple:
        return (_of_table, (self._table,))


def _of_table(table: dict) -> Fault:
    return Fault(**table)


def as_fault(fault: Any) -> Fault:
    """A fault from a fault, a mapping of keys, or a number: the bit error rate."""
    if isinstance(fault, Fault):
        return fault
    if isinstance(fault, Mapping):
        return Fault(**fault)
    if isinstance(fault, float):
        return _of_rate(fault) if fault > 0 else Fault(rate=fault)
    raise UsageError(f"a fault is a bq.Fault, a dict of its keys, or a bit error rate, not {fault!r}")


@lru_cache(maxsize=64, typed=True)
def _of_rate(rate: float) -> Fault:
    """The fault of a rate, which is read once: faults never change."""
    return Fault(rate=rate)


def one_amount(fault: Any) -> Fault:
    """A fault with exactly one amount."""
    fault = as_fault(fault)
    if len(fault.amounts) != 1:
        raise UsageError(f"one amount is needed here, not {len(fault.amounts)}: a campaign takes several")
    return fault


def text_to_toml(text: str) -> str:
    """A text as TOML's basic strings have it: as JSON, but for pairs of surrogates and for the one control character that JSON lets be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{text!r} is no text of Unicode") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def to_toml(value: Any) -> str:
    """A value as inline TOML.

    >>> to_toml({"rates": [1e-05, 0.5], "select": ["fc*"]})
    '{ "rates" = [1e-05, 0.5], "select" = ["fc*"] }'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        return text_to_toml(value)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{text_to_toml(str(key))} = {to_toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return ("-inf" if value < 0 else "inf") if math.isinf(value) else repr(value)
    raise UsageError(f"{value!r} is no value of a table: numbers, texts, lists and tables are")

"""Pictures for notebooks: small tables without scripts."""

from __future__ import annotations

from html import escape
from typing import Any

_ROWS = 20
#: Pages up to so many characters are shown in a notebook.
_LARGEST = 2_000_000


def table(caption: str, header: list[str], rows: list[list[Any]], left_out: int = 0) -> str:
    """An HTML table; ``left_out`` rows are only counted."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    more = f"<tr><td colspan='{len(header)}'>and {left_out:,} more</td></tr>" if left_out else ""
    return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}{more}</tbody></table>"


def pattern_table(pattern: Any) -> str:
    """The tensors that a pattern hits."""
    hit = pattern._core.tensors
    rows = [[name, format, f"{elements:,}", f"{flips:,}"] for name, format, elements, flips in hit[:_ROWS]]
    caption = f"{pattern.flips:,} flips in {len(hit)} tensors"
    return table(caption, ["tensor", "format", "elements", "flips"], rows, max(0, len(hit) - _ROWS))


def results_table(results: Any) -> str:
    """The points of a campaign: amount, trials and the main metrics with their intervals."""
    rows = results.rows
    metrics = [key[: -len("_mean")] for key in (rows[0] if rows else {}) if key.endswith("_mean")]
    shown = [name for name in metrics if name in ("accuracy", "golden_mismatch")] or metrics[:3]
    header = ["faults", "trials", *shown]
    body = [[_amount(row), row["trials"], *(_estimate(row, name) for name in shown)] for row in rows[:_ROWS]]
    name = results.golden.get("name", "")
    points = table(f"{name}: {len(rows)} points", header, body, max(0, len(rows) - _ROWS))
    return points + _framed(results.report.read_text(encoding="utf-8"))


def _framed(page: str) -> str:
    """A page in a frame of its own, whose styles do not meet those of the notebook; nothing if it is very large."""
    if len(page) > _LARGEST:
        return ""
    return f'<iframe sandbox srcdoc="{escape(page)}" style="width: 100%; height: 640px; border: 0" title="report"></iframe>'


def _amount(row: dict[str, Any]) -> str:
    kind = next(key for key in ("rate", "count", "fraction", "voltage") if key in row)
    return f"{kind} {row[kind]:g}"


def _estimate(row: dict[str, Any], name: str) -> str:
    mean = row.get(f"{name}_mean")
    if mean is None:
        return ""
    low, high = row.get(f"{name}_ci_lo"), row.get(f"{name}_ci_hi")
    return f"{mean:.4g}" if low is None else f"{mean:.4g} [{low:.4g}, {high:.4g}]"

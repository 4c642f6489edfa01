"""What a result directory says: the same files that ``bitquake run`` writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import _core
from ._errors import UsageError


class Results:
    """The records of a campaign, as frames, and its report: what :meth:`Campaign.run` gives, and what ``bitquake run`` leaves.

    >>> import bitquake as bq, numpy as np, tempfile
    >>> x, dir = np.ones(100, dtype=np.float32), tempfile.mkdtemp()
    >>> _ = bq.Campaign(lambda: {"sum": x.sum()}, fault=bq.Fault(counts=[3]), weights={"x": x}, trials=5, dir=dir).run(progress=False)
    >>> results = bq.Results(dir)
    >>> results.trials()["faults"].tolist(), [path.name for path in results.export("csv")]
    ([3, 3, 3, 3, 3], ['summary.csv', 'trials.csv'])
    """

    def __init__(self, dir: str | Path, report: str | Path | None = None) -> None:
        self.dir = Path(dir)
        self._report = Path(report) if report is not None else None
        self._read: dict[str, Any] | None = None

    @property
    def report(self) -> Path:
        """The HTML report: one file, without anything from the network."""
        if self._report is None:
            self._report = Path(_core.rebuild(self.dir))
        return self._report

    @property
    def _all(self) -> dict[str, Any]:
        if self._read is None:
            self._read = json.loads(_core.results_json(self.dir))
        return self._read

    @property
    def golden(self) -> dict[str, Any]:
        """The run without faults, and what identifies the campaign."""
        return self._all["golden"]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One summary a point: amount, trials, and for each metric mean, std, min, max and interval."""
        return [_row(point) for point in self._all["points"]]

    def points(self, *, library: str = "pandas") -> Any:
        """:attr:`rows` as a frame of ``pandas`` or ``polars``."""
        return _frame(self.rows, library)

    def trials(self, *, library: str = "pandas") -> Any:
        """One row a trial, as recorded; by tensor and by bit stay dicts."""
        return _frame(self._all["trials"], library)

    def export(self, to: str) -> list[Path]:
        """Writes the records as ``csv``, ``parquet`` or ``json``; returns the files."""
        return [Path(path) for path in _core.export(self.dir, to)]

    def __repr__(self) -> str:
        rows = self.rows
        return f"Results({len(rows)} points, {sum(row['trials'] for row in rows)} trials, {str(self.dir)!r})"

    def _repr_html_(self) -> str:
        from ._html import results_table

        return results_table(self)


def _row(point: dict[str, Any]) -> dict[str, Any]:
    kind, value = next(iter(point["amount"].items()))
    row = {"point": point["point"], kind: value, "trials": point["trials"], "images": point["images"]}
    for metric in point["metrics"] + point.get("own", []):
        row.update(_columns(metric))
        if "nonfinite" in metric:
            row[f"{metric['name']}_nonfinite"] = metric["nonfinite"]  # trials that the others leave out
    return row


def _columns(metric: dict[str, Any]) -> dict[str, Any]:
    summary, interval = metric.get("summary"), metric.get("interval")
    name = metric.get("metric", metric.get("name"))
    if summary is None:
        return {}
    columns = {f"{name}_{key}": summary[key] for key in ("mean", "std", "min", "max")}
    if interval is not None:
        columns[f"{name}_ci_lo"], columns[f"{name}_ci_hi"] = interval["lo"], interval["hi"]
    return columns


def _frame(rows: list[dict[str, Any]], library: str) -> Any:
    if library not in ("pandas", "polars"):
        raise UsageError(f"library is `pandas` or `polars`, not `{library}`")
    frames = __import__(library)
    # Polars takes keys from the first 100 rows else, and leaves out what comes later.
    options = {"infer_schema_length": None} if library == "polars" else {}
    return frames.DataFrame(rows, **options)

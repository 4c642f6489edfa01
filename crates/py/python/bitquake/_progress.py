"""A bar for long work: tqdm's where there is tqdm, in terminals and notebooks; else silence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _Silent:
    def begin(self, total: int, done: int) -> None:
        """Nothing is shown."""

    def advance(self) -> None:
        """Nothing is shown."""


class _Bar:
    def __init__(self, tqdm: Any) -> None:
        self._tqdm, self._bar = tqdm, None

    def begin(self, total: int, done: int) -> None:
        self._bar = self._tqdm(total=total, initial=done, unit="trial")

    def advance(self) -> None:
        self._bar.update()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(wanted: bool | None) -> Iterator[Any]:
    """A bar if it is wanted (``None``: if somebody may look), told with ``begin(total, done)`` and ``advance()``."""
    if wanted is None:
        wanted = sys.stderr is not None and sys.stderr.isatty() or "ipykernel" in sys.modules
    if not wanted:
        yield _Silent()
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        yield _Silent()
        return
    bar = _Bar(tqdm)
    try:
        yield bar
    finally:
        bar.close()

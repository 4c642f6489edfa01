"""What can go wrong: one class for each kind, all of them :class:`BitquakeError`."""

from __future__ import annotations


class BitquakeError(Exception):
    """Everything that bitquake raises."""


class UsageError(BitquakeError, ValueError):
    """The request is wrong: a fault, a selection, an option."""


class UnsupportedError(UsageError, TypeError):
    """A dtype, a device or a kind of tensor that has no words to flip here."""


class BoundsError(UsageError, IndexError):
    """An index or a bit that does not exist."""


class BadInputError(BitquakeError, ValueError):
    """A file or an array is bad or missing."""


class StoppedError(BitquakeError, RuntimeError):
    """Work was cut short; the same call goes on from there."""


class SelfCheckError(BitquakeError, RuntimeError):
    """A self-check failed: results would not be trustworthy."""

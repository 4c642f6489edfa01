"""What flipped bits do to a neural network.

Arrays, PyTorch modules and whole evaluations: bits are flipped where the memory holds them, each draw can be repeated from its seed, and what was
flipped can be undone.

>>> import bitquake as bq, numpy as np
>>> x = np.ones(4, dtype=np.float32)
>>> with_faults = x.copy()
>>> pattern = bq.inject_(with_faults, bq.Fault(count=1, bits="exponent"), seed=3)
>>> bq.diff(x, with_faults) == pattern
True
"""

import os as _os
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING
from typing import Any as _Any

from . import _core
from ._clip import clip_weights_
from ._errors import (
    BadInputError,
    BitquakeError,
    BoundsError,
    SelfCheckError,
    StoppedError,
    UnsupportedError,
    UsageError,
)
from .activations import ActivationFaults, faulty_activations
from .arrays import Selection, bit_strings, bits, diff, flip_, from_bit_strings, from_bits, inject_, sample
from .attacks import Attack, Ranking, attack, rank
from .campaigns import Campaign
from .faults import Fault
from .patterns import FaultPattern
from .records import ActivationRecord
from .results import Results
from .storage import Storage, quantize
from .training import RandBET, RobustTraining
from .weights import WeightFaults, faulty

if TYPE_CHECKING:
    from .parametrize import FakeQuantize, RandomBitErrors

__version__: str = _core.VERSION

# The threads of the library are not in a forked child (a DataLoader worker): it gets its own.
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_core.after_fork)

for _error in (BadInputError, BitquakeError, BoundsError, SelfCheckError, StoppedError, UnsupportedError, UsageError):
    _error.__module__ = "bitquake"
del _error

__all__ = [
    "ActivationFaults",
    "ActivationRecord",
    "Attack",
    "BadInputError",
    "BitquakeError",
    "BoundsError",
    "Campaign",
    "FakeQuantize",
    "Fault",
    "FaultPattern",
    "RandBET",
    "RandomBitErrors",
    "Ranking",
    "Results",
    "RobustTraining",
    "SelfCheckError",
    "Selection",
    "StoppedError",
    "Storage",
    "UnsupportedError",
    "UsageError",
    "WeightFaults",
    "attack",
    "bit_strings",
    "bits",
    "clip_weights_",
    "diff",
    "faulty",
    "faulty_activations",
    "flip_",
    "from_bit_strings",
    "from_bits",
    "inject_",
    "quantize",
    "rank",
    "sample",
]

#: PyTorch modules: PyTorch is imported when one of them is asked for.
_MODULES = ("FakeQuantize", "RandomBitErrors")


def __getattr__(name: str) -> _Any:
    if name not in _MODULES:
        raise AttributeError(f"module `bitquake` has no attribute `{name}`")
    from . import parametrize

    return getattr(parametrize, name)


if _find_spec("torch") is None:
    __all__ = [name for name in __all__ if name not in _MODULES]

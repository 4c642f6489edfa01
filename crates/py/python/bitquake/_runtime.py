"""The ONNX Runtime that Python has."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def offer_runtime() -> None:
    """Tells the library of the ONNX Runtime that Python has, unless the user named one."""
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None or os.environ.get("ORT_DYLIB_PATH"):
        return
    found = sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so*"))
    if found:
        os.environ["ORT_DYLIB_PATH"] = str(found[-1])

"""What is public is documented, and each example is run as a doctest."""

import inspect

import pytest

import bitquake as bq


@pytest.mark.parametrize("name", bq.__all__)
def test_documented(name):
    thing = getattr(bq, name)
    text = inspect.getdoc(thing)
    assert text and text[0].isupper()
    if isinstance(thing, type) and issubclass(thing, Exception):
        assert issubclass(thing, bq.BitquakeError) and thing.__module__ == "bitquake"
        return
    is_made = isinstance(thing, type) and ":func:`" in text  # by a function that has one
    assert ">>> " in text or is_made, f"{name} has no example"
    if isinstance(thing, type):
        public = [member for key, member in vars(thing).items() if not key.startswith("_") and (callable(member) or isinstance(member, property))]
        assert all(inspect.getdoc(member) for member in public)


def test_nothing_heavy_comes_along():
    import subprocess
    import sys

    code = "import sys, bitquake; print([name for name in ('torch', 'pandas', 'polars', 'keras', 'onnxruntime', 'tqdm') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"

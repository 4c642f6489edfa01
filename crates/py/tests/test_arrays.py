"""Arrays of every dtype and layout, in place; what cannot be done says so."""

import pickle

import numpy as np
import pytest

import bitquake as bq
from bitquake._words import FORMATS

NUMPY = ["float64", "float32", "float16", "int64", "uint64", "int32", "uint32", "int16", "uint16", "int8", "uint8"]


@pytest.mark.parametrize(
    ("bit", "wanted"),
    [
        (0, 0.5000000596046448), (12, 0.500244140625), (22, 0.75), (23, 1.0), (24, 0.125),
        (29, 2.710505431213761e-20), (30, 1.7014118346046923e38), (31, -0.5),
    ],
)
def test_vectors_of_one_half(bit, wanted):
    x = np.full(1, 0.5, dtype=np.float32)
    bq.flip_(x, 0, bit)
    assert x[0] == np.float32(wanted)


@pytest.mark.parametrize("dtype", NUMPY)
@pytest.mark.parametrize("view", [lambda x: x, lambda x: x[::2], lambda x: x[:, ::-1], lambda x: x.T, lambda x: x[1:2, 3:4]])
def test_the_same_flips_whatever_the_strides(dtype, view):
    whole = np.random.default_rng(1).integers(0, 255, (40, 50)).astype(dtype)
    strided = view(whole)
    plain, before = strided.copy(order="C"), whole.copy()
    patterns = [bq.inject_(x, 0.4, seed=3, trial=2) for x in (strided, plain)]
    assert patterns[0] == patterns[1] and patterns[0].flips > 0
    assert strided.tobytes() == plain.tobytes() != view(before).tobytes()
    patterns[0].undo_(strided)
    assert whole.tobytes() == before.tobytes()


@pytest.mark.parametrize("dtype", NUMPY)
def test_bits_there_and_back(dtype):
    x = np.random.default_rng(2).integers(0, 2**63, 100).view(np.uint8).view(dtype)[:60].reshape(3, 20)
    for order in ("lsb", "msb"):
        back = bq.from_bits(bq.bits(x, order=order), dtype, order=order)
        assert back.dtype == x.dtype and back.tobytes() == x.tobytes()
    assert bq.from_bit_strings(bq.bit_strings(x), dtype).tobytes() == x.tobytes()
    assert bq.from_bit_strings(bq.bit_strings(x, style="fields"), dtype).tobytes() == x.tobytes()


def test_nothing_is_copied():
    x = np.zeros(1 << 22, dtype=np.float32)
    import tracemalloc

    tracemalloc.start()
    pattern = bq.inject_(x, 1e-2, seed=1)
    pattern.undo_(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pattern.flips > 1_000_000 and peak < 200_000 and not x.any()


def test_many_flips_are_those_of_the_list():
    """Above some number of flips no list is made: the same bits as with one, drawn again for the list and the undoing."""
    x = np.zeros(1_000_001, dtype=np.uint8)
    pattern = bq.inject_(x, 0.01, seed=5, trial=7)
    assert pattern.flips == int(np.unpackbits(x).sum()) == len(pattern.addresses())
    assert np.array_equal(np.flatnonzero(np.unpackbits(x, bitorder="little")), pattern.addresses())
    copy = pickle.loads(pickle.dumps(pattern))
    assert copy == pattern
    copy.undo_(x)
    assert not x.any()


def test_patterns_are_nested_and_keyed():
    def at(rate, **key):
        return set(bq.inject_(np.zeros(5000, dtype=np.float16), rate, **key).addresses().tolist())

    assert at(0.01, seed=1) < at(0.05, seed=1)
    assert at(0.01, seed=1) == at(0.01, seed=1) != at(0.01, seed=2)
    assert at(0.01, seed=1) != at(0.01, seed=1, trial=1)


def test_a_pattern_is_a_value(tmp_path):
    x = {"a": np.zeros(10, dtype=np.float32), "b": np.zeros((2, 3), dtype=np.int8)}
    pattern = bq.inject_(x, bq.Fault(count=9), seed=1)
    pattern.save(tmp_path / "p.json")
    loaded = bq.FaultPattern.load(tmp_path / "p.json")
    assert loaded == pattern and loaded ^ pattern == bq.diff(x, x) and len(pattern) == 9
    assert sum(pattern.tensors.values()) == 9 and "9" in repr(pattern) and "<table>" in pattern._repr_html_()
    loaded.undo_(x)
    assert not x["a"].any() and not x["b"].any()
    assert len(pattern.to_frame()) == 9
    with pytest.raises(bq.UsageError, match="10 elements, here it has 11|made for tensor `a`"):
        pattern.apply_({"a": np.zeros(11, dtype=np.float32), "b": x["b"]})


def test_a_pattern_of_another_strided_array_changes_nothing():
    pattern = bq.flip_(np.zeros(10, dtype=np.float32), [1, 9], 30)
    for other in (np.zeros(22, dtype=np.float32)[::2], np.zeros(20, dtype=np.int32)[::2]):
        with pytest.raises(bq.UsageError, match="made for tensor `x` as 10 words of f32"):
            pattern.apply_(other)
        assert not other.any()


def test_stuck_bits_look_at_what_is_there():
    x = np.array([0, 255], dtype=np.uint8)
    pattern = bq.inject_(x, bq.Fault("stuck-at-1", rate=1.0))
    assert x.tolist() == [255, 255] and pattern.flips == 8 and pattern.dormant == 8


def test_narrow_words_in_bytes():
    codes = np.zeros(1000, dtype=np.uint8)
    pattern = bq.inject_(codes, 0.1, seed=1, format="u4")
    assert pattern.flips > 300 and codes.max() <= 15
    assert bq.bits(codes, format="u4").shape == (1000, 4)
    assert bq.bit_strings(codes[:1] * 0, format="u4").tolist() == ["0000"]
    with pytest.raises(bq.BoundsError, match="bit 4 is out of bounds, u4 has 4"):
        bq.flip_(codes, 0, 4, format="u4")


def test_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for dtype in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        x = np.ones(5, dtype=getattr(ml_dtypes, dtype))
        msb = x.dtype.itemsize * 8 - 1
        bq.flip_(x, 2, msb)
        assert x.astype(np.float32).tolist() == [1, 1, -1, 1, 1]
        assert bq.from_bits(bq.bits(x), x.dtype).tobytes() == x.tobytes()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros(3, dtype=">f4"), bq.UnsupportedError, "byte order of another machine"),
        (np.zeros(3, dtype=complex), bq.UnsupportedError, "complex128: its words have no format"),
        (np.array(["a"]), bq.UnsupportedError, "have no format"),
        (np.array([None]), bq.UnsupportedError, "have no format"),
        (np.zeros(3, dtype=bool), TypeError, "is bool"),
        ([1.0, 2.0], bq.UnsupportedError, "is a list"),
        (np.zeros(3, dtype=[("a", "f4")]), bq.UnsupportedError, "have no format"),
    ],
)
def test_what_has_no_words(x, error, message):
    with pytest.raises(error, match=message):
        bq.inject_(x, 0.5)


def test_nothing_to_flip_is_no_error():
    x = np.zeros((2, 3), dtype=np.float32)
    assert bq.flip_(x, [], 0).flips == bq.flip_(x, np.zeros((2, 3), dtype=bool), 0).flips == 0
    assert bq.inject_(np.zeros(0, dtype=np.float32), 0.5).flips == 0


@pytest.mark.parametrize("dtype", ["nonsense", "complex64", object])
def test_dtypes_without_a_format(dtype):
    with pytest.raises(bq.UsageError, match="has no format"):
        bq.from_bits(np.zeros(32, dtype=np.uint8), dtype)


def test_read_only_arrays_are_refused():
    x = np.zeros(100, dtype=np.float32)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="`x` is read-only"):
        bq.inject_(x, 0.5)
    with pytest.raises(bq.UsageError, match="read-only"):
        bq.flip_(x, 0, 0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (dict(rate=1.5), "rate"),
        (dict(rate=-1e-3), "rate"),
        (dict(rats=0.1), "did you mean `rates`"),
        (dict(model="bitflip", rate=0.1), "bit-flip"),
        (dict(rate=0.1, select=["nothing"]), "nothing"),
        (dict(count=10**9), "1000000000"),
        (dict(rates=[0.1, 0.2]), "one amount is needed here, not 2"),
        (dict(rate=0.1, bits="40"), "40"),
        ("0.1", "a fault is a bq.Fault"),
        (dict(rate=float("nan")), "nan|NaN"),
    ],
)
def test_wrong_faults(fault, message):
    x = np.zeros(10, dtype=np.float32)
    with pytest.raises(bq.UsageError, match=message):
        bq.inject_(x, fault)
    assert not x.any()


@pytest.mark.parametrize("key", [dict(seed=-1), dict(seed=1 << 64), dict(trial=1.5), dict(seed=True)])
def test_wrong_keys(key):
    with pytest.raises(bq.UsageError, match="is a whole number from 0 to 2"):
        bq.inject_(np.zeros(1, dtype=np.uint8), 0.1, **key)


def test_shared_memory_counts_once():
    x = np.zeros(100, dtype=np.float32)
    tied = {"a": x, "b": x}
    assert bq.inject_(tied, 0.1, seed=1).tensors.keys() == {"a"}
    assert bq.inject_(tied, bq.Fault(count=1, select=["b"])).tensors.keys() == {"a"}
    with pytest.raises(bq.UsageError, match="leaves no tensor"):
        bq.inject_(tied, bq.Fault(count=1, select=["!b"]))
    with pytest.raises(bq.UsageError, match="`a` and `b` share part of their memory"):
        bq.inject_({"a": x[:60], "b": x[50:]}, 0.1)


def test_the_same_flips_as_the_command_line():
    """What `bitquake inject --rate 1e-3 --seed 42` flips in a file with a tensor of this name, format and size."""
    x = np.zeros(1000, dtype=np.float32)
    assert bq.inject_(x, 1e-3, seed=42, name="fc.weight").addresses().tolist() == [
        231, 1267, 2343, 2609, 3660, 5019, 7045, 9903, 9913, 10779, 10987, 11012, 12060, 12576, 12780, 13163,
        13346, 13443, 20945, 21816, 24462, 27654, 27657, 28251, 28362, 29946, 30573, 30805, 31235, 31272, 31520, 31812,
    ]  # fmt: skip


def test_formats_are_known():
    from bitquake import _core

    assert set(FORMATS.values()) <= set(_core.formats())


def test_words_that_are_seen_several_times_are_refused():
    """Bits may be read, but a pattern would speak of more of them than there are."""
    torch = pytest.importorskip("torch")
    x = np.lib.stride_tricks.as_strided(np.zeros(3, dtype=np.float32), (4, 3), (0, 4), writeable=True)
    windows = np.lib.stride_tricks.sliding_window_view(np.zeros(10, dtype=np.float32), 3, writeable=True)
    for seen in (torch.zeros(1).expand(40), torch.zeros(3, 1).expand(3, 5), x, windows, windows[::-1], torch.zeros(10).unfold(0, 3, 2)):
        for act in (lambda x: bq.inject_(x, 0.1), lambda x: bq.flip_(x, 0, 0), lambda x: bq.inject_({"x": x}, bq.Fault(count=1))):
            with pytest.raises(bq.UnsupportedError, match="`x` sees its words several times"):
                act(seen)
        assert not seen.any() and not bq.bits(seen).any()
    apart = np.zeros((6, 8), dtype=np.float32)
    for seen in (apart[::2, ::3], apart[::-1, ::-2], apart.T, np.asfortranarray(apart), np.lib.stride_tricks.sliding_window_view(apart[0], 3, writeable=True)[::3]):
        assert bq.inject_(seen, 0.5, seed=1).undo_(seen) is None and bq.inject_(seen, 0.5).flips
    assert bq.inject_(torch.zeros(3, 1)[:, :1].expand(3, 1), 0.5).flips and bq.inject_(np.zeros((0, 3)), 0.5).flips == 0


@pytest.mark.parametrize("kept", [0, 12])
def test_tensors_without_their_memory_are_refused(kept):
    torch = pytest.importorskip("torch")
    whole = torch.zeros(10, 2)
    gone = torch.zeros(10, 2)
    views, first = (gone, gone.T, gone[5:], gone[::2]), gone[:0]
    gone.untyped_storage().resize_(kept)
    for tensor in views:
        with pytest.raises(bq.UnsupportedError, match=f"`x` has lost its memory: its storage has {kept} bytes"):
            bq.inject_(tensor, 0.5)
    assert bq.inject_(first, 0.5).flips == 0 and bq.inject_(whole[5:], 0.5).flips and not whole[:5].any()
    module = torch.nn.Linear(10, 2)
    module.weight.untyped_storage().resize_(kept)
    with pytest.raises(bq.UnsupportedError, match="`weight` has lost its memory"), bq.faulty(module, bq.Fault(count=3), select="weight"):
        raise AssertionError("not entered")


@pytest.mark.parametrize(
    ("index", "bit", "error", "message"),
    [
        (2**64 - 1, 0, bq.BoundsError, "index 18446744073709551615 is out of bounds"),
        (2**64, 0, bq.BoundsError, "index 18446744073709551616 is out of bounds"),
        (np.uint64(2**63), 0, bq.BoundsError, "index 9223372036854775808 is out of bounds"),
        (-(2**63) - 1, 0, bq.BoundsError, "index -9223372036854775809 is out of bounds"),
        (0, 2**64 - 1, bq.BoundsError, "bit 18446744073709551615 is out of bounds"),
        ([0, 1, 2], [1, 2], bq.UsageError, "2 bits for 3 elements"),
        ([(0,), (0, 1)], 0, bq.UsageError, "an index is no array of whole numbers"),
        (([0, 1], [2, [3]]), 0, bq.UsageError, "an index is no array of whole numbers"),
        (np.array([1, 2**63], np.uint64), 0, bq.BoundsError, "index 9223372036854775808 is out of bounds"),
        (1.5, 0, bq.UsageError, "an index is a whole number, not float64"),
        ("a", 0, bq.UsageError, "an index is a whole number"),
    ],
)
def test_places_that_are_none(index, bit, error, message):
    x = np.zeros(4, np.float32)
    with pytest.raises(error, match=message):
        bq.flip_(x, index, bit)
    assert not x.any()


def test_places_as_nonzero_gives_them():
    x = np.zeros((2, 3), np.int16)
    bq.flip_(x, np.nonzero(np.eye(2, 3)), 0)
    assert x.tolist() == [[1, 0, 0], [0, 1, 0]]
    bq.flip_(x, (np.array([1]), np.array([-1])), 2)
    assert x.tolist() == [[1, 0, 0], [0, 1, 4]]
    with pytest.raises(bq.UsageError, match="an index is no array"):
        bq.flip_(x, (np.array([0, 1]), 1), 0)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 2)])
def test_arrays_of_nothing(shape):
    x = np.zeros(shape, np.float32)
    assert bq.bits(x).shape == (*shape, 32)
    assert bq.from_bits(bq.bits(x), np.float32).shape == shape
    texts = bq.bit_strings(x)
    assert texts.shape == shape and texts.dtype.kind == "U"
    assert bq.flip_(x, [], 0).flips == bq.inject_(x, 0.5).flips == 0
    with pytest.raises(bq.BoundsError, match="element 0 is out of bounds, there are 0"):
        bq.flip_(x, 0, 0)


@pytest.mark.parametrize("count", [-1, 5, 1.5, 2**70, "a"])
def test_counts_of_samples(count):
    with pytest.raises(bq.UsageError, match="the count is .*it must be a whole number up to 4"):
        bq.sample(np.zeros(4, np.float32), count=count)


def test_whole_numbers_that_a_float_does_not_hold():
    for dtype in (np.int64, np.uint64):
        x = np.array([2**60 + 1], dtype)
        row = bq.flip_(x, 0, 0).to_frame(faulty=x).to_dict("records")[0]
        assert (row["old"], row["new"]) == (2**60 + 1, 2**60)


def test_any_text_in_a_table():
    for text in ("\U0001f600*", "a\x7f\x01\"\\b", "\u2028"):
        assert bq.Fault(rate=0.1, select=[text]).table["select"] == [text]
        with pytest.raises(bq.UsageError, match="matches no tensor"):
            bq.inject_(np.zeros(3), bq.Fault(rate=0.1, select=[text]))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_of_nothing_have_types(library):
    """So that those of many trials can be put together."""
    frames = pytest.importorskip(library)
    x = np.ones(8, dtype=np.float32)
    some, none = bq.flip_(x.copy(), 3, 30), bq.inject_(x.copy(), 0.0)
    for more in ({}, {"clean": x}):
        both = frames.concat([some.to_frame(library=library, **more), none.to_frame(library=library, **more)])
        alone = some.to_frame(library=library, **more)
        assert len(both) == 1 and [*both.dtypes] == [*alone.dtypes]


def test_bits_are_selected_by_number_too():
    assert bq.Fault(rate=0.1, bits=30) == bq.Fault(rate=0.1, bits="30") == bq.Fault(rate=0.1, bits=np.int64(30))
    pattern = bq.inject_(np.ones(100, dtype=np.float32), bq.Fault(rate=0.5, bits=31), seed=1)
    assert set(pattern.to_frame()["bit"]) == {31}


def test_the_keys_of_a_dict_are_names():
    with pytest.raises(bq.UsageError, match="the keys of a dict of arrays are their names, not 1"):
        bq.inject_({1: np.ones(3)}, 0.1)


@pytest.mark.parametrize("format", ["u8", "bf16", "i4"])
def test_floats_are_not_narrowed(format):
    x = np.array([0.5, -1.0], dtype=np.float32)
    for call in (bq.bits, bq.bit_strings, lambda x, format: bq.inject_(x, 1.0, format=format), lambda x, format: bq.flip_(x, 0, 0, format=format)):
        with pytest.raises(bq.UsageError, match=f"`x` is float32, whose words are no {format}"):
            call(x, format=format)
    assert x.tolist() == [0.5, -1.0]
    assert bq.bit_strings(np.array([5], dtype=np.int64), format="i4").tolist() == ["0101"]


def test_frames_of_whole_numbers_and_floats():
    polars = pytest.importorskip("polars")
    arrays = {"ids": np.arange(4), "w": np.ones(4, dtype=np.float32)}
    pattern = bq.inject_(arrays, bq.Fault(count=9), seed=2)
    assert set(pattern.tensors) == {"ids", "w"}
    frame = pattern.to_frame(faulty=arrays, library="polars")
    assert frame["old"].dtype == polars.Float64 and len(frame) == 9
    whole = bq.inject_({"ids": arrays["ids"]}, bq.Fault(count=2, bits="0..3"), seed=1)
    assert whole.to_frame(faulty={"ids": arrays["ids"]}, library="polars")["old"].dtype == polars.Int64


def test_arrays_without_words_that_are_not_selected():
    arrays = {"mask": np.zeros(3, dtype=bool), "w": np.ones(3, dtype=np.float32)}
    for fault in (bq.Fault(count=1, select="w"), bq.Fault(count=1, select=["*", "!mask"])):
        assert bq.inject_(arrays, fault).tensors == {"w": 1}
    for fault in (bq.Fault(count=1), bq.Fault(count=1, select=["m*"])):
        with pytest.raises(bq.UnsupportedError, match="`mask` is bool"):
            bq.inject_(arrays, fault)


@pytest.mark.parametrize(("keys", "select", "hit"), [(("w,1", "w"), ["*", "!m*", "!w"], "w,1"), (("a[0]", "a0"), ["a[[]0]"], "a[0]"), (("['p']['k']", "w}2"), ["*'k'*"], "['p']['k']")])
def test_names_of_any_kind_beside_arrays_without_words(keys, select, hit):
    arrays = {"mask": np.zeros(3, dtype=bool), **{key: np.ones(9, dtype=np.float32) for key in keys}}
    assert bq.inject_(arrays, bq.Fault(count=2, select=select)).tensors == {hit: 2}


def test_the_version_is_that_of_the_command():
    import subprocess
    import sys

    told = subprocess.run([sys.executable, "-m", "bitquake", "--version"], capture_output=True, text=True, check=True).stdout
    assert told == f"bitquake {bq.__version__}\n"

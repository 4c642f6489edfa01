"""The forum thread "How to flip bits of model weights": what was asked there (SPEC 1.1, T1 to T13), as one would write it."""

import numpy as np
import pytest

import bitquake as bq

torch = pytest.importorskip("torch")


@pytest.fixture
def conv():
    torch.manual_seed(0)
    return torch.nn.Conv2d(3, 64, 3)


def test_t1_flip_one_bit_of_a_named_parameter(conv):
    before = conv.weight.detach().clone()
    bq.flip_(conv.weight, (0, 1, 2, 0), 31)
    assert conv.weight[0, 1, 2, 0] == -before[0, 1, 2, 0]
    assert (conv.weight != before).sum() == 1


def test_t2_bits_are_reinterpreted_and_never_narrowed(conv):
    x = torch.tensor([-1099712250, 1020618774], dtype=torch.int32)
    as_float = bq.from_bits(bq.bits(x), torch.float32)
    assert as_float.tolist() == [-0.2380104959011078, 0.026050608605146408]
    with pytest.raises(bq.UsageError, match="8 bits, but the last axis of the bits has 32"):
        bq.from_bits(bq.bits(x), torch.uint8)


def test_t3_the_binary_of_all_elements(conv):
    every = bq.bits(conv.weight)
    assert every.shape == (64, 3, 3, 3, 32) and every.dtype == torch.uint8
    texts = bq.bit_strings(conv.weight)
    assert texts.shape == (64, 3, 3, 3) and texts[3, 2, 1, 0] == "".join(map(str, every[3, 2, 1, 0].tolist()[::-1]))


@pytest.mark.parametrize(
    ("as_int", "hexadecimal", "number", "text"),
    [
        (-1099712250, "be73b906", -0.2380104959011078, "10111110011100111011100100000110"),
        (1020618774, "3cd56816", 0.026050608605146408, "00111100110101010110100000010110"),
        (1046115288, "3e5a73d8", 0.21333253383636475, "00111110010110100111001111011000"),
        (-1096991409, "be9d3d4f", -0.3071083724498749, "10111110100111010011110101001111"),
        (-1096167765, "bea9ceab", -0.3316548764705658, "10111110101010011100111010101011"),
        (1050902816, "3ea38120", 0.31934452056884766, "00111110101000111000000100100000"),
        (-1117487605, "bd647e0b", -0.05578426644206047, "10111101011001000111111000001011"),
        (1051193350, "3ea7f006", 0.3280031085014343, "00111110101001111111000000000110"),
        (1039613558, "3df73e76", 0.12072460353374481, "00111101111101110011111001110110"),
    ],
)
def test_t4_negative_integers_print_as_the_memory_holds_them(as_int, hexadecimal, number, text):
    word = np.int32(as_int)
    assert bq.bit_strings(word) == text
    assert bq.bit_strings(word, style="hex").removeprefix("0x") == hexadecimal
    assert bq.bit_strings(np.float32(number)) == text
    assert bq.from_bit_strings(text, "f32") == np.float32(number)


def test_t5_five_percent_are_of_all_elements(conv):
    chosen = bq.sample(conv.weight, fraction=0.05)
    assert len(chosen) == 86 and repr(chosen) == "Selection(86 of 1,728 elements)"
    assert len(bq.sample(conv.weight, fraction=0.05, of="filters")) == 3
    assert len(bq.sample(conv.weight, fraction=0.05, of="bits")) == 2765
    assert len(bq.sample(torch.zeros(1), fraction=0.05)) == 1  # never silently none


def test_t6_places_are_flat_and_along_the_axes(conv):
    chosen = bq.sample(conv.weight, count=10, seed=4)
    assert np.array_equal(np.ravel_multi_index(chosen.index, conv.weight.shape), chosen.flat)
    assert conv.weight[chosen.index].shape == (10,)


def test_t7_a_random_bit_of_each_chosen_element(conv):
    pattern = bq.inject_(conv.weight, bq.Fault(fraction=0.05), seed=1)
    elements, masks = pattern.masks()
    assert len(elements) == 86 and pattern.flips == 86
    assert len(set(masks.tolist())) > 15  # not the same bit in all
    assert bq.inject_(conv.weight, bq.Fault(count=7), seed=1).flips == 7
    assert 4000 < bq.inject_(conv.weight, bq.Fault(rate=0.1), seed=1).flips < 7000


def test_t8_bits_edited_and_turned_back(conv):
    x = conv.weight.detach().clone()
    edited = bq.bits(x)
    edited[..., 0] ^= 1
    back = bq.from_bits(edited, torch.float32)
    assert bq.diff(x, back).flips == x.numel()
    edited[..., 0] ^= 1
    assert torch.equal(bq.from_bits(edited, torch.float32), x)


def test_t9_in_place_in_the_module_without_grad_trouble(conv):
    place, before = conv.weight.data_ptr(), conv.weight.detach().clone()
    pattern = bq.inject_(conv, bq.Fault(count=5, select=["weight"]), seed=2)
    assert conv.weight.data_ptr() == place and conv.weight.requires_grad and conv.weight.is_leaf
    assert not torch.equal(conv.weight, before)
    pattern.undo_(conv)
    assert torch.equal(conv.weight, before)


def test_t10_a_bad_index_is_told_at_once(conv):
    before = conv.weight.detach().clone()
    with pytest.raises(bq.BoundsError, match=r"`x`: element 1728 is out of bounds, there are 1728"):
        bq.flip_(conv.weight, [0, 1728], 3)
    with pytest.raises(IndexError, match=r"index 64 is out of bounds, axis 0 has 64"):
        bq.flip_(conv.weight, (64, 0, 0, 0), 3)
    with pytest.raises(IndexError, match=r"bit 32 is out of bounds, f32 has 32"):
        bq.flip_(conv.weight, 0, 32)
    assert torch.equal(conv.weight, before)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4), (2, 2, 2, 2, 2)])
def test_t11_any_rank_and_no_loops(shape):
    x = torch.ones(shape)
    pattern = bq.flip_(x, torch.ones(shape, dtype=torch.bool).numpy(), 31)
    assert pattern.flips == x.numel() and (x == -1).all()


def test_t12_what_became_of_the_numbers():
    x = torch.tensor([1.0, 1.5, 0.5, 0.0])
    pattern = bq.flip_(x, [0, 1, 2, 3], 30)
    frame = pattern.to_frame(faulty=x)
    assert frame["old"].tolist() == [1.0, 1.5, 0.5, 0.0]
    assert frame["became"].tolist() == ["inf", "nan", "", ""]
    assert frame["new"].tolist()[2:] == [1.7014118346046923e38, 2.0]
    assert frame["ratio"].tolist()[2] == 1.7014118346046923e38 / 0.5


@pytest.mark.parametrize(("policy", "wanted"), [("allow", np.inf), ("clamp", np.finfo("f4").max), ("zero", 0.0)])
def test_t12_policies(policy, wanted):
    x = np.ones(1, dtype=np.float32)
    pattern = bq.inject_(x, bq.Fault(sites=["x:0:30"]), nonfinite=policy)
    assert x[0] == np.float32(wanted)
    pattern.undo_(x)
    assert x[0] == 1


def test_t12_reject_changes_nothing():
    x = np.ones(3, dtype=np.float32)
    with pytest.raises(bq.UsageError, match="element 2 became inf"):
        bq.inject_(x, bq.Fault(sites=["x:1:3", "x:2:30"]), nonfinite="reject")
    assert (x == 1).all()


def test_t13_is_the_method_right(conv):
    pattern = bq.inject_(conv, bq.Fault(rate=1e-2), seed=9)
    pattern.undo_(conv)
    told = pattern.explain(conv)
    assert told["flips"] == pattern.flips == sum(told["by_bit"]) == told["to_one"] + told["to_zero"]
    assert set(told["tensors"]) == {"weight", "bias"}
    expected = 0.01 * 32 * (1728 + 64)
    assert abs(told["flips"] - expected) < 6 * expected**0.5  # fixed seed; one in 10^8 seeds would be beyond

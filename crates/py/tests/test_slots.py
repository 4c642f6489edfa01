"""The tensors of a module as the walk in ``_core`` finds them, against its state dict, which PyTorch makes itself."""

import copy
import gc
import weakref

import numpy as np
import pytest

import bitquake as bq
from bitquake import _core

torch = pytest.importorskip("torch")

from networks import TinyTransformer, same_words, small_cnn, words  # noqa: E402
from torch import nn  # noqa: E402

SETTINGS = {torch.bool, torch.int32, torch.int64, torch.uint32, torch.uint64}


def role_of(name, tensor):
    if tensor.dtype in SETTINGS:
        return "attribute"
    return "statistic" if name.endswith(("running_mean", "running_var")) else "weight"


def changed(change):
    def make():
        module = small_cnn()
        change(module)
        return module

    return make


class Other(nn.Linear):
    pass


class OtherParameter(nn.Parameter):
    pass


def transformer():
    return TinyTransformer()


def resnet():
    return pytest.importorskip("torchvision").models.resnet18(weights=None)


def vit():
    return pytest.importorskip("timm").create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=16, depth=2)


def other_class(module):
    module[6].__class__ = Other


def other_class_of_a_tensor(module):
    module[6].weight.__class__ = OtherParameter


def data(name, make):
    def change(module):
        tensor = module.state_dict(keep_vars=True)[name]
        tensor.data = make(tensor.data)

    return change


MODULES = {
    "cnn": small_cnn,
    "transformer": transformer,
    "resnet": resnet,
    "vit": vit,
    "training": changed(lambda m: m.train()),
    "half": changed(lambda m: m.half()),
    "no bias": changed(lambda m: setattr(m[0], "bias", None)),
    "a part that is none": changed(lambda m: m.__setitem__(2, None)),
    "parts in parts": changed(lambda m: m.__setitem__(6, nn.Sequential(nn.ModuleDict({"a": m[6], "b": nn.ModuleList([m[0]])})))),
    "a name": changed(lambda m: m._modules.__setitem__("last", m._modules.pop("6"))),
    "the name of a bias": changed(lambda m: m[6]._parameters.__setitem__("shift", m[6]._parameters.pop("bias"))),
    "a tensor of the part before": changed(lambda m: m[2]._parameters.__setitem__("bias", m[1]._parameters.pop("bias"))),
    "a transient buffer": changed(lambda m: m[1].register_buffer("running_var", m[1].running_var, persistent=False)),
    "a table": changed(lambda m: m[0].register_buffer("table", torch.ones(3, 3, dtype=torch.int32))),
    "tied": changed(lambda m: setattr(m[0], "other", m[0].weight)),
    "tied parts": changed(lambda m: m.append(m[0])),
    "parametrized": changed(lambda m: nn.utils.parametrize.register_parametrization(m[6], "weight", nn.Tanh())),
    "turned": changed(data("6.weight", lambda x: x.view(128, 4))),
    "transposed": changed(data("6.weight", lambda x: x.view(128, 4).T)),
    "other words": changed(data("1.running_mean", lambda x: x.view(torch.int32))),
    "fewer rows": changed(data("6.weight", lambda x: x[:2])),
    "another class": changed(other_class),
    "another class of parameter": changed(other_class_of_a_tensor),
    "nothing": nn.ReLU,
}


@pytest.mark.parametrize("name", MODULES)
def test_all_tensors_of_a_module(name):
    module = MODULES[name]()
    wanted = module.state_dict(keep_vars=True)
    slots = _core.Slots.of(module)
    assert slots.names == list(wanted) == [slot.name for slot in slots] and len(slots) == len(wanted)
    assert all(slot.tensor is tensor is given for slot, tensor, given in zip(slots, wanted.values(), slots.tensors))
    for slot in slots:
        owner, _, key = slot.name.rpartition(".")
        assert slot.module is module.get_submodule(owner) and getattr(slot.module, key, slot.tensor) is slot.tensor
        assert slot.shape == tuple(slot.tensor.shape) and slot.format == bq._words.FORMATS[str(slot.tensor.dtype)[6:]]
        assert slot.role == role_of(slot.name, slot.tensor) and slot.commit is None
        assert slot.is_updated == (slot.role == "statistic" and slot.module.training)
    assert slots.statistics == [(slot.name, slot.module) for slot in slots if slot.role == "statistic"]
    some = slots.names[::-2] + ["no such name"]
    assert slots.shapes(some) == {name: tuple(wanted[name].shape) for name in some[:-1]} and slots.gone() == []
    with pytest.raises(IndexError):
        slots[len(slots)]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "nothing"])
@pytest.mark.parametrize("types", [None, nn.Linear, (nn.Conv2d, nn.Linear)])
def test_every_stored_bit_once(name, types):
    """Against a list made with PyTorch alone."""
    module = MODULES[name]()
    part_of = dict(module.named_modules(remove_duplicate=False))
    first = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        part = part_of[name.rpartition(".")[0]]
        is_updated = role_of(name, tensor) == "statistic" and part.training
        if role_of(name, tensor) != "attribute" and not is_updated and (types is None or isinstance(part, types)):
            first.setdefault(tensor.data_ptr(), (name, tensor))
    memory = bq.WeightFaults(module, bq.Fault(count=40), types=types)
    assert list(memory.tensors) == [name for name, _ in first.values()]
    assert memory.bits == sum(8 * tensor.element_size() * tensor.numel() for _, tensor in first.values())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with memory.faulty(seed=1) as pattern:
        for name, tensor in first.values():
            bytes_of = [part.detach().contiguous().view(torch.uint8).numpy().ravel() for part in (before[name], tensor)]
            places = np.flatnonzero(np.unpackbits(bytes_of[0] ^ bytes_of[1], bitorder="little"))
            assert np.array_equal(places, pattern._core.addresses(name)), name
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items()) and pattern.flips == 40


def views(*shapes):
    """A module whose buffers are parts of one memory: shape, strides, first place."""
    memory, module = torch.arange(100.0), nn.Module()
    for number, (shape, strides, first) in enumerate(shapes):
        module.register_buffer(f"b{number}", memory.as_strided(shape, strides, first))
    return module


def test_tensors_of_one_memory():
    beside = views(((4,), (1,), 0), ((2, 3), (3, 1), 4), ((6,), (1,), 10))  # as flattened parameters are
    assert list(bq.WeightFaults(beside, 0.1).tensors) == ["b0", "b1", "b2"]
    before = words(beside)
    with bq.faulty(beside, 0.3, seed=1) as pattern:
        assert bq.diff(views(((4,), (1,), 0), ((2, 3), (3, 1), 4), ((6,), (1,), 10)), beside) == pattern and len(pattern.tensors) == 3
    assert same_words(before, beside)
    again = views(((4,), (1,), 0), ((4,), (1,), 0), ((4,), (1,), 4))
    assert list(bq.WeightFaults(again, 0.1).tensors) == ["b0", "b2"]
    # From and to the same words, but not the same ones.
    for shapes in ((((2, 2), (1, 3), 0), ((1, 3), (1, 2), 0)), (((4,), (1,), 0), ((2,), (3,), 0)), (((4,), (1,), 0), ((4,), (1,), 3)), (((9,), (1,), 0), ((2,), (1,), 3))):
        with pytest.raises(bq.UsageError, match="tensors `b0` and `b1` share part of their memory, or interleave in it: select one of them"):
            bq.WeightFaults(views(*shapes), 0.1)
        assert list(bq.WeightFaults(views(*shapes), 0.1, select="b1").tensors) == ["b1"]


def test_a_tensor_whose_bits_are_all_protected_is_not_watched():
    module = nn.Module()
    module.register_buffer("a", torch.ones(4))
    module.register_buffer("b", torch.ones(4, dtype=torch.float16))
    memory = bq.WeightFaults(module, bq.Fault(rate=0.5, protect="0..15"))
    assert list(memory.tensors) == ["a"] and repr(memory) == "WeightFaults(64 bits of 1 tensor)"
    module.b = torch.zeros(4)
    with memory.faulty(seed=1) as pattern:
        assert set(pattern.tensors) == {"a"}


@pytest.mark.filterwarnings("ignore")
def test_scripted_modules():
    module = small_cnn()
    for scripted in (torch.jit.script(module), torch.jit.trace(module, torch.ones(1, 3, 8, 8))):
        assert _core.Slots.of(scripted).names == list(scripted.state_dict())
        before, x = words(scripted), torch.randn(2, 3, 8, 8)
        clean = scripted(x)
        with bq.faulty(scripted, 0.01, seed=1) as pattern:
            assert pattern == bq.inject_(copy.deepcopy(module), 0.01, seed=1) and not torch.equal(scripted(x), clean)
        assert same_words(before, scripted)


def test_modules_that_tell_their_own_names():
    class Told(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(4, 4)

        def named_modules(self, memo=None, prefix="", remove_duplicate=True):
            yield f"{prefix}own", self.inside

    assert _core.Slots.of(Told()).names == ["own.weight", "own.bias"]
    assert _core.Slots.of(nn.Sequential(nn.Linear(2, 2), Told())).names == ["0.weight", "0.bias", "1own.weight", "1own.bias"]


def test_classes_that_decide_what_belongs_to_them():
    class Wide(type):
        def __instancecheck__(cls, part):
            return getattr(part, "out_features", 0) > 4

    class Chosen(metaclass=Wide):
        pass

    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 5))
    assert list(bq.WeightFaults(module, 0.1, types=Chosen).tensors) == ["1.weight", "1.bias"]
    with pytest.raises(bq.UsageError, match="no parameters or buffers lie directly in a module of type Conv2d or Chosen"):
        bq.WeightFaults(module[:1], 0.1, types=[nn.Conv2d, Chosen])


def test_a_module_that_holds_itself():
    module = small_cnn()
    module.add_module("again", module)
    with pytest.raises(bq.UsageError, match="one holds itself"):
        bq.faulty(module, 0.1)


def test_faults_that_their_module_holds_do_not_live_for_ever():
    module, stored = nn.Linear(4, 4), nn.Linear(4, 4)
    module.faults, stored.storage = bq.WeightFaults(module, 0.1), bq.quantize(stored, bits=8, family="symmetric")
    watched = weakref.ref(module), weakref.ref(module.weight), weakref.ref(stored)
    del module, stored
    gc.collect()
    assert [one() for one in watched] == [None, None, None]


def test_a_block_made_before_a_change_is_refused_after_it():
    module = small_cnn()
    block = bq.faulty(module, 0.02)
    module.train()
    with pytest.raises(bq.UsageError, match="`1.running_mean` is updated in training mode"):
        block.__enter__()
    module.eval()
    changes = (
        lambda: setattr(module[6], "weight", nn.Parameter(torch.ones(4, 128))),
        lambda: setattr(module[6].weight, "data", torch.ones(4, 128)),
        lambda: module[6]._parameters.pop("weight"),
    )
    for change in changes:
        block = bq.faulty(module, 0.02)
        change()
        with pytest.raises(bq.UsageError, match="`6.weight` was moved or replaced since the faults were prepared"):
            block.__enter__()


def test_memory_given_back_inside_a_block_is_not_written_to():
    module = nn.Linear(64, 64)
    with pytest.raises(bq.UsageError, match="`weight` was moved or replaced inside the block"):
        with bq.faulty(module, 0.1, seed=1):
            module.weight.untyped_storage().resize_(0)
            others = [torch.zeros(64, 64) for _ in range(9)]  # one of them lies there now
    assert not any(other.any() for other in others)
    module = nn.Linear(64, 64)
    old, before = module.weight.detach(), module.weight.detach().clone()
    with pytest.raises(bq.UsageError, match="only the old memory has its bits back"):
        with bq.faulty(module, 0.1, seed=1):
            module.weight.data = torch.zeros(64, 64)
    assert torch.equal(old, before) and not module.weight.any()


@pytest.mark.filterwarnings("ignore")
def test_words_of_every_kind():
    """Those that are flipped at their addresses, and those that are not."""
    kinds = [
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int16, torch.int8, torch.uint8,
    ]  # fmt: skip
    module = nn.Module()
    for dtype in kinds:
        values = torch.randint(0, 256, (6, 5 * dtype.itemsize), dtype=torch.uint8).view(dtype)
        module.register_buffer(f"plain_{str(dtype)[6:]}", values)
        module.register_buffer(f"strided_{str(dtype)[6:]}", values.clone().T)
        module.register_buffer(f"part_{str(dtype)[6:]}", values.repeat(2, 1)[3:9])
    module.register_buffer("quantized", torch.quantize_per_tensor(torch.randn(5, 6), 0.1, 3, torch.quint8))
    module.register_buffer("single", torch.tensor(1.5))
    module.register_buffer("empty", torch.ones(0, 3))
    clean = copy.deepcopy(module)
    memory = bq.WeightFaults(module, 0.02)
    assert [name for name in module.state_dict() if name not in memory.tensors] == ["empty"]
    hit = set()
    for trial in range(20):
        with memory.faulty(seed=1, trial=trial) as pattern:
            assert bq.diff(clean, module) == pattern
        assert bq.diff(clean, module).flips == 0
        hit |= set(pattern.tensors)
    assert hit >= set(memory.tensors) - {"single"}

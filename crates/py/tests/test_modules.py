"""Faults in the weights of modules: in, seen, out again, whatever happens in between."""

import copy

import numpy as np
import pytest

import bitquake as bq

torch = pytest.importorskip("torch")

from networks import TinyTransformer, same_words, small_cnn, words  # noqa: E402
from torch import nn  # noqa: E402


def resnet():
    return pytest.importorskip("torchvision").models.resnet18(weights=None).eval(), torch.randn(1, 3, 32, 32)


def mobilenet():
    return pytest.importorskip("torchvision").models.mobilenet_v2(weights=None).eval(), torch.randn(1, 3, 32, 32)


def vit():
    timm = pytest.importorskip("timm")
    return timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=16, depth=2).eval(), torch.randn(1, 3, 32, 32)


@pytest.mark.parametrize("make", [resnet, mobilenet, vit])
def test_networks_of_libraries(make):
    torch.manual_seed(0)
    module, x = make()
    before = words(module)
    with torch.no_grad():
        clean = module(x)
        with bq.faulty(module, 1e-4, seed=1) as pattern:
            faulty = module(x)
            assert not same_words(before, module)
        assert torch.equal(module(x), clean) and not torch.equal(faulty, clean)
    assert same_words(before, module) and pattern.flips > 100
    assert not any("num_batches_tracked" in name for name in pattern.tensors)


def test_the_bits_are_those_of_the_pattern():
    module = small_cnn()
    clean = copy.deepcopy(module)
    with bq.faulty(module, bq.Fault(rate=0.01), seed=3, trial=4) as pattern:
        assert bq.diff(clean, module) == pattern
    assert pattern == bq.inject_(clean, bq.Fault(rate=0.01), seed=3, trial=4)  # one fault, seed and trial: the same bits by any way
    frame = pattern.to_frame(module)
    assert len(frame) == pattern.flips and frame["old"].notna().all()


def test_many_flips_are_those_of_the_list():
    """From some number on no list is made; the flips are the same, and so is what undoes them."""
    module = nn.Sequential(nn.Linear(300, 200), nn.Linear(200, 10)).eval()
    clean, before = copy.deepcopy(module), words(module)
    memory = bq.WeightFaults(module, 0.05)
    for _ in range(2):
        with memory.faulty(seed=1, trial=2) as pattern:
            assert pattern.flips > 50_000 and bq.diff(clean, module) == pattern
        assert same_words(before, module)
    with torch.no_grad():
        module[0].weight.data = module[0].weight.data.T.contiguous().T  # not one word after the other any more
    other = bq.WeightFaults(module, 0.05)
    with other.faulty(seed=1, trial=2) as same:
        assert same == pattern and bq.diff(clean, module) == pattern
    assert same_words(before, module)
    module = nn.Linear(300, 200)
    with bq.faulty(module, 0.05):
        pass
    assert module.weight.untyped_storage().resizable()  # no view of it was made


@pytest.mark.parametrize("fault", [dict(model="stuck-at-1", rate=0.01), dict(model="set-value", value=0, fraction=0.1), dict(model="burst", length=3, count=9)])
def test_other_models(fault):
    module = small_cnn()
    before = words(module)
    with bq.faulty(module, bq.Fault(**fault), seed=1) as pattern:
        assert pattern.flips > 0 and not same_words(before, module)
    assert same_words(before, module)


def test_an_exception_restores_too():
    module = small_cnn()
    before = words(module)
    with pytest.raises(ZeroDivisionError):
        with bq.faulty(module, 0.01):
            1 / 0
    assert same_words(before, module)


def test_nested_blocks():
    module = small_cnn()
    before = words(module)
    with bq.faulty(module, 0.01, seed=1) as outer:
        inside = words(module)
        with bq.faulty(module, 0.01, seed=2) as inner:
            assert bq.diff(module, module).flips == 0 and not same_words(inside, module)
        assert same_words(inside, module)
    assert same_words(before, module) and outer != inner


def test_which_tensors_globs_reach():
    module = small_cnn()
    everything = set(bq.WeightFaults(module, 0.1).tensors)
    assert everything == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "6.weight", "6.bias"}
    assert set(bq.WeightFaults(module, 0.1, select="*.bias").tensors) == {"0.bias", "1.bias", "6.bias"}
    assert set(bq.WeightFaults(module, 0.1, select=["*", "!1.*"]).tensors) == {"0.weight", "0.bias", "6.weight", "6.bias"}
    assert set(bq.WeightFaults(module, bq.Fault(rate=0.1, select=["6.*"])).tensors) == {"6.weight", "6.bias"}
    assert bq.WeightFaults(module, 0.1, select="1.num_batches_tracked").tensors == {"1.num_batches_tracked": "i64"}
    with pytest.raises(bq.UsageError, match="nothing"):
        bq.WeightFaults(module, 0.1, select="nothing.*")


def test_by_type_of_module():
    module = small_cnn()
    assert set(bq.WeightFaults(module, 0.1, types=nn.Linear).tensors) == {"6.weight", "6.bias"}
    assert set(bq.WeightFaults(module, 0.1, types=(nn.Linear, nn.Conv2d), select="*.weight").tensors) == {"0.weight", "6.weight"}
    with pytest.raises(bq.UsageError, match="no parameters or buffers lie directly in a module of type LSTM"):
        bq.faulty(module, 0.1, types=nn.LSTM)
    with pytest.raises(bq.UsageError, match="types are module classes"):
        bq.faulty(module, 0.1, types="Linear")


def test_tied_weights_count_once():
    module = TinyTransformer().eval()
    memory = bq.WeightFaults(module, bq.Fault(rate=0.01))
    assert "embed.weight" in memory.tensors and "head.weight" not in memory.tensors
    assert "position_ids" not in memory.tensors and "scratch" not in memory.tensors
    distinct = {tensor.data_ptr(): tensor.numel() for tensor in module.parameters()}
    assert memory.bits == 32 * sum(distinct.values())
    before = words(module)
    with bq.faulty(module, bq.Fault(count=5), select="head.*") as pattern:
        assert pattern.tensors == {"head.weight": 5} and not same_words(before, module)
    assert same_words(before, module)
    assert set(bq.WeightFaults(module, 0.1, types=nn.Linear, select="head.weight").tensors) == {"head.weight"}


def test_tied_weights_are_left_out_by_either_name():
    module = TinyTransformer().eval()
    tied = {"embed.weight", "head.weight"}
    for left_out in sorted(tied):
        tensors = set(bq.WeightFaults(module, 0.1, select=["*", f"!{left_out}"]).tensors)
        assert tensors and not tensors & tied
    assert set(bq.WeightFaults(module, 0.1, select=["head.weight", "embed.weight"]).tensors) == {"embed.weight"}
    with pytest.raises(bq.UsageError, match="leaves no tensor"):
        bq.WeightFaults(module, 0.1, select=["head.weight", "!embed.weight"])
    assert bq.inject_(module, bq.Fault(count=2, select=["head.*"])).tensors == {"head.weight": 2}


def test_shared_parts_are_an_error():
    module = nn.Module()
    whole = torch.zeros(10)
    module.a, module.b = nn.Parameter(whole[:6]), nn.Parameter(whole[4:])
    with pytest.raises(bq.UsageError, match="`a` and `b` share part of their memory"):
        bq.faulty(module, 0.1)
    with bq.faulty(module, 0.5, select="b"):
        pass


def test_dtypes_and_strides():
    module = nn.Module()
    for place, dtype in enumerate((torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int8, torch.uint8)):
        module.register_buffer(f"b{place}", torch.arange(60).reshape(3, 4, 5).to(dtype))
    module.register_parameter("strided", nn.Parameter(torch.randn(4, 6, 5, 5).to(memory_format=torch.channels_last)))
    module.register_buffer("turned", torch.randn(7, 3).T)
    before = words(module)
    with bq.faulty(module, 0.2, seed=1) as pattern:
        assert set(pattern.tensors) == set(before)
        after = words(module)
        assert all(not torch.equal(before[name], after[name]) for name in before)
        assert bq.diff({"turned": module.turned}, {"turned": before["turned"].view(torch.float32).reshape(3, 7)}).flips == pattern.tensors["turned"]
    assert same_words(before, module)


def test_quantized_tensors_by_their_codes():
    module = nn.Module()
    module.register_buffer("codes", torch.quantize_per_tensor(torch.randn(50), 0.1, 3, torch.qint8))
    before = module.codes.int_repr().clone()
    with bq.faulty(module, bq.Fault(count=7, bits="7")) as pattern:
        assert ((module.codes.int_repr() ^ before) == -128).sum() == 7 == pattern.flips
    assert torch.equal(module.codes.int_repr(), before)


@pytest.mark.filterwarnings("ignore")
def test_packed_weights_of_quantized_modules():
    torch.manual_seed(0)
    module = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4), nn.ReLU()), {nn.Linear})
    x = torch.randn(2, 8)
    clean, before = module(x), module[0].weight().int_repr().clone()
    with bq.faulty(module, bq.Fault(count=5, bits="6"), select="0.weight") as pattern:
        assert pattern.flips == 5 and (module[0].weight().int_repr() != before).sum() == 5
        assert not torch.equal(module(x), clean)
    assert torch.equal(module(x), clean) and torch.equal(module[0].weight().int_repr(), before)
    memory = bq.WeightFaults(module, bq.Fault(rate=0.3))
    assert memory.tensors == {"0.weight": "i8", "0.bias": "f32"}, "its parts would hand out the same once more"
    bias = module[0].bias().detach().clone()
    with memory.faulty(seed=1) as pattern:
        for name, old, new in (("0.weight", before, module[0].weight().int_repr()), ("0.bias", bias, module[0].bias())):
            old, new = (part.detach().contiguous().view(torch.uint8).numpy().ravel() for part in (old, new))
            assert np.array_equal(np.flatnonzero(np.unpackbits(old ^ new, bitorder="little")), pattern._core.addresses(name))
        assert set(pattern.tensors) == {"0.weight", "0.bias"} and not torch.equal(module(x), clean)
    assert torch.equal(module(x), clean) and torch.equal(module[0].weight().int_repr(), before) and torch.equal(module[0].bias(), bias)
    with bq.quantize(module, "symmetric", bits=2) as storage:
        assert storage.coded == ["0.bias"] and len(module[0].bias().unique()) <= 3 < len(bias.unique())
        with storage.faulty(0.5, seed=1, select="0.bias"):
            assert not torch.equal(module[0].bias(), bias)
    assert torch.equal(module(x), clean) and torch.equal(module[0].bias(), bias)
    unbiased = torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4, bias=False)), {nn.Linear})
    assert list(bq.WeightFaults(unbiased, 0.1).tensors) == ["0.weight"]
    with pytest.raises(bq.UnsupportedError, match="`0.weight` is packed by a quantized module"):
        bq.inject_(module, 0.1)


def test_what_has_no_words():
    module = nn.Module()
    module.register_buffer("mask", torch.ones(3, dtype=torch.bool))
    module.register_buffer("w", torch.ones(3))
    assert set(bq.WeightFaults(module, 0.1).tensors) == {"w"}
    with pytest.raises(bq.UnsupportedError, match="`mask` is bool"):
        bq.faulty(module, 0.1, select="mask")
    module.register_buffer("sparse", torch.eye(3).to_sparse())
    with pytest.raises(bq.UnsupportedError, match="`sparse` is torch.sparse_coo: leave it out"):
        bq.faulty(module, 0.1)
    module.register_buffer("complex", torch.ones(3, dtype=torch.complex64))
    with pytest.raises(TypeError, match="`complex` is complex64"):
        bq.faulty(module, 0.1, select=["complex"])
    module.register_buffer("same", torch.ones(1).expand(40))
    with pytest.raises(bq.UnsupportedError, match="`same` sees its words several times, as expanded tensors .* do: leave it out"):
        bq.faulty(module, 0.0, select=["same"])
    with bq.faulty(module, 0.1, select=["*", "!sparse", "!complex", "!same"]):
        pass
    with pytest.raises(bq.UnsupportedError, match="`weight` is on the meta device"):
        bq.faulty(nn.Linear(3, 3, device="meta"), 0.1)
    with pytest.raises(bq.UsageError, match="`0.weight` has no shape yet"):
        bq.faulty(nn.Sequential(nn.LazyLinear(3)), 0.1)


@pytest.mark.parametrize(
    ("module", "fault", "options", "message"),
    [
        (nn.DataParallel(nn.Linear(2, 2)), 0.1, {}, "DataParallel"),
        (nn.Sequential(nn.DataParallel(nn.Linear(2, 2))), 0.1, {}, "`0` is a DataParallel"),
        (np.ones(3, dtype=np.float32), 0.1, {}, "a torch.nn.Module is needed here, not a ndarray"),
        (nn.Linear(2, 2), "x", {}, "a fault is"),
        (nn.Linear(2, 2), dict(rates=[0.1, 0.2]), {}, "one amount"),
        (nn.Linear(2, 2), dict(count=1, target="activations"), {}, "the target of the fault is activations"),
        (nn.Linear(2, 2), 0.1, dict(nonfinite="no"), "nonfinite is"),
        (nn.Linear(2, 2), 0.1, dict(seed=-1), "seed is a whole number"),
        (nn.Linear(2, 2), dict(count=193), {}, "193"),
    ],
)
def test_wrong_requests(module, fault, options, message):
    with pytest.raises(bq.UsageError, match=message):
        with bq.faulty(module, fault, **options):
            pass


def test_nonfinite_policies():
    module = nn.Linear(4, 4)
    with torch.no_grad():
        module.weight.fill_(1.0)
    fault = bq.Fault(sites=["weight:5:30"])
    before = words(module)
    for policy, wanted in (("allow", np.inf), ("zero", 0.0), ("clamp", np.finfo("f4").max)):
        with bq.faulty(module, fault, nonfinite=policy):
            assert module.weight[1, 1].item() == wanted
        assert same_words(before, module)
    with pytest.raises(bq.UsageError, match="tensor `weight`: element 5 became inf"):
        with bq.faulty(module, fault, nonfinite="reject"):
            pass
    assert same_words(before, module)


# What the user does to the module inside.


def test_an_optimizer_step_inside_is_told():
    module = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(bq.UsageError, match="`weight`, `bias` were written to inside the block"):
        with bq.faulty(module, bq.Fault(count=1)):
            module(torch.ones(1, 4)).sum().backward()
            optimizer.step()


def test_an_error_inside_keeps_its_class_and_gets_a_note():
    module = nn.Linear(4, 4)
    with pytest.raises(ZeroDivisionError) as caught:
        with bq.faulty(module, 0.1):
            module.load_state_dict(nn.Linear(4, 4).state_dict())
            1 / 0
    assert "were written to" in "".join(getattr(caught.value, "__notes__", ["were written to"]))


@pytest.mark.parametrize("change", [lambda m: m.half(), lambda m: setattr(m, "weight", nn.Parameter(torch.ones(4, 4)))])
def test_tensors_that_moved_are_told(change):
    module = nn.Linear(4, 4)
    old = module.weight
    before = old.detach().clone()
    memory = bq.WeightFaults(module, 0.1)
    with pytest.raises(bq.UsageError, match="`weight`.* moved or replaced inside the block"):
        with memory.faulty():
            change(module)
    with pytest.raises(bq.UsageError, match="`weight`.* moved or replaced since the faults were prepared"):
        with memory.faulty():
            pass
    if old is not module.weight:
        assert torch.equal(old, before)


def test_a_prepared_memory_sees_new_values():
    module = nn.Linear(4, 4)
    memory = bq.WeightFaults(module, bq.Fault("stuck-at-1", rate=1.0, bits="sign"))
    for _ in range(2):
        nn.init.normal_(module.weight)
        before = words(module)
        with memory.faulty(seed=1):
            assert (module.weight <= 0).all()
        assert same_words(before, module)


def test_an_error_while_entering_leaves_nothing(monkeypatch):
    from bitquake import _versions

    module = small_cnn()
    before = words(module)
    monkeypatch.setattr(_versions.Versions, "enter", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        with bq.faulty(module, 0.1):
            pass
    assert same_words(before, module)


def test_a_block_is_entered_once():
    module = nn.Linear(4, 4)
    before = words(module)
    block = bq.faulty(module, 0.1)
    with block:
        with pytest.raises(bq.UsageError, match="entered already"):
            block.__enter__()
    assert same_words(before, module)


# Autograd and training.


def test_parameters_stay_leaves_and_gradients_are_those_of_faulty_weights():
    torch.manual_seed(0)
    module = nn.Linear(4, 3)
    x = torch.randn(2, 4)
    with bq.faulty(module, bq.Fault(count=4, bits="sign"), select="weight"):
        x_in = x.clone().requires_grad_()
        module(x_in).square().sum().backward()
        faulty_weight = module.weight.detach().clone()
    by_hand = faulty_weight.clone().requires_grad_()
    x_hand = x.clone().requires_grad_()
    (x_hand @ by_hand.T + module.bias.detach()).square().sum().backward()
    assert module.weight.is_leaf and module.weight.requires_grad
    assert torch.allclose(module.weight.grad, by_hand.grad) and torch.allclose(x_in.grad, x_hand.grad)


def test_graphs_go_backward_where_their_weights_are():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    x = torch.randn(2, 4)
    before = module(x).sum()
    with bq.faulty(module, 0.05, seed=1):
        inside = module(x).sum()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            before.backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        inside.backward()
    with bq.faulty(module, 0.05, seed=2):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            module[0](x).sum() + inside.backward()
    module(x).sum().backward()
    after = module(x).sum()
    with bq.faulty(module, 0.05, seed=1):
        pass
    after.backward()  # the words are those of the graph again


def test_training_with_batch_norm():
    torch.manual_seed(0)
    module = small_cnn().train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    memory = bq.WeightFaults(module, bq.Fault(rate=1e-4, bits="mantissa"))
    assert "1.running_mean" not in memory.tensors  # written in training mode, and not read
    start = words(module)
    for step in range(3):
        optimizer.zero_grad()
        with memory.faulty(seed=1, trial=step):
            module(torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    assert not same_words(start, module) and all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())
    with pytest.raises(bq.UsageError, match="`1.running_mean` is updated in training mode"):
        with bq.faulty(module, 0.01, select=["1.running_mean"]):
            pass
    memory = bq.WeightFaults(module.eval(), 0.01)
    module.train()
    with pytest.raises(bq.UsageError, match="`1.running_mean` is updated in training mode"):
        with memory.faulty():
            pass


def test_transformer_training_under_autocast():
    torch.manual_seed(0)
    module = TinyTransformer()
    ids = torch.randint(0, 50, (2, 7))
    before = words(module)
    with bq.faulty(module, bq.Fault(count=3, bits="mantissa"), seed=1), torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(input_ids=ids, labels=ids)
        assert output["logits"].dtype is torch.bfloat16
        output["loss"].backward()
    assert same_words(before, module) and module.embed.weight.grad is not None


def test_frozen_and_inference_tensors():
    with torch.inference_mode():
        module = nn.Linear(4, 4)
    module.requires_grad_(False)
    before = words(module)
    with bq.faulty(module, 0.1) as pattern:
        assert pattern.flips and not same_words(before, module)
    assert same_words(before, module)


# Devices: what is not on the host is flipped where it is.


def test_a_tensor_on_another_device(monkeypatch):
    """Some tensors come as words of PyTorch, as those of a GPU do."""
    from bitquake import _torch

    original = _torch.cells_of

    def elsewhere(tensor, name):
        cells, dtype, writable = original(tensor, name)
        return (torch.from_numpy(cells.view(f"i{cells.itemsize}")) if name.startswith("6") else cells), dtype, writable

    here, there = small_cnn(), small_cnn()
    with bq.faulty(here, 0.01, seed=1) as wanted:
        inside = words(here)
    monkeypatch.setattr(_torch, "cells_of", elsewhere)
    before = words(there)
    with bq.faulty(there, 0.01, seed=1) as pattern:
        assert pattern == wanted and same_words(inside, there)
    assert same_words(before, there)
    with bq.faulty(there, bq.Fault("stuck-at-1", rate=0.1), seed=1) as pattern:
        assert pattern.dormant > 0 and not same_words(before, there)
    assert same_words(before, there)
    with bq.quantize(there, "symmetric", bits=8) as storage:
        with storage.faulty(0.01, seed=2) as pattern:
            inside = words(there)
    assert same_words(before, there)
    with bq.quantize(here, "symmetric", bits=8) as storage:
        with storage.faulty(0.01, seed=2) as wanted:
            assert pattern == wanted and same_words(inside, here)


# CI has no GPU; how flips get to a device is tested on the CPU above, whether the device does it can only be seen on one.
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_has_the_same_flips():
    module = small_cnn()
    with bq.faulty(module, 0.01, seed=1) as wanted:
        inside = words(module)
    gpu = copy.deepcopy(module).cuda()
    gpu[6].cpu()
    before = words(gpu)
    with bq.faulty(gpu, 0.01, seed=1) as pattern:
        assert pattern == wanted and all(torch.equal(inside[name], tensor.cpu()) for name, tensor in words(gpu).items())
    assert same_words(before, gpu)


# Codes.


def test_a_storage_of_codes():
    module = small_cnn()
    before = words(module)
    original = module[6].weight.detach().clone()
    storage = bq.quantize(module, {"family": "symmetric", "bits": 8, "override": [{"select": ["6.weight"], "granularity": {"channel": 0}}]})
    assert storage.coded == ["0.weight", "0.bias", "1.weight", "1.bias", "6.weight", "6.bias"]
    codes, scales = storage.codes("6.weight"), storage.scales("6.weight")
    assert codes.shape == (4, 128) and scales.shape == (4,) and abs(codes).max() <= 127
    assert np.array_equal(module[6].weight.detach().numpy(), codes.astype(np.float32) * scales[:, None])
    assert torch.allclose(module[6].weight, original, atol=float(scales.max()) / 2 + 1e-6)
    clean = words(module)
    with storage.faulty(bq.Fault(sites=["6.weight:5:6"])) as pattern:
        wanted = codes.astype(np.float32) * scales[:, None]
        wanted[0, 5] = (codes[0, 5] ^ 64) * scales[0]
        assert np.array_equal(module[6].weight.detach().numpy(), wanted)
        assert pattern.to_frame()["index"].tolist() == [(0, 5)]
    assert same_words(clean, module)
    assert storage.seen(pattern).tensors == {"6.weight": storage.seen(pattern).flips}
    with storage.faulty(bq.Fault(count=1), select="6.weight@scale") as pattern:
        assert pattern.tensors == {"6.weight@scale": 1} and not same_words(clean, module)
    assert same_words(clean, module)
    with pytest.raises(bq.UsageError, match="`6.weight` was written to inside the block"):
        with storage.faulty(bq.Fault(count=1), select="6.weight@scale"), torch.no_grad():
            module[6].weight.add_(1)
    storage.restore_()
    assert same_words(before, module)
    with pytest.raises(bq.UsageError, match="quantize again"):
        storage.faulty(0.1)


def test_storage_protects_and_repeats():
    module = small_cnn()
    with bq.quantize(module, "symmetric", bits=8, protect=[{"kind": "secded"}]) as storage:
        clean = words(module)
        assert storage.check_bits > 0
        for seed in range(3):
            with storage.faulty(bq.Fault(count=1), seed=seed) as pattern:
                assert pattern.flips == 1 and same_words(clean, module)  # corrected
        with storage.faulty(0.02, seed=1) as one:
            assert not same_words(clean, module)
        with storage.faulty(0.02, seed=1) as two:
            assert one == two


def test_storage_statistics_and_training_mode():
    module = small_cnn()
    with bq.quantize(module, "affine", bits=8) as storage:
        assert storage.tensors["1.running_var"] == "f32"
        with storage.faulty(0.01) as pattern:
            assert not any("running" in name for name in pattern.tensors)
        with storage.faulty(0.01, select="1.running_var") as pattern:
            assert set(pattern.tensors) == {"1.running_var"}
    module.train()
    with bq.quantize(module, "affine", bits=8) as storage, storage.faulty(0.001):
        module(torch.randn(4, 3, 8, 8))  # updates statistics, which are not those that were faulted


def test_storage_errors_leave_the_module_alone():
    module = small_cnn()
    before = words(module)
    for table, message in [
        ({"family": "symetric"}, "symetric"),
        ({"family": "symmetric", "bits": 99}, "99"),
        ({"family": "symmetric", "override": [{"select": ["zzz*"], "bits": 4}]}, "zzz"),
        ({}, "how is the module to be stored"),
        (3, "a quantizer is"),
    ]:
        with pytest.raises(bq.UsageError, match=message):
            bq.quantize(module, table)
        assert same_words(before, module)
    with torch.no_grad():
        module[6].bias[1] = float("nan")
    before = words(module)
    with pytest.raises(bq.BitquakeError, match="6.bias"):
        bq.quantize(module, "symmetric")
    assert same_words(before, module)


def test_a_stale_storage_says_so():
    module = small_cnn()
    storage = bq.quantize(module, "symmetric", bits=8)
    with torch.no_grad():
        module[0].weight.mul_(2)
    with pytest.raises(bq.UsageError, match="`0.weight` changed since it was quantized"):
        with storage.faulty(0.1):
            pass
    module.half()
    with pytest.raises(bq.UsageError, match="moved or replaced since it was quantized"):
        storage.restore_()


def test_storage_of_half_precision_and_tied_weights():
    module = TinyTransformer().to(torch.bfloat16).eval()
    before = words(module)
    with bq.quantize(module, "symmetric", bits=4) as storage:
        assert "embed.weight" in storage.coded and "head.weight" not in storage.coded
        clean = words(module)
        with storage.faulty(0.01):
            assert module.head.weight is module.embed.weight and not same_words(clean, module)
        assert same_words(clean, module)
    assert same_words(before, module)


def test_compiled_modules_compute_with_faulty_weights():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    compiled = torch.compile(module, backend="aot_eager")
    x = torch.ones(1, 4)
    with torch.no_grad():
        clean = compiled(x)
        with bq.faulty(compiled, bq.Fault(count=9, bits="sign"), seed=1) as pattern:
            assert torch.equal(compiled(x), module(x)) and not torch.equal(compiled(x), clean)
        assert torch.equal(compiled(x), clean)
    with bq.faulty(module, bq.Fault(count=9, bits="sign"), seed=1) as wanted:
        assert pattern == wanted


@pytest.mark.parametrize("flip", [lambda w: bq.flip_(w, 0, 30), lambda w: bq.inject_(w, 0.5), lambda w: bq.inject_({"w": w}, bq.Fault(count=1)), lambda w: bq.inject_(w, bq.Fault(count=1), nonfinite="zero")])
def test_autograd_is_told_of_flips_in_place(flip):
    """As it is of any change: else gradients would be of weights that were not used."""
    layer, x = torch.nn.Linear(3, 2), torch.ones(1, 3, requires_grad=True)
    y = layer(x).sum()
    pattern = flip(layer.weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()
    version = layer.weight._version
    bq.inject_(layer.weight, bq.Fault(count=0)), bq.inject_(layer.weight, 1e-300)
    assert layer.weight._version == version, "nothing was flipped"
    pattern.undo_(layer.weight)
    assert layer.weight._version > version
    layer(x).sum().backward()
    with torch.inference_mode():
        bq.inject_(torch.ones(3), 0.5)  # counts no changes


def test_check_bits_of_a_scale_belong_to_its_tensor():
    module = torch.nn.Linear(8, 4)
    protect = [{"select": ["*@scale"], "kind": "secded", "data_bits": 32}]
    with bq.quantize(module, {"family": "symmetric", "bits": 8, "protect": protect}) as storage:
        version = module.weight._version
        with storage.faulty(bq.Fault(rate=0.5, select="*@scale@*")):
            assert module.weight._version != version, "autograd is told"


def test_flips_that_were_undone_leave_a_storage_as_it_was():
    module = small_cnn()
    storage = bq.quantize(module, "symmetric", bits=8)
    pattern = bq.flip_(module[0].weight, 3, 20, name="0.weight")
    with pytest.raises(bq.UsageError, match="`0.weight` changed since"):
        storage.faulty(0.1).__enter__()
    pattern.undo_({"0.weight": module[0].weight})
    with storage.faulty(0.1):
        pass


def test_names_with_the_sign_of_parts():
    class Odd(torch.nn.Module):
        def __init__(self, name):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.randn(4, 4))
            self.register_parameter(name, torch.nn.Parameter(torch.ones(3)))

    module = Odd("a@scale_w")
    with bq.quantize(module, "symmetric", bits=8) as storage:
        with pytest.raises(bq.UsageError, match="`a@scale_w`.*written to inside"):
            with storage.faulty(bq.Fault(count=1, select="a@scale_w")), torch.no_grad():
                module.get_parameter("a@scale_w").mul_(2)
    with pytest.raises(bq.UsageError, match="`weight@scale` has the name of a part of `weight`"):
        bq.quantize(Odd("weight@scale"), "symmetric", bits=8)


def test_complex_buffers_stay_as_they_are():
    module = small_cnn()
    module.register_buffer("rotations", torch.randn(4, dtype=torch.complex64))
    before = module.rotations.clone()
    module.register_parameter("spectrum", torch.nn.Parameter(torch.randn(4, dtype=torch.complex64)))
    with pytest.raises(bq.UnsupportedError, match="`spectrum` is complex64"):
        bq.quantize(module, "symmetric", bits=4)
    del module.spectrum
    with bq.quantize(module, "symmetric", bits=4) as storage:
        assert "rotations" not in storage.tensors
        with storage.faulty(0.1):
            assert torch.equal(module.rotations, before)

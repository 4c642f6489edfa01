"""Faults in what layers compute: which words, which images, nothing else, and no hooks left."""

import collections
import copy
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import bitquake as bq

torch = pytest.importorskip("torch")

from bitquake import _core  # noqa: E402
from networks import TinyTransformer, same_words, small_cnn, words  # noqa: E402
from torch import nn  # noqa: E402


def hooks_of(module):
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._forward_hooks_always_called) for part in module.modules())


def outputs_of(module, x):
    """What every layer gives, as words."""
    found, handles = {}, []
    for name, part in module.named_modules():
        if not list(part.children()):
            keep = lambda _, __, output, name=name: found.update({name: output.clone().view(torch.int32)})  # noqa: E731
            handles.append(part.register_forward_hook(keep))
    with torch.no_grad():
        y = module(x)
    for handle in handles:
        handle.remove()
    return y, found


def one_layer(rows=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16)).eval(), torch.randn(rows, 8)


def test_the_streams_are_those_of_the_core():
    module, x = one_layer()
    fault = bq.Fault(rate=0.02)
    source = _core.Source(fault._core, 0, [("0", "f32", [16], False, [])])
    with torch.no_grad():
        clean = module(x)
        with bq.faulty_activations(module, fault, seed=3, trial=5) as record:
            faulty = [module(x), module(x)]
    for run, (first, y) in enumerate(zip((0, 4), faulty)):
        elements, masks = source.draw_images(3, 5, first, 4)[0][1].flips().masks("0")
        wanted = clean.clone().view(torch.int32).numpy().view(np.uint32).reshape(-1)
        wanted[elements.astype(int)] ^= masks.astype(np.uint32)
        assert y.view(torch.int32).numpy().tobytes() == wanted.tobytes(), run
    assert record.images == 8 and record.passes == 2 and record.flips > 5
    assert len(record.to_frame()) == record.flips and not torch.equal(*faulty)


def places_of(record):
    """Which bits of which values were hit in each image."""
    return record.to_frame()[["image", "layer", "element", "bit"]].sort_values(["image", "layer", "element", "bit"], ignore_index=True)


def test_one_fault_an_image_among_all_layers():
    module, x = small_cnn(), torch.randn(6, 3, 8, 8)
    before = words(module)
    neurons = bq.ActivationFaults(module, bq.Fault(count=1, bits="exponent"), x)
    # A dropout in eval mode hands on what it was given: no value of its own, unlike the flattened one.
    assert {name: rows for name, (_, rows) in neurons.planned.items()} == {
        "0": (1, 8, 8, 8), "1": (1, 8, 8, 8), "2": (1, 8, 8, 8), "3": (1, 8, 4, 4), "5": (1, 128), "6": (1, 4),
    }  # fmt: skip
    with torch.no_grad():
        clean = module(x)
        with neurons.faulty(seed=1, trial=2) as record:
            faulty = module(x)
        assert torch.equal(module(x), clean) and not torch.equal(faulty, clean)
    places = places_of(record)
    assert places["image"].tolist() == list(range(6)) and record.flips == 6
    assert hooks_of(module) == 0 and same_words(before, module)
    with torch.no_grad(), neurons.faulty(seed=1, trial=2) as again:
        # The faults of an image hang on its number alone; sums in smaller batches may be rounded in another way.
        assert torch.allclose(module(x[:2]), faulty[:2], rtol=1e-5, equal_nan=True)
        module(x[2:])
    assert places_of(again).equals(places)


def test_old_and_new_words_are_those_of_the_layer():
    module, x = small_cnn(), torch.randn(2, 3, 8, 8)
    _, clean = outputs_of(module, x)
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault(count=3), x, layers="0", seed=2) as record:
        module(x)
    assert record.layers == {"0": 6} and record.flips == 6
    for row in record.to_frame().to_dict("records"):
        word = clean["0"][(row["image"], *row["index"])]
        assert word.view(torch.float32).item() == row["old"]
        assert (word ^ torch.tensor(1 << row["bit"]).to(torch.int32)).view(torch.float32).item() == row["new"] or row["new"] != row["new"]
        assert np.ravel_multi_index(row["index"], (8, 8, 8)) == row["element"]


def test_stuck_bits_look_at_the_present_value():
    module, x = one_layer(100)
    with torch.no_grad():
        clean = module(x)
        with bq.faulty_activations(module, bq.Fault("stuck-at-1", rate=0.5, bits="sign"), seed=1) as record:
            faulty = module(x)
    was_negative = clean < 0
    assert torch.equal(faulty.abs(), clean.abs()) and (faulty[was_negative] < 0).all()
    assert record.flips == ((faulty < 0) & ~was_negative).sum() and record.dormant > 100
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault("set-value", value=0, rate=0.2), seed=1):
        zeros = module(x) == 0
    assert 200 < zeros.sum() < 450


def test_permanent_faults_are_the_same_in_every_image():
    module, x = one_layer()
    fault = bq.Fault(count=2, bits="sign", target="activations", persistence="permanent")
    with torch.no_grad(), bq.faulty_activations(module, fault, x, seed=1) as record:
        module(x), module(x[:3])
    places = collections.Counter(record.to_frame()["element"])
    assert record.images == 7 and sorted(places.values()) == [7, 7]


def test_one_draw_a_batch():
    module, x = small_cnn(), torch.randn(6, 3, 8, 8)
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault(count=1), x, per="batch", seed=1) as record:
        for size in (6, 6, 4):
            module(x[:size])
    frame = record.to_frame()
    assert record.flips == 3 and frame["pass"].tolist() == [0, 1, 2] and frame["image"].isna().all()
    module = nn.LSTM(5, 7)  # the first axis is that of time
    with torch.no_grad(), bq.faulty_activations(nn.Sequential(module), 0.01, per="batch", types=nn.LSTM) as record:
        module(torch.randn(9, 2, 5))
    assert record.flips > 10


@pytest.mark.parametrize("grad", [False, True])
def test_what_others_hold_is_not_touched(grad):
    """A layer that gives a view of what it was given, a parameter, or one value twice: only its own output has faults."""

    class Keeps(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.ones(4, 8), requires_grad=grad)

        def forward(self, x):
            return self.table

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.flatten, self.keeps, self.expand = nn.Flatten(), Keeps(), nn.Unflatten(1, (2, 4))

        def forward(self, x):
            flat, kept = self.flatten(x), self.keeps(x)
            return x.sum() + flat.sum() * 0, flat, kept, self.expand(flat)

    module, x = Whole(), torch.ones(4, 2, 4)
    with torch.set_grad_enabled(grad), bq.faulty_activations(module, bq.Fault(rate=1.0, bits="sign"), seed=1):
        total, flat, kept, last = module(x)
    assert total == 32 and (x == 1).all() and (module.keeps.table == 1).all()
    assert (flat == -1).all() and (kept == -1).all() and (last == 1).all()


def test_residual_networks_of_libraries():
    models = pytest.importorskip("torchvision").models
    torch.manual_seed(0)
    for module in (models.resnet18(weights=None).eval(), models.mobilenet_v2(weights=None).eval()):
        x = torch.randn(2, 3, 32, 32)
        before = words(module)
        with torch.no_grad():
            clean = module(x)
            with bq.faulty_activations(module, bq.Fault(count=4, bits="exponent"), x, seed=1) as record:
                faulty = module(x)
            assert torch.equal(module(x), clean) and not torch.equal(faulty, clean)
        assert record.flips == 8 and hooks_of(module) == 0 and same_words(before, module)
    with torch.no_grad(), bq.faulty_activations(module, 1e-4, layers=["features.1.*"]) as record:
        module.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert record.layers and all(layer.startswith("features.1.") for layer in record.layers)


def test_channels_last_has_the_same_faults():
    module = small_cnn()
    x = torch.randn(3, 3, 8, 8)
    other = copy.deepcopy(module).to(memory_format=torch.channels_last)
    records = []
    for network, images in ((module, x), (other, x.to(memory_format=torch.channels_last))):
        with torch.no_grad(), bq.faulty_activations(network, bq.Fault(rate=1e-3, bits="mantissa"), seed=4) as record:
            network(images)
        records.append(record.to_frame()[["image", "layer", "element", "index", "bit"]])
    assert len(records[0]) and records[0].equals(records[1])


def test_vision_transformer_of_timm():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32, patch_size=16, depth=2).eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault(count=1), x, types=nn.Linear, seed=1) as record:
        module(x)
    assert record.flips == 2 and hooks_of(module) == 0
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault(rate=1e-4), layers="blocks.0") as record:
        module(x)
    assert set(record.layers) == {"blocks.0"}


def test_keyword_inputs_and_dict_outputs():
    torch.manual_seed(0)
    module = TinyTransformer().eval()
    ids = torch.randint(0, 50, (3, 7))
    with torch.no_grad():
        clean = module(input_ids=ids)
        fault = bq.Fault(count=1, bits="sign")
        with bq.faulty_activations(module, fault, {"input_ids": ids}, layers=["blocks.0", "."], output=None) as record:
            faulty = module(input_ids=ids)
        assert set(record.layers) <= {"blocks.0", "."} and record.flips == 3
        with bq.faulty_activations(module, 1.0, layers="blocks.1", output="hidden"):
            assert not torch.equal(module(ids).logits, clean.logits)
        with pytest.raises(bq.UsageError, match="layer `blocks.1` gives a dict without a tensor at 'other'"):
            with bq.faulty_activations(module, 1.0, layers="blocks.1", output="other"):
                module(ids)
    assert type(faulty) is type(clean) and hooks_of(module) == 0


@dataclass
class Pair:
    note: str
    value: torch.Tensor


Named = collections.namedtuple("Named", ["first", "second"])


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda x: x, lambda y: y),
        (lambda x: (1, x), lambda y: y[1]),
        (lambda x: [x, x + 1], lambda y: y[0]),
        (lambda x: Named("a", x), lambda y: y.second),
        (lambda x: {"a": x}, lambda y: y["a"]),
        (lambda x: Pair("a", x), lambda y: y.value),
    ],
)
def test_outputs_of_any_kind(wrap, unwrap):
    class Wraps(nn.Module):
        def forward(self, x):
            self.given = wrap(x * 1)
            return self.given

    module, x = Wraps(), torch.ones(2, 3)
    with bq.faulty_activations(module, bq.Fault(rate=1.0, bits="sign")):
        output = module(x)
    assert (unwrap(output) == -1).all() and (unwrap(module.given) == 1).all()
    assert type(output) is type(module.given)


def test_a_layer_that_is_called_twice_has_two_values():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.Tanh()

        def forward(self, x):
            return self.act(self.act(x))

    module, x = Twice(), torch.randn(5, 20)
    with bq.faulty_activations(module, bq.Fault(count=20), x, seed=1) as record:
        module(x)
    assert set(record.layers) == {"act", "act#1"} and record.flips == 100
    with bq.faulty_activations(module, bq.Fault(rate=0.01), seed=1) as record:
        module(x)
    first, second = (set(group["element"]) for _, group in record.to_frame().groupby("layer"))
    assert first != second


@pytest.mark.parametrize(
    "fault",
    [
        dict(rate=1e-3),
        dict(model="stuck-at-0", rate=1e-3),
        dict(model="set-value", value=1.0, rate=1e-3),
        dict(model="random-value", rate=1e-3),
        dict(model="burst", length=2, rate=1e-3),
        dict(model="shape", shape="row", rate=1e-3),
        dict(rate=1e-4, target="activations", persistence="permanent"),
    ],
)
def test_known_shapes_are_drawn_together_and_give_the_same(fault):
    """The first pass draws layer by layer; later ones with inputs of the same shape draw for all layers at once."""
    module, x, y = small_cnn(), torch.randn(3, 3, 8, 8), torch.randn(3, 3, 12, 12)
    module = nn.Sequential(*list(module)[:5])
    neurons = bq.ActivationFaults(module, bq.Fault(**fault))
    runs = []
    for _ in range(2):
        with torch.no_grad(), neurons.faulty(seed=1, trial=3) as record:
            outputs = [module(x), module(y), module(x)]
        runs.append((outputs, record.to_frame()))
    assert len(neurons.known) == 2 and len(runs[0][1]) > 0
    assert all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in zip(runs[0][0], runs[1][0]))
    assert runs[0][1].equals(runs[1][1])


@pytest.mark.parametrize("per", ["image", "batch"])
@pytest.mark.parametrize(
    "fault",
    [
        dict(count=3), dict(rate=1e-3), dict(rate=0.0), dict(model="stuck-at-1", count=4), dict(model="set-value", value="saturate", count=3),
        dict(model="set-value", value="saturate", rate=1e-3), dict(count=3, target="activations", persistence="permanent"),
    ],
)  # fmt: skip
def test_known_passes_are_those_of_a_fresh_look(fault, per):
    """What is known of a pass changes nothing: in networks that call a layer twice, in place, and give more than tensors."""

    class Pairs(nn.Module):
        def forward(self, x):
            return x * 1, "more"

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.pairs, self.last = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), Pairs(), nn.Conv2d(4, 4, 3)
            self.tanh, self.drop = nn.Tanh(), nn.Dropout(0.5)

        def forward(self, x):
            x, _ = self.pairs(self.act(self.first(x)))
            return self.drop(self.tanh(self.tanh(self.act(self.last(x)))))

    torch.manual_seed(0)
    module, x = Whole().eval(), torch.randn(3, 3, 9, 9)
    neurons = bq.ActivationFaults(module, bq.Fault(**fault), x, per=per)
    runs = []
    for number in range(4):
        if number == 3:
            neurons.known.clear()
        with torch.no_grad(), neurons.faulty(seed=1, trial=3) as record:
            runs.append(([module(x), module(x)], record.columns(), record.layers, record.dormant))
    assert len(neurons.known) == 1 and (runs[0][1]["bit"] or fault.get("rate") == 0.0)
    for run in runs[1:]:
        assert all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in zip(run[0], runs[0][0]))
        assert repr(run[1:]) == repr(runs[0][1:])


def test_layers_that_compute_something_else_than_is_known():
    """More calls than before, fewer, other dtypes, a dropout that came to life: each is as without what is known."""

    class Calls(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.drop, self.times, self.as_pair = nn.Tanh(), nn.Dropout(0.5), 1, False

        def forward(self, x):
            for _ in range(self.times):
                x = self.act(x)
            return self.drop(x)

    module, x = Calls().eval(), torch.randn(4, 50)

    def run(neurons):
        torch.manual_seed(0)
        with torch.no_grad(), neurons.faulty(seed=1, trial=1) as record:
            y = module(x)
        return y, record.columns()

    for before, after in [(1, 2), (2, 1), (2, 3), (3, 1)]:
        for change in (lambda: setattr(module, "times", after), module.double, module.train):
            module.times = before
            module.eval().float()
            neurons = bq.ActivationFaults(module, bq.Fault(rate=0.01))
            run(neurons), run(neurons)
            change()
            x = x.double() if change == module.double else x.float()
            y, columns = run(neurons)
            fresh = run(bq.ActivationFaults(module, bq.Fault(rate=0.01)))
            assert torch.equal(y.view(torch.uint8), fresh[0].view(torch.uint8)) and repr(columns) == repr(fresh[1]) and columns["bit"]
            module.times = before
    module.eval().float()
    planned = bq.ActivationFaults(module, bq.Fault(count=3), x)
    run(planned)
    module.times = 4
    with pytest.raises(bq.UsageError, match="layer `act#[123]` was not called in the run over `inputs`"):
        run(planned)


def test_batches_whose_first_axis_is_another_one():
    """Drawn for each layer by itself, in each pass anew."""

    class Seven(nn.Module):
        def forward(self, x):
            return x.sum() + torch.ones(7, 4)

    neurons = bq.ActivationFaults(nn.Sequential(nn.Linear(8, 4), Seven()), bq.Fault(rate=0.1), per="batch")
    frames = []
    for _ in range(2):
        with torch.no_grad(), neurons.faulty(seed=1) as record:
            neurons.module(torch.ones(3, 8)), neurons.module(torch.ones(3, 8))
        frames.append(record.to_frame()[["pass", "layer", "index", "bit"]])
    assert frames[0].equals(frames[1]) and set(frames[0]["layer"]) == {"0", "1"} and set(frames[0]["pass"]) == {0, 1}


def test_a_layer_that_runs_by_itself_after_a_known_pass():
    module, x = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16)).eval(), torch.randn(4, 8)

    def run(neurons):
        with torch.no_grad(), neurons.faulty(seed=1) as record:
            y = module(x), module[0](x), module(x)
        return y, record.columns(), record.passes, record.images

    neurons = bq.ActivationFaults(module, bq.Fault(rate=0.01))
    first, second = run(neurons), run(neurons)
    assert all(torch.equal(a.view(torch.int32), b.view(torch.int32)) for a, b in zip(first[0], second[0])) and repr(first[1:]) == repr(second[1:]) and first[2:] == (3, 12)


def test_words_of_any_width_are_hit_in_place():
    """Of a value seen for the first time and of one that is expected, whose words lie one after the other or with strides."""
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for turn in (lambda value: value, lambda value: value.to(memory_format=torch.channels_last)):
            module = nn.Sequential(nn.Tanh())
            clean = turn(torch.randn(2, 3, 4, 5)).to(dtype)
            with torch.no_grad(), bq.faulty_activations(module, bq.Fault(rate=0.05), seed=3) as record:
                faulty = [module(clean) for _ in range(3)]
            wanted = torch.tanh(clean)
            bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
            rows = record.columns()
            for number, value in enumerate(faulty):
                changed = (wanted.contiguous().view(bits) ^ value.contiguous().view(bits)).flatten()
                masks = torch.zeros_like(changed)
                for turn_of, image, element, bit in zip(rows["pass"], rows["image"], rows["element"], rows["bit"]):
                    place = (image - 2 * number) * 60 + element
                    if turn_of == number:
                        masks[place] ^= torch.tensor(1 << bit if bit < 8 * dtype.itemsize - 1 else -(1 << bit)).to(bits)
                assert torch.equal(changed, masks) and (changed != 0).sum() > 30


def test_memory_of_others_is_not_hit():
    """Of a layer that gives a view of what it was given, in every pass."""
    x, kept = torch.randn(4, 2, 8), nn.Parameter(torch.randn(4, 16))

    class Keeps(nn.Module):
        def forward(self, x):
            return kept.data

    for module, own in ((nn.Flatten(), x), (nn.Unflatten(2, (2, 4)), x), (nn.Sequential(Keeps()), kept.data)):
        before = own.clone()
        with torch.no_grad(), bq.faulty_activations(module, bq.Fault(rate=0.1), seed=3) as record:
            values = [module(x) for _ in range(3)]
        assert torch.equal(own, before) and record.passes == 3 and min(record.columns()["pass"].count(turn) for turn in range(3)) > 20
        assert not any(torch.equal(value, before.reshape(value.shape)) for value in values)


def test_gradients_pass_through_expected_hits():
    module, x = nn.Sequential(nn.Tanh()), torch.randn(4, 8, requires_grad=True)
    slopes = [torch.autograd.grad(module(x).sum(), x)[0]]
    with bq.faulty_activations(module, bq.Fault(rate=0.1, bits="mantissa"), seed=3) as record:
        for _ in range(3):
            slopes.append(torch.autograd.grad(module(x).sum(), x)[0])
    assert all(torch.equal(slope, slopes[0]) for slope in slopes) and set(record.columns()["pass"]) == {0, 1, 2}


def flip_own(hits, args, kwargs, output, is_in_place):
    """What the hook of a layer does that is to give such an output: the words before and after; `None` if it leaves that to Python."""
    layer, left = nn.ReLU(), []
    hooks = _core.LayerHooks([layer], False, lambda *call: left.append(call))
    hooks.attach(1)
    hooks.begin(_core.Calls([(0, "v", getattr(output, "shape", None), getattr(output, "dtype", None), True, is_in_place)]), {"v": hits})
    layer._forward_hooks[1](layer, args, kwargs, output)
    made = hooks.made()
    assert (made is None) == (len(left) == 1)
    return None if made is None else made.hits[0][-1]


def test_hits_out_of_bounds_are_refused():
    ones, values = np.ones(2, dtype=np.uint64), torch.zeros(5)
    for places in ([1, 5], [1, 2**64 - 1]):
        hits = _core.Hits(np.array(places, dtype=np.uint64), ones, ones)
        for hit in (lambda: hits.flip(values), lambda: flip_own(hits, (torch.ones(5),), {}, values, False)):
            with pytest.raises(bq.UsageError):
                hit()
        assert not values.any()
    with pytest.raises(bq.UsageError, match="one length"):
        _core.Hits(np.array([1], dtype=np.uint64), ones, ones)


def test_words_are_hit_where_they_are_or_not_at_all():
    hits = _core.Hits(np.array([4], dtype=np.uint64), *2 * [np.ones(1, dtype=np.uint64)])
    values, given, gone = torch.zeros(5), torch.ones(5), torch.zeros(5)
    gone.untyped_storage().resize_(12)
    others = [
        gone, torch.frombuffer(bytearray(41), dtype=torch.float32, offset=1, count=5),
        values[:, None].expand(5, 2).T[:, ::2], torch.zeros(5, requires_grad=True), torch.zeros(5, device="meta"), values.to_sparse(),
        torch.zeros(5, dtype=torch.complex64).imag, torch.zeros(5, dtype=torch.complex64).conj().imag, torch.zeros(5, dtype=torch.complex128), np.zeros(5), None,
    ]  # fmt: skip
    for other in others:
        assert hits.flip(other) is None and flip_own(hits, (given,), {}, other, False) is None, other
    for args, kwargs in (((given, given), {}), ((), {"x": given}), ((values,), {}), ((values[1:],), {}), ((nn.Parameter(given),), {}), ((1,), {})):
        assert flip_own(hits, args, kwargs, values, False) is None
    assert not values.any()
    old, new = hits.flip(values)
    assert old.tolist() == [0] and new.tolist() == [1] and values.view(torch.int32).tolist() == [0, 0, 0, 0, 1]
    old, new = flip_own(hits, (values,), {}, values, True)
    assert old.tolist() == [1] and new.tolist() == [0] and not values.any()


def test_shapes_that_hang_on_the_values():
    """A network that gives other shapes for inputs of one shape: what is known of it is not relied on."""

    class Picks(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.Tanh()

        def forward(self, x):
            return self.act(x[:, : int(x[0, 0])])

    module = Picks()
    neurons = bq.ActivationFaults(module, bq.Fault("set-value", value=3.0, rate=1.0))
    for width in (5, 9, 2):
        with torch.no_grad(), neurons.faulty():
            assert torch.equal(module(torch.full((2, 10), float(width))), torch.full((2, width), 3.0))
    neurons = bq.ActivationFaults(module, bq.Fault(rate=1e-4))
    flips = []
    for width in (2, 2, 999):  # with the two values that are known nothing is hit, so the layer is spared
        with torch.no_grad(), neurons.faulty(seed=1) as record:
            module(torch.full((2, 1000), float(width)))
        flips.append(record.flips)
    assert flips[:2] == [0, 0] and flips[2] > 2


# Training.


def test_gradients_pass_straight_through():
    module = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    x = torch.randn(4, 3, requires_grad=True)
    with bq.faulty_activations(module, bq.Fault("set-value", value=2.0, rate=1.0), layers="1"):
        module(x).sum().backward()
    passed = (module[0](x) > 0).float() * module[2].weight
    assert torch.allclose(x.grad, passed @ module[0].weight)
    assert torch.allclose(module[2].weight.grad, torch.full((1, 3), 8.0))


def test_training_with_batch_norm_and_dropout():
    torch.manual_seed(0)
    module = small_cnn().train()
    x = torch.randn(4, 3, 8, 8)
    before, state = words(module), torch.random.get_rng_state()
    neurons = bq.ActivationFaults(module, bq.Fault(count=2, bits="mantissa"), x)
    assert same_words(before, module) and torch.equal(state, torch.random.get_rng_state()), "the run over inputs leaves no trace"
    assert module.training and "4" in neurons.planned
    with neurons.faulty(seed=1) as record:
        module(x).square().mean().backward()
    assert record.flips == 8 and all(torch.isfinite(tensor.grad).all() for tensor in module.parameters())


def test_autocast_has_the_words_at_hand():
    torch.manual_seed(0)
    module, x = small_cnn(), torch.randn(4, 3, 8, 8)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        with bq.faulty_activations(module, bq.Fault(rate=1e-3), types=nn.Conv2d, seed=1) as record:
            module(x)
        assert record.to_frame()["bit"].max() < 16 and record.flips > 10
        neurons = bq.ActivationFaults(module, bq.Fault(count=1), x)
        with neurons.faulty() as record:
            module(x)
        assert record.flips == 4 and neurons.planned["0"][0] == "bf16"
    with pytest.raises(bq.UsageError, match="layer `0` gives f32 .* in the run over `inputs` it was bf16"):
        with torch.no_grad(), neurons.faulty():
            module(x)
    with bq.faulty_activations(module.half(), bq.Fault(rate=1e-3)) as record:
        module(x.half())
    assert record.flips > 0


# What goes wrong.


def test_parts_that_run_by_themselves():
    module, x = small_cnn(), torch.randn(2, 3, 8, 8)
    with bq.faulty_activations(module, bq.Fault(rate=0.01)) as record:
        module[0](x)  # each call is a pass
        module[0](x)
    assert record.images == 4 and record.passes == 2 and record.to_frame()["image"].max() == 3
    with pytest.raises(bq.UsageError, match="layer `0` runs outside of the module"):
        with bq.faulty_activations(module, bq.Fault(count=1), x):
            module(x)
            module[0](x)
    assert hooks_of(module) == 0


def test_saturated_values_keep_their_sign():
    module, x = one_layer()
    clean = module(x)
    with bq.faulty_activations(module, bq.Fault("set-value", value="saturate", count=3), x, seed=1) as record:
        faulty = module(x)
    hit = faulty != clean
    assert hit.sum() == 12 and torch.equal(faulty[hit], torch.finfo(torch.float32).max * clean[hit].sign())
    assert set(record.to_frame()["new"].abs()) == {float(torch.finfo(torch.float32).max)}


def test_no_hooks_are_left_by_exceptions():
    class Breaks(nn.Module):
        def forward(self, x):
            if x.shape[0] == 3:
                raise ZeroDivisionError
            return x

    module = nn.Sequential(nn.Linear(8, 16), Breaks(), nn.Linear(16, 16))
    with pytest.raises(ZeroDivisionError):
        with bq.faulty_activations(module, 0.01):
            module(torch.ones(3, 8))
    assert hooks_of(module) == 0
    with pytest.raises(ZeroDivisionError):
        bq.ActivationFaults(module, bq.Fault(count=1), torch.ones(3, 8))
    assert hooks_of(module) == 0
    with bq.faulty_activations(module, bq.Fault(count=1), torch.ones(2, 8)) as record:
        with pytest.raises(ZeroDivisionError):
            module(torch.ones(3, 8))
        module(torch.ones(2, 8))
    assert record.images == 5 and record.passes == 2


def test_what_was_hit_before_an_interruption_is_on_record():
    """Also where hits are made in `_core`, and told later: from the second pass on."""

    class Stops(nn.Module):
        is_on = False

        def forward(self, x):
            if self.is_on:
                raise KeyboardInterrupt
            return x * 1

    module, x = nn.Sequential(nn.Linear(8, 16), Stops(), nn.Linear(16, 16)), torch.ones(2, 8)
    with torch.no_grad(), pytest.raises(KeyboardInterrupt):
        with bq.faulty_activations(module, bq.Fault(rate=0.1, bits="mantissa"), x, layers="0", seed=1) as record:
            module(x)
            first = record.flips
            module[1].is_on = True
            module(x)
    assert hooks_of(module) == 0
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault(rate=0.1, bits="mantissa"), x, layers="0", seed=1) as other:
        module[1].is_on = False
        module(x), module(x)
    assert record.flips > first > 0 and record.columns() == other.columns()


def test_modules_whose_hooks_are_changed_inside_a_block():
    class Own(nn.Linear):
        def register_forward_hook(self, hook, **options):
            self.registered = getattr(self, "registered", 0) + 1
            return super().register_forward_hook(hook, **options)

    module, x = nn.Sequential(nn.Linear(8, 16), Own(16, 16), nn.Linear(16, 4)), torch.ones(2, 8)
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault(count=4), x, seed=1) as record:
        module(x)
        assert record.flips == 8
        copy.deepcopy(module)(x)  # with its hooks
        assert record.flips == 16 and len(module[2]._forward_hooks) == 1
        module[2]._forward_hooks.clear()
        module(x)
    assert hooks_of(module) == 0 and module[1].registered == 2, "the run over `inputs`, and the block"
    assert record.passes == 3


def test_calls_of_layers_that_are_not_there_are_refused():
    hooks = _core.LayerHooks([nn.ReLU()], False, print)
    with pytest.raises(bq.UsageError, match="no layer 1 among 1"):
        hooks.begin(_core.Calls([(1, "a", torch.Size([2]), torch.float32, True, False)]), {})
    assert hooks.made() is None and hooks.surprised(0) is None and hooks.surprised(7) is None


def test_a_block_is_entered_once():
    module, x = one_layer()
    block = bq.faulty_activations(module, 0.01)
    with block:
        with pytest.raises(bq.UsageError, match="entered already"):
            block.__enter__()
        module(x)
    assert hooks_of(module) == 0


@pytest.mark.parametrize(
    ("fault", "options", "message"),
    [
        (dict(count=1), {}, "a fault of bit-flip by count is drawn over all layers together: give `inputs`"),
        (dict(rate=0.1), dict(layers="nothing*"), "nothing"),
        (dict(rate=0.1), dict(types=nn.LSTM), "no part of type LSTM"),
        (dict(rate=0.1), dict(types="Linear"), "types are module classes"),
        (dict(rate=0.1), dict(per="pixel"), "per is `image` or `batch`"),
        (dict(rate=0.1), dict(trial=-1), "trial is a whole number"),
        (dict(rate=0.1, at_least=1), {}, "at_least is for weights"),
        (dict(rate=0.1, target="inputs"), {}, "flip bits of the module's inputs with bq.inject_"),
        (dict(rates=[0.1, 0.2]), {}, "one amount"),
        (dict(count=10**6), dict(inputs=torch.ones(1, 3, 8, 8)), "1000000"),
    ],
)
def test_wrong_requests(fault, options, message):
    module = small_cnn()
    with pytest.raises(bq.UsageError, match=message):
        with bq.faulty_activations(module, fault, **options):
            module(torch.ones(1, 3, 8, 8))
    assert hooks_of(module) == 0


def test_other_shapes_than_those_that_were_drawn_for():
    module, x = small_cnn(), torch.randn(2, 3, 8, 8)
    network = nn.Sequential(*list(module)[:3])
    neurons = bq.ActivationFaults(network, bq.Fault(count=1), x)
    with pytest.raises(bq.UsageError, match=r"layer `0` gives f32 \[1, 8, 6, 6\] an image, .* it was f32 \[1, 8, 8, 8\]"):
        with neurons.faulty():
            network(torch.randn(2, 3, 6, 6))
    with bq.faulty_activations(network, bq.Fault(rate=1e-3)) as record:
        network(torch.randn(2, 3, 6, 6)), network(torch.randn(5, 3, 9, 7))
    assert record.images == 7 and record.flips


def test_values_that_are_no_neurons():
    class Counts(nn.Module):
        def forward(self, x):
            return x.argmax(-1)

    module = nn.Sequential(nn.Linear(8, 16), Counts())
    with bq.faulty_activations(module, 1.0) as record:
        module(torch.randn(2, 8))
    assert set(record.layers) == {"0"}
    with pytest.raises(bq.UsageError, match="layer `1` gives torch.int64: neurons are tensors of floats"):
        with bq.faulty_activations(module, 1.0, layers=["1"]):
            module(torch.randn(2, 8))
    turned = nn.Sequential(nn.Linear(8, 16), nn.Flatten(0))  # 2 images become 32 numbers, 16 an image
    with bq.faulty_activations(turned, bq.Fault(count=1), torch.randn(2, 8), layers="1") as record:
        turned(torch.randn(2, 8))
    assert record.flips == 2
    with pytest.raises(bq.UsageError, match=r"layer `1` gives \[3\], whose first axis is not that of 2 images"):
        part = nn.Sequential(nn.Linear(8, 1), nn.ConstantPad1d(0, 0.0))
        part[1].forward = lambda x: torch.ones(3)
        with bq.faulty_activations(part, 0.1):
            part(torch.randn(2, 8))


def test_the_record_keeps_a_million_words_and_counts_all(monkeypatch):
    from bitquake import records

    monkeypatch.setattr(records, "KEPT", 100)
    module, x = one_layer()
    with torch.no_grad(), bq.faulty_activations(module, bq.Fault(rate=1.0)) as record:
        for _ in range(5):
            module(x)
    assert record.flips == 5 * 4 * 16 * 32 and record.left_out == 3 * 64 and len(record.columns()["bit"]) == 2 * 64 * 32


def test_words_of_another_device(monkeypatch):
    """The path of a GPU, on tensors of the CPU."""
    from bitquake import _values

    module, x = small_cnn(), torch.randn(3, 3, 8, 8)

    def run():
        with torch.no_grad(), bq.faulty_activations(module, bq.Fault("stuck-at-1", rate=0.01), seed=1) as record:
            y = module(x)
        return y.view(torch.int32), record.flips, record.dormant, record.to_frame()

    wanted = run()
    monkeypatch.setattr(_values, "flip", lambda hits, value: _values._flip_on_device(hits, value.detach().view(torch.int32)))
    found = run()
    assert torch.equal(wanted[0], found[0]) and wanted[1:3] == found[1:3] and wanted[3].equals(found[3])


def test_compiled_modules(monkeypatch):
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)), torch.randn(3, 8)
    compiled = torch.compile(module, backend="aot_eager")
    fault = bq.Fault(count=1, bits="sign")
    with torch.no_grad():
        clean = compiled(x)
        with bq.faulty_activations(module, fault, x, seed=1) as wanted:
            faulty = module(x)
        with bq.faulty_activations(compiled, fault, x, seed=1) as record:
            assert torch.allclose(compiled(x), faulty) and not torch.allclose(faulty, clean)
        assert torch.equal(compiled(x), clean)
    assert record.flips == wanted.flips == 3 and hooks_of(module) == 0
    fresh = nn.Sequential(nn.Linear(8, 16))
    with torch.no_grad(), bq.faulty_activations(fresh, 1.0, seed=1) as record:
        compiled_inside = torch.compile(fresh, backend="aot_eager", fullgraph=True)
        faulty = compiled_inside(x)
    assert record.flips == 3 * 16 * 32 and torch.equal(compiled_inside(x), fresh(x)) and not torch.equal(fresh(x), faulty)
    if "torch._dynamo" in sys.modules:
        monkeypatch.delattr(torch.compiler, "set_stance")
        with torch.no_grad(), pytest.raises(bq.UsageError, match="did not run inside the block, or as compiled code"):
            with bq.faulty_activations(compiled, fault, x, seed=1):
                compiled(x)
        assert hooks_of(module) == 0


class Detector(nn.Module):
    """Takes a list of images of one size, as detectors do."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return [{"scores": scores} for scores in self.backbone(torch.stack(images)).flatten(1)]


@pytest.mark.parametrize("count", [2, 5])
def test_a_list_of_images_has_as_many_images(count):
    images = [torch.randn(3, 8, 8) for _ in range(count)]
    for per, wanted in (("image", count), ("batch", 1)):
        neurons = bq.ActivationFaults(Detector().eval(), bq.Fault(count=1), inputs=(images,), per=per)
        with torch.no_grad(), neurons.faulty(seed=1) as record:
            neurons.module(images)
        assert record.flips == wanted
        if per == "image":
            assert record.to_frame()["image"].tolist() == list(range(count))


def test_a_list_of_sequences_is_no_list_of_images():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.text, self.sound = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, given):
            return self.text(given[0]).sum(1) + self.sound(given[1]).sum(1)

    given = [torch.randn(8, 5, 4), torch.randn(8, 7, 4)]
    neurons = bq.ActivationFaults(Two().eval(), bq.Fault(count=1), inputs=(given,))
    with torch.no_grad(), neurons.faulty(seed=1) as record:
        neurons.module(given)
    assert record.flips == 8 and sorted(record.to_frame()["image"]) == [*range(8)]

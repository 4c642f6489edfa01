"""Faults in modules that do, or that users do with, something out of the ordinary."""

import gc
import os
import sys

import pytest

import bitquake as bq

torch = pytest.importorskip("torch")

from networks import same_words, small_cnn, words  # noqa: E402
from torch import nn  # noqa: E402

X = torch.linspace(-1, 1, 32).reshape(4, 8)
EXPONENTS = bq.Fault(rate=0.05, bits="exponent")


def linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).eval()


def ran(module, x=X):
    with torch.no_grad():
        return module(x)


class TestAutocast:
    """It keeps casts of weights for as long as it lasts: bits that change have to be cast anew."""

    def same(self, a, b):
        return torch.equal(a.nan_to_num(), b.nan_to_num())

    def alone(self, change):
        """What the network gives under a change, in an autocast of its own."""
        module = linear()
        with torch.autocast("cpu", torch.bfloat16), change(module):
            return ran(module)

    def test_blocks(self):
        module = linear()
        faults = [lambda m, seed=seed: bq.faulty(m, EXPONENTS, seed=seed) for seed in range(3)]
        wanted = [self.alone(fault) for fault in faults]
        with torch.autocast("cpu", torch.bfloat16):
            clean = ran(module)
            for fault, changed in zip(faults, wanted):
                with fault(module):
                    assert self.same(ran(module), changed) and not self.same(changed, clean)
                assert self.same(ran(module), clean)

    def test_storage(self):
        module = linear()
        wanted = self.alone(lambda m: bq.quantize(m, "symmetric", bits=2))
        with torch.autocast("cpu", torch.bfloat16):
            clean = ran(module)
            with bq.quantize(module, "symmetric", bits=2) as storage:
                assert self.same(ran(module), wanted) and not self.same(wanted, clean)
                with storage.faulty(0.2, seed=1):
                    assert not self.same(ran(module), wanted)
                assert self.same(ran(module), wanted)
            assert self.same(ran(module), clean)

    @pytest.mark.parametrize("fault", [0.05, EXPONENTS])
    def test_arrays(self, fault):
        module = linear()
        for target in (module, module[0].weight):
            with torch.autocast("cpu", torch.bfloat16):
                clean = ran(module)
                with torch.no_grad():
                    pattern = bq.inject_(target, fault, seed=1)
                assert not self.same(ran(module), clean)
                pattern.undo_(target)
                assert self.same(ran(module), clean)

    def test_attacks(self):
        labels = torch.tensor([0, 1, 2, 0])
        found = []
        for is_cast in (False, True):
            module = linear()
            with torch.autocast("cpu", torch.bfloat16, enabled=is_cast), bq.quantize(module, "symmetric", bits=8) as storage:
                ran(module)
                found.append(bq.attack(storage, X, labels, budget=3).pattern.flips)
        assert found == [3, 3]


@pytest.mark.filterwarnings("ignore")
class TestPacked:
    """Quantized modules that keep their tensors packed: what bitquake has is a copy."""

    def make(self, dtype=torch.qint8, seed=0):
        torch.manual_seed(seed)
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 8)).eval(), {nn.Linear, nn.LSTM}, dtype=dtype)

    def test_what_was_loaded_since_is_not_overwritten(self):
        module, other = self.make(), self.make(seed=1)
        memory, want = bq.WeightFaults(module, bq.Fault(count=1)), other(X)
        module.load_state_dict(other.state_dict())
        with pytest.raises(bq.UsageError, match="`0.weight`, `0.bias` were moved or replaced since the faults were prepared"):
            memory.faulty(seed=1).__enter__()
        assert torch.equal(module(X), want)
        with pytest.raises(bq.UsageError, match="`0.weight`, `0.bias` were moved or replaced inside the block"):
            with bq.faulty(module, bq.Fault(count=1), seed=1):
                module.load_state_dict(self.make().state_dict())
        assert torch.equal(module(X), self.make()(X))

    def test_nested_blocks(self):
        module = self.make()
        clean = module(X)
        outer, late = (bq.faulty(module, 0.02, seed=seed, select="0.weight") for seed in (1, 2))
        with outer as first:
            changed = module(X)
            with pytest.raises(bq.UsageError, match="prepare them again"):
                late.__enter__()
            with bq.faulty(module, 0.02, seed=2, select="0.weight") as second:
                assert not torch.equal(module(X), changed) and first.flips and second.flips
            assert torch.equal(module(X), changed) and not torch.equal(changed, clean)
        assert torch.equal(module(X), clean)

    def test_words_that_cannot_be_reached_are_refused(self):
        module = self.make(torch.float16)
        with pytest.raises(bq.UnsupportedError, match="`0.weight` is packed by its module in other words than it hands out"):
            bq.faulty(module, 0.1)
        clean = module(X)
        with bq.faulty(module, bq.Fault(count=9), select="0.bias", seed=1):
            assert not torch.equal(module(X), clean)
        assert torch.equal(module(X), clean)

    @pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.LSTMCell])
    def test_recurrent_ones_can_be_left_out(self, kind):
        module = nn.ModuleDict({"a": kind(4, 4), "b": nn.Linear(4, 4)})
        module = torch.ao.quantization.quantize_dynamic(module, {kind, nn.Linear})
        with pytest.raises(bq.UnsupportedError, match="`a.* is packed by its module in a way that cannot be opened here: leave it out"):
            bq.faulty(module, 0.1)
        assert set(bq.WeightFaults(module, 0.1, select="b.*").tensors) == {"b.weight", "b.bias"}


class TestMemoryOfOthers:
    """What a layer gives may be kept, or be given in its place, by someone else."""

    def check(self, module, kept, fault=0.3, **options):
        with torch.no_grad():
            before = [tensor.clone() for tensor in kept()]
            with bq.faulty_activations(module, fault, seed=1, **options) as record:
                outputs = [module(X[:1]), module(X[:1])]  # the second is known
        assert record.flips and record.passes == 2
        assert all(torch.equal(a, b) for a, b in zip(before, kept()))
        assert all(not any(torch.equal(output, tensor) for tensor in before) for output in outputs)

    def test_given_by_a_hook(self):
        module, kept = nn.Sequential(nn.Linear(8, 8)).eval(), {}
        module[0].register_forward_hook(lambda m, a, o: kept.setdefault("clean", o))
        ran(module, X[:1])
        self.check(module, lambda: [kept["clean"]])

    def test_given_by_a_hook_on_all_modules(self):
        module, clean = nn.Sequential(nn.Linear(8, 8)).eval(), torch.ones(1, 8)
        handle = nn.modules.module.register_module_forward_hook(lambda m, a, o: clean if m is module[0] else None)
        try:
            self.check(module, lambda: [clean])
        finally:
            handle.remove()

    def test_given_by_another_forward(self):
        module, clean = nn.Sequential(nn.Linear(8, 8)).eval(), torch.ones(1, 8)
        module[0].forward = lambda x: clean
        self.check(module, lambda: [clean])

    def test_of_a_parameter(self):
        module = nn.Sequential(nn.Linear(8, 8)).eval().requires_grad_(False)
        module[0].register_forward_hook(lambda m, a, o: m.bias[None])
        self.check(module, lambda: [module[0].bias], per="batch")

    @pytest.mark.parametrize("layer", [nn.Linear(8, 8), nn.ReLU(inplace=True)])
    def test_kept_by_a_hook(self, layer):
        module, kept = nn.Sequential(nn.Linear(8, 8), layer).eval(), []
        module[1].register_forward_hook(lambda m, a, o: kept.append(o))
        wanted = ran(module, X[:1]).clone()
        kept.clear()
        with torch.no_grad(), bq.faulty_activations(module, 0.3, seed=1, layers="1"):
            assert not any(torch.equal(module(X[:1]), wanted) for _ in range(2))
        assert all(torch.equal(one, wanted) for one in kept) and len(kept) == 2

    def test_learnt_before_the_hook_came(self):
        module, kept = nn.Sequential(nn.Linear(8, 8)).eval(), []
        faults = bq.ActivationFaults(module, 0.3)
        with torch.no_grad(), faults.faulty(seed=1):
            module(X), module(X)
        wanted = ran(module)
        module[0].register_forward_hook(lambda m, a, o: kept.append(o))
        with torch.no_grad(), faults.faulty(seed=1):
            module(X)
        assert torch.equal(kept[0], wanted)


@pytest.mark.parametrize("options", [{"fault": 0.02}, {"fault": bq.Fault(count=1), "inputs": X}])
def test_values_computed_again_for_a_backward_pass(options):
    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(8, 8), nn.Linear(8, 1)

        def forward(self, x):
            return self.c(torch.utils.checkpoint.checkpoint(lambda t: self.a(t).sigmoid(), x, use_reentrant=False))

    module = Saves()
    with pytest.raises(bq.UsageError, match="layer `a` runs in a backward pass, as torch.utils.checkpoint has it"):
        with bq.faulty_activations(module, seed=1, **options):
            module(X).sum().backward()
    module.zero_grad()
    with bq.faulty(module, 0.01, seed=1):  # of weights they are the same
        module(X).sum().backward()


def test_parametrized_layers_are_layers():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.ReLU()).eval()
    with torch.no_grad(), bq.faulty_activations(module, 0.3, seed=1) as record:
        module(X[:3]), module(X[:3])
    assert list(bq.ActivationFaults(module, 0.1).layers) == ["0", "1"] and set(record.layers) == {"0", "1"}
    with pytest.raises(bq.UsageError, match="parametrizations"):
        bq.ActivationFaults(module, 0.1, layers="0.parametrizations*")


def replaced(module):
    module[0] = nn.Linear(8, 8)


def replaced_deeper(module):
    module[3][1] = nn.Sequential(nn.Linear(8, 8))


def removed(module):
    del module[3]


@pytest.mark.parametrize(("change", "name"), [(replaced, "0.weight"), (replaced_deeper, "3.1.0.weight"), (removed, "3.1.0.weight")])
def test_parts_replaced(change, name):
    def make():
        return linear().append(nn.ModuleList([nn.ReLU(), nn.Sequential(nn.Linear(8, 8))]))

    for prepare in (lambda m: bq.WeightFaults(m, 0.05), lambda m: bq.quantize(m, "symmetric", bits=8)):
        module = make()
        memory = prepare(module)
        change(module)
        with pytest.raises(bq.UsageError, match=f"`{name}`.* moved or replaced since"):
            (memory.faulty(seed=1) if isinstance(memory, bq.WeightFaults) else memory.faulty(0.05, seed=1)).__enter__()
    module = make()
    with pytest.raises(bq.UsageError, match=f"`{name}`.* moved or replaced inside the block"):
        with bq.faulty(module, 0.05, seed=1):
            change(module)


class Interrupts:
    """Interrupts the n-th line that bitquake runs."""

    def __init__(self, number):
        self.left = number

    def __call__(self, frame, event, argument):
        if f"{os.sep}bitquake{os.sep}" not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a line of `__del__`, too
@pytest.mark.parametrize("fault", [bq.Fault(count=30), 0.3])  # flips in a list, and too many for one
def test_an_interruption_leaves_no_faults(fault):
    module = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 3))
    memory, before = bq.WeightFaults(module, fault), words(module)
    number, is_over = 0, False
    while not is_over:
        number += 1
        sys.settrace(interrupts := Interrupts(number))
        try:
            with memory.faulty(seed=1):
                pass
            is_over = interrupts.left > 0
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        del interrupts
        if not same_words(before, module):
            gc.collect()  # what no line of ours could undo is undone with the block
            assert same_words(before, module), f"line {number}"
    assert number > 30


def test_an_interruption_of_what_flips_back(monkeypatch):
    """Where bits are not flipped at addresses: what was undone is not made again."""
    module = linear()
    module[0].weight.data = module[0].weight.data.T.contiguous().T
    before, calls, flip = words(module), [], bq._watch.apply_to

    def interrupted(*arguments):
        flip(*arguments)
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(bq._watch, "apply_to", interrupted)
    with pytest.raises(KeyboardInterrupt):
        with bq.faulty(module, 0.1, select="0.weight", seed=1):
            assert not same_words(before, module)
    gc.collect()
    assert len(calls) == 2 and same_words(before, module)


def test_a_block_that_is_never_left():
    module = linear()
    before = words(module)
    block = bq.faulty(module, 0.05, seed=1)
    block.__enter__()
    assert not same_words(before, module)
    del block
    gc.collect()
    assert same_words(before, module)


@pytest.mark.parametrize("wrapped", [lambda x: x, lambda x: [x]])
def test_layers_that_sometimes_hand_on(wrapped):
    """Known passes are as fresh ones, also where a layer that is called again gives what it was given."""

    class Maybe(nn.Module):
        turn = 0

        def forward(self, given):
            (x,) = [given] if isinstance(given, torch.Tensor) else given
            self.turn += 1
            return x if self.turn % 3 == 2 else x * 1.5

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.l = Maybe(), nn.Linear(8, 8)

        def forward(self, x):
            q = lambda value: self.q(wrapped(value))  # noqa: E731
            return q(self.l(q(self.l(q(x)))))

    torch.manual_seed(0)
    module = Net().eval()
    for seed in range(30):
        found = []
        for is_known in (True, False):
            faults, outputs = bq.ActivationFaults(module, 0.002), []
            with torch.no_grad(), faults.faulty(seed=seed) as record:
                for _ in range(3):
                    module.q.turn = 0
                    outputs.append(module(X))
                    if not is_known:
                        faults.known.clear()
            found.append((torch.stack(outputs).nan_to_num(), {**record.columns(), "old": None, "new": None}))
        assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1], seed
        assert set(found[0][1]["layer"]) <= {"q", "q#1", "l", "l#1"}


def test_nested_tensors_have_no_places():
    """A mask of padding has PyTorch take its fast path, of which no layer would be hit."""
    torch.manual_seed(0)
    module = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[0, 3:] = True
    x = torch.randn(3, 5, 8)
    with pytest.raises(bq.UnsupportedError, match=r"`layers.0\S* gives a nested tensor.*set_fastpath_enabled\(False\)"):
        with torch.no_grad(), bq.faulty_activations(module, 0.01, seed=1):
            module(x, src_key_padding_mask=mask)
    flat = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False).eval()
    with torch.no_grad(), bq.faulty_activations(flat, 0.01, seed=1) as record:
        flat(x, src_key_padding_mask=mask)
    assert {"layers.0.linear2", "layers.1.linear1"} <= set(record.layers)
    both = nn.ModuleList([module, nn.Linear(8, 8)])
    both.forward = lambda x: both[1](module(x, src_key_padding_mask=mask))
    with torch.no_grad(), bq.faulty_activations(both, 0.01, layers="1", seed=1) as record:
        both(x), both(x)
    assert record.passes == 2 and set(record.layers) == {"1"}


def test_passes_of_which_nothing_is_hit():
    """An empty batch, a layer that is not run, one that hands on: nothing is wrong with them."""
    module = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 8)).eval()
    module.forward = lambda x: module[1](module[0](x))
    for x, layers in ((X[:0], None), (X, "2"), (X, "1")):
        with torch.no_grad(), bq.faulty_activations(module, 0.5, layers=layers, seed=1) as record:
            module(x), module(x)
        assert record.passes == 2 and not record.flips


def test_exported_programs_are_refused():
    module = torch.export.export(linear(), (X,)).module()
    with torch.no_grad(), bq.faulty_activations(module, 0.5, seed=1):
        with pytest.raises(bq.UsageError, match="no layer of the module gave a tensor in this pass .exported programs run none"):
            module(X)


@pytest.mark.filterwarnings("ignore")
def test_scripted_layers_take_no_hooks():
    scripted = torch.jit.script(linear())
    module = nn.Sequential(nn.Linear(8, 8), torch.jit.script(nn.ReLU()))
    for whole, what in ((scripted, "the module"), (module, "layer `1`")):
        with pytest.raises(bq.UnsupportedError, match=f"{what} is a .*Script.*, which takes no hooks"):
            bq.faulty_activations(whole, 0.1)
    assert list(bq.ActivationFaults(module, 0.1, layers="0").layers) == ["0"]


def test_values_inside_transforms_are_refused():
    module = linear()
    with pytest.raises(bq.UnsupportedError, match="inside transforms of torch.func"):
        with bq.faulty_activations(module, 0.3, seed=1):
            torch.func.vmap(module)(X[:, None])


def test_training_inside_a_block_is_noticed():
    module = linear()
    robust = bq.RandBET(module, torch.optim.SGD(module.parameters(), lr=0.1), rate=0.01, w_max=0.1)
    with pytest.raises(bq.UsageError, match="written to inside the block"):
        with bq.faulty(module, 0.02, seed=1, select="*.weight"):
            robust.project_()


def test_buffers_without_a_shape_yet():
    with pytest.raises(bq.UsageError, match="`0.running_mean` has no shape yet: run the module once first"):
        bq.faulty(nn.Sequential(nn.LazyBatchNorm1d(affine=False)), 0.1)


def test_convolutions_under_hooks_and_faults_are_put_back():
    module = small_cnn()
    before = words(module)
    seen = []
    module[0].register_forward_hook(lambda m, a, o: seen.append(o.clone()))
    x = torch.randn(2, 3, 8, 8)
    clean = ran(module, x)
    with torch.no_grad(), bq.faulty(module, 0.01, seed=1), bq.faulty_activations(module, 0.01, seed=1):
        module(x)
    assert torch.equal(ran(module, x), clean) and torch.equal(seen[0], seen[-1]) and same_words(before, module)

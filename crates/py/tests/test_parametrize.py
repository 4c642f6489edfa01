"""Parametrizations: fake quantizers and random bit errors in single layers, and clipping."""

import copy

import pytest

import bitquake as bq

torch = pytest.importorskip("torch")
from trainings import network  # noqa: E402

nn, F = torch.nn, torch.nn.functional


class TestParametrizations:
    def layer(self, parametrization, weight):
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        layer.weight.data.copy_(weight)
        torch.nn.utils.parametrize.register_parametrization(layer, "weight", parametrization)
        return layer, layer.parametrizations.weight.original

    WEIGHTS = torch.tensor([[-0.9, -0.5, -0.26, -0.05, 0.0, 0.05, 0.3, 0.47, 0.5, 1.2]])
    GRADIENT = torch.tensor([[1.0, -1.0, 0.5, 2.0, 1.0, -0.5, 1.0, 1.0, 3.0, -2.0]])

    @pytest.mark.parametrize(
        ("quantizer", "ranges", "changed", "of_range"),
        [
            ({"family": "symmetric", "bits": 4}, None, {}, None),
            ({"family": "lsq", "bits": 4, "range": {"step": 0.1}}, None, {0: 0.0, 9: 0.0}, None),
            ({"family": "lsq", "bits": 4, "range": {"step": 0.1}}, {"rule": "learn"}, {0: 0.0, 9: 0.0}, -2.468147),
            ({"family": "wcat", "bits": 4, "range": {"alpha": 0.5}}, {"rule": "learn", "clip": "pwl"}, {0: 0.0, 9: 0.0}, -0.948683),
            ({"family": "wcat", "bits": 4, "range": {"alpha": 0.5}}, {"rule": "learn"}, {}, -0.948683),
        ],
    )
    def test_gradients_are_those_of_the_specification(self, quantizer, ranges, changed, of_range):
        """The vectors of SPEC 4.5."""
        own = bq.FakeQuantize(quantizer, ranges=ranges)
        layer, original = self.layer(own, self.WEIGHTS)
        (layer.weight * self.GRADIENT).sum().backward()
        wanted = self.GRADIENT.clone()
        for at, value in changed.items():
            wanted[0, at] = value
        assert torch.equal(original.grad, wanted)
        assert (own.range is None) == (of_range is None)
        if of_range is not None:
            assert own.range.grad.item() == pytest.approx(of_range, abs=2e-6)
            assert "parametrizations.weight.0.range" in dict(layer.named_parameters())

    def test_levels_are_those_of_the_specification(self):
        layer, _ = self.layer(bq.FakeQuantize({"family": "wcat", "bits": 4, "range": {"alpha": 0.5}}), self.WEIGHTS)
        assert layer.weight.tolist() == [[-0.5, -0.5, -0.25, -0.0625, 0.0, 0.0625, 0.3125, 0.4375, 0.4375, 0.4375]]
        layer.weight = torch.full((1, 10), 0.25)
        assert layer.weight.tolist() == [[0.25] * 10]

    def test_gradients_of_any_kind_and_no_weights(self):
        """A sum hands back one number that is seen many times; an empty layer has no number."""
        layer, own = self.layer(bq.FakeQuantize({"family": "symmetric", "bits": 4}), self.WEIGHTS)
        layer.weight.sum().backward()
        assert torch.equal(own.grad, torch.ones_like(own))
        layer, own = self.layer(bq.FakeQuantize({"family": "symmetric", "bits": 4}), self.WEIGHTS[:, :0])
        layer.weight.sum().backward()
        assert own.grad.shape == (1, 0)

    def test_passes_may_interleave(self):
        """Each backward pass belongs to its own forward pass, whatever came between."""
        own = bq.FakeQuantize({"family": "lsq", "bits": 4, "range": {"step": 0.1}})
        a, b = self.WEIGHTS.clone().requires_grad_(), (self.WEIGHTS * 0.1).requires_grad_()
        first, second = own(a), own(b)
        (first * self.GRADIENT).sum().backward()
        (second * self.GRADIENT).sum().backward()
        assert a.grad[0, 0] == 0.0 and torch.equal(b.grad, self.GRADIENT)

    def errors(self, seed=1, name="fc.weight", rate=0.02):
        torch.manual_seed(3)
        return self.layer(bq.RandomBitErrors({"family": "symmetric", "bits": 8}, rate=rate, seed=seed, name=name), torch.randn(20, 30))

    def test_faults_come_in_training_and_change_with_the_weights(self):
        layer, original = self.errors()
        clean = layer.eval().weight.clone()
        plain, _ = self.layer(bq.FakeQuantize({"family": "symmetric", "bits": 8}), original.detach())
        assert torch.equal(clean, plain.weight)
        layer.train()
        first = layer.weight.clone()
        assert not torch.equal(first, clean) and torch.equal(first, layer.weight)
        optimizer = torch.optim.SGD([original], lr=0.1)
        layer.weight.sum().backward()
        assert torch.equal(original.grad, torch.ones(20, 30))
        optimizer.step()
        moved = layer.weight - layer.eval().weight
        assert layer.parametrizations.weight[0].step == 1 and not torch.equal(moved != 0, first != clean)

    def test_names_and_seeds_have_faults_of_their_own(self):
        seen = {(seed, name): self.errors(seed, name)[0].weight for seed in (1, 2) for name in ("a", "b")}
        assert len({tuple(weight.flatten().tolist()) for weight in seen.values()}) == 4
        again = self.errors(1, "a")[0].weight
        assert torch.equal(again, seen[1, "a"])

    @pytest.mark.parametrize("is_read_before_saving", [True, False])
    def test_state_dicts_have_the_step(self, is_read_before_saving):
        layer, original = self.errors()
        for _ in range(3):
            layer.weight  # noqa: B018
            original.data.mul_(0.99)
        if is_read_before_saving:
            layer.weight  # noqa: B018
        state = copy.deepcopy(layer.state_dict())
        other, _ = self.errors()
        other.load_state_dict(state)
        assert torch.equal(other.weight, layer.weight)
        assert layer.parametrizations.weight[0].step == 3

    def test_copies_are_independent(self):
        layer, _ = self.errors()
        wanted = layer.weight.clone()
        assert torch.equal(copy.deepcopy(layer).weight, wanted)

    def test_any_fault(self):
        own = bq.RandomBitErrors({"family": "symmetric", "bits": 8}, fault=bq.Fault(count=5, bits="sign"), name="w")
        layer, _ = self.layer(own, torch.randn(10, 10))
        assert layer.weight is not None and own.flips == 5

    def test_what_is_wrong(self):
        with pytest.raises(bq.UsageError, match="a rate or a fault"):
            bq.RandomBitErrors({"family": "symmetric"}, name="w")
        with pytest.raises(bq.UsageError, match="`refit`, `learn`"):
            bq.FakeQuantize({"family": "symmetric"}, ranges={"rule": "frozen"})
        with pytest.raises(bq.UsageError, match="famly"):
            bq.FakeQuantize({"famly": "symmetric"})(torch.ones(2))
        with pytest.raises(bq.UnsupportedError, match="float64"):
            bq.FakeQuantize({"family": "symmetric"})(torch.ones(2, dtype=torch.float64))


def test_clipping():
    model = network()
    model[0].weight.data[0, 0, 0, 0] = float("nan")
    changed = bq.clip_weights_(model, 0.1, select="5.*")
    assert changed > 0 and model[5].weight.abs().max() <= 0.1 and model[1].weight.max() == 1.0
    assert bq.clip_weights_(model, 0.1, select=["0.*", "1.*"]) > 0 and model[0].weight[0, 0, 0, 0].isnan()
    assert bq.clip_weights_(model, 0.1) == 0
    with torch.no_grad():
        model[1].bias.fill_(1.0)
    assert bq.clip_weights_(model, 0.1, select=["*", "!1.bias"]) == 0 and model[1].bias[0] == 1
    assert bq.clip_weights_(model, 0.1, select="{1.bias}") == model[1].bias.numel()
    with pytest.raises(bq.UsageError, match="w_max is -1"):
        bq.clip_weights_(model, -1)
    with pytest.raises(bq.UsageError, match="`conv` matches no tensor; there are `0.weight`"):
        bq.clip_weights_(model, 0.1, select="conv")


def test_a_copy_keeps_the_least_range():
    torch.manual_seed(0)
    layer = torch.nn.Linear(16, 8)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", bq.FakeQuantize({"family": "wcat", "bits": 4}, ranges={"rule": "learn", "lowest": 0.5}))
    with torch.no_grad():
        layer.parametrizations.weight.original.mul_(0.2)
    least = []
    for one in (layer, copy.deepcopy(layer)):
        one.parametrizations.weight[0].range.data.fill_(0.001)
        one.weight
        least.append(one.parametrizations.weight[0].range.item())
    assert least[0] == least[1] > 0.1


def learnt(seed):
    torch.manual_seed(seed)
    layer = torch.nn.Linear(16, 8)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", bq.FakeQuantize({"family": "lsq", "bits": 4}, ranges={"rule": "learn", "lowest": 0.5}))
    return layer


def test_a_state_dict_has_the_least_range():
    """It follows from the weights of the beginning, which another module does not have."""
    saved, other = learnt(0), learnt(1)
    saved.parametrizations.weight[0].range.data.fill_(-1.0)
    other.load_state_dict(saved.state_dict())
    assert torch.equal(saved.weight, other.weight) and saved.parametrizations.weight[0].range > 0


def test_state_dicts_hold_tensors_alone():
    layer = torch.nn.Linear(16, 8)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", bq.RandomBitErrors("symmetric", rate=0.1, name="weight"))
    layer.train().weight
    state = {key: value.clone() for key, value in layer.state_dict().items()}
    layer.load_state_dict(state)
    assert state["parametrizations.weight.0._extra_state"].shape == (4,)


def test_exports_are_refused_with_the_way_out():
    """What Python computes would be zeros in the file."""
    layer, x = torch.nn.Linear(8, 3).eval(), torch.randn(2, 8)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", bq.FakeQuantize("symmetric"))
    with pytest.raises(bq.UnsupportedError, match=r"remove_parametrizations\(module, 'weight'\)"):
        torch.export.export(layer, (x,), strict=False)
    wanted = layer(x)
    torch.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(torch.export.export(layer, (x,)).module()(x), wanted)


def test_exports_to_onnx_are_refused(monkeypatch):
    layer, x = torch.nn.Linear(8, 3).eval(), torch.randn(2, 8)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", bq.FakeQuantize({"family": "symmetric"}))
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    with pytest.raises(bq.UnsupportedError, match="which no exported file can hold"):
        layer(x)


def test_fields_without_a_family_are_refused(tmp_path):
    """They would have meant float words."""
    module = torch.nn.Linear(8, 3)
    for make in (
        lambda: bq.quantize(module, bits=4),
        lambda: bq.quantize(module, "symmetric", override=[{"select": ["bias"], "family": "native", "bits": 4}]),
        lambda: bq.FakeQuantize({"bits": 4})(module.weight),
        lambda: bq.RandomBitErrors({"bits": 4}, rate=0.1, name="w")(module.weight),
        lambda: bq.RobustTraining(module, quantization={"bits": 4, "signed": False}),
        lambda: bq.Campaign(module, (torch.randn(4, 8), torch.arange(4) % 3), bq.Fault(rate=0.1), storage={"bits": 4}, dir=tmp_path).run(progress=False),
    ):
        with pytest.raises(bq.UsageError, match="native words take no other fields; name a family"):
            make()


def test_one_parametrization_is_for_one_weight():
    one = bq.FakeQuantize("symmetric")
    torch.nn.utils.parametrize.register_parametrization(torch.nn.Linear(8, 3), "weight", one)
    with pytest.raises(bq.UsageError, match=r"a weight of \[2, 5\], after one of \[3, 8\]: make a FakeQuantize for each layer"):
        one(torch.ones(2, 5))


def test_faults_leave_learnt_ranges_as_they_were(tmp_path):
    """Nothing but the optimizer and training write to them."""
    net = torch.nn.Sequential(learnt(0), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval()
    x, before = torch.randn(40, 16), copy.deepcopy(net.state_dict())
    assert not any(name.endswith("least") for name in bq.WeightFaults(net, 0.1).tensors)
    bq.Campaign(net, (x, torch.arange(40) % 3), bq.Fault(rates=[0.02], select=["*"]), trials=30, failures="count", dir=tmp_path).run(progress=False)
    after = net.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], tensor) for name, tensor in before.items())

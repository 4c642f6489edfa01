"""Attacks and rankings: gradients of torch, the search of the library."""

import numpy as np
import pytest

import bitquake as bq

torch = pytest.importorskip("torch")


@pytest.fixture
def trained():
    torch.manual_seed(0)
    x = torch.randn(256, 12)
    labels = (x @ torch.randn(12, 4)).argmax(1)
    net = torch.nn.Sequential(torch.nn.Linear(12, 24), torch.nn.ReLU(), torch.nn.Linear(24, 4))
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    optimizer.zero_grad()
    return net, x, labels


def accuracy(net, x, labels):
    with torch.no_grad():
        return float((net(x).argmax(1) == labels).float().mean())


def loss(net, x, labels):
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(net(x), labels))


def test_chosen_flips_do_more_than_random_ones(trained):
    net, x, labels = trained
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    chosen = bq.attack(net, x, labels, budget=6, bits="sign", evaluate=lambda: accuracy(net, x, labels))
    random = bq.attack(net, x, labels, budget=6, bits="sign", kind="random", evaluate=lambda: accuracy(net, x, labels))
    assert net.training and all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert chosen.pattern.flips == random.pattern.flips == 6 and chosen.end == "budget"
    assert chosen.steps[-1]["score"] < random.steps[-1]["score"] - 0.1
    losses = [step["loss"] for step in chosen.steps]
    assert losses == sorted(losses) and all(step["loss"] > step["loss_before"] for step in chosen.steps)
    chosen.pattern.apply_(net)
    assert accuracy(net, x, labels) == chosen.steps[-1]["score"]
    assert loss(net, x, labels) == pytest.approx(losses[-1], rel=1e-5)


def test_the_exhaustive_step_is_the_best_single_flip(trained):
    net, x, labels = trained
    found = bq.attack(net, x, labels, budget=1, kind="exhaustive", select=["2.bias", "2.weight"], bits="31")
    by_hand = {}
    for name in ("2.weight", "2.bias"):
        tensor = net.get_parameter(name)
        for element in range(tensor.numel()):
            pattern = bq.flip_(tensor, element, 31)
            by_hand[name, element, 31] = loss(net, x, labels)
            pattern.undo_(tensor)
    best = max(by_hand, key=by_hand.get)
    assert found.steps[0]["flips"] == [best] and found.steps[0]["loss"] == pytest.approx(by_hand[best], rel=1e-6)


def test_it_ends_with_a_reason(trained):
    net, x, labels = trained
    goal = bq.attack(net, x, labels, budget=50, bits="sign", evaluate=lambda: accuracy(net, x, labels), goal=0.5)
    assert goal.end == "target" and goal.steps[-1]["score"] <= 0.5 < goal.steps[-2]["score"]
    few = bq.attack(net, x, labels, budget=50, select=["2.bias"], bits="sign", kind="random")
    assert few.end == "exhausted" and few.pattern.flips == 4
    limited = bq.attack(net, x, labels, budget=9, bits="sign", limits={"per_tensor": 1})
    assert limited.pattern.flips == 4 and set(limited.pattern.tensors.values()) == {1}


def test_the_gradient_ranks_small_flips_rightly(trained):
    """For the lowest mantissa bits the first order is all there is: scores are the measured changes of the loss, in float64."""
    net, x, labels = trained
    ranking = bq.rank(net, x, labels, select=["2.weight"], bits="8", top=5)
    for bit in ranking.top:
        before = loss(net.double(), x.double(), labels)
        net.float()
        pattern = bq.flip_(net[2].weight, bit["element"], bit["bit"])
        after = loss(net.double(), x.double(), labels)
        net.float()
        pattern.undo_(net[2].weight)
        assert after - before == pytest.approx(bit["score"], rel=0.01)
    frame = ranking.to_frame()
    assert frame["score"].is_monotonic_decreasing and len(ranking.strata) == 1


def test_curvature_is_that_of_the_hessian(trained):
    net, x, labels = trained
    names = ["2.weight", "2.bias"]

    def of(weight, bias):
        outputs = torch.func.functional_call(net, {"2.weight": weight, "2.bias": bias}, (x,))
        return torch.nn.functional.cross_entropy(outputs, labels)

    hessian = torch.autograd.functional.hessian(of, (net[2].weight, net[2].bias))
    trace = sum(float(torch.einsum("ijij" if block.dim() == 4 else "ii", block)) for block in (hessian[0][0], hessian[1][1]))
    found = bq.rank(net, x, labels, curvature=True, vectors=400, tolerance=1e-9, select=names, bits="sign").trace
    assert abs(found["trace"] - trace) < 5 * found["standard_error"] + 1e-6  # fixed seed; one in 10^6 seeds would be beyond
    assert sum(found["by_tensor"]) == pytest.approx(found["trace"])
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


def test_frozen_parameters_stay_frozen(trained):
    net, x, labels = trained
    net[0].weight.requires_grad_(False)
    bq.attack(net, x, labels, budget=1, bits="sign")
    bq.rank(net, x, labels, curvature=True, vectors=2, bits="sign")
    assert not net[0].weight.requires_grad and net[2].weight.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(budget=0), "the budget is 0"),
        (dict(kind="best"), "kind is one of progressive"),
        (dict(select=["nothing"]), "nothing"),
        (dict(limits={"per_wrd": 1}), "per_wrd"),
        (dict(search={"growth": "triple"}), "triple"),
    ],
)
def test_wrong_requests(trained, options, message):
    net, x, labels = trained
    with pytest.raises(bq.UsageError, match=message):
        bq.attack(net, x, labels, **options)


def test_what_has_no_gradient(trained):
    _, x, labels = trained
    net = torch.nn.Sequential(torch.nn.Linear(12, 4), torch.nn.BatchNorm1d(4))
    with pytest.raises(bq.UnsupportedError, match="`1.running_mean` has no gradient"):
        bq.attack(net, x, labels, select=["1.running_mean"])


def test_a_loss_that_raises_leaves_the_weights(trained):
    net, x, labels = trained
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    calls = iter(range(100))

    def moody(outputs, labels):
        if next(calls) > 8:
            raise ZeroDivisionError("mine")
        return torch.nn.functional.cross_entropy(outputs, labels)

    with pytest.raises(ZeroDivisionError, match="mine"):
        bq.attack(net, x, labels, loss=moody, bits="sign", budget=30)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert np.isfinite(loss(net, x, labels))


def test_codes_are_attacked_as_codes(trained):
    net, x, labels = trained
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with bq.quantize(net, "symmetric", bits=8) as storage:
        clean = accuracy(net, x, labels)
        found = bq.attack(storage, x, labels, budget=5, evaluate=lambda: accuracy(net, x, labels))
        assert accuracy(net, x, labels) == clean > found.steps[-1]["score"] + 0.1
        seen = storage.seen(found.pattern)
        seen.apply_(net)
        assert accuracy(net, x, labels) == found.steps[-1]["score"]
        seen.undo_(net)
        assert {bit for step in found.steps for _, _, bit in step["flips"]} <= {6, 7}  # the most significant ones
        ranking = bq.rank(storage, x, labels, top=10)
        assert {bit["bit"] for bit in ranking.top} == {7}
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_without_a_selection_what_has_a_gradient_is_attacked():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3)).eval()
    x = torch.randn(40, 6)
    labels = net(x).argmax(1)
    names = {name for name, _ in net.named_parameters()}
    assert set(bq.attack(net, x, labels, budget=2).pattern.tensors) <= names
    assert {row["tensor"] for row in bq.rank(net, x, labels).strata} == names
    with pytest.raises(bq.UnsupportedError, match="`1.running_mean` has no gradient"):
        bq.attack(net, x, labels, select=["1.*"])
    compiled = torch.compile(net, backend="eager")
    assert bq.attack(compiled, x, labels, budget=2).pattern == bq.attack(net, x, labels, budget=2).pattern


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_of_other_floats(dtype):
    torch.manual_seed(0)
    net, x = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)).to(dtype).eval(), torch.randn(40, 6, dtype=dtype)
    labels, before = net(x).argmax(1), [tensor.detach().clone() for tensor in net.parameters()]
    with bq.quantize(net, "symmetric", bits=8) as storage:
        found = bq.attack(storage, x, labels, budget=2)
        assert found.pattern.flips == 2 and found.steps[1]["loss"] > found.steps[0]["loss_before"]
        assert bq.rank(storage, x, labels, top=3, curvature=True, vectors=3).trace is not None
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters()))


@pytest.mark.parametrize(("key", "value"), [("seed", -1), ("top", -1), ("vectors", -1), ("top", 1.5)])
def test_numbers_that_are_none(key, value):
    with pytest.raises(bq.UsageError, match=f"{key} is a whole number"):
        bq.rank(torch.nn.Linear(2, 2), torch.randn(3, 2), torch.tensor([0, 1, 0]), **{key: value})


@pytest.mark.parametrize(("loss", "message"), [(lambda y, t: 1.0, "the loss is float"), (lambda y, t: y, r"the loss is \[3, 2\]"), (lambda y, t: None, "the loss is NoneType")])
def test_losses_that_are_none(loss, message):
    net, x, labels = torch.nn.Linear(2, 2), torch.randn(3, 2), torch.tensor([0, 1, 0])
    with pytest.raises(bq.UsageError, match=message):
        bq.attack(net, x, labels, loss=loss)
    assert all(tensor.requires_grad for tensor in net.parameters()) and net.training


def test_a_selection_of_nothing_leaves_the_module_as_it_was():
    net, x, labels = torch.nn.Linear(2, 2).train(), torch.randn(3, 2), torch.tensor([0, 1, 0])
    with pytest.raises(bq.UsageError, match="matches no tensor"):
        bq.attack(net, x, labels, select=["nothing"])
    assert net.training


def test_no_gradients_are_to_be_had():
    net, x, labels = torch.nn.Linear(2, 2), torch.randn(3, 2), torch.tensor([0, 1, 0])
    with torch.inference_mode():
        with pytest.raises(bq.UsageError, match="inside torch.inference_mode"):
            bq.attack(net, x, labels)
        inside = torch.nn.Linear(2, 2)
    with pytest.raises(bq.UnsupportedError, match="`weight` has no gradient"):
        bq.attack(inside, x, labels)
    with torch.no_grad():
        assert bq.attack(net, x, labels, budget=1).pattern.flips == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": {"candidates": 0}}, "search: candidates is 0"),
        ({"search": {"most": 1, "candidates": 2}}, "search: most 1 is below candidates 2"),
        ({"limits": {"page_bytes": 0}}, "limits: page_bytes is 0"),
        ({"limits": {"per_word": 0}}, "limits: per_word is 0"),
        ({"goal": 0.1}, "a goal is what `evaluate` gives"),
        ({"budget": 1.5}, "budget is a whole number"),
    ],
)
def test_attacks_that_would_never_end_or_do_nothing(trained, options, message):
    with pytest.raises(bq.UsageError, match=message):
        bq.attack(*trained, **{"budget": 2, **options})


@pytest.mark.parametrize("options", [{"vectors": 0}, {"vectors": 1 << 33}, {"tolerance": -1.0}, {"tolerance": float("nan")}])
def test_curvature_of_nothing(trained, options):
    with pytest.raises(bq.UsageError, match="vectors is"):
        bq.rank(*trained, curvature=True, **options)


def test_a_ranking_is_told_in_short(trained):
    ranking = bq.rank(*trained, select=["0.weight"], bits="sign", top=4)
    assert repr(ranking) == "Ranking(4 bits, the first in 0.weight, and 1 means by tensor and bit)"


def test_nothing_is_ranked_by_what_is_no_number(trained):
    net, x, labels = trained
    with torch.no_grad():
        net[0].weight[0, 0] = float("nan")
    with pytest.raises(bq.UsageError, match="the loss without flips is nan"):
        bq.rank(net, x, labels)


def test_arrays_are_no_modules():
    for call in (bq.attack, bq.rank, lambda x, *_: bq.clip_weights_(x, 0.1), lambda x, *_: bq.RandBET(x, None, rate=0.1)):
        with pytest.raises(bq.UsageError, match=r"a torch.nn.Module is needed here, not a ndarray"):
            call(np.ones(3), None, None)

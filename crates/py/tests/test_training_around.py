"""What changes around a training: scalers, optimizers, parameters, buffers, compiled modules, and blocks in which weights are others."""

import numpy as np
import pytest

import bitquake as bq

torch = pytest.importorskip("torch")

QUANTIZED = {"family": "symmetric", "bits": 8}
ERRORS = {"rate": 0.02, "curriculum": "always"}


def two_layers():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 3))


def batch_loss(module):
    torch.manual_seed(1)
    x, labels = torch.randn(64, 8), torch.randint(0, 3, (64,))
    return lambda: torch.nn.functional.cross_entropy(module(x), labels)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_both_steps_of_alternating_training_are_unscaled(optimizer):
    """A fused optimizer is told of the scale by an attribute, which is none of the second step's business."""

    def trained(scale, fused):
        module = two_layers()
        steps = optimizer(module.parameters(), lr=0.1, fused=fused)
        robust = bq.RobustTraining(module, steps, seed=1, quantization=QUANTIZED, bit_errors={**ERRORS, "combination": "alternating"})
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        for _ in range(2):
            steps.zero_grad()
            robust.step(batch_loss(module), scaler=scaler)
            scaler.step(steps)
            scaler.update()
        assert robust.steps == 2 and not hasattr(steps, "grad_scale")
        return module[0].weight.detach()

    assert torch.equal(trained(1.0, True), trained(1024.0, True))
    assert torch.equal(trained(1.0, False), trained(1024.0, False))


def test_what_is_trained_stays_what_it_was():
    module = two_layers()
    module[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    robust = bq.RobustTraining(module, optimizer, quantization=QUANTIZED, bit_errors=ERRORS)
    robust.step(batch_loss(module))
    optimizer.step()
    module[0].weight.requires_grad_(True)
    with pytest.raises(bq.UsageError, match="`0.weight` was frozen when the training was prepared"):
        robust.step(batch_loss(module))
    module[0].weight.requires_grad_(False)
    module[1].weight.requires_grad_(False)
    with pytest.raises(bq.UsageError, match="`1.weight` was frozen since"):
        robust.step(batch_loss(module))
    module[1].weight.requires_grad_(True)
    optimizer.add_param_group({"params": torch.nn.Linear(2, 2).parameters()})
    with pytest.raises(bq.UsageError, match=r"group 1 of the optimizer has parameters of shapes \[\[2, 2\], \[2\]\]"):
        robust.step(batch_loss(module))


@pytest.mark.parametrize(
    ("replace", "name"),
    [
        (lambda module: module.load_state_dict(two_layers().state_dict(), assign=True), "0.weight"),
        (lambda module: module.__setitem__(1, torch.nn.Linear(*module[1].weight.shape[::-1])), "1"),
        (lambda module: module.__delitem__(1), "1"),
        (lambda module: torch.nn.utils.parametrizations.weight_norm(module[0]), "0.weight"),
    ],
)
def test_replaced_parameters_would_not_be_trained(replace, name):
    module = two_layers()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    robust = bq.RobustTraining(module, optimizer, quantization=QUANTIZED, bit_errors=ERRORS)
    robust.step(batch_loss(module))
    optimizer.step()
    replace(module)
    with pytest.raises(bq.UsageError, match=f"`{name}` was replaced since the training was prepared"):
        robust.step(batch_loss(module))


def test_a_layer_that_was_wrapped_is_trained_on():
    module = two_layers()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    robust = bq.RobustTraining(module, optimizer, quantization=QUANTIZED, bit_errors=ERRORS)
    module[0] = torch.nn.Sequential(module[0], torch.nn.Dropout())
    robust.step(batch_loss(module))
    optimizer.step()
    module[1] = torch.nn.Linear(16, 3)
    with pytest.raises(bq.UsageError, match="`1` was replaced"):
        robust.step(batch_loss(module))


def test_a_compiled_module_is_trained_by_the_names_of_what_was_compiled():
    states = []
    for compiled in (False, True):
        module = two_layers()
        shown = torch.compile(module, backend="eager") if compiled else module
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        robust = bq.RobustTraining(shown, optimizer, seed=1, quantization=QUANTIZED, bit_errors=ERRORS, averaging={"tau": 0.9})
        for _ in range(3):
            optimizer.zero_grad()
            robust.step(batch_loss(shown))
            optimizer.step()
        states.append((module.state_dict(), robust.state_dict()["names"], list(robust.averaged_state_dict())))
        with bq.quantize(shown, robust.storage) as storage:
            assert storage.coded == robust.range_names + list(module.state_dict())
    (weights, *told), (others, *same) = states
    assert told == same and all(torch.allclose(weights[name], others[name], atol=1e-6) for name in weights)


@pytest.mark.parametrize("moved", [[], [0], [1], [0, 1]])
def test_ranges_that_the_optimizer_does_not_have_move_too(moved):
    def values(places):
        module = two_layers()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        table = {"quantization": {"family": "lsq", "bits": 4}, "tensors": "kernels", "ranges": {"rule": "learn", "weight_decay": 0.0}}
        robust = bq.RobustTraining(module, optimizer, **table)
        if places:
            optimizer.add_param_group({"params": [robust.range_parameters[place] for place in places]})
        before = [parameter.item() for parameter in robust.range_parameters]
        robust.step(batch_loss(module))
        optimizer.step()
        after = [parameter.item() for parameter in robust.range_parameters]
        assert all(a != b for a, b in zip(before, after))
        return after

    assert np.allclose(values(moved), values([]), rtol=1e-6)


@pytest.mark.parametrize("rule", ["clean", "average", "perturbed"])
def test_buffers_of_any_kind(rule):
    class Caching(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(8, 3)
            self.register_buffer("cache", torch.zeros(0), persistent=False)
            self.register_buffer("gone", torch.zeros(2))
            self.register_buffer("mask", torch.ones(1, 1).expand(4, 4))
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

        def forward(self, x):
            self.cache, self.gone = x.detach(), None
            self.count += 1
            return self.layer(x)

    module = Caching()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    robust = bq.RobustTraining(module, optimizer, quantization=QUANTIZED, bit_errors={**ERRORS, "population": 2}, statistics=rule)
    for _ in range(3):
        optimizer.zero_grad()
        robust.step(batch_loss(module))
        optimizer.step()
    assert module.cache.shape == (64, 8) and module.gone is None and torch.equal(module.mask, torch.ones(4, 4)) and module.count == 3


def test_graphs_of_blocks_of_levels():
    """As with bq.faulty: one from before is good afterwards, one from inside is not."""
    module = two_layers()
    robust = bq.RobustTraining(module, quantization={"family": "symmetric", "bits": 2})
    before = batch_loss(module)()
    with robust.quantized():
        inside = batch_loss(module)()
        batch_loss(module)().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        inside.backward()
    before.backward()


def test_what_is_written_inside_a_block_of_levels_is_lost():
    module = two_layers()
    robust = bq.RobustTraining(module, quantization=QUANTIZED)
    weights = module[0].weight.detach().clone()
    with pytest.raises(bq.UsageError, match="written to inside the block"):
        with robust.quantized(), torch.no_grad():
            module[0].weight += 1
    assert torch.equal(module[0].weight, weights)
    with pytest.raises(ZeroDivisionError), robust.quantized():
        1 / 0
    with robust.quantized(), bq.faulty(module, 1e-2):
        pass


def test_an_optimizer_that_asks_for_several_losses():
    module = two_layers()
    optimizer = torch.optim.LBFGS(module.parameters(), max_iter=4)
    robust = bq.RobustTraining(module, optimizer, quantization=QUANTIZED, bit_errors=ERRORS)

    def closure():
        optimizer.zero_grad()
        return robust.step(batch_loss(module))

    with pytest.raises(bq.UsageError, match="LBFGS, which asks for several losses, is not supported"):
        optimizer.step(closure)


def test_numbers_that_are_none():
    module = two_layers()
    robust = bq.RobustTraining(module, quantization=QUANTIZED, bit_errors={"fault": {"rate": 1e-3}})
    for wrong in (lambda: robust.validation(-1), lambda: robust.validation("a"), lambda: robust.validation(0, 1.5)):
        with pytest.raises(bq.UsageError, match="is a whole number from 0"), wrong():
            pass
    for epoch, epochs in [(-1, 8), (0, -1), (0.5, 8)]:
        with pytest.raises(bq.UsageError, match="is a whole number from 0"):
            robust.begin_epoch(epoch, epochs)
    for epoch, epochs in [(8, 8), (0, 0)]:
        with pytest.raises(bq.UsageError, match="counted from 0"):
            robust.begin_epoch(epoch, epochs)


def test_states_of_numpy_numbers_are_plain(tmp_path):
    robust = bq.RobustTraining(two_layers(), quantization=QUANTIZED, w_max=np.float32(0.25), seed=np.int64(3))
    torch.save(robust.state_dict(), tmp_path / "state.pt")
    robust.load_state_dict(torch.load(tmp_path / "state.pt"))


def test_what_is_no_optimizer_and_no_closure():
    module = two_layers()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    with pytest.raises(bq.UsageError, match="the optimizer is one of torch.optim, not a list"):
        bq.RandBET(module, [optimizer], rate=0.1)
    robust = bq.RandBET(module, optimizer, rate=0.1)
    with pytest.raises(bq.UsageError, match="step takes a function that computes the loss"):
        robust.step(batch_loss(module)())

    def with_backward():
        loss = batch_loss(module)()
        loss.backward()
        return loss

    with pytest.raises(bq.UsageError, match=r"the closure calls backward\(\) itself"):
        robust.step(with_backward)


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("by_optimizer", [True, False])
def test_a_skipped_step_moves_no_learnt_range(by_optimizer, set_to_none):
    """A fresh scaler skips its first steps, whose gradients are no numbers."""

    def trained(scaler):
        module = two_layers()
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
        robust = bq.RobustTraining(
            module, optimizer, seed=1, quantization={"family": "wcat", "bits": 4}, tensors="kernels", ranges={"rule": "learn"}, bit_errors=ERRORS
        )
        if by_optimizer:
            optimizer.add_param_group({"params": robust.range_parameters, "weight_decay": 0.0})
        loss = batch_loss(module)
        while robust.steps < 3:
            optimizer.zero_grad(set_to_none=set_to_none)
            robust.step(lambda: 100 * loss(), scaler=scaler)
            scaler.step(optimizer)
            scaler.update()
        return [parameter.item() for parameter in robust.range_parameters], [p.detach().clone() for p in module.parameters()]

    plain = trained(torch.amp.GradScaler("cpu", init_scale=1.0))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    ranges, weights = trained(scaler)
    assert scaler.get_scale() < 2.0**127, "some steps were skipped"
    assert np.isfinite(ranges).all() and np.allclose(ranges, plain[0], rtol=1e-5)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(weights, plain[1]))

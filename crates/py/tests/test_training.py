"""Training on stored weights: the user's loop, what a step is, what stays as it was."""

import copy
import io
import threading
import time
import weakref

import numpy as np
import pytest

import bitquake as bq
from bitquake import _core

torch = pytest.importorskip("torch")
from trainings import CODES, RANDBET, SGD, batches, made, network, same, train, values  # noqa: E402

nn, F = torch.nn, torch.nn.functional


class TestStep:
    def test_it_is_that_of_the_specification(self):
        """SPEC 2.4, by hand: clip, 8-bit codes of each tensor's range, clean pass, pass with flipped codes, clamp, mean, SGD."""
        model, optimizer, robust = made(w_max=0.1, quantization=CODES, bit_errors=RANDBET)
        images, labels = next(batches(1))
        masters = {name: p.detach().numpy().clip(-0.1, 0.1) for name, p in model.named_parameters()}
        twin, seen = copy.deepcopy(model), []

        def closure():
            seen.append({name: p.detach().clone() for name, p in model.named_parameters()})
            return F.cross_entropy(model(images), labels)

        optimizer.zero_grad()
        loss = robust.step(closure)
        assert len(seen) == 2
        gradients = []
        for levels in seen:
            twin.zero_grad()
            twin.load_state_dict(levels, strict=False)
            found = F.cross_entropy(twin(images), labels)
            found.backward()
            gradients.append({name: p.grad for name, p in twin.named_parameters()})
            if len(gradients) == 1:
                assert loss == found and not loss.requires_grad
        flips = 0
        for name, parameter in model.named_parameters():
            assert np.array_equal(parameter.detach().numpy(), masters[name])
            clean, faulty = (levels[name].numpy() for levels in seen)
            low, high = masters[name].min(), masters[name].max()
            scale = (high - low) / np.float32(255)
            codes = np.round((masters[name] - low) / scale) if scale > 0 else np.zeros_like(clean)
            np.testing.assert_allclose(clean, low + scale * codes, rtol=0, atol=1e-7)
            if scale > 0:
                faulty_codes = (faulty - low) / scale
                np.testing.assert_allclose(faulty_codes, np.round(faulty_codes), atol=1e-3)
                differ = np.round(faulty_codes).astype(np.uint8) ^ codes.astype(np.uint8)
                flips += int(np.unpackbits(differ).sum())
            wanted = (gradients[0][name] + gradients[1][name].clamp(-0.05, 0.05)) / 2
            torch.testing.assert_close(parameter.grad, wanted, rtol=1e-6, atol=1e-8)
            masters[name] = masters[name] - np.float32(0.05) * (wanted.numpy() + np.float32(5e-4) * masters[name])
        # 1,800 bits or so at 0.01: from 2 to 50 but for a chance below 1e-6.
        assert 2 <= flips <= 50
        optimizer.step()
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(parameter.detach().numpy(), masters[name], rtol=1e-6, atol=1e-8)
        assert robust.steps == 1 and robust.clean_loss == loss.item()

    def test_a_population_is_averaged(self):
        model, optimizer, robust = made(quantization=CODES, bit_errors={**RANDBET, "population": 3, "clamp": float("inf")})
        images, labels = next(batches(1))
        found = []

        def closure():
            loss = F.cross_entropy(model(images), labels)
            loss.register_hook(lambda _: found.append(None))
            return loss

        robust.step(closure)
        assert len(found) == 4 and robust.perturbed_passes == 3

    def test_nothing_is_plain_training(self):
        """An empty table changes no bit of what the loop would do without."""
        model, optimizer, robust = made()
        plain = network()
        other = torch.optim.SGD(plain.parameters(), **SGD)
        train(model, robust, optimizer, batches(5))
        for images, labels in batches(5):
            other.zero_grad()
            F.cross_entropy(plain(images), labels).backward()
            other.step()
        assert same(values(model), values(plain))

    def test_without_an_optimizer_the_loop_ends_steps(self):
        runs = []
        for is_given in (True, False):
            model = network()
            optimizer = torch.optim.SGD(model.parameters(), **SGD)
            robust = bq.RandBET(model, optimizer if is_given else None, rate=0.01, w_max=0.2, seed=3)
            for images, labels in batches(4):
                optimizer.zero_grad()
                robust.step(lambda: F.cross_entropy(model(images), labels))
                optimizer.step()
                if not is_given:
                    robust.after_step()
            runs.append(values(model))
        assert same(*runs)
        with pytest.raises(bq.UsageError, match="no step has begun"):
            robust.after_step()

    def test_a_forgotten_after_step_is_found(self):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), **SGD)
        robust = bq.RandBET(model, rate=0.01)
        with pytest.raises(bq.UsageError, match="call after_step"):
            train(model, robust, optimizer, batches(2))

    def test_gradients_accumulate_with_the_same_faults(self):
        model, optimizer, robust = made(quantization=CODES, bit_errors=RANDBET)
        data, seen = list(batches(2)), []

        def closure():
            seen.append(model[0].weight.detach().clone())
            return F.cross_entropy(model(images), labels)

        single = []
        for images, labels in data:
            optimizer.zero_grad()
            robust.step(closure)
            single.append(model[5].weight.grad.clone())
        optimizer.zero_grad()
        for images, labels in data:
            robust.step(closure)
        assert torch.equal(model[5].weight.grad, single[0] + single[1])
        assert all(torch.equal(a, b) for a, b in zip(seen, seen[2:]))
        optimizer.step()
        images, labels = data[0]
        robust.step(closure)
        assert robust.steps == 1 and not torch.equal(seen[-1], seen[-3])

    def test_the_seed_decides(self):
        runs = []
        for seed in (1, 1, 2):
            model, optimizer, robust = made(seed=seed, quantization=CODES, bit_errors=RANDBET)
            train(model, robust, optimizer, batches(3))
            runs.append(values(model))
        assert same(runs[0], runs[1]) and not same(runs[0], runs[2])


class TestNothingIsLeft:
    @pytest.mark.parametrize("fails_at", [1, 2])
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_after_a_closure_that_raises(self, fails_at, error):
        model, optimizer, robust = made(w_max=0.05, quantization=CODES, bit_errors=RANDBET)
        images, labels = next(batches(1))
        train(model, robust, optimizer, batches(2))
        before, gradients = values(model), [p.grad.clone() for p in model.parameters()]
        calls = []

        def closure():
            calls.append(None)
            loss = F.cross_entropy(model(images), labels)
            if len(calls) == fails_at:
                raise error("on purpose")
            return loss

        with pytest.raises(error, match="on purpose"):
            robust.step(closure)
        assert same(before, values(model))
        assert all(torch.equal(p.grad, gradient) for p, gradient in zip(model.parameters(), gradients))
        optimizer.zero_grad()
        robust.step(lambda: F.cross_entropy(model(images), labels))
        optimizer.step()
        assert robust.steps == 3

    def test_after_weights_that_are_not_finite(self):
        model, optimizer, robust = made(w_max=0.05, quantization=CODES, bit_errors=RANDBET)
        images, labels = next(batches(1))
        model[5].bias.data[2] = float("nan")
        before = values(model)
        with pytest.raises(bq.BitquakeError, match="5.bias"):
            robust.step(lambda: F.cross_entropy(model(images), labels))
        after = values(model)
        assert all(torch.equal(before[k].nan_to_num(7), after[k].nan_to_num(7)) for k in before)

    @pytest.mark.parametrize("context", ["quantized", "validation", "averaged"])
    def test_after_a_block(self, context):
        model, optimizer, robust = made(w_max=0.1, quantization=CODES, bit_errors=RANDBET, averaging={"tau": 0.5})
        train(model, robust, optimizer, batches(2))
        before = values(model)
        with pytest.raises(ZeroDivisionError):
            with getattr(robust, context)():
                assert not same(before, values(model))
                raise ZeroDivisionError
        assert same(before, values(model))

    def test_closing_takes_the_hook_off(self):
        model, optimizer, robust = made(quantization=CODES)
        assert len(optimizer._optimizer_step_post_hooks) == 1
        robust.close()
        assert not optimizer._optimizer_step_post_hooks


class TestStatistics:
    def moved(self, **table):
        """Running means after one step, and those that each pass measured."""
        model, optimizer, robust = made(quantization=CODES, **table)
        images, labels = next(batches(1))
        measured = []

        def closure():
            logits = model(images)
            measured.append(model[1].running_mean.clone())
            return F.cross_entropy(logits, labels)

        robust.step(closure)
        return model, measured

    def test_the_clean_pass_moves_them_alone(self):
        model, measured = self.moved(bit_errors={**RANDBET, "population": 2})
        assert not torch.equal(measured[0], measured[1])
        assert torch.equal(model[1].running_mean, measured[0])
        assert model[1].num_batches_tracked == 1

    @pytest.mark.parametrize(("rule", "clean", "perturbed"), [("average", 0.9, 0.1), ("perturbed", 0.0, 1.0)])
    def test_the_other_rules(self, rule, clean, perturbed):
        model, measured = self.moved(statistics=rule, bit_errors={**RANDBET, "population": 2})
        wanted = clean * measured[0] + perturbed * (measured[1] + measured[2]) / 2
        torch.testing.assert_close(model[1].running_mean, wanted)
        assert model[1].num_batches_tracked == 1

    def test_without_a_clean_pass_they_follow_the_others(self):
        model, measured = self.moved(p0=0.01)
        assert len(measured) == 1 and torch.equal(model[1].running_mean, measured[0])


class TestMethods:
    def test_the_curriculum_switches_on(self):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        robust = bq.RandBET(model, optimizer, rate=0.01, start_loss=1.2)
        passes = []
        for images, labels in batches(60):
            optimizer.zero_grad()
            passes.append(robust.perturbed_passes)
            robust.step(lambda: F.cross_entropy(model(images), labels))
            assert (robust.perturbed_loss is not None) == (passes[-1] == 1)
            optimizer.step()
        assert passes[0] == 0 and 1 in passes and robust.clean_loss < 1.2 * 1.15

    def test_the_rate_of_step_grows(self):
        model, optimizer, robust = made(quantization=CODES, bit_errors={"rate": 0.02, "curriculum": "step"})
        images, labels = next(batches(1))
        with pytest.raises(bq.UsageError, match="begin_epoch"):
            robust.step(lambda: F.cross_entropy(model(images), labels))
        rates = []
        for epoch in (0, 60, 200):
            robust.begin_epoch(epoch, 250)
            rates.append(robust.rate)
        assert rates == pytest.approx([0.001, 0.011, 0.02])

    def test_alternating_makes_two_steps(self):
        model, optimizer, robust = made(quantization=CODES, bit_errors={**RANDBET, "rate": 0.2, "combination": "alternating"})
        plain, its_optimizer, its_robust = made(quantization=CODES)
        train(plain, its_robust, its_optimizer, batches(1))
        calls = []
        images, labels = next(batches(1))

        def closure():
            calls.append(model[5].weight.detach().clone())
            return F.cross_entropy(model(images), labels)

        optimizer.zero_grad()
        robust.step(closure)
        assert len(calls) == 1
        optimizer.step()
        assert len(calls) == 2 and robust.steps == 1
        assert robust.clean_loss is not None and robust.perturbed_loss is not None
        assert not torch.equal(model[5].weight, plain[5].weight)  # moved once more
        train(model, robust, optimizer, batches(2))
        assert robust.steps == 3
        with pytest.raises(bq.UsageError, match="two steps"):
            bq.RobustTraining(network(), quantization=CODES, bit_errors={**RANDBET, "combination": "alternating"})

    def test_weights_go_back_into_their_range_after_the_second_step(self):
        model, optimizer, robust = made(quantization=CODES, bit_errors={**RANDBET, "rate": 0.3, "combination": "alternating"})
        for group in optimizer.param_groups:
            group.update(lr=1.0, momentum=0.0, weight_decay=0.0)
        images, labels = next(batches(1))
        ends = []
        before = robust.after_step

        def after_step():
            ends.append([(p.min().item(), p.max().item()) for p in model.parameters()])
            before()

        robust.after_step = after_step
        robust.step(lambda: F.cross_entropy(model(images), labels))
        optimizer.step()
        first, second = ends[0], ends[-1]
        assert any(low < first[at][0] or high > first[at][1] for at, (low, high) in enumerate(second))
        for parameter, (low, high) in zip(model.parameters(), first):
            assert low <= parameter.min() and parameter.max() <= high

    def test_an_attack_finds_worse_errors_than_chance(self):
        images, labels = next(batches(1))
        losses = {}
        for kind, errors in {
            "random": {"fault": bq.Fault(count=6), "curriculum": "always"},
            "attack": {"attack": {"budget": 6, "steps": 4}, "curriculum": "always"},
        }.items():
            model, optimizer, robust = made(quantization=CODES, bit_errors=errors)
            before = values(model)
            robust.step(lambda: F.cross_entropy(model(images), labels))
            losses[kind] = robust.perturbed_loss
            assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
            assert model[1].num_batches_tracked == 1
        assert losses["attack"] > losses["random"]

    def test_an_error_in_an_attack_comes_through(self):
        model, optimizer, robust = made(quantization=CODES, bit_errors={"attack": {"budget": 2}, "curriculum": "always"})
        images, labels = next(batches(1))
        before, calls = values(model), []

        def closure():
            calls.append(None)
            if len(calls) == 3:
                raise LookupError("in the search")
            return F.cross_entropy(model(images), labels)

        with pytest.raises(LookupError, match="in the search"):
            robust.step(closure)
        assert same(before, values(model))

    @pytest.mark.parametrize("quantizer", [{"family": "wcat", "bits": 4, "range": {"alpha": 0.1}}, {"family": "lsq", "bits": 3}])
    @pytest.mark.parametrize("who", ["own", "optimizer"])
    def test_ranges_learn(self, quantizer, who):
        model, optimizer, robust = made(quantization=quantizer, tensors="kernels", ranges={"rule": "learn", "weight_decay": 0.0})
        assert robust.range_names == ["0.weight", "5.weight"]
        if who == "optimizer":
            optimizer.add_param_group({"params": robust.range_parameters, "weight_decay": 0.0})
        first = [p.item() for p in robust.range_parameters]
        images, labels = next(batches(1))
        optimizer.zero_grad()
        robust.step(lambda: F.cross_entropy(model(images), labels))
        slopes = [p.grad.item() for p in robust.range_parameters]
        optimizer.step()
        moved = [p.item() for p in robust.range_parameters]
        # The first step of SGD with momentum is a plain one.
        assert any(slopes) and moved == pytest.approx([a - 0.05 * b for a, b in zip(first, slopes)], rel=1e-6)
        if quantizer["family"] == "wcat":
            assert robust.range("5.weight")[1] == pytest.approx(moved[1])
        train(model, robust, optimizer, batches(20))
        assert all(p.item() > 0 for p in robust.range_parameters)

    def test_ranges_that_nobody_moves_are_an_error(self):
        keys = {"quantization": {"family": "lsq", "bits": 4}, "tensors": "kernels", "ranges": {"rule": "learn"}}
        with pytest.raises(bq.UsageError, match="nobody moves them"):
            bq.RobustTraining(network(), **keys)
        assert len(bq.RobustTraining(network(), range_rate=0.0, **keys).range_parameters) == 2

    @pytest.mark.parametrize(
        "table",
        [
            {"ranges": {"rule": "plclip", "c": 0.1}, "quantization": {"family": "wcat", "bits": 4}, "tensors": "kernels"},
            {"ranges": {"rule": "frozen"}, "quantization": CODES},
            {"clustering": 1e-3, "max_magnitude": 1e-3, "quantization": {"family": "binary"}, "tensors": "kernels"},
            {"p0": 0.01, "quantization": CODES, "gradient_clip": 0.01},
            {"quantization": {"family": "symmetric", "bits": 8, "rounding": "stochastic"}, "bit_errors": {**RANDBET, "combination": "adversarial"}},
            {"bit_errors": {"fault": {"model": "stuck-at-1", "rates": [0.01]}, "curriculum": "always"}, "quantization": CODES},
        ],
    )
    def test_every_other_rule_trains_and_resumes(self, table):
        model, optimizer, robust = made(**table)
        train(model, robust, optimizer, batches(4))
        resumed(model, optimizer, robust, table)

    def test_averages(self):
        model, optimizer, robust = made(quantization=CODES, averaging={"tau": 0.5})
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        train(model, robust, optimizer, batches(1))
        averaged = robust.averaged_state_dict()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(averaged[name], (start[name] + parameter.detach()) / 2)
        assert torch.equal(averaged["1.running_mean"], model[1].running_mean)
        wanted, own = averaged["5.weight"], model[5].weight.detach().clone()
        code = (wanted.max() - wanted.min()) / 255
        assert (own - wanted).abs().max() > 2 * code, "the two can be told apart"
        with robust.averaged():
            assert (model[5].weight - wanted).abs().max() < 0.51 * code
        assert torch.equal(model[5].weight, own)
        with pytest.raises(bq.UsageError, match="averages nothing"):
            made(quantization=CODES)[2].averaged_state_dict()

    def test_validation(self):
        model, optimizer, robust = made(quantization=CODES, bit_errors=RANDBET)
        flips = robust.evaluate_under_faults(lambda: model[5].weight.detach().clone(), patterns=3)
        assert len({tuple(weight.flatten().tolist()) for weight in flips}) == 3
        with robust.validation(0, 1) as count:
            assert count > 0 and torch.equal(model[5].weight, flips[1])
        with pytest.raises(bq.UsageError, match="draws no faults"):
            with made(quantization=CODES)[2].validation():
                pass

    def test_storage_gives_the_codes_again(self):
        model, optimizer, robust = made(w_max=0.1, quantization=CODES, bit_errors=RANDBET)
        train(model, robust, optimizer, batches(3))
        storage = robust.storage
        robust.project_()
        assert max(p.abs().max() for p in model.parameters()) <= np.float32(0.1)
        with robust.quantized():
            wanted = values(model)
        again = bq.RobustTraining(model, quantization=storage)
        with again.quantized():
            assert same(wanted, values(model))
        assert [override["select"] for override in storage["override"]] == [[name] for name, _ in model.named_parameters()]


def resumed(model, optimizer, robust, table):
    """That a run from saved state goes on bit for bit as the unbroken one."""
    saved = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "robust": robust.state_dict()}, saved)
    train(model, robust, optimizer, batches(3, seed=9))
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    other, its_optimizer, its_robust = made(model=network(seed=8), **table)
    other.load_state_dict(state["model"])
    its_optimizer.load_state_dict(state["optimizer"])
    its_robust.load_state_dict(state["robust"])
    train(other, its_robust, its_optimizer, batches(3, seed=9))
    assert same(values(model), values(other)) and robust.steps == its_robust.steps
    assert [p.item() for p in robust.range_parameters] == [p.item() for p in its_robust.range_parameters]


class TestState:
    @pytest.mark.parametrize(
        "table",
        [
            {"w_max": 0.2, "quantization": CODES, "bit_errors": {"rate": 0.01, "curriculum": "hysteresis", "start_loss": 3.0}, "averaging": {}},
            {"quantization": {"family": "lsq", "bits": 4}, "tensors": "kernels", "ranges": {"rule": "learn"}},
            {"quantization": CODES, "bit_errors": {**RANDBET, "combination": "alternating"}},
        ],
    )
    def test_a_resumed_run_is_the_unbroken_one(self, table):
        model, optimizer, robust = made(**table)
        train(model, robust, optimizer, batches(5))
        resumed(model, optimizer, robust, table)

    def test_a_training_is_no_thing_to_copy(self):
        robust = made(quantization=CODES, bit_errors=RANDBET)[2]
        for act in (copy.copy, copy.deepcopy, lambda robust: torch.save(robust, io.BytesIO())):
            with pytest.raises(bq.UsageError, match=r"is bound to its module and optimizer: save its state_dict\(\)"):
                act(robust)

    def test_the_state_of_another_training_is_refused(self):
        model, optimizer, robust = made(w_max=0.1, quantization=CODES, bit_errors=RANDBET)
        state = robust.state_dict()
        with pytest.raises(bq.UsageError, match="its table is .*'w_max': 0.1"):
            made(w_max=0.2, quantization=CODES, bit_errors=RANDBET)[2].load_state_dict(state)
        with pytest.raises(bq.UsageError, match="its seed is 1, here it is 2"):
            made(seed=2, w_max=0.1, quantization=CODES, bit_errors=RANDBET)[2].load_state_dict(state)
        with pytest.raises(bq.UsageError, match="lacks .*vectors"):
            robust.load_state_dict({})


class TestPrecision:
    def test_casts_of_autocast_are_not_those_of_another_pass(self):
        """Autocast keeps the casts of weights while its block lasts: around the whole step they must follow the levels."""
        gradients = []
        for is_around in (True, False):
            model, optimizer, robust = made(quantization=CODES, bit_errors={**RANDBET, "rate": 0.2})
            images, labels = next(batches(1))

            def closure():
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not is_around):
                    return F.cross_entropy(model(images).float(), labels)

            if is_around:
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    robust.step(lambda: F.cross_entropy(model(images).float(), labels))
            else:
                robust.step(closure)
            gradients.append((robust.clean_loss, robust.perturbed_loss, model[5].weight.grad.clone()))
        assert gradients[0][:2] == gradients[1][:2] and gradients[0][0] != gradients[0][1]
        assert torch.equal(gradients[0][2], gradients[1][2])

    @pytest.mark.parametrize("combination", ["average", "alternating"])
    def test_the_scale_of_a_scaler_changes_nothing(self, combination):
        runs = []
        for scale in (None, 2.0**16):
            model, optimizer, robust = made(
                quantization={"family": "wcat", "bits": 6}, tensors="kernels", ranges={"rule": "learn"},
                bit_errors={**RANDBET, "combination": combination},
            )
            scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
            for images, labels in batches(4):
                optimizer.zero_grad()
                robust.step(lambda: F.cross_entropy(model(images), labels), scaler=scaler)
                scaler.step(optimizer)
                scaler.update()
            runs.append({**values(model), **dict(enumerate(robust.range_parameters))})
            assert robust.steps == 4
        assert same(*runs)

    @pytest.mark.parametrize("overflowing", [1, 2])
    def test_an_overflow_skips_the_step(self, overflowing):
        """A perturbed gradient is clamped, so its infinity would not be seen."""
        model, optimizer, robust = made(w_max=1.0, quantization=CODES, bit_errors=RANDBET)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        images, labels = next(batches(1))
        before, calls = values(model), []

        def overflow(parameter):
            if len(calls) == overflowing:
                parameter.grad[0] = np.inf

        def closure():
            calls.append(None)
            return F.cross_entropy(model(images), labels)

        model[5].bias.register_post_accumulate_grad_hook(overflow)
        robust.step(closure, scaler=scaler)
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 512.0 and robust.steps == 0
        assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
        with robust.quantized():
            pass
        train(model, robust, optimizer, batches(1))
        assert robust.steps == 1

    def test_an_overflow_in_the_second_step_on_a_batch_lowers_the_scale(self):
        """The scaler has looked at the first step's gradients when it comes."""
        model, optimizer, robust = made(w_max=1.0, quantization=CODES, bit_errors={**RANDBET, "combination": "alternating"})
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        calls, scales = [], []

        def overflow(parameter):
            if len(calls) == 2:
                parameter.grad[0] = np.inf

        model[5].bias.register_post_accumulate_grad_hook(overflow)
        for images, labels in batches(3):

            def closure():
                calls.append(None)
                return F.cross_entropy(model(images), labels)

            optimizer.zero_grad()
            robust.step(closure, scaler=scaler)
            scaler.step(optimizer)
            scaler.update()
            scales.append(scaler.get_scale())
        assert scales == [512.0, 512.0, 512.0] and robust.steps == 3 and len(calls) == 6

    def test_channels_last_changes_no_step(self):
        runs = []
        for layout in (torch.contiguous_format, torch.channels_last):
            model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5))
            torch.manual_seed(0)
            for p in model.parameters():
                nn.init.normal_(p, std=0.1)
            model = model.to(memory_format=layout)
            _, optimizer, robust = made(model=model, quantization=CODES, bit_errors=RANDBET)
            images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
            robust.step(lambda: model(images).square().mean())
            assert model[0].weight.grad.stride() == model[0].weight.stride()
            runs.append((model[0].weight.detach().clone(), model[0].weight.grad.clone()))
        assert torch.equal(runs[0][0], runs[1][0])
        torch.testing.assert_close(runs[0][1], runs[1][1], rtol=1e-3, atol=1e-6)


class TestParameters:
    def test_an_embedding_that_is_renormed_would_not_be(self):
        """It writes to its weight in each pass; the masters come back afterwards."""
        model = nn.Sequential(nn.Embedding(20, 8, max_norm=1.0), nn.Flatten(), nn.Linear(16, 5))
        with pytest.raises(bq.UsageError, match="`0` has max_norm: .* lost"):
            made(model=model, quantization=CODES, bit_errors=RANDBET)
        model[0].weight.requires_grad_(False)
        made(model=model, quantization=CODES, bit_errors=RANDBET)

    def test_tied_weights_are_stored_once(self):
        class Tied(nn.Module):
            def __init__(self, shares_memory):
                super().__init__()
                torch.manual_seed(0)
                self.into, self.out = nn.Embedding(12, 6), nn.Linear(6, 12, bias=False)
                self.out.weight = nn.Parameter(self.into.weight.data) if shares_memory else self.into.weight

            def forward(self, x):
                return self.out(self.into(x))

        words, runs = torch.arange(12), []
        for shares_memory in (False, True):
            model, optimizer, robust = made(model=Tied(shares_memory), quantization=CODES, bit_errors=RANDBET)
            assert [override["select"] for override in robust.storage["override"]] == [["into.weight"]]
            for _ in range(3):
                optimizer.zero_grad()
                robust.step(lambda: F.cross_entropy(model(words), words.flip(0)))
                optimizer.step()
            runs.append(model.into.weight.detach().clone())
        torch.testing.assert_close(*runs, rtol=1e-6, atol=1e-8)

    def test_memory_that_is_shared_in_part_is_refused(self):
        model = nn.Linear(4, 4, bias=False)
        model.part = nn.Parameter(model.weight.data[1])
        with pytest.raises(bq.UsageError, match="`weight` and `part` share part"):
            bq.RobustTraining(model)

    def test_frozen_ones_stay(self):
        model = network()
        model[0].weight.requires_grad_(False)
        frozen = model[0].weight.clone()
        model, optimizer, robust = made(model=model, w_max=0.01, quantization=CODES, bit_errors=RANDBET)
        train(model, robust, optimizer, batches(2))
        assert torch.equal(model[0].weight, frozen) and model[0].weight.grad is None
        assert "0.weight" not in [override["select"][0] for override in robust.storage["override"]]

    def test_a_parameter_that_the_loss_does_not_use_has_no_gradient(self):
        model = network()
        model.unused = nn.Parameter(torch.ones(3))
        model, optimizer, robust = made(model=model, quantization=CODES, bit_errors=RANDBET)
        train(model, robust, optimizer, batches(1))
        assert model.unused.grad is None and model.unused.tolist() == [1, 1, 1]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: m.half(), "`0.weight` is float16: masters are float32"),
            (lambda m: m.double(), "`0.weight` is float64"),
            (lambda m: m.to("meta"), "`0.weight` is on the meta device"),
            (lambda m: m.append(nn.LazyLinear(3)), "has no shape yet"),
        ],
    )
    def test_what_cannot_be_trained(self, change, message):
        with pytest.raises(bq.UnsupportedError, match=message):
            bq.RobustTraining(change(network()))

    def test_a_module_made_half_later_is_found(self):
        model, optimizer, robust = made(quantization=CODES)
        model.half()
        with pytest.raises(bq.UnsupportedError, match="float16"):
            robust.step(lambda: model[5].weight.sum())

    def test_nothing_to_train(self):
        with pytest.raises(bq.UsageError, match="no parameter that is trained"):
            bq.RobustTraining(nn.ReLU())

    def test_foreign_parameters_of_the_optimizer(self):
        model, more = network(), nn.Parameter(torch.zeros(7))
        with pytest.raises(bq.UsageError, match=r"\[\[7\]\] that are not the module's"):
            bq.RobustTraining(model, torch.optim.SGD([*model.parameters(), more], lr=0.1))

    def test_sparse_gradients(self):
        model = nn.Embedding(10, 3, sparse=True)
        robust = bq.RobustTraining(model, quantization=CODES)
        with pytest.raises(bq.UnsupportedError, match="sparse=False"):
            robust.step(lambda: model(torch.tensor([1])).sum())


class TestGradients:
    @pytest.mark.parametrize("kind", [lambda g: g.neg()._neg_view(), lambda g: torch.Tensor._make_subclass(Kept, g)])
    def test_of_an_unusual_kind_are_those_values(self, kind):
        """What a hook leaves in ``.grad`` need not be what a backward pass does."""
        found = []
        for made_of in (lambda g: g, kind):
            model, optimizer, robust = made(w_max=0.1, quantization=CODES, bit_errors=RANDBET)
            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(lambda p, made_of=made_of: setattr(p, "grad", made_of(p.grad)))
            train(model, robust, optimizer, batches(3))
            found.append(values(model))
        assert same(*found)

    def test_of_a_pass_are_freed_before_the_next(self):
        """Else PyTorch asks for new memory in each pass."""
        model, optimizer, robust = made(w_max=0.1, quantization=CODES, bit_errors={**RANDBET, "population": 2})
        held, left = [], []
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: held.append(weakref.ref(p.grad)))

        def closure():
            left.append(sum(gradient() is not None for gradient in held))
            return F.cross_entropy(model(images), labels)

        for images, labels in batches(2):
            optimizer.zero_grad()
            robust.step(closure)
            optimizer.step()
        optimizer.zero_grad()
        assert left == [0] * 6 and len(held) == 6 * len(list(model.parameters())) and not any(gradient() is not None for gradient in held)

    @pytest.mark.parametrize("tied", [False, True])
    def test_of_the_last_pass_are_written_over(self, tied):
        """A step needs no more memory than its passes do."""
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        if tied:  # two parameters on one memory: the first has the gradient of both
            model[2].weight = nn.Parameter(model[0].weight.data)
        model, optimizer, robust = made(model=model, quantization=CODES, bit_errors=RANDBET)
        last = {}
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(lambda p: last.update({id(p): p.grad.data_ptr()}))
        robust.step(lambda: model(torch.ones(3, 4)).square().sum())
        if tied:
            assert model[2].weight.grad is None and last.pop(id(model[2].weight)) and last.pop(id(model[0].weight))
        assert {id(p): p.grad.data_ptr() for p in model.parameters() if id(p) in last} == last and len(last) == 4 - 2 * tied

    def test_defaults_of_pytorch_do_not_matter(self):
        found = []
        for dtype in (torch.float32, torch.float64):
            model = network()
            model.unused = nn.Linear(2, 2)  # its gradients are zeros made here
            model, optimizer, robust = made(model=model, w_max=0.1, quantization=CODES, bit_errors=RANDBET)
            data = list(batches(3))
            torch.set_default_dtype(dtype)
            try:
                train(model[:6], robust, optimizer, data)
            finally:
                torch.set_default_dtype(torch.float32)
            found.append(values(model))
        assert same(*found)

    def test_are_read_and_written_where_they_are_or_not_at_all(self):
        of, plain, gone = _core.Floats.of_tensors, torch.arange(6.0), torch.zeros(6)
        gone.untyped_storage().resize_(12)
        others = [
            None, np.zeros(6, dtype=np.float32), plain.double(), plain.half(), plain.view(torch.int32), plain[::2], plain[:0], plain[:1].expand(3), gone,
            plain.clone().requires_grad_(), nn.Parameter(plain), plain._neg_view(), plain.to_sparse(), plain.to("meta"), torch.Tensor._make_subclass(Kept, plain),
        ]  # fmt: skip
        apart = torch.ones(4)
        for other in others:
            assert of([other]) is None and of([apart, other]) is None, other
        for shared in (plain, plain[5:], plain[:1], plain.view(2, 3)):
            assert of([plain, apart, shared]) is None and of([plain[:2], plain[3:], plain[2:3], plain[4:]]) is None
        assert of([plain[3:], torch.empty(0), plain[:3], torch.empty(0)]).are_finite and of([]).are_finite
        for value in (np.inf, -np.inf, np.nan):
            assert not of([plain, torch.tensor([1.0, value])]).are_finite

    def test_that_two_parameters_share_are_of_each(self):
        """A hook may leave the same tensor in the ``.grad`` of two."""
        found = []
        for are_shared in (False, True):
            model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
            for layer in model:
                nn.init.eye_(layer.weight)
            model, optimizer, robust = made(model=model, quantization=CODES, bit_errors=RANDBET)
            shared = torch.full((3, 3), 0.25)
            for parameter in model.parameters():
                parameter.register_post_accumulate_grad_hook(lambda p, own=are_shared: setattr(p, "grad", shared if own else shared.clone()))
            for _ in range(3):
                optimizer.zero_grad()
                robust.step(lambda: model(torch.ones(2, 3)).sum())
                optimizer.step()
            assert shared.eq(0.25).all()
            found.append(values(model))
        assert same(*found)


class TestFloats:
    def test_lengths_are_checked(self):
        zeros, plain = np.zeros(6, dtype=np.float32), torch.arange(6.0)
        of = _core.Floats.of_tensors
        method = _core.Method("{ }", [("a", [6], zeros)], 0)
        for wrong in ([np.zeros(5, dtype=np.float32)], [zeros.copy(), zeros.copy()]):
            for call in (method.begin, method.masters, method.given, method.are_masters):
                with pytest.raises(bq.UsageError, match="values for tensors of"):
                    call(_core.Floats.of_arrays(wrong))
        method.begin(_core.Floats.of_arrays([zeros]))
        for wrong in ([plain.clone(), plain.clone()], [plain[:5]], []):
            with pytest.raises(bq.BitquakeError, match="values, .* needed"):
                method.combine(1.0, of(wrong))
        out = torch.tensor([9.0, 0, 1, 2, 3, 4, 5, 9])
        method.combine(1.0, of([out[1:7]]))
        assert out.tolist() == [9, 0, 1, 2, 3, 4, 5, 9]

    def test_of_arrays_are_of_arrays_that_can_be_written(self):
        of, plain = _core.Floats.of_arrays, np.zeros(6, dtype=np.float32)
        for wrong in (plain.astype(np.float64), plain.reshape(2, 3), np.frombuffer(bytes(24), np.float32), plain[::2], [0.0], None):
            with pytest.raises((TypeError, ValueError)):
                of([wrong])

    def test_that_share_memory_are_refused(self):
        values = np.arange(6, dtype=np.float32)
        _core.Floats.of_arrays([values[3:], values[:0], values[:3]])
        for shared in ([values[:3], values[2:5]], [values, values], [values[3:], values[:0], values[:4]]):
            with pytest.raises(bq.UsageError, match="share memory"):
                _core.Floats.of_arrays(shared)

    def test_that_another_thread_is_at_work_on_are_left_alone(self):
        values = np.ones(4_000_000, dtype=np.float32)
        method, floats = _core.Method("{ }", [("a", [4_000_000], values)], 0), _core.Floats.of_arrays([values.copy()])
        told, deadline = [], time.monotonic() + 60

        def write():
            while not told and time.monotonic() < deadline:
                try:
                    method.masters(floats)
                except bq.UsageError as error:
                    told.append(str(error))

        threads = [threading.Thread(target=write) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert told and all("another thread is at work" in text for text in told)

    def test_of_parameters_that_were_tied_since(self):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        robust = bq.RobustTraining(model, quantization=CODES)
        model[1].weight.data = model[0].weight.data
        for _ in range(2):
            with pytest.raises(bq.UsageError, match="share memory"):
                robust.step(lambda: model(torch.ones(1, 3)).sum())
        model[1].weight.data = torch.ones(3, 3)
        robust.step(lambda: model(torch.ones(1, 3)).sum())
        assert (model[1].weight == 1).all()


class Kept(torch.Tensor):
    """A class of its own."""


class TestBadTables:
    @pytest.mark.parametrize(
        ("table", "message"),
        [
            ({"w_mx": 0.1}, "unknown key `w_mx`.*w_max"),
            ({"bit_errors": {"rat": 0.1}}, "unknown key `rat`.*rate"),
            ({"bit_errors": {}}, "one of rate, fault and attack"),
            ({"quantization": {"family": "asymetric"}}, "asymmetric"),
            ({"w_max": -1.0}, "above 0"),
            ({"p0": 0.1, "bit_errors": {"rate": 0.1}}, "exclude each other"),
            ({"noisy_labels": 0.1}, "labels are what the closure"),
            ({"seed": -1}, "whole number"),
            ({"ranges": {"rule": "learn"}}, "wcat or lsq"),
        ],
    )
    def test_messages(self, table, message):
        with pytest.raises(bq.UsageError, match=message):
            bq.RobustTraining(network(), **table)

    def test_of_randbet(self):
        with pytest.raises(bq.UsageError, match="bits stand in `quantization`"):
            bq.RandBET(network(), rate=0.01, bits=4, quantization=CODES)
        with pytest.raises(bq.UsageError, match="takes the whole table"):
            bq.RandBET(network(), rate=0.01, bit_errors={})
        with pytest.raises(TypeError, match="rate"):
            bq.RandBET(network())

    @pytest.mark.parametrize(
        ("closure", "message"),
        [
            (lambda m: None, "NoneType"),
            (lambda m: m[5].weight, r"\[5, 36\]"),
            (lambda m: m[5].weight.sum().detach(), "depends on no parameter"),
        ],
    )
    def test_of_a_closure(self, closure, message):
        model, _, robust = made(quantization=CODES)
        with pytest.raises(bq.UsageError, match=message):
            robust.step(lambda: closure(model))

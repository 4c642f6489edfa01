"""Campaigns: of ONNX files, of modules, of callables; the same records and statistics as the command line."""

import copy
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import bitquake as bq

torch = pytest.importorskip("torch")

EXAMPLES = Path(__file__).parents[3] / "examples" / "fashion-cnn"


@pytest.fixture
def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(20, 16), torch.nn.ReLU(inplace=True), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5)
    )


@pytest.fixture
def data(net):
    torch.manual_seed(1)
    x = torch.randn(300, 20)
    with torch.no_grad():
        return x, net(x).argmax(1)


def timeless(dir):
    lines = (dir / "trials-0.jsonl").read_text().splitlines()
    return sorted(json.dumps({k: v for k, v in json.loads(line).items() if k != "seconds"}) for line in lines)


def test_a_module_and_what_it_leaves(net, data, tmp_path):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.train()
    campaign = bq.Campaign(net, data, bq.Fault(rates=[0, 1e-3, 3e-2]), trials=8, dir=tmp_path)
    results = campaign.run(progress=False)
    assert net.training and all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    rows = results.rows
    assert [row["rate"] for row in rows] == [0, 1e-3, 3e-2] and [row["trials"] for row in rows] == [8, 8, 8]
    assert rows[0]["accuracy_mean"] == 1 and rows[0]["accuracy_mean"] > rows[1]["accuracy_mean"] > rows[2]["accuracy_mean"]
    assert rows[1]["accuracy_ci_lo"] < rows[1]["accuracy_mean"] < rows[1]["accuracy_ci_hi"]
    assert results.golden["engine"]["name"] == "PyTorch"
    assert results.report.read_text().startswith("<!doctype html>")
    assert len(results.trials()) == 24 and len(results.trials(library="polars")) == 24
    assert "accuracy" in results._repr_html_() and "24 trials" in repr(results)
    assert [path.name for path in results.export("parquet")] == ["trials.parquet"]


def test_a_trial_is_what_faulty_words_give(net, data, tmp_path):
    """By hand: draw with the library, run torch, count."""
    results = bq.Campaign(net, data, bq.Fault(rates=[1e-2]), seed=3, trials=5, dir=tmp_path).run(progress=False)
    for record in results.trials().to_dict("records"):
        pattern = bq.inject_(net, 1e-2, seed=3, trial=record["trial"])
        with torch.no_grad():
            outputs = net(data[0])
        pattern.undo_(net)
        assert record["faults"] == pattern.flips
        best = torch.where(outputs.isnan().any(1), -1, outputs.argmax(1))
        assert record["correct"] == int((best == data[1]).sum())
        assert record["nonfinite"] == int((~outputs.isfinite()).any(1).sum())


def test_records_do_not_hang_on_reuse_or_loaders(net, data, tmp_path):
    fault = bq.Fault(counts=[1, 3])
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size=256)
    for name, given, reuse in (("a", data, 1024), ("b", data, 0), ("c", loader, 1024)):
        bq.Campaign(net, given, fault, trials=30, reuse_mb=reuse, dir=tmp_path / name).run(progress=False)
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b") == timeless(tmp_path / "c")


def test_what_is_kept_is_not_what_children_work_in(data, tmp_path):
    """A child that works in place and holds weights, and one whose weight is tied to an earlier child's."""
    torch.manual_seed(2)
    inner = torch.nn.Sequential(torch.nn.LeakyReLU(0.5, inplace=True), torch.nn.Linear(20, 20))
    net = torch.nn.Sequential(torch.nn.Linear(20, 20), inner, torch.nn.Linear(20, 20))
    net[2].weight = net[0].weight
    for select in ("1.*", "0.weight", "2.bias"):
        for reuse in (1024, 0):
            fault = bq.Fault(counts=[2], select=[select])
            bq.Campaign(net, (data[0], data[1]), fault, trials=6, reuse_mb=reuse, dir=tmp_path / f"{select[0]}{reuse}").run(progress=False)
        assert timeless(tmp_path / f"{select[0]}1024") == timeless(tmp_path / f"{select[0]}0")


def test_stopped_by_an_interrupt_it_goes_on(net, data, tmp_path):
    whole = tmp_path / "whole"
    bq.Campaign(net, data, bq.Fault(rates=[1e-2]), trials=12, dir=whole).run(progress=False)
    before = net.state_dict()["0.weight"].clone()
    calls = 0

    def interrupt(module, inputs):
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt

    hook = net[0].register_forward_pre_hook(interrupt)
    campaign = bq.Campaign(net, data, bq.Fault(rates=[1e-2]), trials=12, reuse_mb=0, dir=tmp_path / "cut")
    with pytest.raises(bq.StoppedError, match="trials to go; the same call goes on"):
        campaign.run(progress=False)
    assert torch.equal(net.state_dict()["0.weight"], before)
    assert 0 < len(timeless(tmp_path / "cut")) < 12
    hook.remove()
    campaign.run(progress=False)
    assert timeless(tmp_path / "cut") == timeless(whole)


OWN = str(Path(bq.__file__).parent) + os.sep


class Interrupts:
    """Interrupts at the n-th place where Python looks for signals: a function begins, or one of C has ended."""

    def __init__(self, number):
        self.left = number

    def __call__(self, frame, event, argument):
        callers = (frame, frame.f_back) if event == "call" else (frame,)
        is_ours = any(one is not None and one.f_code.co_filename.startswith(OWN) for one in callers)
        if is_ours and event in ("call", "c_return"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def interrupted_everywhere(work, is_clean, step=1):
    """Interrupts work at one place after the other; none may leave anything behind."""
    number = 1
    while True:
        sys.setprofile(interrupts := Interrupts(number))
        try:
            work()
        except (KeyboardInterrupt, bq.StoppedError):
            pass
        finally:
            sys.setprofile(None)
        assert is_clean() and torch.is_grad_enabled(), f"place {number}"
        if interrupts.left > 0:
            return number
        number += step


def as_it_is(net):
    pass


def channels_last(net):
    net.to(memory_format=torch.channels_last)


def strided(net):
    net[3].weight.data = torch.zeros(3, 32)[:, ::2].copy_(net[3].weight.data)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a place in a `__del__`, too
@pytest.mark.parametrize("lay_out", [as_it_is, channels_last, strided])
@pytest.mark.parametrize("storage", [None, "symmetric"])
def test_an_interruption_anywhere_leaves_no_faults(storage, lay_out, tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16, 3)).train()
    lay_out(net)
    data = torch.randn(8, 2, 4, 4), torch.arange(8) % 3
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    folders = iter(range(10**6))

    def work():
        bq.Campaign(net, data, bq.Fault(counts=[9]), trials=2, storage=storage, dir=tmp_path / str(next(folders))).run(progress=False)

    def is_clean():
        return net.training and all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())

    assert interrupted_everywhere(work, is_clean, step=3) > 300


@pytest.mark.parametrize("memory", [np.zeros(50, np.float32), np.zeros(100, np.float32)[::2], torch.zeros(100)[::2]])
def test_an_interruption_anywhere_leaves_arrays_as_they_were(memory, tmp_path):
    w = memory
    w += 1
    before, folders = np.asarray(w).copy(), iter(range(10**6))

    def work():
        fault = bq.Fault(counts=[3], bits="mantissa")
        bq.Campaign(lambda: float(w.sum()), fault=fault, weights=[w], trials=3, dir=tmp_path / str(next(folders))).run(progress=False)

    assert interrupted_everywhere(work, lambda: np.array_equal(w, before), step=2) > 150


@pytest.mark.parametrize("failures", ["raise", "count"])
@pytest.mark.parametrize("method", ["make", "undo"])
def test_errors_of_flipping_are_none_of_the_network(net, data, method, failures, tmp_path, monkeypatch):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    flips_in, calls = bq._torch_campaign.flips_in, []

    class Broken:
        def __init__(self, *arguments):
            self._flips = flips_in(*arguments)

        def __getattr__(self, name):
            calls.append(name)
            if name == method and calls.count(method) == 4:
                raise RuntimeError("no memory is left")
            return getattr(self._flips, name)

    monkeypatch.setattr(bq._torch_campaign, "flips_in", Broken)
    with pytest.raises(RuntimeError, match="no memory is left"):
        bq.Campaign(net, data, bq.Fault(counts=[3]), trials=9, failures=failures, dir=tmp_path).run(progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.is_grad_enabled()


def test_floats_that_cannot_be_put_back(net, data, tmp_path, monkeypatch):
    """Everything else is as before."""
    monkeypatch.setattr(bq.storage.Storage, "put_back", lambda self: 1 / 0)
    net.train()
    with pytest.raises(ZeroDivisionError):
        bq.Campaign(net, data, bq.Fault(counts=[3]), trials=1, storage="symmetric", dir=tmp_path).run(progress=False)
    assert torch.is_grad_enabled() and net.training


def test_an_interruption_anywhere_leaves_no_codes():
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 3))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    held = {}

    def work():
        held["storage"] = bq.quantize(module, "symmetric", bits=4)
        held["storage"].restore_()

    def is_clean():
        # Whoever holds a storage restores it, also one whose restoring was interrupted.
        storage = held.pop("storage", None)
        if storage is not None and repr(storage) != "Storage(restored)":
            storage.restore_()
        return all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())

    assert interrupted_everywhere(work, is_clean) > 200


def test_an_interruption_while_floats_are_put_back(monkeypatch):
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 3))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    storage, write, calls = bq.quantize(module, "symmetric", bits=4), bq.storage._write, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(bq.storage, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        storage.restore_()
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("reuse", [1024, 0])
@pytest.mark.parametrize("kind", ["layer twice", "weights twice", "hook", "hook before", "patched", "own parameter"])
def test_sequential_modules_that_do_more(kind, reuse, tmp_path):
    """What runs is the module, not its children one after the other."""
    torch.manual_seed(0)
    shared, act = torch.nn.Linear(8, 8), torch.nn.ReLU()
    net = torch.nn.Sequential(shared, act, shared if kind == "weights twice" else torch.nn.Linear(8, 8), act, torch.nn.Linear(8, 4)).eval()
    if kind == "hook":
        net.register_forward_hook(lambda module, inputs, outputs: -outputs)
    if kind == "hook before":
        net.register_forward_pre_hook(lambda module, inputs: (-inputs[0],))
    if kind == "patched":
        forward = net.forward
        net.forward = lambda x: forward(x).flip(1)
    if kind == "own parameter":
        net.scale = torch.nn.Parameter(torch.ones(3))
    x = torch.randn(60, 8)
    with torch.no_grad():
        labels = net(x).argmax(1)
    results = bq.Campaign(net, (x, labels), bq.Fault(counts=[4]), trials=6, seed=2, reuse_mb=reuse, dir=tmp_path).run(progress=False)
    assert results.golden["metrics"]["correct"] == 60
    for record in results.trials().to_dict("records"):
        with bq.faulty(net, bq.Fault(count=4), seed=2, trial=record["trial"]), torch.no_grad():
            assert int((net(x).argmax(1) == labels).sum()) == record["correct"]


@pytest.mark.parametrize("select", ["0.*", "2.*", "3.*"])
def test_memory_that_several_children_hold(select, tmp_path):
    torch.manual_seed(0)
    shared, last = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
    last.weight.data = shared.weight.data[:]  # of one memory, though not tied
    net, x = torch.nn.Sequential(shared, torch.nn.ReLU(), shared, last).eval(), torch.randn(60, 8)
    data, fault = (x, net(x).argmax(1)), bq.Fault(counts=[30], select=[select])
    for reuse in (1024, 0):
        bq.Campaign(net, data, fault, trials=6, reuse_mb=reuse, dir=tmp_path / str(reuse)).run(progress=False)
    assert timeless(tmp_path / "1024") == timeless(tmp_path / "0")


def test_what_is_not_selected_is_not_looked_at(net, data, tmp_path):
    net.register_buffer("complex", torch.zeros(3, dtype=torch.complex64))
    net.register_buffer("part", net[0].weight.data[0])
    fault = bq.Fault(rates=[1e-2], select=["0.*"])
    with bq.faulty(net.eval(), bq.Fault(rate=1e-2, select=["0.*"]), seed=1, trial=1) as pattern:
        pass
    records = bq.Campaign(net, data, fault, trials=3, seed=1, dir=tmp_path).run(progress=False).trials()
    assert records["faults"][1] == pattern.flips
    found = bq.inject_(net, bq.Fault(rate=1e-2, select=["0.*"]), seed=1, trial=1)
    assert found == pattern
    found.undo_(net)
    net.register_buffer("nowhere", torch.zeros(3, device="meta"))
    net.register_buffer("sparse", torch.eye(3).to_sparse())
    net.register_buffer("expanded", torch.zeros(1).expand(4))
    net.register_buffer("negated", torch._neg_view(torch.ones(3)))
    net.register_buffer("lost", torch.ones(3))
    net.get_buffer("lost").untyped_storage().resize_(0)
    bq.Campaign(net, data, fault, trials=1, dir=tmp_path / "m").run(progress=False)
    assert set(bq.attack(net, *data, budget=1).pattern.tensors) <= {name for name, _ in net.named_parameters()}
    with pytest.raises(bq.UnsupportedError, match="`complex` is complex64"):
        bq.Campaign(net, data, bq.Fault(rates=[1e-2], select=["complex"]), trials=1, dir=tmp_path / "c").run(progress=False)


def test_a_compiled_module_has_the_names_of_what_was_compiled(net, data, tmp_path):
    compiled = torch.compile(net.eval(), backend="eager")
    for name, module in (("plain", net), ("compiled", compiled)):
        bq.Campaign(module, data, bq.Fault(rates=[1e-2], select=["0.*"]), trials=3, dir=tmp_path / name).run(progress=False)
    assert timeless(tmp_path / "plain") == timeless(tmp_path / "compiled")
    assert not bq.diff(net, compiled)
    with bq.faulty(compiled, 1e-2, seed=1) as pattern:
        pass
    pattern.apply_(compiled)
    pattern.undo_(net)


@pytest.mark.parametrize("select", [["b.weight"], ["a.weight", "b.weight"], ["*", "!c.weight"], ["*", "!b.weight"], ["*", "!a.weight"]], ids=str)
def test_tied_weights_by_either_name(select, tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(6, 6, bias=False), torch.nn.Linear(6, 6, bias=False)
            self.b.weight = self.a.weight
            self.c = torch.nn.Linear(6, 6, bias=False)

        def forward(self, x):
            return self.c(self.b(torch.relu(self.a(x))))

    torch.manual_seed(0)
    net, x = Tied().eval(), torch.randn(30, 6)
    data = x, net(x).argmax(1)
    hit = "c.weight" if select[1:] in (["!a.weight"], ["!b.weight"]) else "b.weight" if select == ["b.weight"] else "a.weight"
    fault = bq.Fault(counts=[3], select=select)
    frame = bq.Campaign(net, data, fault, trials=2, dir=tmp_path).run(progress=False).trials()
    assert [list(one) for one in frame["by_tensor"]] == [[hit]] * 2
    pattern = bq.inject_(net, bq.Fault(count=3, select=select), seed=0, trial=1)
    assert pattern.tensors == {hit: 3}
    pattern.undo_(net)
    assert torch.equal(net(x).argmax(1), data[1])


@pytest.mark.parametrize("changed", [0, 1])
def test_data_that_were_changed_in_place(net, data, changed, tmp_path):
    data = [tensor.clone() for tensor in data]
    campaign = bq.Campaign(net, data, bq.Fault(rates=[1e-2]), trials=3, dir=tmp_path)
    campaign.run(progress=False)
    data[changed].copy_(data[changed].flip(0))
    with pytest.raises(bq.UsageError, match="data"):
        campaign.run(progress=False)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_lists_of_batches(net, data, count, tmp_path):
    x, labels = data
    parts = list(zip(x.chunk(count), labels.chunk(count)))
    results = bq.Campaign(net, parts, bq.Fault(rates=[1e-2]), trials=2, dir=tmp_path).run(progress=False)
    assert results.golden["metrics"]["correct"] == len(x)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda x, labels: [(x, labels, labels)], "a batch of 3 parts"),
        (lambda x, labels: [()], "a batch of 0 parts"),
        (lambda x, labels: (x, labels + 2**32), "labels are the numbers of classes"),
        (lambda x, labels: (x, -labels), "labels are the numbers of classes"),
    ],
)
def test_batches_that_are_none(net, data, batches, message, tmp_path):
    with pytest.raises(bq.UsageError, match=message):
        bq.Campaign(net, batches(*data), bq.Fault(rates=[1e-2]), trials=1, dir=tmp_path).run(progress=False)


@pytest.mark.parametrize("outputs", [lambda y: {"out": y}, lambda y: [], lambda y: None, lambda y: y.numpy(), lambda y: y.to(torch.complex64)])
def test_outputs_that_are_no_scores(net, data, outputs, tmp_path):
    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return outputs(self.net(x))

    with pytest.raises(bq.UsageError, match="a tensor of scores is needed"):
        bq.Campaign(Other(), data, bq.Fault(rates=[1e-2]), trials=1, dir=tmp_path).run(progress=False)


def test_arguments_that_would_not_be_read(net, data, tmp_path):
    w, options = np.ones(3, np.float32), {"fault": bq.Fault(rates=[1e-2]), "dir": tmp_path}
    for model, given, message in [
        (lambda: 1.0, {"weights": [w], "storage": "symmetric"}, "callable takes no `storage`"),
        (lambda: 1.0, {"weights": [w], "data": data}, "callable takes no `data`"),
        (lambda: 1.0, {"weights": [w], "batch": 3}, "callable takes no `batch`"),
        (net, {"data": data, "weights": [w]}, "module takes no `weights`"),
        (net, {"data": [data], "labels": data[1]}, "labels go with a tensor"),
        ("a.onnx", {"data": {}, "failures": "count"}, "file takes no `failures`"),
        ("a.onnx", {"data": {}, "storage": 3}, "a quantizer is the name of a family"),
    ]:
        with pytest.raises(bq.UsageError, match=message):
            bq.Campaign(model, **given, **options)
    for batch in (0, -1, 1.5, True, "3"):
        with pytest.raises(bq.UsageError, match="batch is"):
            bq.Campaign(net, data, batch=batch, **options)
    with pytest.raises(bq.UsageError, match="batch goes with a tensor"):
        bq.Campaign(net, [data], batch=3, **options)
    bq.Campaign(net, data, batch=np.int64(3), **options)


def test_frames_of_polars_have_every_tensor(tmp_path):
    weights = {f"w{number}": np.ones(2, np.float32) for number in range(200)}
    evaluate = lambda: float(sum(array.astype(np.float64).sum() for array in weights.values()))
    results = bq.Campaign(evaluate, fault=bq.Fault(counts=[1]), weights=weights, trials=150, dir=tmp_path).run(progress=False)
    rows = results.trials(library="polars")["by_tensor"].to_list()
    assert [{name for name, flips in row.items() if flips} for row in rows] == [set(row) for row in results.trials()["by_tensor"]]


def test_numbers_that_are_not_finite_are_counted(tmp_path):
    w, calls = np.ones(4, np.float32), iter(range(10**6))

    def evaluate():
        number = next(calls)
        return {"sum": float(w.sum()), "odd": float("nan") if number > 5 and number % 2 else 5.0}

    row = bq.Campaign(evaluate, fault=bq.Fault(counts=[1]), weights=[w], trials=10, dir=tmp_path).run(progress=False).rows[0]
    assert 3 <= row["odd_nonfinite"] < 10 and row["sum_nonfinite"] == 0 and row["odd_mean"] == 5.0


def test_seeds_that_a_campaign_file_cannot_hold(tmp_path):
    w = np.ones(4, np.float32)
    options = {"fault": bq.Fault(counts=[1]), "weights": [w], "trials": 2}
    with pytest.raises(bq.UsageError, match="seed 9223372036854775808 is above"):
        bq.Campaign(lambda: float(w.sum()), seed=2**63, dir=tmp_path / "a", **options).run(progress=False)
    bq.Campaign(lambda: float(w.sum()), seed=2**63 - 1, dir=tmp_path / "b", **options).run(progress=False)
    assert not list((tmp_path / "a").glob("trials*"))


def test_a_truncated_line_is_run_again(net, data, tmp_path):
    campaign = bq.Campaign(net, data, bq.Fault(rates=[1e-2]), trials=6, dir=tmp_path)
    campaign.run(progress=False)
    whole, file = timeless(tmp_path), tmp_path / "trials-0.jsonl"
    file.write_bytes(file.read_bytes()[:-40])
    campaign.run(progress=False)
    assert timeless(tmp_path) == whole


def test_another_campaign_does_not_mix(net, data, tmp_path):
    bq.Campaign(net, data, bq.Fault(rates=[1e-2]), trials=2, dir=tmp_path).run(progress=False)
    with pytest.raises(bq.UsageError, match="(?s)seed"):
        bq.Campaign(net, data, bq.Fault(rates=[1e-2]), trials=2, seed=1, dir=tmp_path).run(progress=False)
    with pytest.raises(bq.UsageError, match="(?s)data"):
        bq.Campaign(net, (data[0] * 2, data[1]), bq.Fault(rates=[1e-2]), trials=2, dir=tmp_path).run(progress=False)
    bq.flip_(net[0].weight, 0, 3)
    with pytest.raises(bq.UsageError, match="words"):
        bq.Campaign(net, data, bq.Fault(rates=[1e-2]), trials=2, dir=tmp_path).run(progress=False)


def test_a_rule_stops_it(net, data, tmp_path):
    stop = {"half_width": 0.05, "max_trials": 400}
    rows = bq.Campaign(net, data, bq.Fault(rates=[1e-4, 1e-2]), stop=stop, dir=tmp_path).run(progress=False).rows
    assert all(row["trials"] < 400 for row in rows)
    assert all(row["accuracy_ci_hi"] - row["accuracy_ci_lo"] <= 0.1 + 1e-9 for row in rows)


def test_a_network_that_ignores_its_words_is_refused(net, data, tmp_path):
    class Deaf(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(20, 5))
            self.copy = [torch.ones(20, 5)]

        def forward(self, x):
            return x @ self.copy[0]

    with pytest.raises(bq.SelfCheckError, match="do not reach"):
        bq.Campaign(Deaf(), data, 1e-3, dir=tmp_path / "deaf").run(progress=False)

    class Moody(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.rand(())

    with pytest.raises(bq.SelfCheckError):
        bq.Campaign(Moody(20, 5), data, 1e-3, dir=tmp_path / "moody").run(progress=False)


def test_a_module_that_raises_under_faults(data, tmp_path):
    class Table(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("index", torch.arange(5))
            self.scores = torch.nn.Parameter(torch.eye(20, 5))

        def forward(self, x):
            return (x @ self.scores)[:, self.index]

    table, fault = Table(), bq.Fault(counts=[1], select=["index"], bits="8..40")
    before = table.index.clone()
    with pytest.raises(IndexError):
        bq.Campaign(table, data, fault, trials=3, dir=tmp_path / "a").run(progress=False)
    assert torch.equal(table.index, before)
    results = bq.Campaign(table, data, fault, trials=3, failures="count", dir=tmp_path / "b").run(progress=False)
    assert results.trials()["due"].tolist() == [300, 300, 300]


def test_any_callable(tmp_path):
    """The words of a network that knows nothing of bitquake."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(20, 5)).astype(np.float32), "b": np.zeros(5, dtype=np.float32)}
    x = rng.normal(size=(200, 20)).astype(np.float32)
    labels = (x @ weights["w"]).argmax(1)

    def evaluate():
        with np.errstate(all="ignore"):
            outputs = x @ weights["w"] + weights["b"]
        return {"correct": (outputs.argmax(1) == labels).sum(), "images": len(x), "norm": np.abs(weights["w"]).max()}

    before = {name: array.tobytes() for name, array in weights.items()}
    results = bq.Campaign(evaluate, fault=bq.Fault(rates=[1e-3, 1e-2]), weights=weights, trials=10, dir=tmp_path).run(progress=False)
    assert {name: array.tobytes() for name, array in weights.items()} == before
    rows = results.rows
    assert rows[0]["accuracy_mean"] > rows[1]["accuracy_mean"] and rows[0]["norm_mean"] >= np.abs(weights["w"]).max()
    assert results.golden["metrics"]["correct"] == 200


def test_a_callable_that_raises_or_returns_texts(tmp_path):
    weights = np.ones(100, dtype=np.float32)
    calls = iter(range(100))

    def evaluate():
        if next(calls) > 5:
            raise ZeroDivisionError("mine")
        return {"sum": float(weights.sum())}

    with pytest.raises(ZeroDivisionError, match="mine"):
        bq.Campaign(evaluate, fault=1e-2, weights=[weights], trials=50, dir=tmp_path / "a").run(progress=False)
    assert (weights == 1).all()
    with pytest.raises(bq.UsageError, match="metric `a` is 'good'"):
        bq.Campaign(lambda: {"a": "good"}, fault=1e-2, weights=[weights], dir=tmp_path / "b").run(progress=False)


def test_an_onnx_file(tmp_path, monkeypatch):
    """Paths are relative to the working directory, as everywhere in Python."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.gz").symlink_to(EXAMPLES / "t10k-2000-labels-idx1-ubyte.gz")
    data = {
        "format": "idx",
        "images": EXAMPLES / "t10k-2000-images-idx3-ubyte.gz",
        "labels": "labels.gz",
        "limit": 50,
        "preprocess": {"scale": 255.0, "mean": [0.2860], "std": [0.3530]},
    }
    campaign = bq.Campaign(EXAMPLES / "fashion_cnn.onnx", data, bq.Fault(rates=[1e-5, 1e-3]), trials=4, seed=42, dir="out")
    results = campaign.run(progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.gz", "out"]
    assert [row["trials"] for row in results.rows] == [4, 4]
    assert results.rows[0]["accuracy_mean"] > results.rows[1]["accuracy_mean"]
    options = {"storage": "symmetric", "batch": 7, "trials": 1, "dir": "codes"}
    codes = bq.Campaign(EXAMPLES / "fashion_cnn.onnx", data, bq.Fault(rates=[1e-3]), **options).run(progress=False)
    assert codes.golden["metrics"]["images"] == 50
    text = (tmp_path / "codes" / "campaign.toml").read_text()
    assert "batch = 7" in text and 'family = "symmetric"' in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(model=3), "a campaign takes the path of an ONNX file"),
        (dict(model=lambda: 1), "give weights"),
        (dict(model="missing.onnx", data=None), "is a table"),
        (dict(model=lambda: 1, weights=[np.zeros(3, dtype=bool)]), "is bool"),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path):
    with pytest.raises(bq.UsageError, match=message):
        bq.Campaign(**{"data": None, "fault": 1e-3, **arguments}, dir=tmp_path)


def test_no_place_for_results(net, data, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(bq.UsageError, match="file: no place for results: File exists"):
        bq.Campaign(net, data, 1e-3, trials=1, dir=tmp_path / "file").run(progress=False)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_loader_that_shuffles_is_refused(net, data, tmp_path):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size=100, shuffle=True)
    with pytest.raises(bq.SelfCheckError, match="a trial without faults differs.*a loader that shuffles"):
        bq.Campaign(net, loader, 1e-3, trials=1, dir=tmp_path).run(progress=False)


def test_wrong_data(net, data, tmp_path):
    for given, message in (
        ((data[0], data[1][:5]), "5 labels for 300 inputs"),
        ((data[0], data[1].float()), "labels are the numbers of classes"),
        ((data[0], data[1] + 90), "label"),
        (iter([data]), "gone through again"),
        ((data[0][:0], data[1][:0]), "no inputs"),
    ):
        with pytest.raises(bq.UsageError, match=message):
            bq.Campaign(net, given, 1e-3, trials=1, dir=tmp_path / "x").run(progress=False)
    with pytest.raises(bq.UsageError, match="nothing-like"):
        bq.Campaign(net, data, bq.Fault(rate=1e-3, select=["nothing-like"]), trials=1, dir=tmp_path / "x").run(progress=False)


def test_faults_in_codes(net, data, tmp_path):
    """A memory of 4-bit codes: the words of a trial are those of the storage, and the floats come back."""
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    storage = {"family": "symmetric", "bits": 4}
    results = bq.Campaign(net, data, bq.Fault(rates=[5e-2]), storage=storage, seed=2, trials=4, dir=tmp_path).run(progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert {tensor["format"] for tensor in results.golden["storage"]["tensors"]} == {"i4"}
    assert results.golden["storage"]["memory"] == "symmetric, 4 bits" and "bits = 4" in (tmp_path / "campaign.toml").read_text()
    with pytest.raises(bq.UsageError, match="storage bits is `8` here and `4` there"):
        bq.Campaign(net, data, bq.Fault(rates=[5e-2]), storage={**storage, "bits": 8}, seed=2, trials=4, dir=tmp_path).run(progress=False)
    with bq.quantize(net, storage) as stored:
        for record in results.trials().to_dict("records"):
            with stored.faulty(bq.Fault(rate=5e-2), seed=2, trial=record["trial"]) as pattern, torch.no_grad():
                outputs = net(data[0])
            assert record["faults"] == pattern.flips
            assert record["correct"] == int((outputs.argmax(1) == data[1]).sum())


class Keeps(torch.nn.Module):
    """Keeps what it gets for a later child: a skip connection that no cut sees."""

    def forward(self, x):
        self.kept = x
        return x


class Adds(torch.nn.Module):
    def __init__(self, first):
        super().__init__()
        self.__dict__["first"] = first

    def forward(self, x):
        return x + self.first.kept


@pytest.mark.parametrize("batch", [60, 16])
def test_values_that_go_past_the_cuts(batch, tmp_path):
    """With one batch what was kept would be of a trial before, with several of another batch."""
    torch.manual_seed(0)
    first = Keeps()
    net = torch.nn.Sequential(
        torch.nn.Linear(8, 8), first, torch.nn.Linear(8, 8), torch.nn.ReLU(), Adds(first), torch.nn.Linear(8, 4)
    ).eval()
    x = torch.randn(60, 8)
    with torch.no_grad():
        data = (x, net(x).argmax(1))
    for reuse in (1024, 0):
        bq.Campaign(net, data, bq.Fault(counts=[20]), trials=10, batch=batch, reuse_mb=reuse, dir=tmp_path / str(reuse)).run(progress=False)
    assert timeless(tmp_path / "1024") == timeless(tmp_path / "0")


class Routes(torch.nn.Module):
    """Keeps what most inputs have in common, in a list of its own, where no attribute tells."""

    def __init__(self):
        super().__init__()
        self.kept = [None]

    def forward(self, x):
        self.kept[0] = x[:, :3].argmax(1)
        return x


class Scales(Adds):
    def forward(self, x):
        return x * (1.0 + self.first.kept[0][:, None])


class Counts(torch.nn.Module):
    def forward(self, x):
        self.calls = getattr(self, "calls", 0) + 1
        return x


def quantized():
    layer = torch.nn.Linear(8, 8)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", bq.FakeQuantize("symmetric"))
    return (layer,)


def pair(first, second):
    return first, torch.nn.Tanh(), second(first)


@pytest.mark.parametrize(
    ("more", "depth"), [(lambda: (), 4), (quantized, 5), (lambda: pair(Keeps(), Adds), 0), (lambda: pair(Routes(), Scales), 0), (lambda: (Counts(),), 0)]
)
def test_reuse_stands_where_children_keep_nothing(more, depth, data, tmp_path, monkeypatch):
    """What proves it must not take the short cut from networks that it suits."""
    from bitquake import _torch_campaign

    depths = []
    prove = _torch_campaign._Prefix.prove
    monkeypatch.setattr(_torch_campaign._Prefix, "prove", lambda self, *given: (prove(self, *given), depths.append(self.depth)))
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.ReLU(inplace=True), *more(), torch.nn.LSTM(8, 5)).eval()
    net.append(First())
    for batch in (64, 1000):
        for reuse in (1024, 0):
            campaign = bq.Campaign(net, data, bq.Fault(counts=[20]), trials=6, batch=batch, reuse_mb=reuse, dir=tmp_path / f"{batch}-{reuse}")
            campaign.run(progress=False)
        assert timeless(tmp_path / f"{batch}-1024") == timeless(tmp_path / f"{batch}-0")
    assert depths == [depth, depth]


class First(torch.nn.Module):
    def forward(self, x):
        return x[0]


class Writes(torch.nn.Module):
    """Writes to its buffer when it is run, or only when a number is not as it was."""

    def __init__(self, always):
        super().__init__()
        self.layer, self.always = torch.nn.Linear(6, 3), always
        self.clean = self.layer.weight.sum().item()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        if self.always or self.layer.weight.sum().item() != self.clean:
            self.seen += 1
        return self.layer(x)


def test_counters_and_scratch_memory_may_be_written(net, data, tmp_path):
    class Scratch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
            self.register_buffer("scratch", torch.zeros(1), persistent=False)

        def forward(self, x):
            self.calls += 1
            self.scratch.copy_(x.sum())
            return self.net(x)

    results = bq.Campaign(Scratch().eval(), data, bq.Fault(counts=[3]), trials=3, dir=tmp_path).run(progress=False)
    assert len(results.trials()) == 3


@pytest.mark.parametrize("failures", ["raise", "count"])
@pytest.mark.parametrize("always", [True, False])
def test_modules_that_write_to_themselves_are_refused(always, failures, tmp_path):
    net = Writes(always).eval()
    weight = net.layer.weight.detach().clone()
    with pytest.raises(bq.UnsupportedError, match="the module writes to `seen` when it is run"):
        data = torch.randn(20, 6), torch.arange(20) % 3
        bq.Campaign(net, data, bq.Fault(count=3, select=["layer.weight"]), trials=3, failures=failures, dir=tmp_path).run(progress=False)
    assert torch.equal(net.layer.weight, weight)


def test_an_embedding_that_is_renormed_is_refused(tmp_path):
    net = torch.nn.Sequential(torch.nn.Embedding(50, 8, max_norm=1.0), torch.nn.Flatten(), torch.nn.Linear(48, 4)).eval()
    data, plain = (torch.randint(0, 50, (20, 6)), torch.arange(20) % 4), copy.deepcopy(net)
    with torch.no_grad():
        plain(data[0])
    with pytest.raises(bq.UnsupportedError, match="writes to `0.weight` .*max_norm"):
        bq.Campaign(net, data, bq.Fault(rates=[1e-1], bits="exponent"), trials=3, reuse_mb=0, dir=tmp_path).run(progress=False)
    assert torch.equal(net[0].weight, plain[0].weight)  # before any flip was made


@pytest.mark.parametrize(
    ("protect", "select", "rate"),
    [
        ([{"kind": "tmr"}], None, 0.1),
        ([{"kind": "secded", "data_bits": 64}], None, 0.01),
        ([{"kind": "tmr", "select": ["0.weight"]}], ["*", "!*@copy*"], 0.1),
        ([{"kind": "secded", "data_bits": 64}], ["*@check"], 0.3),
    ],
)
def test_campaigns_hit_the_check_bits_of_a_memory(protect, select, rate, net, data, tmp_path):
    """As storages do: else memories would seem better protected than they are."""
    storage = {"family": "symmetric", "bits": 8, "protect": protect}
    fault = bq.Fault(rates=[rate], **({} if select is None else {"select": select}))
    results = bq.Campaign(net, data, fault, storage=storage, trials=4, seed=5, dir=tmp_path).run(progress=False)
    records = [json.loads(line) for line in (tmp_path / "trials-0.jsonl").read_text().splitlines()]
    with bq.quantize(net, storage) as held:
        assert results.golden["storage"]["check_bits"] == held.check_bits > 0
        for record in records:
            with held.faulty(fault, seed=5, trial=record["trial"]) as pattern, torch.no_grad():
                best = net(data[0]).argmax(1)
            assert record["correct"] == int((best == data[1]).sum())
            assert (record["faults"], record["by_tensor"]) == (pattern.flips, pattern.tensors)
            assert record["residual"] < record["faults"] and record["corrected"] + record["detected"] > 0


def test_shapes_of_faults_in_a_memory_are_those_of_the_module():
    layer = torch.nn.Linear(30, 40)
    with bq.quantize(layer, "symmetric", bits=8) as held:
        for shape, words in (("channel", 30), ("row", 30), ("column", 40)):
            with held.faulty(bq.Fault("shape", shape=shape, count=1, bits_hit="all"), select="weight") as pattern:
                assert pattern.flips == words * 8


@pytest.mark.parametrize("form", ["attribute", "key", "tuple"])
def test_scores_are_found_in_what_a_module_gives(form, net, data, tmp_path):
    class Named(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            scores = self.net(x)
            given = {"hidden": x, "logits": scores}
            return {"attribute": types.SimpleNamespace(**given), "key": given, "tuple": (scores, x)}[form]

    results = bq.Campaign(Named(), data, bq.Fault(counts=[1]), trials=2, dir=tmp_path).run(progress=False)
    assert results.golden["metrics"]["correct"] == int((net(data[0]).argmax(1) == data[1]).sum())
    if form != "tuple":
        attacked = bq.attack(Named().eval(), data[0][:16], data[1][:16], budget=1)
        assert len(attacked.steps) == 1


def test_what_raises_lets_the_folder_go(tmp_path):
    """The exception keeps the frames that it went through, and they the run."""
    weights, broken = np.ones(100, dtype=np.float32), [True]

    def evaluate():
        if broken[0] and not (weights == 1).all():
            broken.append(True)
            if len(broken) > 9:
                raise ValueError("mine")
        return {"sum": float(weights.sum())}

    campaign = bq.Campaign(evaluate, fault=bq.Fault(counts=[2]), weights=[weights], trials=20, dir=tmp_path)
    try:
        campaign.run(progress=False)
        raise AssertionError("it raises")
    except ValueError as error:
        kept = error
    broken[0] = False
    assert len(campaign.run(progress=False).trials()) == 20 and kept.__traceback__ is not None


def test_strided_weights_are_looked_at_when_it_runs(tmp_path):
    held = np.zeros(200, dtype=np.uint8)[::2]
    campaign = bq.Campaign(lambda: {"sum": float(held.sum())}, fault=bq.Fault("stuck-at-1", counts=[20]), weights={"w": held}, trials=3, dir=tmp_path)
    held[:] = 255
    with pytest.raises(bq.SelfCheckError):  # every bit is 1 already, but for those that probes flip
        bq.Campaign(lambda: 1.0, fault=bq.Fault(counts=[1]), weights={"w": held}, trials=1, dir=tmp_path / "blind").run(progress=False)
    trials = campaign.run(progress=False).trials()
    assert trials["faults"].tolist() == [0, 0, 0] and (held == 255).all()


@pytest.mark.parametrize("name", ["faults", "err", "masked"])
def test_metrics_with_the_name_of_others(name, tmp_path):
    weights = np.ones(10, dtype=np.float32)
    with pytest.raises(bq.UsageError, match=f"metric `{name}` is 1.*campaigns have a metric of that name"):
        bq.Campaign(lambda: {name: 1.0}, fault=1e-2, weights=[weights], dir=tmp_path).run(progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"confidence": "a"}, "confidence is 'a'"), ({"margin": None}, "margin is None"), ({"reuse_mb": "a"}, "reuse_mb is a whole number"), ({"trials": -1}, "expected a whole number from 0")],
)
def test_numbers_that_are_none(options, message, net, data, tmp_path):
    with pytest.raises(bq.UsageError, match=message):
        bq.Campaign(net, data, bq.Fault(rates=[1e-3]), dir=tmp_path, **options).run(progress=False)


def test_a_class_is_no_model(data, tmp_path):
    with pytest.raises(bq.UsageError, match="the model is the class Linear"):
        bq.Campaign(torch.nn.Linear, data, bq.Fault(rates=[1e-3]), dir=tmp_path)

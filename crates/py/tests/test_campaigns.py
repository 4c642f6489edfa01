"""Campaigns: of ONNX files, of modules, of callables; the same records and statistics as the command line."""

import json
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
    with pytest.raises(bq.SelfCheckError, match="a trial without faults differs"):
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
    with bq.quantize(net, storage) as stored:
        for record in results.trials().to_dict("records"):
            with stored.faulty(bq.Fault(rate=5e-2), seed=2, trial=record["trial"]) as pattern, torch.no_grad():
                outputs = net(data[0])
            assert record["faults"] == pattern.flips
            assert record["correct"] == int((outputs.argmax(1) == data[1]).sum())

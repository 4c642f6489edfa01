"""Campaigns: many trials at several rates, with intervals, records, resuming and a report, whoever runs the network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from ._collect import collect, collected, distinct
from ._errors import SelfCheckError, StoppedError, UsageError
from ._progress import progress_bar
from ._runtime import offer_runtime
from ._words import Words, words_of
from .faults import as_fault, text_to_toml, to_toml
from .patterns import flips_in, hit_of, under
from .results import Results


class Campaign:
    """Trials of faults in the weights of a network: what share of answers changes, at each rate, and how sure that is.

    The network is one of these:

    * the path of an ONNX file, which the library runs itself; ``data`` is then the table ``[data]`` of a campaign file;
    * a PyTorch module; ``data`` is a pair of tensors (inputs, labels), or an iterable of such pairs that gives the same ones each
      time, such as a ``DataLoader`` without shuffling. What comes out is a row of scores for each input;
    * any callable without arguments that evaluates the network and returns its metrics, a dict of numbers (``correct`` and ``images``, ``accuracy``,
      ``loss``, or names of your own), with ``weights``: the arrays that hold what it computes with, as a dict or a list.

    ``fault`` is a :class:`Fault` with one amount or several, one point each; flips are those of the same campaign on the command line.
    ``trials`` is how many at each point, ``stop`` a rule instead, such as ``{"half_width": 0.005, "max_trials": 2000}``. ``storage`` is
    what the memory holds, as :func:`quantize` takes it; not for callables. ``dir`` is where records go: the same call goes on from there.

    ``batch`` is how many inputs one call of the network has: 256 for a module, and for a file what ``[run]`` says. A trial of a plain
    ``torch.nn.Sequential`` whose children are seen to keep nothing for later ones begins at the first child that flips touch, with up to ``reuse_mb``
    MiB of kept values; 0 turns that off, which a child needs that computes with weights of another one which are no parameters of its own.

    Before the first trial the campaign proves itself: without faults it gives the golden results again, bit for bit, and flips reach the
    network. If not, it refuses to run (:class:`SelfCheckError`), and so it does where a module writes to parameters or float buffers of its own when it
    is run (:class:`UnsupportedError`).

    >>> import bitquake as bq, numpy as np, tempfile
    >>> weights = np.linspace(0, 1, 1000, dtype=np.float32)
    >>> campaign = bq.Campaign(lambda: {"sum": float(weights.sum(dtype=np.float64))}, fault=bq.Fault(counts=[1, 9], bits="mantissa"),
    ...                        weights={"w": weights}, trials=20, dir=tempfile.mkdtemp())
    >>> results = campaign.run(progress=False)
    >>> len(results.trials()), results.golden["metrics"]["images"]
    (40, 0)
    """

    def __init__(
        self,
        model: Any,
        data: Any = None,
        fault: Any = None,
        *,
        dir: str | Path,
        weights: Any = None,
        labels: Any = None,
        storage: Any = None,
        seed: int = 0,
        trials: int = 50,
        stop: Mapping[str, Any] | None = None,
        confidence: float = 0.95,
        margin: float = 0.01,
        batch: int | None = None,
        outputs: str = "logits",
        outcome: Mapping[str, Any] | None = None,
        failures: str = "raise",
        reuse_mb: int = 1024,
        name: str = "campaign",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if fault is None:
            raise UsageError("a campaign needs a fault, such as bq.Fault(rates=[1e-5, 1e-4])")
        self.dir, self.fault = Path(dir), as_fault(fault)
        if isinstance(model, type):
            raise UsageError(f"the model is the class {model.__name__}: give an object of it")
        run = {"trials": trials, "confidence": _number("confidence", confidence), "margin": _number("margin", margin), "stop": stop}
        self._table: dict[str, Any] = {"schema": 1, "name": name, "seed": seed, "fault": self.fault.table}
        self._table["run"] = {key: value for key, value in run.items() if value is not None}
        if outcome is not None:
            self._table["outcome"] = dict(outcome)
        given = {
            "data": data, "weights": weights, "labels": labels, "storage": storage, "batch": batch, "outputs": outputs, "failures": failures,
            "reuse_mb": reuse_mb, "settings": settings,
        }  # fmt: skip
        if isinstance(model, (str, Path)):
            _check_read(given, "an ONNX file", ("data", "storage", "batch", "settings"))
            if batch is not None:
                self._table["run"]["batch"] = batch
            self._store(storage)
            self._runner: Any = _OfFile(self._table, Path(model), data, dict(settings or {}))
        elif hasattr(model, "state_dict") and hasattr(model, "forward"):
            from ._torch_campaign import OfModule

            _check_read(given, "a PyTorch module", ("data", "labels", "storage", "batch", "outputs", "failures", "reuse_mb"))
            options = {"batch": batch, "outputs": outputs, "failures": failures, "reuse_mb": reuse_mb}
            self._store(storage)
            self._runner = _Hosted(self._table, OfModule(model, data, labels, self.fault, self._table.get("storage"), seed, **options))
        elif callable(model):
            _check_read(given, "a callable", ("weights",))
            self._runner = _Hosted(self._table, _OfCallable(model, weights))
        else:
            raise UsageError(f"a campaign takes the path of an ONNX file, a PyTorch module or a callable, not {model!r}")

    def _store(self, storage: Any) -> None:
        if storage is not None:
            from .storage import table_of

            self._table["storage"] = table_of(storage)

    def run(self, *, progress: bool | None = None) -> Results:
        """Runs the trials that are missing, and makes the report.

        ``progress`` shows a bar: by default in terminals and notebooks. An interrupt from the keyboard stops cleanly, by a
        :class:`StoppedError`: everything that was finished is recorded, words are as they were, and the same call goes on.
        """
        try:
            self.dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.dir}: no place for results: {error.strerror}") from error
        try:
            with progress_bar(progress) as bar:
                end, missing = self._runner.run(self.dir, bar)
        except KeyboardInterrupt:
            if (self.dir / "golden.json").is_file():
                _core.rebuild(self.dir)
            raise StoppedError("stopped; the same call goes on with what is recorded") from None
        report = _core.rebuild(self.dir)
        if end == "stopped":
            raise StoppedError(f"stopped with {missing} trials to go; the same call goes on from there")
        return Results(self.dir, Path(report))

    @property
    def results(self) -> Results:
        """What is recorded so far."""
        return Results(self.dir, Path(_core.rebuild(self.dir)))


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name} is {value!r}: it is a number") from None


def _check_read(given: dict[str, Any], kind: str, read: tuple[str, ...]) -> None:
    """What would be left unread is an error: results would be of something else than was asked for."""
    defaults = {"data": None, **(Campaign.__init__.__kwdefaults__ or {})}
    for key, value in given.items():
        is_default = value is defaults[key] or isinstance(value, (int, str)) and value == defaults[key]
        if key not in read and not is_default:
            raise UsageError(f"a campaign of {kind} takes no `{key}`")


class _OfFile:
    """A campaign that the library runs alone."""

    def __init__(self, table: dict, model: Path, data: Any, settings: dict) -> None:
        if not isinstance(data, Mapping):
            raise UsageError("data of an ONNX file is a table, such as {'format': 'idx', 'images': ..., 'labels': ...}")
        self._table = {**table, "model": {"path": model.resolve()}, "data": dict(data)}
        self._settings = [f"{key}={to_toml(value)}" for key, value in settings.items()]

    def run(self, dir: Path, bar: Any) -> tuple[str, int]:
        def observe(kind: str, first: int, second: int) -> None:
            if kind == "begin":
                bar.begin(first + second, second)
            elif kind == "trial":
                bar.advance()

        offer_runtime()
        # As settings, for paths in these are relative to the working directory.
        table = [f"{key}={to_toml(value)}" for key, value in self._table.items()]
        return _core.run_campaign([*table, *self._settings], dir.resolve(), observe)


class _Hosted:
    """A campaign whose network is run here."""

    def __init__(self, table: dict, host: Any) -> None:
        self._table, self._host = {**table, "host": host.described}, host

    def run(self, dir: Path, bar: Any) -> tuple[str, int]:
        host = self._host
        try:
            host.begin()
            start = time.perf_counter()
            found = host.evaluate()
            seconds = time.perf_counter() - start
            hosted = host.prepared(_document(self._table))
            golden = found.golden(hosted, seconds)
            run = hosted.open(dir, self._prove(hosted, golden))
            try:
                return self._trials(hosted, golden, run, bar)
            finally:
                run.close()  # an exception keeps it, and the next run writes to the same file
        finally:
            try:
                host.end()
            except BaseException:
                host.end()  # an interruption: half of it would be of no use
                raise

    def _prove(self, hosted: Any, golden: Any) -> Any:
        host, proof = self._host, golden.proof()
        try:
            proof.empty(host.evaluate().judged(golden))
        except SelfCheckError as error:
            raise SelfCheckError(f"{error}. Do the data come in another order (a loader that shuffles), or does something draw random numbers?") from None
        number = 0
        while True:
            probe = host.probe(hosted, number)
            if probe is None:
                return proof.finish()
            tensor, pattern = probe
            result = host.under(pattern, golden)
            if isinstance(result, Exception):  # whatever the network says of such flips, it has seen them
                proof.refused(tensor)
                return proof.finish()
            if proof.probe(tensor, result):
                return proof.finish()
            number += 1

    def _trials(self, hosted: Any, golden: Any, run: Any, bar: Any) -> tuple[str, int]:
        done, most = run.progress
        bar.begin(most, done)
        try:
            while True:
                trial = run.next_trial()
                if trial is None:
                    break
                start = time.perf_counter()
                drawn = self._host.trial(hosted, *trial)
                result = self._host.run_trial(drawn.seen, golden)
                run.record(drawn, result, time.perf_counter() - start)
                bar.advance()
        except KeyboardInterrupt:
            return run.finish() if run.next_trial() is None else ("stopped", run.finish()[1])
        return run.finish()


class _OfCallable:
    """Any function that evaluates a network over arrays."""

    def __init__(self, evaluate: Callable[[], Any], weights: Any) -> None:
        if weights is None:
            raise UsageError("with a callable, give weights: the arrays that hold what it computes with")
        self._evaluate, self._weights = evaluate, weights
        self.begin()  # what is wrong with them is told at once

    @property
    def described(self) -> dict[str, Any]:
        return {"model": getattr(self._evaluate, "__qualname__", type(self._evaluate).__name__), "engine": "Python callable"}

    def prepared(self, text: str) -> Any:
        return _core.Hosted(text, [words.exposed() for words in self._words], digest_of(self._words), None, [])

    def begin(self) -> None:
        """Looks at the weights: a model may hold others than at the last run, in other memory."""
        weights = self._weights
        if collected(weights):
            tensors = collect(weights)
        elif isinstance(weights, Sequence):
            tensors = distinct([words_of(array, str(number)) for number, array in enumerate(weights)])
        else:
            tensors = [words_of(weights, "weights")]
        for words in tensors:
            words.check_writable()
        self._words = tensors
        self._read = [words.described() for words in tensors]

    def end(self) -> None:
        pass

    def trial(self, hosted: Any, point: int, trial: int) -> Any:
        return hosted.trial(point, trial, self._read)

    def probe(self, hosted: Any, number: int) -> Any:
        return hosted.probe(number)

    def evaluate(self) -> _Metrics:
        return _Metrics(self._evaluate())

    def under(self, pattern: Any, golden: Any) -> Any:
        """The result under flips, or what the callable raised; words are exactly as before afterwards, whatever happens."""
        flips = flips_in(pattern, hit_of(pattern, self._words))
        return under(flips, lambda: result_of(lambda: self.evaluate().judged(golden)))

    def run_trial(self, pattern: Any, golden: Any) -> Any:
        result = self.under(pattern, golden)
        if isinstance(result, Exception):
            raise result
        return result


def result_of(run: Callable[[], Any]) -> Any:
    """What a network gives, or the exception that it raises: errors of flipping are none of the network's."""
    try:
        return run()
    except Exception as error:
        return error


class _Metrics:
    """What a callable returned."""

    def __init__(self, told: Any) -> None:
        if not isinstance(told, Mapping):
            told = {"metric": told}
        self._told = []
        for name, value in told.items():
            try:
                self._told.append((str(name), float(value)))
            except (TypeError, ValueError):
                raise UsageError(f"metric `{name}` is {value!r}: the callable returns numbers") from None

    def golden(self, hosted: Any, seconds: float) -> Any:
        return hosted.golden_metrics(self._told, seconds)

    def judged(self, golden: Any) -> Any:
        return golden.metrics(self._told)


class Outputs:
    """Rows of scores, a batch at a time, with labels if there are any."""

    def __init__(self, batches: Iterable[tuple[np.ndarray, np.ndarray | None]]) -> None:
        self._batches = list(batches)

    def golden(self, hosted: Any, seconds: float) -> Any:
        outputs = hosted.golden_outputs()
        for rows, labels in self._batches:
            outputs.push(rows, labels)
        return outputs.finish(seconds)

    def judged(self, golden: Any) -> Any:
        outputs = golden.outputs()
        for rows, _ in self._batches:
            outputs.push(rows)
        return outputs.finish()


def digest_of(tensors: list[Words]) -> str:
    """SHA-256 over words, in order."""
    digest = hashlib.sha256()
    for words in tensors:
        digest.update(words.bytes())
    return digest.hexdigest()


def _document(table: Mapping[str, Any]) -> str:
    """A table as a TOML file, one key a line."""
    return "\n".join(f"{text_to_toml(key)} = {to_toml(value)}" for key, value in table.items()) + "\n"

"""A PyTorch module as the network of a campaign."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ._collect import collect
from ._errors import UsageError
from .campaigns import Outputs, digest_of
from .patterns import apply_to


class OfModule:
    """Runs a module on the same inputs again and again, in evaluation mode, from the first child that flips touch."""

    def __init__(
        self,
        module: Any,
        data: Any,
        labels: Any,
        storage: Any,
        seed: int,
        *,
        batch: int,
        outputs: str,
        failures: str,
        reuse_mb: int,
    ) -> None:
        if failures not in ("raise", "count"):
            raise UsageError(f"failures is `raise` or `count`, not `{failures}`")
        self._module, self._batch, self._counts = module, batch, failures == "count"
        self._outputs, self._storage_wanted, self._seed = outputs, storage, seed
        self._batches = _batches(data, labels, batch)
        self._device = next((tensor.device for tensor in module.state_dict().values()), torch.device("cpu"))
        self._prefix = _Prefix(module, reuse_mb << 20)
        self.data_digest: str | None = None
        self._storage: Any = None

    @property
    def described(self) -> dict[str, Any]:
        return {
            "model": type(self._module).__name__,
            "engine": "PyTorch",
            "version": torch.__version__.split("+")[0],
            "settings": f"device {self._device}",
            "batch": self._batch,
            "threads": torch.get_num_threads(),
            "outputs": self._outputs,
        }

    @contextmanager
    def ready(self) -> Any:
        """The module in evaluation mode, with its storage if it has one; as before afterwards."""
        was_training = {module: module.training for module in self._module.modules()}
        self._module.eval()
        try:
            if self._storage_wanted is not None:
                from .storage import quantize

                self._storage = quantize(self._module, self._storage_wanted, seed=self._seed)
            self._words = self._storage.words if self._storage is not None else collect(self._module)
            for words in self._words:
                words.check_writable()
            self._read = [words.described() for words in self._words]
            with torch.no_grad():
                yield
        finally:
            self._prefix.forget()
            if self._storage is not None:
                self._storage.restore_()
                self._storage = None
            for module, training in was_training.items():
                module.training = training

    @property
    def exposed(self) -> list[tuple]:
        if self._storage is not None:
            return self._storage.memory.exposed
        return [words.exposed() for words in self._words]

    def digest(self) -> str:
        return digest_of(self._words, "" if self._storage is None else self._storage.text)

    def trial(self, hosted: Any, point: int, trial: int) -> Any:
        if self._storage is not None:
            return hosted.stored_trial(point, trial, self._storage.memory, self._read)
        return hosted.trial(point, trial, self._read)

    def evaluate(self, first: int = 0) -> Outputs:
        """The outputs for all inputs; ``first`` is the first child whose words differ from the clean ones."""
        is_golden = self.data_digest is None
        first = self._prefix.depth if is_golden else first
        digest = hashlib.sha256()
        rows = []
        for number, (inputs, labels) in enumerate(self._batches()):
            if is_golden:
                _add(digest, inputs, labels)
            rows.append((_rows(self._prefix.run(number, _moved(inputs, self._device), first)), _labels(labels)))
        if is_golden:
            self.data_digest = digest.hexdigest()
        return Outputs(rows)

    def run_trial(self, pattern: Any, golden: Any) -> Any:
        with self.flipped(pattern) as first:
            try:
                return self.evaluate(first).judged(golden)
            except Exception:
                if not self._counts:
                    raise
                return golden.no_outputs()

    @contextmanager
    def flipped(self, pattern: Any) -> Any:
        """The module under flips of what is stored; gives the first child that they touch."""
        seen = pattern
        if self._storage is not None:
            seen = self._storage.memory.translate(pattern, self._read)
        names = {name for name, *_ in seen.tensors}
        target = [words for words in self._words if words.name in names]
        apply_to(seen, target)
        try:
            yield self._prefix.first(names)
        finally:
            apply_to(seen, target)


class _Prefix:
    """What children of a sequential module get, kept, so that a trial starts at the first child that its flips touch."""

    def __init__(self, module: Any, budget: int) -> None:
        self._module, self._left = module, budget
        self._children = list(module.children()) if type(module) is torch.nn.Sequential else []
        self._names = [name for name, _ in module.named_children()] if self._children else []
        self._kept: dict[tuple[int, int], Any] = {}
        self._full = False

    @property
    def depth(self) -> int:
        """How many children there are: flips that touch none start after the last."""
        return len(self._children)

    def forget(self) -> None:
        self._left += sum(value.nbytes for value in self._kept.values())
        self._kept.clear()
        self._full = False

    def first(self, names: set[str]) -> int:
        """The first child that holds one of these tensors. Tied ones go by their first name, which is that of their first child."""
        if not self._children:
            return 0
        return min((self._names.index(name.split(".")[0]) for name in names), default=len(self._children))

    def run(self, batch: int, inputs: Any, first: int) -> Any:
        if not self._children:
            return self._module(inputs)
        start = max((child for child in range(first + 1) if (batch, child) in self._kept), default=0)
        kept = self._kept.get((batch, start))
        value = inputs if kept is None else kept.clone()  # a child may work in place
        for child in range(start, len(self._children)):
            if child <= first and child > 0:
                self._keep((batch, child), value)
            value = self._children[child](value)
        if first >= len(self._children):
            self._keep((batch, len(self._children)), value)
        return value

    def _keep(self, place: tuple[int, int], value: Any) -> None:
        """Keeps a value that no flips have touched, while there is room."""
        if place in self._kept or not isinstance(value, torch.Tensor) or self._full:
            return
        if value.nbytes > self._left:
            self._full = True
            return
        self._left -= value.nbytes
        self._kept[place] = value.clone()


def _batches(data: Any, labels: Any, batch: int) -> Any:
    """A function that gives the pairs of inputs and labels again each time."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and labels is None:
        data, labels = data
    if isinstance(data, np.ndarray):
        data = torch.from_numpy(data)
    if isinstance(data, torch.Tensor):
        if len(data) == 0:
            raise UsageError("there are no inputs to evaluate the module on")
        if labels is not None and len(labels) != len(data):
            raise UsageError(f"{len(labels)} labels for {len(data)} inputs")
        return lambda: (
            (data[at : at + batch], None if labels is None else labels[at : at + batch]) for at in range(0, len(data), batch)
        )
    if data is None or not hasattr(data, "__iter__") or hasattr(data, "__next__"):
        raise UsageError("data is a pair of tensors, or an iterable of pairs that can be gone through again, such as a DataLoader")
    return lambda: (pair if isinstance(pair, (tuple, list)) else (pair, None) for pair in data)


def _moved(inputs: Any, device: Any) -> Any:
    return inputs.to(device) if hasattr(inputs, "to") else inputs


def _rows(outputs: Any) -> np.ndarray:
    """Outputs as rows: of a tuple the first tensor, of a mapping the logits."""
    if not isinstance(outputs, torch.Tensor):
        outputs = outputs["logits"] if hasattr(outputs, "keys") and "logits" in outputs else next(iter(outputs))
    if outputs.dim() < 1:
        raise UsageError("the module gives one number for all inputs: a row for each is needed")
    flat = outputs.detach().to(torch.float32).flatten(1) if outputs.dim() > 1 else outputs.detach().float()[:, None]
    return np.ascontiguousarray(flat.cpu().numpy())


def _labels(labels: Any) -> np.ndarray | None:
    if labels is None:
        return None
    array = labels.detach().cpu().numpy() if hasattr(labels, "detach") else np.asarray(labels)
    if array.dtype.kind not in "iu" or array.ndim != 1 or (array.size and array.min() < 0):
        raise UsageError("labels are the numbers of classes, one for each input")
    return array.astype(np.uint32)


def _add(digest: Any, *tensors: Any) -> None:
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        elif tensor is not None:
            digest.update(np.ascontiguousarray(tensor).tobytes())

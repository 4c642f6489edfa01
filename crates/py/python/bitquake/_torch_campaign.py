"""A PyTorch module as the network of a campaign."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from . import _core
from ._collect import exposed, names_of
from ._errors import UnsupportedError, UsageError
from ._words import words_of
from ._torch import logits_of
from .arrays import _check_key
from .campaigns import Outputs, digest_of, result_of
from .faults import Fault
from .patterns import flips_in, hit_of, under
from .storage import Storage
from .weights import check_module


#: Inputs in one call of the module.
_BATCH = 256


class OfModule:
    """Runs a module on the same inputs again and again, in evaluation mode, from the first child that flips touch."""

    def __init__(
        self,
        module: Any,
        data: Any,
        labels: Any,
        fault: Fault,
        storage: dict | None,
        seed: int,
        *,
        batch: int | None,
        outputs: str,
        failures: str,
        reuse_mb: int,
    ) -> None:
        if failures not in ("raise", "count"):
            raise UsageError(f"failures is `raise` or `count`, not `{failures}`")
        _check_key(reuse_mb=reuse_mb)
        if batch is not None and (isinstance(batch, bool) or not hasattr(batch, "__index__") or operator.index(batch) < 1):
            raise UsageError(f"batch is {batch!r}: give the number of inputs in one call of the module")
        self._module, self._batch, self._counts = module, _BATCH if batch is None else operator.index(batch), failures == "count"
        self._outputs, self._fault, self._storage_wanted, self._seed = outputs, fault, storage, seed
        self._batches = _batches(data, labels, self._batch, batch is not None)
        tensors = [*module.parameters(), *module.buffers()]
        self._device = next((tensor.device for tensor in tensors if not tensor.is_meta), torch.device("cpu"))
        self._prefix = _Prefix(module, reuse_mb << 20)
        self.data_digest: str | None = None
        self._was_training: dict[Any, bool] = {}
        self._had_gradients: bool | None = None
        self._storage: Any = None
        #: The tensors that no run may write to, by name.
        self._counted: dict[str, Any] = {}
        self._exposed: list[tuple] = []
        #: The names of tensors that are not exposed.
        self.others: list[str] = []

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

    def begin(self) -> None:
        """The module in evaluation mode, with its storage if it has one, and no gradients."""
        module = check_module(self._module)
        self._had_gradients = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        self._was_training = {part: part.training for part in module.modules()}
        module.eval()
        self.data_digest = None
        self._prefix.begin()
        if self._storage_wanted is None:
            words, _ = exposed(module, self._fault)
            self.others = sorted(set(names_of(module)) - {one.name for one in words})
            self._flips = lambda seen: flips_in(seen, hit_of(seen, words))
            self._exposed = [one.exposed() for one in words]
        else:
            self._storage = Storage(module, self._storage_wanted, self._seed)
            self._storage.write_levels()
            words, self._flips = self._storage.words, self._storage.watched.flips
        for one in words:
            one.check_writable()
        self._read = [one.described() for one in words]
        chosen = {one.name for one in words}
        self._counted = {name: tensor for name, tensor in _lasting(module) if name in chosen or tensor.is_floating_point()}

    def end(self) -> None:
        """The module as before, as often as it is called."""
        if self._had_gradients is not None:
            torch.set_grad_enabled(self._had_gradients)
        for part, training in self._was_training.items():
            part.training = training
        if self._storage is not None:
            self._storage.put_back()
        self._storage, self._was_training, self._had_gradients, self._counted = None, {}, None, {}
        self._prefix.forget()

    def prepared(self, text: str) -> Any:
        """The campaign of a document, once the golden run has read the data."""
        if self._storage is not None:
            return _core.Hosted.stored(text, self._storage.memory, self._digest(), self.data_digest)
        return _core.Hosted(text, self._exposed, self._digest(), self.data_digest, self.others)

    def _digest(self) -> str:
        """Over all that the module computes with and that has words, hit or not."""
        slots = _core.Slots.of(check_module(self._module))
        held = []
        for slot in slots:
            with suppress(UnsupportedError):
                if slot.format is not None:
                    held.append(words_of(slot.tensor, slot.name))
        return digest_of(held)

    def trial(self, hosted: Any, point: int, trial: int) -> Any:
        if self._storage is not None:
            return hosted.stored_trial(point, trial, self._storage.memory, self._read)
        return hosted.trial(point, trial, self._read)

    def probe(self, hosted: Any, number: int) -> Any:
        if self._storage is not None:
            return hosted.stored_probe(number, self._storage.memory, self._read)
        return hosted.probe(number)

    def evaluate(self, first: int = 0) -> Outputs:
        """The outputs for all inputs; ``first`` is the first child whose words differ from the clean ones."""
        if self.data_digest is None:
            return self._golden()
        return Outputs([self._run(number, inputs, labels, first) for number, (inputs, labels) in enumerate(self._batches())])

    def _golden(self) -> Outputs:
        """The first run. Flips that touch no child start after the last one, so it keeps what all of them get."""
        digest, rows, before = hashlib.sha256(), [], self._versions()
        for number, (inputs, labels) in enumerate(self._batches()):
            _add(digest, inputs, labels)
            rows.append(self._run(number, inputs, labels, self._prefix.depth))
        if rows and self._prefix.depth:
            # Those of another batch, or the first one's in another order.
            turned = inputs.flip(0) if isinstance(inputs, torch.Tensor) and len(inputs) > 1 else None
            self._prefix.prove(rows[0][0], _moved(inputs if len(rows) > 1 else turned, self._device))
        self._check_unwritten(self._written_since(before))
        self.data_digest = digest.hexdigest()
        return Outputs(rows)

    def _run(self, number: int, inputs: Any, labels: Any, first: int) -> tuple[np.ndarray, np.ndarray | None]:
        return _rows(self._prefix.run(number, _moved(inputs, self._device), first)), _labels(labels)

    def _versions(self) -> list[int]:
        return [tensor._version for tensor in self._counted.values()]

    def _written_since(self, versions: list[int]) -> list[str]:
        """The tensors that were written to since they had these versions."""
        return [name for name, old, new in zip(self._counted, versions, self._versions()) if old != new]

    def _check_unwritten(self, written: list[str]) -> None:
        if written:
            raise UnsupportedError(
                f"the module writes to `{'`, `'.join(written)}` when it is run (as an embedding with max_norm does, and observers of quantization do): "
                "no two trials would begin with the same words, and flips could not be undone"
            )

    def run_trial(self, seen: Any, golden: Any) -> Any:
        result = self.under(seen, golden)
        if not isinstance(result, Exception):
            return result
        if not self._counts:
            raise result
        return golden.no_outputs()

    def under(self, seen: Any, golden: Any) -> Any:
        """The result under flips of the module's words, or what the module raised; afterwards it is as before, whatever happens."""
        first = self._prefix.first({name for name, *_ in seen.tensors})
        written: list[str] = []

        def run() -> Any:
            before = self._versions()  # of after the flips, which may count as changes
            result = result_of(lambda: self.evaluate(first).judged(golden))
            written.extend(self._written_since(before))
            return result

        result = under(self._flips(seen), run)
        self._check_unwritten(written)
        return result


class _Prefix:
    """What children of a sequential module get, kept, so that a trial starts at the first child that its flips touch."""

    def __init__(self, module: Any, budget: int) -> None:
        self._module, self._left = module, budget
        self._children: list[Any] = []
        #: The first child that holds memory of a tensor, by its name.
        self._first: dict[str, int] = {}
        self._kept: dict[tuple[int, int], Any] = {}
        self._full = False

    def begin(self) -> None:
        """Looks at the module: its children are run one by one only if that is all that running it does."""
        self._children = list(self._module) if self._left > 0 and _is_plain(self._module) else []
        self._first = _first_children(self._module) if self._children else {}

    def prove(self, outputs: np.ndarray, other: Any) -> None:
        """Runs the module whole from now on, if what a child gives hangs on anything but what it gets. ``outputs`` are those of the first batch,
        of which values are kept; ``other`` are other inputs.
        """
        if self._children and not self._are_pure(outputs, other):
            self.forget()
            self._children = []

    def _are_pure(self, outputs: np.ndarray, other: Any) -> bool:
        """Whether children give the same again when those before them have run on other inputs, of which one may have kept something for a later
        one (a skip connection past the cuts), and keep nothing that can be seen.
        """
        if other is None:
            return False
        before = self._held()
        try:
            self._through(0, self.depth, other)
            if self._held() != before:
                return False
            cuts = sorted(place for batch, place in self._kept if batch == 0 and place < self.depth)
            # The last ones first, so that all before a cut have run on the other inputs last.
            for start, end in reversed([*zip(cuts, [*cuts[1:], self.depth])]):
                value = self._through(start, end, self._kept[0, start].clone())
                same = _rows(value).tobytes() == outputs.tobytes() if end == self.depth else _content(value) == _content(self._kept[0, end])
                if not same:
                    return False
        except Exception:  # of inputs that it cannot run on, nothing is known
            return False
        return True

    def _held(self) -> dict[tuple[int, str], int]:
        """What all parts have as attributes, by identity. (Parametrizations of ours count how often they are asked, and tell nobody.)"""
        parts = [part for child in self._children for part in child.modules() if not type(part).__module__.startswith("bitquake.")]
        return {(id(part), name): id(value) for part in parts for name, value in vars(part).items()}

    def _through(self, start: int, end: int, value: Any) -> Any:
        for child in self._children[start:end]:
            value = child(value)
        return value

    @property
    def depth(self) -> int:
        """How many children there are: flips that touch none start after the last."""
        return len(self._children)

    def forget(self) -> None:
        self._left += sum(value.nbytes for value in self._kept.values())
        self._kept.clear()
        self._full = False

    def first(self, names: set[str]) -> int:
        """The first child that computes with one of these tensors."""
        return min((self._first[name] for name in names), default=self.depth) if self._children else 0

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


def _lasting(module: Any) -> Iterator[tuple[str, Any]]:
    """The parameters and buffers of the state dict whose changes PyTorch counts."""
    for prefix, part in module.named_modules():
        buffers = [(name, buffer) for name, buffer in part._buffers.items() if name not in part._non_persistent_buffers_set]
        for name, tensor in [*part._parameters.items(), *buffers]:
            if tensor is not None and not tensor.is_inference():
                yield f"{prefix}.{name}".lstrip("."), tensor


def _is_plain(module: Any) -> bool:
    """Whether calling a module is calling its children one after the other, and nothing else."""
    if type(module) is not torch.nn.Sequential or "forward" in vars(module) or type(module).forward is not _FORWARD:
        return False
    return not any(module.__dict__[hooks] for hooks in _HOOKS) and not module._parameters and not module._buffers


def _first_children(module: Any) -> dict[str, int]:
    """Of each tensor the first child that holds some of its memory, under whatever name."""
    places = {name: place for place, name in enumerate(module._modules)}
    slots = [slot for slot in _core.Slots.of(module) if slot.format is not None]
    first: dict[int, int] = {}
    for slot in slots:
        place = places[slot.name.split(".")[0]]
        storage = slot.tensor.untyped_storage().data_ptr()
        first[storage] = min(place, first.get(storage, place))
    return {slot.name: first[slot.tensor.untyped_storage().data_ptr()] for slot in slots}


_FORWARD = torch.nn.Sequential.forward
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def _batches(data: Any, labels: Any, batch: int, batch_is_given: bool) -> Any:
    """A function that gives the pairs of inputs and labels again each time. A tensor is cut into batches of ``batch`` inputs."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and labels is None and not isinstance(data[0], (tuple, list)):
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
    for what, is_given in (("labels go", labels is not None), ("batch goes", batch_is_given)):
        if is_given:
            raise UsageError(f"{what} with a tensor of inputs: an iterable has batches and labels of its own")
    return lambda: map(_pair, data)


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, (tuple, list)):
        return batch, None
    if len(batch) not in (1, 2):
        raise UsageError(f"a batch of {len(batch)} parts: a pair of inputs and labels is needed, or inputs alone")
    return batch[0], batch[1] if len(batch) == 2 else None


def _moved(inputs: Any, device: Any) -> Any:
    return inputs.to(device) if hasattr(inputs, "to") else inputs


def _rows(outputs: Any) -> np.ndarray:
    """Outputs as rows: of a tuple the first tensor, of what has logits those."""
    found = logits_of(outputs)
    if isinstance(found, (tuple, list)):
        found = found[0] if found else None
    if not isinstance(found, torch.Tensor) or found.is_complex():
        what = f"a mapping of {', '.join(map(str, outputs))}" if hasattr(outputs, "keys") else f"{type(outputs).__name__}"
        raise UsageError(f"the module gave {what}: a tensor of scores is needed, real numbers, alone, first in a tuple or under `logits`")
    outputs = found
    if outputs.dim() < 1:
        raise UsageError("the module gives one number for all inputs: a row for each is needed")
    flat = outputs.detach().to(torch.float32).flatten(1) if outputs.dim() > 1 else outputs.detach().float()[:, None]
    return np.ascontiguousarray(flat.cpu().numpy())


def _labels(labels: Any) -> np.ndarray | None:
    if labels is None:
        return None
    array = labels.detach().cpu().numpy() if hasattr(labels, "detach") else np.asarray(labels)
    if array.dtype.kind not in "iu" or array.ndim != 1 or (array.size and not 0 <= array.min() <= array.max() < 1 << 32):
        raise UsageError("labels are the numbers of classes, one for each input")
    return array.astype(np.uint32)


def _content(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _add(digest: Any, *tensors: Any) -> None:
    for tensor in tensors:
        if isinstance(tensor, torch.Tensor):
            digest.update(_content(tensor))
        elif tensor is not None:
            digest.update(np.ascontiguousarray(tensor).tobytes())

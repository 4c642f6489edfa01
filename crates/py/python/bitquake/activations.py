"""Faults in what the layers of a PyTorch module compute, for the time of a ``with`` block."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import _core
from ._errors import UnsupportedError, UsageError
from .faults import Fault, one_amount, to_toml
from .weights import check_module, check_types, with_selection

#: Models whose rate is drawn tensor by tensor: what one layer draws does not hang on the others.
_BY_TENSOR = frozenset({"bit-flip", "stuck-at-0", "stuck-at-1", "set-value", "random-value", "burst", "shape"})
_ROOT = "."
_MOST_KNOWN = 32


class Known(NamedTuple):
    """What one pass computed: of each value its format and its dimensions for one image, and what ``_core.Calls`` takes of those that
    layers gave as plain tensors.
    """

    values: dict[str, tuple[str, tuple]]
    plain: dict[str, tuple]
    calls: Any = None


class ActivationFaults:
    """A fault model over the outputs of a module's layers, ready for any number of trials. See
    :func:`faulty_activations`.

    >>> import bitquake as bq, torch
    >>> module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU()).eval()
    >>> x = torch.ones(4, 8)
    >>> neurons = bq.ActivationFaults(module, bq.Fault(count=1), x)
    >>> with torch.no_grad(), neurons.faulty(seed=1, trial=7) as record:
    ...     y = module(x)
    >>> record
    ActivationRecord(4 flips in 4 images)
    """

    def __init__(
        self,
        module: Any,
        fault: Any,
        inputs: Any = None,
        *,
        layers: Any = None,
        types: Any = None,
        per: str = "image",
        output: Any = None,
    ) -> None:
        self.module = check_module(module)
        self.fault = with_selection(one_amount(fault), layers)
        _check_fault(self.fault)
        if per not in ("image", "batch"):
            raise UsageError(f"per is `image` or `batch`, not `{per}`")
        self.per, self.output = per, output
        self.is_permanent = self.fault.table.get("persistence") == "permanent"
        self._model = self.fault.with_(select=None, target=None, persistence=None)
        #: Whether each layer draws for itself; else faults are drawn over all of them, whose shapes a run over
        #: ``inputs`` told.
        self.by_layer = self.fault.model in _BY_TENSOR and self.fault.amounts[0][0] == "rate"
        self.is_strict = bool(self.fault.table.get("select")) or types is not None
        self.layers = _layers(self.module, self.fault, check_types(types))
        self._sources: dict[Any, Any] = {}
        #: What passes with inputs of these shapes computed.
        self.known: dict[tuple, Known] = {}
        #: Of each value, its format and its dimensions for one image, where faults are drawn over all values together.
        self.planned: dict[str, tuple[str, tuple]] = {}
        self.planned = self._plan(inputs)

    def faulty(self, *, seed: int = 0, trial: int = 0) -> Any:
        """A context manager: inside, the layers' outputs have the faults of a trial; it gives the
        :class:`ActivationRecord`.
        """
        from .arrays import _check_key
        from ._hooks import ActivationBlock

        _check_key(seed=seed, trial=trial)
        return ActivationBlock(self, seed, trial)

    def source_of(self, name: str, format: str, dims: tuple) -> Any:
        """The fault over one value."""
        key = (name, format, dims)
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = _core.Source(self._model._core, 0, [(name, format, list(dims), False, [])])
        return source

    def source_of_all(self, values: dict[str, tuple[str, tuple]], images: int, key: Any = None) -> Any:
        """The fault over all values of a pass with so many images."""
        # With draws for each image, the space is that of one image, however many there are.
        key = (key, images if self.per == "batch" else 1)
        source = self._sources.get(key)
        if source is None:
            exposed = [(name, format, list(self.dims_of(rows, images)), False, []) for name, (format, rows) in values.items()]
            source = self._sources[key] = _core.Source(self._model._core, 0, exposed)
        return source

    def learn(self, shapes: tuple, known: Known) -> None:
        """Keeps what a pass with inputs of these shapes computed; of many different ones the last."""
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
            self._sources.clear()
        self.known[shapes] = Known(known.values, {}, _core.Calls([*known.plain.values()]))

    def dims_of(self, rows: tuple, images: int) -> tuple:
        """The dimensions that one draw is over; ``rows`` are those of one image, the first the share of the first
        axis.
        """
        if self.per == "batch":
            return (rows[0] * images, *rows[1:])
        return rows if rows[0] > 1 else rows[1:]

    def _plan(self, inputs: Any) -> dict[str, tuple[str, tuple]]:
        if self.by_layer:
            return {}
        amount = self.fault.amounts[0][0]
        if inputs is None:
            raise UsageError(
                f"a fault of {self.fault.model} by {amount} is drawn over all layers together: give `inputs`, "
                "with which the module is run once to learn the shapes"
            )
        from ._hooks import dry_run

        planned = dry_run(self, inputs)
        if not planned:
            raise UsageError("no layer gave a tensor of floats in the run over `inputs`")
        return planned

    def __repr__(self) -> str:
        return f"ActivationFaults({self.fault!r} in {len(self.layers)} layer{'' if len(self.layers) == 1 else 's'})"


def faulty_activations(
    module: Any,
    fault: Any,
    inputs: Any = None,
    *,
    layers: Any = None,
    types: Any = None,
    per: str = "image",
    output: Any = None,
    seed: int = 0,
    trial: int = 0,
) -> Any:
    """Faults in the outputs of a module's layers, for the time of a ``with`` block, which gives the
    :class:`ActivationRecord`.

    Forward hooks change the words of each value as soon as its layer has computed it. They are removed at the end of
    the block, and on an exception.

    ``fault``
        a :class:`Fault` with one amount, a dict of its keys, or a bit error rate. With ``target="activations"``,
        ``persistence="permanent"`` gives every image the same faults.
    ``inputs``
        what the module is run with once to learn the shapes of all layers: a tensor, a tuple of arguments or a dict of
        keywords. Faults by rate do without it; counts, fractions and the like are of all layers together and need it.
        The run leaves random numbers and buffers as they were. Formats are those of this run, so under autocast make
        the block within it.
    ``layers``
        globs over module names (``"."`` is the module itself), in place of ``select`` of the fault. They reach layers
        without parts of their own; others by their full name alone.
    ``types``
        module classes: only those modules, with or without parts.
    ``per``
        ``"image"``: faults are drawn for each image, which are numbered from the start of the block. The first axis of
        each value is that of the images, whose number is the first axis of the first tensor given to the module, or the length of
        a list of images (three axes, the first 1, 3 or 4 colours), as detectors take them; a value with a multiple of it has so many rows an image. ``"batch"``: one draw over the whole of each pass,
        whatever the axes.
    ``output``
        which part of a tuple, dict or object is the value: a place or a key; by default the first tensor.

    A layer that is called again in one pass has values ``name``, ``name#1``, and so on. A layer that hands on what it
    was given (``Identity``, a dropout in eval mode) has none. Words have the format of the value at hand (bfloat16
    under autocast). Values that are no floats are passed over, but an error where ``layers`` or ``types`` chose the
    layer.

    Gradients pass through hits as if nothing had been hit. Compiled modules run uncompiled inside the block, since
    compiled code leaves out hooks that came later. The module must not run in several threads at once.

    >>> import bitquake as bq, torch
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(288, 2)).eval()
    >>> x = torch.ones(2, 3, 8, 8)
    >>> with torch.no_grad(), bq.faulty_activations(module, bq.Fault(count=1, bits="exponent"), x, types=torch.nn.Conv2d, seed=5) as record:
    ...     y = module(x)
    >>> record.to_frame()[["layer", "image"]].values.tolist()
    [['0', 0], ['0', 1]]
    """
    faults = ActivationFaults(module, fault, inputs, layers=layers, types=types, per=per, output=output)
    return faults.faulty(seed=seed, trial=trial)


def _check_fault(fault: Fault) -> None:
    table = fault.table
    if fault.target == "inputs":
        raise UsageError("the target of the fault is inputs: flip bits of the module's inputs with bq.inject_")
    if "at_least" in table:
        raise UnsupportedError("at_least is for weights: draws for each image are not conditioned on a fault")
    if "ops" in table:
        raise UnsupportedError("ops are operators of an ONNX graph: choose layers of a module with `types`")


def _layers(module: Any, fault: Fault, types: Any) -> dict[str, Any]:
    """The modules whose outputs may be hit, by name."""
    candidates = {}
    for name, part in _parts(module):
        is_leaf = all([key == "parametrizations" for key, _ in part.named_children()])
        if types is None or isinstance(part, types):
            candidates[name or _ROOT] = (part, types is None and not is_leaf)
    if not candidates:
        raise UsageError(f"the module has no part of type {' or '.join(one.__name__ for one in types)}")
    # A model that fits any tensor: here globs choose names, and nothing is drawn.
    chooser = _core.Fault(to_toml({"rates": [0.0], "select": fault.table.get("select") or ["*"]}))
    source = _core.Source(chooser, 0, [(name, "f32", [1], by_name_only, []) for name, (_, by_name_only) in candidates.items()])
    layers = {name: candidates[name][0] for name, *_ in source.tensors}
    if _is_scripted(module):
        raise UnsupportedError(f"the module is a {type(module).__name__}, which takes no hooks: give the module that it was made of")
    for name, part in layers.items():
        if _is_scripted(part):
            raise UnsupportedError(f"layer `{name}` is a {type(part).__name__}, which takes no hooks: leave it out with `layers`")
    return layers


def _parts(module: Any) -> Iterator[tuple[str, Any]]:
    """All modules in a module but those that compute its parameters."""
    computing: list[str] = []
    for name, part in module.named_modules():
        if any([name.startswith(prefix) for prefix in computing]):
            continue
        if "parametrizations" in part._modules:
            computing.append(f"{name}.parametrizations" if name else "parametrizations")
        yield name, part


def _is_scripted(part: Any) -> bool:
    import torch

    return isinstance(part, torch.jit.ScriptModule)


def is_compiler_loaded() -> bool:
    return "torch._dynamo" in sys.modules



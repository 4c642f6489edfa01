"""Forward hooks that put faults into the outputs of layers, and nothing else.

Their cost must follow the hits: a layer that is not hit costs one draw, some microseconds.
"""

from __future__ import annotations

from typing import Any

import torch

from . import _values
from ._errors import UsageError
from ._words import FORMATS
from .activations import ActivationFaults, Known, is_compiler_loaded
from .records import ActivationRecord, Hit

_FORMATS = {getattr(torch, name): format for name, format in FORMATS.items() if hasattr(torch, name) and getattr(torch, name).is_floating_point}


class Call:
    """A layer's output: where the value is in it, its name in this pass, format and dimensions."""

    __slots__ = ("name", "place", "value", "format", "rows")

    def __init__(self, name: str, place: Any, value: torch.Tensor, format: str, rows: tuple) -> None:
        self.name, self.place, self.value, self.format, self.rows = name, place, value, format, rows


class Passes:
    """Counts the passes of a module, their images, and how often each layer was called in the present one."""

    def __init__(self, faults: ActivationFaults) -> None:
        self.faults = faults
        self.number = -1
        self.first, self.images = 0, 0
        self.is_running = False
        self.calls: dict[str, int] = {}
        #: What the present pass has computed so far.
        self.seen = Known({}, {})
        #: Layers that are known not to be hit in this pass, if they give a tensor of this shape and dtype.
        self.spared: dict[str, tuple] = {}

    def begin(self, images: int | None) -> None:
        self.number += 1
        self.first += self.images
        self.images = 1 if images is None else images
        self.calls.clear()
        self.seen, self.spared = Known({}, {}), {}

    def call(self, layer: _values.Layer, given: Any, output: Any) -> Call | None:
        """What a layer has computed; ``None`` if it has no value of its own."""
        picked = (None, output) if isinstance(output, torch.Tensor) else _values.pick(output, self.faults.output)
        format = None if picked is None else _FORMATS.get(picked[1].dtype)
        if picked is None or format is None:
            self._refuse(layer.name, output, picked)
            return None
        place, value = picked
        if layer.hands_on(given, value) or not value.numel():
            return None
        if not self.is_running:
            if not self.faults.by_layer:
                raise UsageError(f"layer `{layer.name}` runs outside of the module, over all of whose layers faults are drawn")
            self.begin(value.shape[0] if value.dim() else None)
        name = layer.name
        count = self.calls.get(name, 0)
        self.calls[name] = count + 1
        rows = self._rows(name, value)
        if count:
            self.seen.plain.pop(name, None)
            name = f"{name}#{count}"
        elif place is None:
            self.seen.plain[name] = (value.shape, value.dtype)
        self.seen.values[name] = (format, rows)
        return Call(name, place, value, format, rows)

    def _rows(self, layer: str, value: torch.Tensor) -> tuple:
        """The dimensions of one image, the first how many places of the first axis it has; those of all, for draws
        over a batch.
        """
        shape = tuple(value.shape)
        if shape and shape[0] % self.images == 0:
            return (shape[0] // self.images, *shape[1:])
        if self.faults.per == "batch" and self.faults.by_layer:
            return ()
        raise UsageError(
            f"layer `{layer}` gives {list(shape)}, whose first axis is not that of {self.images} images: leave the layer out, or draw per='batch'"
        )

    def _refuse(self, layer: str, output: Any, picked: Any) -> None:
        if self.faults.is_strict:
            what = f"{picked[1].dtype}" if picked else f"a {type(output).__name__} without a tensor"
            at = f" at {self.faults.output!r}" if self.faults.output is not None and not picked else ""
            raise UsageError(f"layer `{layer}` gives {what}{at}: neurons are tensors of floats")


class Hook:
    """A hook of one layer, or of the whole module. TorchDynamo does not look into it: it breaks the graph and calls
    it.
    """

    def __init__(self, act: Any) -> None:
        self._act = act
        self.is_active = True

    def __call__(self, *given: Any) -> Any:
        return self._act(*given) if self.is_active else None

    __call__._torchdynamo_disable = True  # type: ignore[attr-defined]


class Hooks:
    """Hooks on a module and its layers, which are removed together."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._hooks: list[Hook] = []

    def _hook(self, act: Any) -> Hook:
        hook = Hook(act)
        self._hooks.append(hook)
        return hook

    def add(self, faults: ActivationFaults, passes: Passes, on_call: Any, on_begin: Any = None) -> None:
        """``on_call(call, layer, given, output)`` for each value, ``on_begin(shapes)`` for each pass."""
        shapes: list[tuple] = []

        def begin(module: Any, args: tuple, kwargs: dict) -> None:
            passes.begin(_values.first_axis((args, kwargs)))
            passes.is_running = True
            shapes[:] = [_values.shapes_of((args, kwargs))]
            if on_begin is not None:
                on_begin(shapes[0])

        def end(module: Any, args: tuple, output: Any) -> None:
            passes.is_running = False
            # After an exception there is no output, and not all was seen; what was spared was not seen either.
            if output is not None and not passes.spared and shapes[0] not in faults.known:
                faults.learn(shapes[0], passes.seen)

        try:
            self._handles.append(faults.module.register_forward_pre_hook(self._hook(begin), with_kwargs=True, prepend=True))
            for name, layer in faults.layers.items():
                act = self._hook(_on_layer(_values.Layer(name, layer), passes, on_call))
                self._handles.append(layer.register_forward_hook(act, with_kwargs=True))
            self._handles.append(faults.module.register_forward_hook(self._hook(end), always_call=True))
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        # Compiled code may have kept them.
        for hook in self._hooks:
            hook.is_active = False
        self._handles, self._hooks = [], []


def _on_layer(layer: _values.Layer, passes: Passes, on_call: Any) -> Any:
    def act(module: Any, args: tuple, kwargs: dict, output: Any) -> Any:
        spared = passes.spared.get(layer.name)
        if spared is not None and type(output) is torch.Tensor and output.dtype is spared[1] and output.shape == spared[0]:
            return None
        given = (args, kwargs) if kwargs else args
        call = passes.call(layer, given, output)
        return None if call is None else on_call(call, layer, given, output)

    return act


class ActivationBlock:
    """A ``with`` block inside of which layers' outputs have the faults of a trial."""

    def __init__(self, faults: ActivationFaults, seed: int, trial: int) -> None:
        self._faults, self._key = faults, (seed, trial)
        self._passes = Passes(faults)
        self._record = ActivationRecord(self._passes)
        self._hooks: Hooks | None = None
        self._uncompiled: Any = None
        #: What this pass is expected to compute, and the faults drawn for it.
        self._expected = faults.planned
        self._drawn: dict[str, Any] = {}

    def __enter__(self) -> ActivationRecord:
        if self._hooks is not None:
            raise UsageError("the block is entered already: make one for each time")
        self._hooks = Hooks()
        self._hooks.add(self._faults, self._passes, self._hit, self._draw_all)
        try:
            self._uncompiled = _uncompiled()
        except BaseException:
            self._hooks.remove()
            raise
        return self._record

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._hooks is not None:
            self._hooks.remove()
        if self._uncompiled is not None:
            self._uncompiled.__exit__(kind, error, trace)
        elif error is None and self._passes.number < 0 and is_compiler_loaded():
            # This PyTorch cannot be told to leave compiled code alone.
            raise UsageError("the module did not run inside the block, or as compiled code that leaves hooks out: enter the block with what you call")

    def _draw_all(self, shapes: tuple) -> None:
        """Draws over all layers, at the start of a pass; only values that are hit are kept.

        Where each layer draws for itself, this gives the same in one go, once it is known what a pass with such inputs
        computes.
        """
        known = self._faults.known.get(shapes)
        if self._faults.by_layer:
            self._expected = {} if known is None else known.values
            if known is None:
                return
            source = self._faults.source_of_all(self._expected, self._passes.images, shapes)
        else:
            source = self._faults.source_of_all(self._expected, self._passes.images)
        self._drawn = {name: faults for name, faults in self._draw(source) if faults is not None and faults.count}
        if known is not None:
            hit = {name.partition("#")[0] for name in self._drawn}
            self._passes.spared = {name: plain for name, plain in known.plain.items() if name not in hit}

    def _draw(self, source: Any) -> list[tuple[str, Any]]:
        passes = self._passes
        if self._faults.is_permanent:
            faults = source.draw(*self._key)
            hit = set(faults.tensors)
            return [(name, faults if name in hit else None) for name, *_ in source.tensors]
        if self._faults.per == "batch":
            return source.draw_images(*self._key, passes.number, 1)
        return source.draw_images(*self._key, passes.first, passes.images)

    def _hit(self, call: Call, layer: _values.Layer, given: Any, output: Any) -> Any:
        faults = self._faults_of(call)
        if faults is None:
            return None
        value, draws = call.value, 1 if self._faults.per == "batch" else self._passes.images
        elements, container = value.numel() // draws, value.element_size()
        if self._faults.is_permanent:
            hits = _values.Hits.of(faults, call.name, call.format, container, elements).repeated(draws, elements)
        else:
            hits = _values.Hits.of(faults, call.name, call.format, container, elements * draws)
        changed, words = _values.put(hits, value, layer.owns(given, value))
        self._record.add(Hit(call.name, call.format, self._dims(call), elements, hits, words, self._passes.number, self._first()))
        return None if changed is value else _values.replaced(output, call.place, changed)

    def _dims(self, call: Call) -> tuple:
        """The dimensions that one draw is over."""
        return self._faults.dims_of(call.rows, self._passes.images) if call.rows else tuple(call.value.shape)

    def _first(self) -> int | None:
        """The number of the first image of the present pass."""
        return None if self._faults.per == "batch" else self._passes.first

    def _faults_of(self, call: Call) -> Any:
        """The faults of a value; ``None`` if it has none."""
        expected = self._expected.get(call.name)
        if self._faults.by_layer and (expected is None or expected != (call.format, call.rows)):
            drawn = self._draw(self._faults.source_of(call.name, call.format, self._dims(call)))[0][1]
            return drawn if drawn is not None and drawn.count else None
        if expected is None:
            raise UsageError(f"layer `{call.name}` was not called in the run over `inputs`")
        if expected[0] != call.format or expected[1] != call.rows:
            raise UsageError(
                f"layer `{call.name}` gives {call.format} {list(call.rows)} an image, but in the run over `inputs` it was "
                f"{expected[0]} {list(expected[1])}: faults were drawn for that"
            )
        return self._drawn.get(call.name)


def _uncompiled() -> Any:
    """Lets compiled code run as it was written: code that was compiled before leaves out hooks that came later."""
    if not is_compiler_loaded() or not hasattr(torch.compiler, "set_stance"):
        return None
    stance = torch.compiler.set_stance("force_eager")
    stance.__enter__()
    return stance


def dry_run(faults: ActivationFaults, inputs: Any) -> dict[str, tuple[str, tuple]]:
    """The values of one pass by name: format, and the dimensions of one image. Buffers and random numbers stay as they
    were.
    """
    passes, found = Passes(faults), {}

    def note(call: Call, layer: Any, given: Any, output: Any) -> None:
        found[call.name] = (call.format, call.rows)

    buffers = [(buffer, buffer.detach().clone()) for buffer in faults.module.buffers() if not buffer.is_meta]
    hooks = Hooks()
    hooks.add(faults, passes, note)
    try:
        with torch.random.fork_rng(devices=_devices(faults.module)), torch.no_grad():
            _run(faults.module, inputs)
            for buffer, before in buffers:
                # Batch normalisations update theirs without counting it as a change.
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
    finally:
        hooks.remove()
    return found


def _run(module: Any, inputs: Any) -> None:
    if isinstance(inputs, dict):
        module(**inputs)
    elif isinstance(inputs, tuple):
        module(*inputs)
    else:
        module(inputs)


def _devices(module: Any) -> list[int]:
    """The CUDA devices that the module is on, whose random numbers are to be kept."""
    tensors = [*module.parameters(), *module.buffers()]
    return sorted({tensor.device.index or 0 for tensor in tensors if tensor.device.type == "cuda"})

"""Forward hooks that put faults into the outputs of layers, and nothing else.

Their cost must follow the hits. All draws of a pass are made in one go when it begins, once it is known what a pass with
such inputs computes; then a layer that is not hit costs a look at the shape of its output.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, NamedTuple

import torch
from torch.utils.hooks import RemovableHandle

from . import _core, _values
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


class Due(NamedTuple):
    """What a layer is known to give in a call of a pass: its name then, shape and dtype; and what is hit of it.

    ``ready`` is that hit, to be made at once where the value lies in memory of its own; ``is_in_place`` says of which kind that is.
    """

    layer: str
    name: str
    shape: tuple
    dtype: torch.dtype
    drawn: Any = None
    ready: Hit | None = None
    is_in_place: bool = False


class Passes:
    """Counts the passes of a module, their images, and how often each layer was called in the present one."""

    def __init__(self, faults: ActivationFaults) -> None:
        self.faults = faults
        self.number = -1
        self.first, self.images = 0, 0
        self.is_running = False
        #: Whether the hooks are gone. Compiled code may have kept them.
        self.is_over = False
        self.calls: dict[str, int] = {}
        #: What the present pass has computed so far, and whether its dimensions say it all.
        self.seen, self.is_regular = Known({}, {}), True
        #: What the present pass is expected to compute, and the faults drawn for it: of the values that are hit.
        self.expected: dict[str, tuple] = faults.planned
        self.drawn: dict[str, Any] = {}
        #: Of layers that are known to give plain tensors in this pass, what their next calls are to give, the last call
        #: first. It is changed in place: hooks hold it.
        self.ready: dict[str, list[Due]] = {}
        #: The calls that are known to give plain tensors, by the names of the values.
        self._plain: dict[str, Due] = {}
        self._layers: dict[str, _values.Layer] = {}

    def begin(self, images: int | None) -> None:
        self.number += 1
        self.first += self.images
        self.images = 1 if images is None else images
        self.calls.clear()
        self.seen, self.is_regular = Known({}, {}), True
        self._forget()

    def end(self) -> None:
        self.is_running = False
        self._forget()

    def _forget(self) -> None:
        """Draws nothing for layers that run before the next pass begins, or after this one has ended."""
        self.expected, self.drawn = self.faults.planned, {}
        self.ready.clear()

    def prepare(self, plain: dict[str, Due], hit_of: Any) -> None:
        """Gets layers ready that are known to give plain tensors in this pass. ``hit_of(name, shape, hits)`` describes a hit."""
        self._plain, ready, drawn = plain, self.ready, self.drawn
        for name, due in reversed(plain.items()):
            if name in drawn:
                due = self._hit_due(due, drawn[name], hit_of)
            if due.layer in ready:
                ready[due.layer].append(due)
            else:
                ready[due.layer] = [due]

    def _hit_due(self, due: Due, drawn: Any, hit_of: Any) -> Due:
        layer = self.layer(due.layer)
        hit = hit_of(due.name, due.shape, drawn) if layer.is_known and type(drawn) is _core.Hits else None
        return Due(due.layer, due.name, due.shape, due.dtype, drawn, hit, layer.is_in_place)

    def layer(self, name: str) -> _values.Layer:
        """What is known of a layer before it runs."""
        found = self._layers.get(name)
        if found is None:
            found = self._layers[name] = _values.Layer(name, self.faults.layers[name])
        return found

    def surprised(self, layer: str) -> None:
        """Counts the calls of a layer that were known, of which this one is none: it gave something else, or is one more."""
        dues = self.ready.pop(layer)
        self.calls[layer] = sum(1 for due in self._plain.values() if due.layer == layer) - len(dues)

    def call(self, layer: _values.Layer, given: list, output: Any) -> Call | None:
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
        before = name if count < 2 else f"{name}#{count - 1}"
        if count:
            name = f"{name}#{count}"
        if place is None and (not count or before in self.seen.plain):
            self.seen.plain[name] = Due(layer.name, name, value.shape, value.dtype)
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
            self.is_regular = False
            return ()
        raise UsageError(
            f"layer `{layer}` gives {list(shape)}, whose first axis is not that of {self.images} images: leave the layer out, or draw per='batch'"
        )

    def _refuse(self, layer: str, output: Any, picked: Any) -> None:
        if self.faults.is_strict:
            what = f"{picked[1].dtype}" if picked else f"a {type(output).__name__} without a tensor"
            at = f" at {self.faults.output!r}" if self.faults.output is not None and not picked else ""
            raise UsageError(f"layer `{layer}` gives {what}{at}: neurons are tensors of floats")


class Hooks:
    """Hooks on a module and its layers, which are removed together."""

    def __init__(self, faults: ActivationFaults, passes: Passes) -> None:
        self._faults, self._passes = faults, passes
        self._handles: list[Any] = []
        #: The hooks of layers have one number, which no other hook has.
        self._number = RemovableHandle(OrderedDict()).id

    def add(self, on_call: Any, on_hit: Any = None, on_begin: Any = None, on_told: Any = None) -> None:
        """``on_call(call, layer, given, output)`` for each value, ``on_hit(due, layer, given, value)`` for one that is known
        to be hit, ``on_begin(shapes)`` for each pass, which returns whether all is known of it; ``on_told(hit)`` for each hit
        that was ready and has been made.
        """
        faults, passes = self._faults, self._passes
        present: list[Any] = [(), False]

        def begin(module: Any, args: tuple, kwargs: dict) -> None:
            if passes.is_over:
                return
            tensors = _values.tensors_in((args, kwargs))
            passes.begin(_values.first_axis(tensors))
            passes.is_running = True
            present[:] = [_values.shapes_of(tensors), False]
            if on_begin is not None:
                present[1] = on_begin(present[0])

        def end(module: Any, args: tuple, output: Any) -> None:
            if passes.is_over:
                return
            shapes, is_known = present
            # After an exception there is no output, and not all was seen.
            if output is not None and passes.is_regular and not is_known and shapes not in faults.known:
                faults.learn(shapes, passes.seen)
            passes.end()

        try:
            self._handles.append(faults.module.register_forward_pre_hook(_uninspected(begin), with_kwargs=True, prepend=True))
            for name, layer in faults.layers.items():
                self._add(layer, _on_layer(name, passes, on_call, on_hit, on_told))
            self._handles.append(faults.module.register_forward_hook(_uninspected(end), always_call=True))
        except BaseException:
            self.remove()
            raise

    def _add(self, layer: Any, act: Any) -> None:
        """What ``register_forward_hook`` does, without a handle for each layer, where it is PyTorch's own."""
        if type(layer).register_forward_hook is not torch.nn.Module.register_forward_hook:
            self._handles.append(layer.register_forward_hook(act, with_kwargs=True))
            return
        layer._forward_hooks[self._number] = act
        layer._forward_hooks_with_kwargs[self._number] = True

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for layer in self._faults.layers.values():
            layer._forward_hooks.pop(self._number, None)
            layer._forward_hooks_with_kwargs.pop(self._number, None)
        self._passes.end()
        self._passes.is_over = True


def _uninspected(hook: Any) -> Any:
    """A hook that TorchDynamo does not look into: it breaks the graph and calls it."""
    hook._torchdynamo_disable = True
    return hook


def _on_layer(name: str, passes: Passes, on_call: Any, on_hit: Any, on_told: Any) -> Any:
    """The hook of a layer. Most calls are of layers that are known and not hit, so those cost one look."""
    ready = passes.ready

    def act(module: Any, args: tuple, kwargs: dict, output: Any) -> Any:
        dues: Any = ready.get(name)
        due: Any = None
        if dues and type(output) is torch.Tensor and output.dtype is dues[-1].dtype and output.shape == dues[-1].shape:
            due = dues[-1]
            if due.drawn is None:
                dues.pop()
                return None
            hit = due.ready
            if hit is not None:
                words = hit.hits.flip_own(args, kwargs, output, due.is_in_place)
                if words is not None:
                    dues.pop()
                    hit.words = words
                    on_told(hit)
                    return None
        if passes.is_over:
            return None
        layer, given = passes.layer(name), _values.tensors_in((args, kwargs) if kwargs else args)
        if due is not None:
            return on_hit(due, layer, given, output)
        if dues is not None:
            passes.surprised(name)
        call = passes.call(layer, given, output)
        return None if call is None else on_call(call, layer, given, output)

    return _uninspected(act)


class ActivationBlock:
    """A ``with`` block inside of which layers' outputs have the faults of a trial."""

    def __init__(self, faults: ActivationFaults, seed: int, trial: int) -> None:
        self._faults, self._key = faults, (seed, trial)
        self._passes = Passes(faults)
        self._record = ActivationRecord(self._passes)
        self._hooks: Hooks | None = None
        self._uncompiled: Any = None

    def __enter__(self) -> ActivationRecord:
        if self._hooks is not None:
            raise UsageError("the block is entered already: make one for each time")
        self._hooks = Hooks(self._faults, self._passes)
        self._hooks.add(self._hit, self._hit_ready, self._draw_all, self._record.add)
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

    def _draw_all(self, shapes: tuple) -> bool:
        """Draws over all layers, at the start of a pass; only values that are hit are kept.

        Where each layer draws for itself, this gives the same in one go, once it is known what a pass with such inputs
        computes; whether it is.
        """
        faults, passes = self._faults, self._passes
        known = faults.known.get(shapes)
        if faults.by_layer:
            if known is None:
                return False
            passes.expected = known.values
        passes.drawn = self._draw(faults.source_of_all(passes.expected, passes.images, shapes if faults.by_layer else None))
        if known is not None:
            passes.prepare(known.plain, self._hit_of)
        return known is not None

    def _draw(self, source: Any) -> dict[str, Any]:
        """What is hit, by the names of values: as words, or as faults that have to look at what a value holds."""
        if self._faults.is_permanent:
            faults = source.draw(*self._key)
            return dict.fromkeys(faults.tensors, faults)
        passes = self._passes
        images = (passes.number, 1) if self._faults.per == "batch" else (passes.first, passes.images)
        found = source.hit_images(*self._key, *images)
        if found is not None:
            return dict(found)
        return {name: faults for name, faults in source.draw_images(*self._key, *images) if faults.count}

    def _hit(self, call: Call, layer: _values.Layer, given: list, output: Any) -> Any:
        drawn = self._drawn_for(call)
        if drawn is None:
            return None
        changed = self._put(drawn, call.name, call.format, call.rows, layer, given, call.value)
        return None if changed is call.value else _values.replaced(output, call.place, changed)

    def _hit_ready(self, due: Due, layer: _values.Layer, given: list, value: torch.Tensor) -> Any:
        if layer.hands_on(given, value):
            return None
        passes = self._passes
        passes.ready[layer.name].pop()
        format, rows = passes.expected[due.name]
        changed = self._put(due.drawn, due.name, format, rows, layer, given, value)
        return None if changed is value else changed

    def _put(self, drawn: Any, name: str, format: str, rows: tuple, layer: _values.Layer, given: list, value: torch.Tensor) -> torch.Tensor:
        hits = drawn if isinstance(drawn, _core.Hits) else self._hits_in(drawn, name, format, value)
        hit = self._told(name, format, rows, value.shape, hits)
        changed, hit.words = _values.put(hits, value, layer.owns(given, value))
        self._record.add(hit)
        return changed

    def _hit_of(self, name: str, shape: tuple, hits: _core.Hits) -> Hit:
        """A hit to come in a value that is expected."""
        return self._told(name, *self._passes.expected[name], shape, hits)

    def _told(self, name: str, format: str, rows: tuple, shape: tuple, hits: _core.Hits) -> Hit:
        """A hit, without its words."""
        passes, is_batch = self._passes, self._faults.per == "batch"
        dims = self._faults.dims_of(rows, passes.images) if rows else tuple(shape)
        return Hit(name, format, dims, self._elements(shape), hits, (), passes.number, None if is_batch else passes.first)

    def _elements(self, shape: tuple) -> int:
        """How many elements of a value of this shape one draw is over."""
        return math.prod(shape) // (1 if self._faults.per == "batch" else self._passes.images)

    def _hits_in(self, drawn: Any, name: str, format: str, value: torch.Tensor) -> _core.Hits:
        """The words that drawn faults hit in a value."""
        images, elements = 1 if self._faults.per == "batch" else self._passes.images, self._elements(value.shape)
        if self._faults.is_permanent:
            return _values.repeated(_values.hits_of(drawn, name, format, value.element_size(), elements), images, elements)
        return _values.hits_of(drawn, name, format, value.element_size(), elements * images)

    def _drawn_for(self, call: Call) -> Any:
        passes, expected = self._passes, self._passes.expected.get(call.name)
        if self._faults.by_layer and (expected is None or expected != (call.format, call.rows)):
            dims = self._faults.dims_of(call.rows, passes.images) if call.rows else tuple(call.value.shape)
            return self._draw(self._faults.source_of(call.name, call.format, dims)).get(call.name)
        if expected is None:
            raise UsageError(f"layer `{call.name}` was not called in the run over `inputs`")
        if expected[0] != call.format or expected[1] != call.rows:
            raise UsageError(
                f"layer `{call.name}` gives {call.format} {list(call.rows)} an image, but in the run over `inputs` it was "
                f"{expected[0]} {list(expected[1])}: faults were drawn for that"
            )
        return passes.drawn.get(call.name)


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

    def note(call: Call, layer: Any, given: list, output: Any) -> None:
        found[call.name] = (call.format, call.rows)

    buffers = [(buffer, buffer.detach().clone()) for buffer in faults.module.buffers() if not buffer.is_meta]
    hooks = Hooks(faults, passes)
    hooks.add(note)
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

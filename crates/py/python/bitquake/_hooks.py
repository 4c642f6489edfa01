"""Forward hooks that put faults into the outputs of layers, and nothing else.

Their cost must follow the hits. All draws of a pass are made in one go when it begins, once it is known what a pass with
such inputs computes; then a layer that is not hit costs a look at the shape of its output.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

from . import _core, _values
from ._errors import UnsupportedError, UsageError
from ._words import FORMATS
from .activations import ActivationFaults, Known, is_compiler_loaded
from .records import ActivationRecord, Turn

_FORMATS = {getattr(torch, name): format for name, format in FORMATS.items() if hasattr(torch, name) and getattr(torch, name).is_floating_point}


#: Of all modules, by their numbers.
_hooks_of_all = torch.nn.modules.module._global_forward_hooks
_graph_task = getattr(torch._C, "_current_graph_task_id", lambda: -1)


def _check_forward(what: str) -> None:
    """That what runs does not run again for a backward pass."""
    if _graph_task() != -1:
        raise UsageError(
            f"{what} runs in a backward pass, as torch.utils.checkpoint has it: its values would not be those of the forward pass; do without checkpoints inside the block"
        )


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
        #: Whether the hooks are gone. Compiled code may have kept them.
        self.is_over = False
        self.calls: dict[str, int] = {}
        #: What the present pass has computed so far, and whether its dimensions say it all.
        self.seen, self.is_regular = Known({}, {}), True
        #: What the present pass is expected to compute, and the faults drawn for it: of the values that are hit.
        self.expected: dict[str, tuple] = faults.planned
        self.drawn: dict[str, Any] = {}
        self._named = [*faults.layers.items()]
        #: Told by the hooks: whether nothing but a layer has to do with its output.
        self.is_alone: Any = None
        self._layers: list[_values.Layer | None] = [None] * len(self._named)

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

    def layer(self, number: int) -> _values.Layer:
        """What is known of a layer before it runs."""
        found = self._layers[number]
        if found is None:
            found = self._layers[number] = _values.Layer(number, *self._named[number], self.is_alone(number))
        return found

    def call(self, layer: _values.Layer, given: list, output: Any) -> Call | None:
        """What a layer has computed; ``None`` if it has no value of its own."""
        picked = (None, output) if isinstance(output, torch.Tensor) else _values.pick(output, self.faults.output)
        format = None if picked is None or picked[1].is_nested else _FORMATS.get(picked[1].dtype)
        if picked is None or format is None:
            self._refuse(layer.name, output, picked)
            return None
        place, value = picked
        if layer.hands_on(given, value) or not value.numel():
            return None
        if not self.is_running:
            _check_forward(f"layer `{layer.name}`")
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
            self.seen.plain[name] = (layer.number, name, value.shape, value.dtype, layer.is_known, layer.is_in_place)
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
        way = "draw per='batch'" if self.faults.per == "image" else "give a rate, which is drawn layer by layer"
        raise UsageError(f"layer `{layer}` gives {list(shape)}, whose first axis is not that of {self.images} images: leave the layer out, or {way}")

    def _refuse(self, layer: str, output: Any, picked: Any) -> None:
        if picked is not None and picked[1].is_nested and picked[1].dtype in _FORMATS:
            raise UnsupportedError(
                f"layer `{layer}` gives a nested tensor, where a neuron has no place of its own (PyTorch's fast path of transformers makes them of a padding "
                "mask): build the encoder with enable_nested_tensor=False, call torch.backends.mha.set_fastpath_enabled(False) first, or leave the layer out"
            )
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
        self._layers: Any = None
        self._on_made: Any = None

    def add(self, on_call: Any, on_hit: Any = None, on_begin: Any = None, on_made: Any = None) -> None:
        """``on_call(call, layer, given, output)`` for each value, ``on_hit(name, layer, given, value)`` for one that is known
        to be hit, ``on_begin(shapes)`` for each pass, which returns the calls that it will make if they are known; ``on_made(made)`` for
        what ``_core`` has hit by itself.
        """
        faults, passes = self._faults, self._passes
        shapes: Any = ()
        is_known, has_given = False, False

        def begin(module: Any, args: tuple, kwargs: dict) -> None:
            nonlocal shapes, is_known, has_given
            if passes.is_over:
                return
            _check_forward("the module")
            self._forget()
            tensors = _values.tensors_in((args, kwargs))
            passes.begin(_values.images_in(args, kwargs))
            passes.is_running = True
            shapes, has_given = _values.shapes_of(tensors), False
            calls = None if on_begin is None else on_begin(shapes)
            is_known = calls is not None
            if is_known:
                layers.begin(calls, passes.drawn)

        def end(module: Any, args: tuple, output: Any) -> None:
            if passes.is_over:
                return
            self._forget()
            seen, is_regular = passes.seen, passes.is_regular
            passes.end()
            # After an exception there is no output, and not all was seen.
            if output is None or is_known:
                return
            if not (has_given or faults.is_strict):
                raise UsageError("no layer of the module gave a tensor in this pass (exported programs run none of theirs): there is nothing to hit")
            if is_regular and shapes not in faults.known:
                faults.learn(shapes, seen)

        def otherwise(number: int, module: Any, args: tuple, kwargs: dict, output: Any, name: str | None) -> Any:
            nonlocal has_given
            if passes.is_over:
                return None
            has_given = has_given or _values.pick(output) is not None
            self._tell()
            layer, given = passes.layer(number), _values.tensors_in((args, kwargs) if kwargs else args)
            if name is not None:
                return on_hit(name, layer, given, output)
            made = layers.surprised(number)  # it gave something else, or is one more
            if made is not None:
                passes.calls[layer.name] = made
            call = passes.call(layer, given, output)
            return None if call is None else on_call(call, layer, given, output)

        layers = self._layers = _core.LayerHooks([*faults.layers.values()], bool(_hooks_of_all), otherwise)
        self._on_made, passes.is_alone = on_made, layers.is_alone
        try:
            self._handles.append(faults.module.register_forward_pre_hook(_uninspected(begin), with_kwargs=True, prepend=True))
            for layer, hook in layers.attach(self._number):
                self._handles.append(layer.register_forward_hook(hook, with_kwargs=True))
            self._handles.append(faults.module.register_forward_hook(_uninspected(end), always_call=True))
        except BaseException:
            self.remove()
            raise

    def count(self, layer: _values.Layer) -> None:
        """Counts a call that was known to come."""
        self._layers.count(layer.number)

    def _tell(self) -> None:
        """Tells of what ``_core`` has hit since."""
        made = self._layers.made()
        if made is not None:
            self._on_made(made)

    def _forget(self) -> None:
        """Has ``_core`` expect nothing more in this pass."""
        self._tell()
        self._layers.clear()

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._layers.detach(self._number)
        self._forget()
        self._passes.end()
        self._passes.is_over = True


def _uninspected(hook: Any) -> Any:
    """A hook that TorchDynamo does not look into: it breaks the graph and calls it."""
    hook._torchdynamo_disable = True
    return hook


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
        self._hooks.add(self._hit, self._hit_expected, self._draw_all, self._note)
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

    def _draw_all(self, shapes: tuple) -> Any:
        """Draws over all layers, at the start of a pass; only values that are hit are kept.

        Where each layer draws for itself, this gives the same in one go, once it is known what a pass with such inputs
        computes: the calls of layers that it makes.
        """
        faults, passes = self._faults, self._passes
        known = faults.known.get(shapes)
        if faults.by_layer:
            if known is None:
                return None
            passes.expected = known.values
        if passes.expected:
            passes.drawn = self._draw(faults.source_of_all(passes.expected, passes.images, shapes if faults.by_layer else None))
        return None if known is None else known.calls

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

    def _hit_expected(self, name: str, layer: _values.Layer, given: list, value: torch.Tensor) -> Any:
        if layer.hands_on(given, value):
            return None
        assert self._hooks is not None, "its hooks ask"
        self._hooks.count(layer)
        passes = self._passes
        format, rows = passes.expected[name]
        changed = self._put(passes.drawn[name], name, format, rows, layer, given, value)
        return None if changed is value else changed

    def _put(self, drawn: Any, name: str, format: str, rows: tuple, layer: _values.Layer, given: list, value: torch.Tensor) -> torch.Tensor:
        _values.check_memory(value)
        hits = drawn if isinstance(drawn, _core.Hits) else self._hits_in(drawn, name, format, value)
        changed, words = _values.put(hits, value, layer.owns(given, value))
        self._record.add(self._turn().told(name, format, rows, value.shape, hits, words))
        return changed

    def _note(self, made: _core.Made) -> None:
        """Puts on record what was hit in expected values."""
        self._record.add_later(made, self._turn(), self._passes.expected)

    def _turn(self) -> Turn:
        passes = self._passes
        return Turn(self._faults, passes.number, passes.first, passes.images)

    def _hits_in(self, drawn: Any, name: str, format: str, value: torch.Tensor) -> _core.Hits:
        """The words that drawn faults hit in a value."""
        turn = self._turn()
        images, elements = turn.draws, turn.elements_of(value.shape)
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

"""Training a PyTorch module on stored weights: quantized, clipped, with bit errors. The loop, the network and the optimizer are the user's."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ._core import Floats
from ._errors import UsageError
from ._method import combination, core_method, curriculum, storage_of, table_of
from .arrays import _check_key
from .weights import check_module


class RobustTraining:
    """Makes a module train on what a memory would hold of its weights.

    The keys are those of ``[method]`` in a recipe (docs/training.md): ``quantization``, ``w_max``, ``bit_errors``, ``ranges``,
    ``statistics``, ``averaging``, ``p0``, ``clustering``, ``max_magnitude``, ``gradient_clip``, ``tensors``. With ``optimizer``, each of its steps
    ends the step here, too; without one, call :meth:`after_step` yourself.

    Parameters that are trained (``requires_grad``) are quantized, clipped and hit; frozen ones stay as they are. They must be float32, on any
    device; codes and faults are computed on the host. The same table, seed and weights give the same codes and flips as ``bitquake train``.

    >>> import bitquake as bq, torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(4, 2)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> robust = bq.RobustTraining(
    ...     model, optimizer, seed=1, w_max=0.3, quantization={"family": "asymmetric", "bits": 4, "signed": False},
    ...     bit_errors={"rate": 0.01, "curriculum": "always"})
    >>> images, labels = torch.randn(8, 4), torch.arange(8) % 2
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     loss = robust.step(lambda: torch.nn.functional.cross_entropy(model(images), labels))
    ...     optimizer.step()
    >>> robust.steps, robust.perturbed_loss > 0
    (3, True)
    >>> bq.RobustTraining(model, wmax=0.3)
    Traceback (most recent call last):
    ...
    bitquake.UsageError: ...unknown key `wmax`...
    """

    def __init__(self, module: Any, optimizer: Any = None, *, seed: int = 0, range_rate: float | None = None, **table: Any) -> None:
        from ._parameters import Parameters
        from ._ranges import LearntRanges

        _check_key(seed=seed)
        self._module = module = check_module(module)
        if optimizer is not None and not hasattr(optimizer, "param_groups"):
            raise UsageError(f"the optimizer is one of torch.optim, not a {type(optimizer).__name__}; several are several trainings")
        self._optimizer = optimizer
        self._seed = operator.index(seed)
        self._table = table_of(table)
        self._parameters = Parameters(module)
        tensors = list(zip(self._parameters.names, self._parameters.shapes, self._parameters.values()))
        self._core = core_method(self._table, tensors, self._seed)
        self._is_alternating = combination(self._table) == "alternating"
        if self._is_alternating and optimizer is None:
            raise UsageError("alternating training makes two steps on a batch: give the optimizer that makes them")
        self._ranges = LearntRanges(self._core, optimizer, range_rate)
        known = [*module.parameters(), *self._ranges.parameters]
        self._known = self._parameters.ids | {id(parameter) for parameter in known}
        self._check_optimizer()
        _check_norms(module)
        self._steps = 0
        self._epoch: int | None = None
        self._is_open = False
        self._is_second = False
        self._is_finite = True
        self._has_scaler = False
        self._again: tuple | None = None
        self._losses: tuple[float | None, float | None] = (None, None)
        self._handle = optimizer.register_step_post_hook(self._stepped) if optimizer is not None else None

    def _check_optimizer(self) -> None:
        """Both passes add to the gradients of whatever else there is, so there must not be anything else."""
        for number, group in enumerate(self._optimizer.param_groups if self._optimizer is not None else ()):
            foreign = [list(parameter.shape) for parameter in group["params"] if id(parameter) not in self._known]
            if foreign:
                raise UsageError(
                    f"group {number} of the optimizer has parameters of shapes {foreign[:3]} that are not the module's: "
                    "give the module that holds all of them"
                )

    @property
    def table(self) -> dict[str, Any]:
        """The keys that it was made with."""
        return dict(self._table)

    @property
    def steps(self) -> int:
        """The steps that have ended; it keys the faults of the next one."""
        return self._steps

    @property
    def rate(self) -> float | None:
        """The bit error rate of this epoch, if there is one."""
        return self._core.rate

    @property
    def perturbed_passes(self) -> int:
        """How many passes with faults the next step has: 0 while the curriculum holds them back."""
        return self._core.passes[1]

    @property
    def clean_loss(self) -> float | None:
        """The loss of the last clean pass."""
        return self._losses[0]

    @property
    def perturbed_loss(self) -> float | None:
        """The mean loss of the last passes with faults; ``None`` if there were none."""
        return self._losses[1]

    @property
    def range_parameters(self) -> list:
        """The learnt ranges as PyTorch parameters of one number, in the order of :attr:`range_names`.

        They move by a plain gradient step at the learning rate of the optimizer's first group, or at ``range_rate``; give them to the
        optimizer (``optimizer.add_param_group({"params": robust.range_parameters, "weight_decay": 0.01})``), and it moves them.
        """
        return list(self._ranges.parameters)

    @property
    def range_names(self) -> list[str]:
        """The tensors whose ranges are learnt."""
        return list(self._ranges.names)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Tells which epoch begins, counted from 0, of how many. Only the curriculum ``step`` looks at it."""
        _check_key(epoch=epoch, epochs=epochs)
        if epoch >= epochs:
            raise UsageError(f"epoch {epoch} of {epochs}: they are counted from 0")
        self._core.begin_epoch(epoch, epochs)
        self._epoch = epoch

    def step(self, closure: Callable[[], Any], *, scaler: Any = None) -> Any:
        """The passes of a step: ``closure`` computes the loss of one batch, and is called once a pass, with other weights in the module.

        Afterwards the masters are in the parameters, and ``.grad`` holds the gradient that the optimizer is to use, added to what was
        there: several steps before one of the optimizer accumulate, with the same faults. The curriculum looks at the last one's losses, as ``closure``
        returns them. Returns the loss of the clean pass (of the first one with faults, where there is no clean one), detached.

        ``scaler`` is a ``torch.amp.GradScaler``: gradients are clamped and combined without its scale, and ``.grad`` has it again, so that
        ``scaler.step(optimizer)`` works as ever; if a gradient overflowed in any pass, all of ``.grad`` is infinite and the scaler skips the step.

        An error leaves weights, buffers and ``.grad`` as they were.
        """
        if not callable(closure):
            raise UsageError(f"step takes a function that computes the loss, for it is called once a pass, not a {type(closure).__name__}")
        self._parameters.check_trained()
        self._check_optimizer()
        self._check_closed()
        if curriculum(self._table) == "step" and self._epoch is None:
            raise UsageError("the rate of the curriculum `step` follows the epochs: call begin_epoch(epoch, epochs) first")
        found = self._run(closure, scaler)
        self._again = (closure, scaler) if self._core.passes[3] else None
        return found

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UsageError(f"a {type(self).__name__} is bound to its module and optimizer: save its state_dict(), and make another for a copy of them")

    def _check_closed(self) -> None:
        """A step that was begun and not ended is begun again, with the same faults: accumulation, or a step that a scaler skipped."""
        if not self._is_open:
            self._ranges.drop()
            return
        if self._ranges.names and not self._parameters.have_gradients():
            self._ranges.drop()  # a scaler skipped the step, and weights begin anew
        if not self._core.are_masters(self._parameters.load()):
            advice = "call after_step() after each step of the optimizer"
            if self._optimizer is not None:
                advice = "only its optimizer may move them, once a step (LBFGS, which asks for several losses, is not supported)"
            raise UsageError(f"the parameters have moved since the last step: {advice}")

    def _run(self, closure: Callable[[], Any], scaler: Any) -> Any:
        """All passes of a step, from the masters to the gradient of the masters."""
        from ._passes import Passes

        self._store()
        self._is_second = self._is_alternating and not self._core.passes[0]
        passes = Passes(self._module, self._parameters, self._core, self._table.get("statistics", "clean"), closure, scaler)
        taken, of_ranges = self._parameters.take_gradients(), self._ranges.take_gradients()
        try:
            loss = passes.run(self._steps)
            self._parameters.fill(self._core.masters)
            # A scaler unscales the gradients of one step a batch: not those of the second one of alternating training.
            self._ranges.gather(passes.combine(taken, is_scaled=not self._is_second))
        except BaseException:
            self._parameters.fill(self._core.given)
            self._parameters.give_gradients_back(taken)
            self._ranges.give_gradients_back(of_ranges)
            passes.undo()
            raise
        self._losses = passes.losses
        self._is_finite = passes.is_finite
        self._is_open, self._has_scaler = True, scaler is not None
        return loss

    def _store(self) -> None:
        """Begins a step of the method with the parameters as masters. The parameters stay as they are."""
        self._core.begin(self._parameters.load())

    def _stepped(self, optimizer: Any, *_: Any) -> None:
        """The optimizer's hook. Steps without gradients of ours are none of ours."""
        if self._is_open:
            self.after_step()

    def after_step(self) -> None:
        """Ends a step after the optimizer's. With an ``optimizer`` its hook has done that already."""
        if not self._is_open:
            why = " (the optimizer ends each step itself)" if self._optimizer is not None else ""
            raise UsageError(f"no step has begun{why}")
        self._ranges.move()
        again, self._again = self._again, None
        self._core.finish(self._parameters.load() if self._core.finishes_with_masters else None)
        self._is_open = False
        self._ranges.read()
        if self._is_second:
            self._parameters.push()  # alternating training takes weights back into their range
        if again is not None:
            self._second(*again)
            return
        self._steps += 1

    def _second(self, closure: Callable[[], Any], scaler: Any) -> None:
        """The second step of alternating training on the batch."""
        self._parameters.drop_gradients()
        clean = self._losses[0]
        self._run(closure, scaler)
        self._losses = (clean, self._losses[1])
        if self._is_finite:
            with _without_scale(self._optimizer):
                self._optimizer.step()
        else:
            self._tell_overflow(scaler)
            self._parameters.drop_gradients()  # as the scaler does: no step
            self.after_step()

    def _tell_overflow(self, scaler: Any) -> None:
        """Has a scaler hear of an overflow in the second step on a batch: it is in the middle of the first one, and lowers its scale after it."""
        states = getattr(scaler, "_per_optimizer_states", {})
        for found in states.get(id(self._optimizer), {}).get("found_inf_per_device", {}).values():
            found.fill_(1.0)

    def project_(self) -> None:
        """Clips the masters in place, as the next step would begin: what to do before the module is saved or measured."""
        self._check_idle()
        self._store()
        self._parameters.fill(self._core.masters)
        self._parameters.count_change()

    def _check_idle(self) -> None:
        """That the optimizer has made its step, or that a scaler skipped it."""
        if self._is_open and self._has_scaler:
            self._check_closed()
            self._is_open = False
        if self._is_open:
            raise UsageError("a step is under way: the optimizer has not stepped since, or after_step() was not called")

    @contextmanager
    def quantized(self) -> Iterator[Any]:
        """For the time of a block, the parameters hold the levels of their codes: what the network is without faults.

        >>> import bitquake as bq, torch
        >>> model = torch.nn.Linear(100, 1)
        >>> robust = bq.RobustTraining(model, quantization={"family": "symmetric", "bits": 2})
        >>> with robust.quantized():
        ...     len(model.weight.unique()) <= 3
        True
        >>> len(model.weight.unique()) > 90
        True
        """
        with self._levels(self._core.clean_levels):
            yield self._module

    @contextmanager
    def validation(self, epoch: int = 0, k: int = 0) -> Iterator[int]:
        """For the time of a block, the parameters hold levels under faults: pattern ``k`` of an epoch, at the full rate, from streams that
        no training step has. Gives the number of flips."""
        _check_key(epoch=epoch, k=k)
        flips: list[int | None] = []
        with self._levels(lambda out: flips.append(self._core.validation_levels(epoch, k, out))):
            if flips[0] is None:
                raise UsageError("the method draws no faults: give `bit_errors` with a rate or a fault, or `p0`")
            yield flips[0]

    def evaluate_under_faults(self, evaluate: Callable[[], Any], *, patterns: int = 10, epoch: int = 0) -> list:
        """What ``evaluate`` returns under each of some patterns of :meth:`validation`."""
        results = []
        for k in range(patterns):
            with self.validation(epoch, k):
                results.append(evaluate())
        return results

    @contextmanager
    def averaged(self) -> Iterator[Any]:
        """For the time of a block, the parameters hold the levels of the averaged weights. Running statistics are those of training."""
        with self._levels(self._core.clean_levels, self._averages()):
            yield self._module

    def averaged_state_dict(self) -> dict[str, Any]:
        """The module's state dict with the averaged weights in place of the trained ones, in float32, not quantized."""
        averages = self._averages()
        values = self._parameters.values()
        self._parameters.show(averages)
        try:
            return {key: value.clone() if hasattr(value, "clone") else value for key, value in self._module.state_dict().items()}
        finally:
            self._parameters.show(values)

    def _averages(self) -> list[np.ndarray]:
        averages = self._core.averaged
        if averages is None:
            raise UsageError("the method averages nothing: give `averaging`, such as averaging={'tau': 0.9975}")
        return averages

    @contextmanager
    def _levels(self, write: Callable[[Floats], Any], masters: list[np.ndarray] | None = None) -> Iterator[None]:
        from ._versions import Versions

        self._check_idle()
        before = self._parameters.values()
        self._core.begin(Floats.of_arrays(before if masters is None else masters))
        versions = Versions(self._parameters.tensors)
        versions.note()
        written: list = []
        try:
            self._parameters.fill(write)
            versions.enter()
            yield
            written = versions.written()
        finally:
            self._parameters.show(before)
            versions.leave(written)
        if written:
            raise UsageError("parameters were written to inside the block, at whose end they are those of before: train and load outside of it")

    @property
    def storage(self) -> dict[str, Any]:
        """The ``[storage]`` that makes of these weights the codes that training ended with: one override for each quantized tensor, its range
        given as numbers. For ``bq.quantize`` and campaigns."""
        self._check_idle()
        self._store()
        return storage_of(self._core)

    def range(self, tensor: str) -> tuple[float, float] | None:
        """The range that the codes of a parameter cover now; ``None`` where it is not quantized."""
        if tensor not in self._parameters.names:
            raise UsageError(f"no parameter `{tensor}` is trained; there are {', '.join(self._parameters.names)}")
        if not self._is_open:
            self._store()
        return self._core.range(tensor)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the table, the seed and the weights do not say. Save it beside the module's and the optimizer's: training goes on
        from there bit for bit."""
        import torch

        text, vectors = self._core.state()
        tensors = {name: torch.from_numpy(values) for name, values in vectors}
        told = {"seed": self._seed, "table": self._table, "names": self._parameters.names}
        return {**told, "steps": self._steps, "epoch": self._epoch, "method": text, "vectors": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from such a state; the module must hold the weights that were saved with it.

        :class:`UsageError` if the table, the seed or the parameters are others; then nothing is changed.
        """
        lacking = {"seed", "table", "names", "steps", "epoch", "method", "vectors"} - set(state)
        if lacking:
            raise UsageError(f"this is no state of a robust training: it lacks {', '.join(sorted(lacking))}")
        for key, own in (("table", self._table), ("seed", self._seed), ("names", self._parameters.names)):
            if state[key] != own:
                raise UsageError(f"the saved state is of another training: its {key} is {state[key]}, here it is {own}")
        self._store()
        self._core.restore(state["method"], [(name, values.numpy()) for name, values in state["vectors"].items()])
        self._steps, self._epoch = state["steps"], state["epoch"]
        self._is_open, self._is_second, self._again = False, False, None
        self._ranges.drop()
        self._ranges.read()

    def close(self) -> None:
        """Takes the hook off the optimizer."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def __repr__(self) -> str:
        keys = ", ".join(f"{key}={value!r}" for key, value in self._table.items())
        return f"{type(self).__name__}({type(self._module).__name__}, seed={self._seed}, {keys})"


def _check_norms(module: Any) -> None:
    """That no embedding takes its rows back to a norm when it is run: what it writes to its weight is no master."""
    for name, part in module.named_modules():
        if getattr(part, "max_norm", None) is not None and getattr(getattr(part, "weight", None), "requires_grad", False):
            raise UsageError(f"`{name}` has max_norm: the rows that it writes when it is run would be lost, for the masters come back; take them to that norm after steps")


@contextmanager
def _without_scale(optimizer: Any) -> Iterator[None]:
    """A step of one's own inside of a scaler's, which tells a fused optimizer by attributes what to divide gradients by, and whether to step."""
    told = {name: getattr(optimizer, name) for name in ("grad_scale", "found_inf") if hasattr(optimizer, name)}
    for name in told:
        setattr(optimizer, name, None)
    try:
        yield
    finally:
        for name, value in told.items():
            setattr(optimizer, name, value)


class RandBET(RobustTraining):
    """Random bit error training (Stutz et al., MLSys 2021): weights in codes of ``bits`` bits (8) over each tensor's range, clipped to ``w_max``; once the
    loss is below ``start_loss``, a second pass over each batch on codes in which every bit flips with probability ``rate``.

    The other keys are those of ``bit_errors`` and of :class:`RobustTraining`; ``quantization`` takes the place of ``bits``.

    >>> import bitquake as bq, torch
    >>> model = torch.nn.Linear(4, 2)
    >>> robust = bq.RandBET(model, torch.optim.SGD(model.parameters(), lr=0.1), rate=0.01, bits=4, w_max=0.1)
    >>> robust.table["quantization"]
    {'family': 'asymmetric', 'bits': 4, 'signed': False}
    >>> robust.perturbed_passes  # the curriculum waits for the loss
    0
    """

    def __init__(
        self,
        module: Any,
        optimizer: Any = None,
        *,
        rate: float,
        bits: int | None = None,
        w_max: float | None = None,
        seed: int = 0,
        range_rate: float | None = None,
        **keys: Any,
    ) -> None:
        if "bit_errors" in keys:
            raise UsageError("RandBET takes the keys of `bit_errors` as its own; bq.RobustTraining takes the whole table")
        errors = {key: keys.pop(key) for key in _OF_BIT_ERRORS if key in keys}
        if bits is not None and "quantization" in keys:
            raise UsageError("bits stand in `quantization`, which is given")
        keys.setdefault("quantization", {"family": "asymmetric", "bits": 8 if bits is None else bits, "signed": False})
        super().__init__(
            module, optimizer, seed=seed, range_rate=range_rate, w_max=w_max, bit_errors={"rate": rate, **errors}, **keys
        )


_OF_BIT_ERRORS = ("clamp", "combination", "curriculum", "population", "select", "start_loss")

"""Keras and QKeras: files read without TensorFlow, and variables flipped in place where Keras 3 is installed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from . import _core
from ._errors import BadInputError, BitquakeError, UnsupportedError
from ._words import Words, words_of
from .arrays import _as_dtype


def load_weights(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a ``.h5`` or ``.keras`` file by name, as arrays of their own, read without Keras.

    Any other tensor file that ``bitquake inspect`` lists is read as well: safetensors, ``.pt``, npz, ONNX.
    """
    return {name: _array(data, format, shape) for name, format, shape, data in _core.read_tensors(Path(path))}


def _array(data: np.ndarray, format: str, shape: list[int]) -> np.ndarray:
    """Of formats that no dtype of NumPy or ml_dtypes has, whole numbers with the bits of the words; of codes below 8 bits their bytes."""
    width = _core.width(format)
    if width % 8:
        return data
    try:
        name = _DTYPES[format]
        return _as_dtype(data.reshape(-1, width // 8), name, name).reshape(shape)
    except (KeyError, ImportError):
        return data.view(f"u{width // 8}").reshape(shape)


_DTYPES = {format: dtype for dtype, format in _core.dtypes() if not dtype.startswith("q")}


def quantizers(path: str | Path) -> dict[str, dict[str, Any]]:
    """The QKeras quantizers of a model file, as storages of bitquake: the layer's name and role, such as ``dense/kernel``, to the table
    that :func:`quantize` and ``[storage]`` take. Where parts of a model have layers of the same name, theirs are paths, such as
    ``encoder/dense/kernel``.

    Reads the configuration that ``.keras`` archives hold, and that of ``.h5`` files if h5py is installed. Quantizers other than
    ``quantized_bits`` are an error that names them and their layer, and so are arguments that make codes depend on more than the weights.
    """
    config = model_config(path)
    try:
        found = list(_found(config))
        return {_place(layers, role, found): table for layers, role, table in found}
    except RecursionError:
        raise BadInputError(f"{path}: the configuration is nested too deeply") from None


def model_config(path: str | Path) -> dict[str, Any]:
    """The configuration of a Keras model file: what ``model.get_config()`` gave when it was saved."""
    path = Path(path)
    try:
        return json.loads(_archived(path) if zipfile.is_zipfile(path) else _h5_config(path))
    except BitquakeError:
        raise
    except Exception as error:  # readers of damaged files raise errors of many kinds
        raise BadInputError(f"{path}: no configuration of a Keras model: {str(error) or type(error).__name__}") from None


def _archived(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("config.json").file_size
        if size > _LARGEST:
            raise BadInputError(f"{path}: config.json has {size:,} bytes; at most {_LARGEST:,} are read")
        return archive.read("config.json")


_LARGEST = 64 << 20


def _h5_config(path: Path) -> str:
    try:
        import h5py
    except ImportError:
        raise UnsupportedError(f"{path}: the configuration of an .h5 file is read with h5py: pip install h5py") from None
    with h5py.File(path, "r") as file:
        text = file.attrs["model_config"]
        return text.decode() if isinstance(text, bytes) else text


def _found(node: Any, layers: tuple[str, ...] = ()) -> Any:
    """Every quantizer below a node of a configuration: the names of the layers that it is in, its role, its table."""
    if isinstance(node, list):
        for item in node:
            yield from _found(item, layers)
        return
    if not isinstance(node, Mapping):
        return
    config = node.get("config")
    if isinstance(config, Mapping) and "name" in config:
        layers = (*layers, str(config["name"]))
    for key, value in node.items():
        if key.endswith("_quantizer") and value is not None:
            role = key[: -len("_quantizer")]
            try:
                yield layers, role, quantizer_table(value)
            except (BadInputError, UnsupportedError) as error:
                raise type(error)(f"{'/'.join(layers[-1:])}/{role}: {error}") from None
        elif isinstance(value, (Mapping, list)):
            yield from _found(value, layers)


def _place(layers: tuple[str, ...], role: str, found: list) -> str:
    """The name of a layer and the role; where others have the same, the path from below the outermost model."""
    alike = [others for others, its_role, _ in found if others[-1:] == layers[-1:] and its_role == role]
    path = layers[-1:] if len(alike) == 1 else layers[1:] or layers
    if alike.count(layers) > 1:
        raise BadInputError(f"two layers are called `{'/'.join(path)}`")
    return "/".join((*path, role))


def quantizer_table(quantizer: Any) -> dict[str, Any]:
    """A QKeras quantizer, as its configuration or as the text ``quantized_bits(4, 0, 1)``, as a storage of bitquake.

    >>> from bitquake.keras import quantizer_table
    >>> quantizer_table("quantized_bits(5, 1, alpha=1)")
    {'family': 'qkeras', 'bits': 5, 'integer': 1, 'keep_negative': True, 'symmetric': False, 'alpha': 1.0}
    """
    name, fields = _fields(quantizer)
    if name != "quantized_bits":
        raise UnsupportedError(f"the quantizer `{name}` is not known: quantized_bits is")
    for key, value in fields.items():
        if key not in (*_ORDER, *_OF_TRAINING) and value not in _IDLE.get(key, ()):
            raise UnsupportedError(f"`{key}` of quantized_bits is {value!r}, which is not known here: codes would be other ones")
    alpha = fields.get("alpha")
    try:
        return {
            "family": "qkeras",
            "bits": int(fields.get("bits", 8)),
            "integer": int(fields.get("integer", 0)),
            "keep_negative": bool(fields.get("keep_negative", True)),
            "symmetric": bool(fields.get("symmetric", False)),
            "alpha": 1.0 if alpha is None else alpha if isinstance(alpha, str) else float(alpha),
        }
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{quantizer!r} is no quantizer of QKeras: {error}") from None


#: Arguments that say nothing of codes.
_OF_TRAINING = ("use_ste", "use_variables", "var_name")
#: Arguments of which these values change no codes.
_IDLE: dict[str, tuple] = {
    "qnoise_factor": (None, 1),
    "use_stochastic_rounding": (None, False),
    **dict.fromkeys(("elements_per_scale", "max_po2_exponent", "min_po2_exponent", "post_training_scale", "scale_axis"), (None,)),
}
_ORDER = ("bits", "integer", "symmetric", "keep_negative", "alpha")


def _fields(quantizer: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(quantizer, str):
        return _parsed(quantizer)
    if isinstance(quantizer, Mapping) and "class_name" in quantizer:
        config = quantizer.get("config") or {}
        if isinstance(config, Mapping):
            return str(quantizer["class_name"]), {str(key): _plain(value) for key, value in config.items()}
    raise BadInputError(f"{quantizer!r} is no quantizer of QKeras")


def _parsed(text: str) -> tuple[str, dict[str, Any]]:
    """A call with literals, read without evaluating it."""
    import ast

    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            return call.id, {}
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or len(call.args) > len(_ORDER):
            raise ValueError("not a call")
        fields = dict(zip(_ORDER, (ast.literal_eval(argument) for argument in call.args)))
        if any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("arguments by ** have no names")
        fields.update({str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords})
        return call.func.id, fields
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise BadInputError(f"`{text}` is no quantizer of QKeras: {error}") from None


def _plain(value: Any) -> Any:
    """Keras wraps numbers of NumPy as dicts with their value."""
    return value.get("config", {}).get("value", value) if isinstance(value, Mapping) else value


class _Assigned(Words):
    """A variable whose backend has no words that can be written: flips go to a copy, which is assigned."""

    assign: Any = None

    @property
    def is_shared(self) -> bool:
        return False

    def flip(self, elements: np.ndarray, masks: np.ndarray) -> None:
        super().flip(elements, masks)
        self.assign()

    def put(self, elements: np.ndarray, taken: Any) -> None:
        super().put(elements, taken)
        self.assign()


def keras_words(model: Any) -> list[Words]:
    """The weights of a Keras 3 model as words, by the paths of its variables.

    With the PyTorch and NumPy backends they are flipped where they are; with others, whose arrays cannot be written, a copy is flipped
    and assigned.
    """
    return [_variable_words(variable) for variable in model.weights]


def _variable_words(variable: Any) -> Words:
    value = variable.value
    if hasattr(value, "untyped_storage") or (isinstance(value, np.ndarray) and value.flags.writeable):
        return words_of(value, variable.path)
    copy = np.array(variable.numpy() if hasattr(variable, "numpy") else value)
    words = words_of(copy, variable.path)
    assigned = _Assigned(**vars(words))
    assigned.assign = lambda: variable.assign(copy)
    return assigned

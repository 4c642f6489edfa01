"""Keras and QKeras without TensorFlow."""

import json
import os
import zipfile

import numpy as np
import pytest

import bitquake as bq
from bitquake import keras as bq_keras

os.environ.setdefault("KERAS_BACKEND", "torch")

CONFIG = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "input"}},
            {
                "class_name": "QDense",
                "config": {
                    "name": "dense",
                    "kernel_quantizer": {
                        "class_name": "quantized_bits",
                        "config": {"bits": 5, "integer": 1, "symmetric": 0, "keep_negative": True, "alpha": 1.0},
                    },
                    "bias_quantizer": "quantized_bits(8,0,1,alpha=1)",
                    "activation_quantizer": None,
                },
            },
        ],
    },
}


def test_quantizers_of_an_archive(tmp_path):
    path = tmp_path / "q.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
    assert bq_keras.quantizers(path) == {
        "dense/kernel": {"family": "qkeras", "bits": 5, "integer": 1, "keep_negative": True, "symmetric": False, "alpha": 1.0},
        "dense/bias": {"family": "qkeras", "bits": 8, "integer": 0, "keep_negative": True, "symmetric": True, "alpha": 1.0},
    }


def test_quantizers_of_an_h5_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "q.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(CONFIG)
        file.create_dataset("dense/kernel", data=np.arange(6, dtype=np.float32).reshape(2, 3))
    assert set(bq_keras.quantizers(tmp_path / "q.h5")) == {"dense/kernel", "dense/bias"}
    weights = bq_keras.load_weights(tmp_path / "q.h5")
    assert np.array_equal(weights["dense/kernel"], np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.mark.parametrize(
    ("quantizer", "message"),
    [
        ("quantized_relu(4)", "`quantized_relu` is not known"),
        ("quantized_bits(", "is no quantizer of QKeras"),
        ("__import__('os').system('true')", "is no quantizer of QKeras"),
        (3, "is no quantizer of QKeras"),
        ("quantized_bits(4, use_stochastic_rounding=True)", "`use_stochastic_rounding` of quantized_bits is True"),
        ("quantized_bits(4, qnoise_factor=0.5)", "`qnoise_factor` of quantized_bits is 0.5"),
        ("quantized_bits(4, later=1)", "`later` of quantized_bits is 1"),
        ("quantized_bits(**{'bits': 4})", "is no quantizer of QKeras"),
        ("quantized_bits('a')", "is no quantizer of QKeras"),
        ("quantized_bits(4, alpha=[1, 2])", "is no quantizer of QKeras"),
        ({"class_name": "quantized_bits", "config": [4]}, "is no quantizer of QKeras"),
    ],
)
def test_other_quantizers(quantizer, message):
    with pytest.raises(bq.BitquakeError, match=message):
        bq_keras.quantizer_table(quantizer)


def test_arguments_that_change_no_codes():
    plain = bq_keras.quantizer_table("quantized_bits(4)")
    assert bq_keras.quantizer_table("quantized_bits(4, qnoise_factor=1.0, use_stochastic_rounding=False, var_name='k', use_ste=True)") == plain
    assert bq_keras.quantizer_table({"class_name": "quantized_bits", "config": {"bits": 4, "scale_axis": None}}) == plain


def test_an_unknown_quantizer_is_named_with_its_layer(tmp_path):
    path, config = tmp_path / "q.keras", json.loads(json.dumps(CONFIG).replace("quantized_bits(8,0,1,alpha=1)", "quantized_tanh(4)"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    with pytest.raises(bq.UnsupportedError, match="dense/bias: the quantizer `quantized_tanh`"):
        bq_keras.quantizers(path)


def test_damaged_archives(tmp_path):
    path = tmp_path / "q.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(CONFIG))
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            bq_keras.quantizers(path)
        except bq.BitquakeError:
            pass
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
    with pytest.raises(bq.BadInputError, match="q.keras"):
        bq_keras.quantizers(path)


def test_what_is_no_model_file(tmp_path):
    path = tmp_path / "x.keras"
    path.write_bytes(b"no zip")
    with pytest.raises(bq.BadInputError, match="x.keras"):
        bq_keras.model_config(path)
    with pytest.raises(bq.BadInputError, match="missing"):
        bq_keras.load_weights(tmp_path / "missing.h5")


@pytest.fixture(scope="module")
def model():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(6, activation="relu"), keras.layers.Dense(3)])
    net.build((None, 8))
    return net


def test_a_model_of_keras_in_place(model):
    before = [np.array(variable.numpy() if hasattr(variable, "numpy") else variable) for variable in model.weights]
    pattern = bq.inject_(model, bq.Fault(count=5), seed=1)
    after = [np.array(variable.numpy() if hasattr(variable, "numpy") else variable) for variable in model.weights]
    assert pattern.flips == 5 and set(pattern.tensors) <= {variable.path for variable in model.weights}
    changed = sum(int((a.view(np.uint32) ^ b.view(np.uint32)).any()) for a, b in zip(before, after))
    assert changed == len(pattern.tensors)
    pattern.undo_(model)
    assert all(np.array_equal(a, np.array(b)) for a, b in zip(before, model.get_weights()))


def test_a_model_of_keras_as_a_module(model):
    """With the backend of PyTorch it is one, whose tensors have the names of its state dict."""
    torch = pytest.importorskip("torch")
    x = torch.randn(40, 8)
    labels, before = model(x).argmax(1), model.get_weights()
    found = bq.attack(model, x, labels, budget=2)
    assert found.pattern.flips == 2 and set(found.pattern.tensors) <= set(model.state_dict())
    with bq.faulty(model, bq.Fault(count=4), seed=1) as pattern:
        assert set(pattern.tensors) <= set(model.state_dict())
        assert not all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))


def test_saved_weights_are_those_of_the_model(model, tmp_path):
    for name in ("m.keras", "m.weights.h5"):
        (model.save if name.endswith("keras") else model.save_weights)(tmp_path / name)
        loaded = bq_keras.load_weights(tmp_path / name)
        for weight in model.get_weights():
            assert any(array.shape == weight.shape and np.array_equal(array, weight) for array in loaded.values())


def test_variables_that_can_only_be_assigned():
    """What JAX and TensorFlow have: arrays that nobody writes to, in a variable that takes a new one."""

    class Frozen:
        path = "dense/kernel"

        def __init__(self):
            self.assign(np.ones((2, 2), dtype=np.float32))

        def numpy(self):
            return self.value

        def assign(self, value):
            self.value = np.array(value)
            self.value.flags.writeable = False

    class Model:
        weights = [Frozen()]

    words = bq_keras.keras_words(Model())
    assert [word.name for word in words] == ["dense/kernel"] and not words[0].is_shared
    words[0].flip(np.array([3], dtype=np.uint64), np.array([1 << 31], dtype=np.uint64))
    assert Model.weights[0].value.tolist() == [[1, 1], [1, -1]]


def nested(*names):
    """A model of models, each of which has a layer `dense`, with 4 bits, 5 bits ..."""
    layer = lambda bits: {"class_name": "QDense", "config": {"name": "dense", "kernel_quantizer": f"quantized_bits({bits})"}}  # noqa: E731
    parts = [{"class_name": "Sequential", "config": {"name": name, "layers": [layer(4 + place)]}} for place, name in enumerate(names)]
    return {"class_name": "Functional", "config": {"name": "whole", "layers": parts}}


def test_layers_of_one_name_in_several_parts(tmp_path):
    def found(config):
        path = tmp_path / "q.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
        return {place: table["bits"] for place, table in bq_keras.quantizers(path).items()}

    assert found(nested("encoder", "decoder")) == {"encoder/dense/kernel": 4, "decoder/dense/kernel": 5}
    assert found(nested("encoder")) == {"dense/kernel": 4}
    with pytest.raises(bq.BadInputError, match="two layers are called `encoder/dense`"):
        found(nested("encoder", "encoder"))


def test_weights_of_any_format(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    torch = pytest.importorskip("torch")
    numbers = torch.tensor([1.0, -1.5, 2.0])
    torch.save({"a": numbers.to(torch.float8_e4m3fn), "b": numbers.to(torch.bfloat16), "c": numbers.half(), "d": torch.tensor([-3, 4], dtype=torch.int16)}, tmp_path / "w.pt")
    found = bq_keras.load_weights(tmp_path / "w.pt")
    assert {name: str(array.dtype) for name, array in found.items()} == {"a": "float8_e4m3fn", "b": "bfloat16", "c": "float16", "d": "int16"}
    assert found["a"].astype(float).tolist() == [1, -1.5, 2] and found["d"].tolist() == [-3, 4]
    assert found["a"].dtype == ml_dtypes.float8_e4m3fn


class Assigned:
    """A variable as JAX has it: an array that nobody writes to, in a variable that takes a new one."""

    path = "dense/kernel"

    def __init__(self, value):
        self.assign(value)

    def numpy(self):
        return self.value

    def assign(self, value):
        self.value = np.array(value)
        self.value.flags.writeable = False


def test_weights_that_were_trained_since_a_campaign_was_made(tmp_path):
    keras = pytest.importorskip("keras")

    class Model(keras.Layer):
        weights = [Assigned(np.ones(64, dtype=np.float32))]

    model = Model()
    campaign = bq.Campaign(lambda: {"sum": model.weights[0].value.sum()}, fault=bq.Fault(counts=[3]), weights=model, trials=4, dir=tmp_path)
    model.weights[0].assign(np.full(64, 2, dtype=np.float32))
    results = campaign.run(progress=False)
    assert results.golden["metrics"]["host"]["own"]["sum"] == 128
    assert model.weights[0].value.tolist() == [2] * 64

"""The small CNN of this example: the PyTorch module, its ONNX twin, and the data it reads.

Images are Fashion-MNIST (MIT licence, Copyright 2017 Zalando SE, https://tech.zalando.com; see DATA-LICENSE):
28 x 28 grey values 0..255, ten balanced classes. The model takes them normalised, (x / 255 - MEAN) / STD.
"""

import gzip
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

MEAN = 0.2860
STD = 0.3530
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian package dataset-fashion-mnist
OPSET = 17  # the oldest opset that the project promises for this file
IR_VERSION = 8  # the file format version that came with opset 17


class FashionNet(nn.Module):
    """Four 3x3 convolutions with BatchNorm, three poolings, one linear layer: 66,170 parameters.

    Convolutions have no bias: BatchNorm, kept as layers of their own, adds it.
    """

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)
        self.conv3, self.bn3 = nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.conv4, self.bn4 = nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64)
        self.fc = nn.Linear(64 * 3 * 3, 10)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)  # 14 x 14
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)  # 7 x 7
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.max_pool2d(F.relu(self.bn4(self.conv4(x))), 2)  # 3 x 3
        return self.fc(x.flatten(1))


def normalise(grey):
    """Grey values 0..255 of any shape to the model's input values, float32."""
    return ((grey / np.float32(255) - np.float32(MEAN)) / np.float32(STD)).astype(np.float32)


def read_idx(path):
    """The array of unsigned bytes in a gzipped IDX file."""
    data = gzip.decompress(Path(path).read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def read_split(folder, split):
    """Images [count, 1, 28, 28] and labels [count], both uint8; `split` is "train" or "t10k"."""
    images = read_idx(Path(folder) / f"{split}-images-idx3-ubyte.gz")
    labels = read_idx(Path(folder) / f"{split}-labels-idx1-ubyte.gz")
    return images[:, None], labels


def to_onnx(state):
    """The ONNX model with the weights of `state` (a state dict of FashionNet).

    It is written node by node, not with torch.onnx.export: that folds BatchNorm into the convolutions unless told
    otherwise, and when told otherwise adds a constant zero bias to each convolution, which would be a weight of its own.
    Tensors are called as in the state dict.
    """
    nodes = []
    source = "images"
    for layer in (1, 2, 3, 4):
        source = _conv_bn_relu(nodes, source, layer)
        if layer != 3:
            nodes.append(
                helper.make_node(
                    "MaxPool", [source], [f"pool{layer}.out"], f"pool{layer}", kernel_shape=[2, 2], strides=[2, 2]
                )
            )
            source = f"pool{layer}.out"
    nodes.append(helper.make_node("Flatten", [source], ["flatten.out"], "flatten", axis=1))
    nodes.append(helper.make_node("Gemm", ["flatten.out", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "fashion_cnn",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [
            numpy_helper.from_array(value.numpy(), name)
            for name, value in state.items()
            if not name.endswith("num_batches_tracked")
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="bitquake fashion-cnn",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _conv_bn_relu(nodes, source, layer):
    """Append one block to `nodes`; the name of its output."""
    bn = [f"bn{layer}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    nodes.append(
        helper.make_node(
            "Conv",
            [source, f"conv{layer}.weight"],
            [f"conv{layer}.out"],
            f"conv{layer}",
            kernel_shape=[3, 3],
            pads=[1, 1, 1, 1],
        )
    )
    nodes.append(
        helper.make_node(
            "BatchNormalization", [f"conv{layer}.out", *bn], [f"bn{layer}.out"], f"bn{layer}", epsilon=1e-5
        )
    )
    nodes.append(helper.make_node("Relu", [f"bn{layer}.out"], [f"relu{layer}.out"], f"relu{layer}"))
    return f"relu{layer}.out"


def load_state(path):
    """The weights of an ONNX file made by `to_onnx`, as a state dict for FashionNet."""
    initializers = onnx.load(path).graph.initializer
    return {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in initializers}

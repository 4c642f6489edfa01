"""Makes crates/grad/tests/fixtures: small networks as PyTorch exports them, with PyTorch's values and gradients.

    python tools/make_grad_fixtures.py crates/grad/tests/fixtures

Needs torch, onnx, onnxscript and numpy. Each fixture is NAME.onnx and NAME.npz; the arrays are `images`, `outputs`, `loss`, what the
loss is of (`labels` and `smoothing`, or `targets`), `train` (1: batch statistics), for each parameter `grad/PARAMETER`, for each
running statistic that a training step changed `running/PARAMETER` (its new value), and for each parameter of some networks
`product/PARAMETER`: its part of the product of the Hessian of all parameters with the direction of `direction/PARAMETER`.
"""

import pathlib
import sys
import warnings

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")
CLASSES = 5


class Residual(nn.Module):
    """A residual block with a strided shortcut, as in ResNet."""

    def __init__(self):
        super().__init__()
        self.conv0, self.bn0 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv1, self.bn1 = nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8, momentum=0.3)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.down, self.bn3 = nn.Conv2d(4, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn0(self.conv0(x)))
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        x = F.relu(y + self.bn3(self.down(x)))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Inverted(nn.Module):
    """An inverted residual with squeeze and excitation, as in MobileNetV3 and EfficientNet."""

    def __init__(self, activation, gate):
        super().__init__()
        self.expand, self.bn0 = nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.depth, self.bn1 = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.project, self.bn2 = nn.Conv2d(8, 4, 1, bias=False), nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, CLASSES)
        self.activation, self.gate = activation, gate

    def forward(self, x):
        x = self.activation(self.bn0(self.expand(x)))
        x = self.activation(self.bn1(self.depth(x)))
        x = x * self.gate(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.fc(self.bn2(self.project(x)).mean([2, 3]))


class Dense(nn.Module):
    """Dense layers and a transition, as in DenseNet."""

    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 4, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(7), nn.Conv2d(7, 3, 3, padding=1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(10), nn.Conv2d(10, 5, 1, bias=False)
        self.fc = nn.Linear(5, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(self.conv0(x), 3, 1, 1)
        x = torch.cat([x, self.conv1(F.relu(self.bn1(x)))], 1)
        x = torch.cat([x, self.conv2(F.relu(self.bn2(x)))], 1)
        x = F.avg_pool2d(self.conv3(F.relu(self.bn3(x))), 2)
        return self.fc(F.relu(x).amax([2, 3]))


class Transformer(nn.Module):
    """A class token, positions and one encoder block, as in ViT."""

    def __init__(self, width=8):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, width) * 0.3)
        self.position = nn.Parameter(torch.randn(1, 5, width) * 0.3)
        self.ln1, self.ln2 = nn.LayerNorm(width), nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.up, self.down = nn.Linear(width, 12), nn.Linear(12, width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        y = self.ln1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.down(F.gelu(self.up(self.ln2(x))))
        return self.head(x[:, 0])


class Convolutions(nn.Module):
    """Convolutions of all kinds, without normalization."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Conv2d(3, 4, 3, padding=2, dilation=2)
        self.grouped = nn.Conv2d(4, 8, 3, padding=(1, 0), groups=2, stride=(2, 1))
        self.same = nn.Conv2d(8, 6, (2, 3), padding="same")
        self.uneven = nn.Conv2d(6, 4, (1, 2), stride=2)
        self.line = nn.Conv1d(4, 3, 3, padding=1)
        self.fc = nn.Linear(3, CLASSES)

    def forward(self, x):
        x = torch.tanh(self.grouped(F.elu(self.wide(x))))
        x = F.leaky_relu(self.uneven(F.pad(F.softplus(self.same(x)), (1, 2, 0, 1))), 0.1)
        return self.fc(self.line(x.flatten(2)).mean(2))


class Pools(nn.Module):
    """Pools of all kinds, group and instance normalization."""

    def __init__(self):
        super().__init__()
        self.conv0, self.group = nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6)
        self.conv1, self.instance = nn.Conv2d(6, 4, 2), nn.InstanceNorm2d(4, affine=True)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(self.group(self.conv0(x)), 3, 2, 1, ceil_mode=True)
        x = self.instance(self.conv1(F.avg_pool2d(x, 2, 1, 1, count_include_pad=True)))
        x = F.avg_pool2d(F.relu6(x), 3, 2, 1, count_include_pad=False)
        return self.fc(F.adaptive_max_pool2d(x, 1).flatten(1))


class Quantized(nn.Module):
    """PACT activations: a learnt bound, then codes of 4 bits, straight through."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)
        self.alpha = nn.Parameter(torch.tensor(0.6))
        self.scale = 0.6 / 15

    def forward(self, x):
        x = torch.clamp(self.conv(x), min=0.0)
        x = torch.where(x < self.alpha, x, self.alpha)
        x = torch.fake_quantize_per_tensor_affine(x, self.scale, 0, 0, 15)
        return self.fc(x.mean([2, 3]))


def quantized_onnx(model):
    """The graph of `Quantized`, by hand: 4 bits as `Clip`, and codes of u8 of which 16 are used."""
    from onnx import TensorProto, helper, numpy_helper

    stored = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    stored |= {"zero": np.float32(0), "scale": np.float32(model.scale), "code0": np.uint8(0)}
    node = helper.make_node
    nodes = [
        node("Conv", ["images", "conv.weight", "conv.bias"], ["convolved"]),
        node("Clip", ["convolved", "zero", "alpha"], ["clipped"]),
        node("QuantizeLinear", ["clipped", "scale", "code0"], ["codes"]),
        node("DequantizeLinear", ["codes", "scale", "code0"], ["levels"]),
        node("ReduceMean", ["levels"], ["features"], axes=[2, 3], keepdims=0),
        node("Gemm", ["features", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "quantized", [image], [logits], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def exported(model, images):
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.onnx.export(
        model.eval(), (images,), dynamo=True, optimize=False, verbose=False, input_names=["images"],
        output_names=["logits"], dynamic_shapes=({0: batch},), external_data=False,
    )
    proto = program.model_proto
    # What the exporter tells of the source: folders of this machine, and more bytes than the network.
    for part in [proto, proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer,
                 *proto.graph.input, *proto.graph.output]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    proto.graph.ClearField("value_info")
    return proto


def settle(model):
    """Parameters and statistics away from their defaults, so that each has an effect."""
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and value.dim() == 1:
                value += 0.3 * torch.randn_like(value).abs() if "var" in name else 0.3 * torch.randn_like(value)


def products(loss, model):
    """The product of the Hessian with a direction, by differentiating the gradient."""
    generator = torch.Generator().manual_seed(1)
    names, parameters = zip(*model.named_parameters())
    directions = [torch.randn(value.shape, generator=generator) for value in parameters]
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, retain_graph=True)
    along = sum((gradient * direction).sum() for gradient, direction in zip(gradients, directions))
    found = torch.autograd.grad(along, parameters, retain_graph=True, materialize_grads=True)
    arrays = {f"direction/{key}": value.numpy() for key, value in zip(names, directions)}
    return arrays | {f"product/{key}": value.numpy() for key, value in zip(names, found)}


def write(folder, name, model, train=False, smoothing=None, images=4, second=False):
    torch.manual_seed(sum(map(ord, name)))
    settle(model)
    x = torch.randn(images, 3, 8, 8)
    proto = quantized_onnx(model) if isinstance(model, Quantized) else exported(model, x)
    onnx.save(proto, folder / f"{name}.onnx")
    arrays = {"images": x.numpy().copy(), "train": np.int64(train)}
    model.train(train)
    outputs = model(x)
    if smoothing is None:
        targets = torch.softmax(torch.randn(images, CLASSES), 1)
        arrays["targets"] = targets.numpy()
        loss = F.cross_entropy(outputs, targets)
    else:
        labels = torch.arange(images) * 2 % CLASSES
        arrays |= {"labels": labels.numpy(), "smoothing": np.float32(smoothing)}
        loss = F.cross_entropy(outputs, labels, label_smoothing=smoothing)
    if second:
        arrays |= products(loss, model)
    loss.backward()
    arrays |= {"outputs": outputs.detach().numpy(), "loss": np.float32(loss.item())}
    arrays |= {f"grad/{key}": value.grad.numpy() for key, value in model.named_parameters()}
    if train:
        arrays |= {f"running/{key}": value.numpy() for key, value in model.named_buffers() if "running" in key}
    np.savez(folder / f"{name}.npz", **arrays)
    missing = {key for key, _ in model.named_parameters()} - {stored.name for stored in proto.graph.initializer}
    print(name, [node.op_type for node in proto.graph.node], "not stored:", missing)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    write(folder, "residual-train", Residual(), train=True, smoothing=0.1)
    write(folder, "residual-evaluate", Residual(), smoothing=0.0, second=True)
    write(folder, "mobile", Inverted(F.hardswish, F.hardsigmoid), train=True, smoothing=0.0)
    write(folder, "efficient", Inverted(F.silu, torch.sigmoid), train=True)
    write(folder, "dense", Dense(), train=True, smoothing=0.2)
    write(folder, "transformer", Transformer(), smoothing=0.1)
    write(folder, "convolutions", Convolutions(), second=True)
    write(folder, "pools", Pools(), smoothing=0.0, second=True)
    write(folder, "quantized", Quantized(), smoothing=0.0)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))

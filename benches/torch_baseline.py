"""ResNet-20 in PyTorch at its best settings: the baseline of `crates/engine/benches/reuse.rs`.

usage: torch_baseline.py MODEL.onnx IMAGES.f32 THREADS

Reads the network that the benchmark made, sets the statistics of its batch normalisation from the images, writes it back,
and prints the share of ReLU outputs that are not zero. Then each line `TASK` on standard input is answered by the seconds
that one task took, with the batch that was fastest in a trial of all.
"""

import random
import sys
import time

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

BATCHES = [40, 100, 200, 500]  # they part 1,000 images evenly


class Add(nn.Module):
    def forward(self, a, b):
        return a + b


class Block(nn.Module):
    def __init__(self, wide_in, wide, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(wide)
        self.shortcut = None
        if wide_in != wide:
            self.shortcut = nn.Sequential()
            self.shortcut.add_module("conv", nn.Conv2d(wide_in, wide, 1, stride, bias=False))
            self.shortcut.add_module("bn", nn.BatchNorm2d(wide))
        self.add = Add()
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x):
        inner = self.relu1(self.bn1(self.conv1(x)))
        inner = self.bn2(self.conv2(inner))
        return self.relu2(self.add(inner, self.shortcut(x) if self.shortcut else x))


class ResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        wide_in = 16
        for stage, wide in enumerate([16, 32, 64], 1):
            blocks = []
            for _ in range(3):
                blocks.append(Block(wide_in, wide, 1 if wide_in == wide else 2))
                wide_in = wide
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.flatten(self.pool(x)))


def load(path, images):
    """The network of the file, its batch normalisation calibrated, also in the file."""
    proto, net = onnx.load(path), ResNet20()
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    state = {name: torch.tensor(numpy_helper.to_array(tensor)) for name, tensor in stored.items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    net.train()
    with torch.no_grad():
        net(images)
    net.eval()
    for name, value in net.state_dict().items():
        if name in stored:
            stored[name].CopyFrom(numpy_helper.from_array(value.numpy(), name))
    onnx.save(proto, path)
    return net.to(memory_format=torch.channels_last)


def relu_share(net, images):
    """The share of ReLU outputs that are not zero; all outputs must be finite."""
    shares = []
    hooks = [
        module.register_forward_hook(lambda _, __, out: shares.append((out > 0).float().mean().item()))
        for module in net.modules()
        if isinstance(module, nn.ReLU)
    ]
    outputs = net(images)
    for hook in hooks:
        hook.remove()
    assert torch.isfinite(outputs).all() and outputs.std() > 0.01
    return sum(shares) / len(shares)


class Baseline:
    def __init__(self, net, images):
        self.net, self.images = net, images
        self.random = random.Random(1)
        self.layers = [module for module in net.modules() if not list(module.children())]
        self.sizes = self.elements()
        self.compiled = torch.compile(net, dynamic=False)
        # Weights become constants: faults in them would not be seen.
        self.frozen = torch.compile(net, dynamic=False, options={"freezing": True})
        self.best = {}

    def elements(self):
        """Elements of one image in the output of each layer."""
        sizes = [0] * len(self.layers)
        hooks = [
            layer.register_forward_hook(lambda _, __, out, at=at: sizes.__setitem__(at, out[0].numel()))
            for at, layer in enumerate(self.layers)
        ]
        self.net(self.images[:1])
        for hook in hooks:
            hook.remove()
        return sizes

    def evaluate(self, model, batch):
        return [model(part) for part in self.images.split(batch)]

    def eager(self, batch):
        self.evaluate(self.net, batch)

    def when_compiled(self, batch):
        self.evaluate(self.compiled, batch)

    def when_frozen(self, batch):
        self.evaluate(self.frozen, batch)

    def weight_fault(self, batch, evaluate):
        """One flipped bit in a random weight, all images, undone."""
        weights = [weight for weight in self.net.parameters()]
        words = self.random.choices(weights, [weight.numel() for weight in weights])[0].view(torch.int32)
        place = tuple(self.random.randrange(size) for size in words.shape)
        mask = word(1 << self.random.randrange(32))
        words[place] ^= mask
        evaluate(batch)
        words[place] ^= mask

    def hooks_each(self, batch):
        """A fault of its own for each image: a hook on every layer that flips the bits of its rows."""
        for first, part in zip(range(0, len(self.images), batch), self.images.split(batch)):
            sites = self.sites[first : first + batch]
            of_layer = {}
            for row, (layer, element, mask) in enumerate(sites):
                of_layer.setdefault(layer, []).append((row, element, mask))
            hooks = [
                self.layers[layer].register_forward_hook(flipping(*map(list, zip(*faults))))
                for layer, faults in of_layer.items()
            ]
            self.net(part)
            for hook in hooks:
                hook.remove()

    def hooks_one(self, batch):
        """One fault for all images."""
        layer, element, mask = self.site()
        hook = self.layers[layer].register_forward_hook(flipping(slice(None), element, mask))
        self.evaluate(self.net, batch)
        hook.remove()

    def site(self):
        layer = self.random.choices(range(len(self.layers)), self.sizes)[0]
        return layer, self.random.randrange(self.sizes[layer]), word(1 << self.random.randrange(32))

    def seconds(self, task, batch):
        tasks = {
            "frozen": self.when_frozen,
            "weight-eager": lambda batch: self.weight_fault(batch, self.eager),
            "weight-compiled": lambda batch: self.weight_fault(batch, self.when_compiled),
            "hooks-each": self.hooks_each,
            "hooks-one": self.hooks_one,
        }
        self.sites = [self.site() for _ in self.images]  # drawing is not measured
        start = time.perf_counter()
        tasks[task](batch)
        return time.perf_counter() - start

    def run(self, task):
        if task not in self.best:
            tried = {}
            for batch in BATCHES:
                self.seconds(task, batch)
                tried[batch] = min(self.seconds(task, batch) for _ in range(3))
            self.best[task] = min(tried, key=tried.get)
            print(f"{task}: batch {self.best[task]} of", {b: round(t, 3) for b, t in tried.items()}, file=sys.stderr)
        return self.seconds(task, self.best[task])


def word(value):
    """As a signed word."""
    return value - (1 << 32) if value >= 1 << 31 else value


def flipping(rows, elements, masks):
    """A hook that flips bits in rows of an output, whatever lies first in memory."""
    masks = torch.tensor(masks, dtype=torch.int32)

    def hook(_, __, out):
        flat = out.permute(0, 2, 3, 1).view(len(out), -1) if out.dim() == 4 else out
        flat.view(torch.int32)[rows, elements] ^= masks

    return hook


def main():
    path, pixels, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(threads)
    images = torch.from_numpy(np.fromfile(pixels, dtype=np.float32).reshape(-1, 3, 32, 32))
    net = load(path, images)
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        print(f"{relu_share(net, images):.3f}", flush=True)
        baseline = Baseline(net, images)
        for line in sys.stdin:
            print(baseline.run(line.strip()), flush=True)


if __name__ == "__main__":
    main()

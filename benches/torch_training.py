"""Training steps in PyTorch at its best settings: the baseline of `crates/grad/benches/step.rs`.

usage: torch_training.py THREADS

Each line `NETWORK BATCH` on standard input, with the network resnet20 or lenet5, is answered by the seconds that one pass took: the
loss and the gradients of all parameters, channels last. The first of each kind warms up and is answered too.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch_baseline import ResNet20

SHAPES = {"resnet20": (3, 32, 32), "lenet5": (1, 28, 28)}


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )


def main(threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    networks = {"resnet20": ResNet20(), "lenet5": lenet5()}
    networks = {name: network.to(memory_format=torch.channels_last).train() for name, network in networks.items()}
    for line in sys.stdin:
        name, batch = line.split()
        network = networks[name]
        images = torch.randn(int(batch), *SHAPES[name]).to(memory_format=torch.channels_last)
        labels = torch.arange(int(batch)) % 10
        network.zero_grad(set_to_none=True)
        start = time.perf_counter()
        F.cross_entropy(network(images), labels).backward()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))

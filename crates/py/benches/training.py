"""What RandBET costs in a training loop of PyTorch: steps of `bq.RandBET`, of two plain passes, and of a version by hand, against normal steps.

usage: training.py [--threads 2] [--rounds 15] [--seconds 1.0] [lenet5 resnet20]

All train the same network on the same batch of 128, with SGD (momentum, weight decay), taking turns of several steps in one run; a round
gives a ratio of each to the normal step of that round, and what is printed is the median ratio with its quartiles. Two plain passes and one
step of the optimizer are what the least would cost that trains on two sets of weights. The version by hand draws a random number for each
bit, tensor by tensor, as published code does. Goal: `bq.RandBET` at most 2.0 normal steps.

The C library is told to keep freed memory: else whose freed memory it gives back, and who pays for new pages (thousands a step), hangs on
who ran before, and changes ratios by a tenth.
"""

import argparse
import os
import statistics
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

import bitquake as bq

RATE, BITS, CLIP, BATCH = 0.01, 8, 0.1, 128
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "8000000000", "MALLOC_MMAP_THRESHOLD_": "8000000000"}
SGD = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )


class Block(nn.Module):
    def __init__(self, before, wide, stride):
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(before, wide, 3, stride, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False), nn.BatchNorm2d(wide),
        )
        straight = nn.Sequential(nn.Conv2d(before, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        self.short = nn.Identity() if before == wide else straight

    def forward(self, x):
        return F.relu(self.way(x) + self.short(x), inplace=True)


def resnet20():
    layers, before = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)], 16
    for wide, stride in [(16, 1)] * 3 + [(32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)]:
        layers.append(Block(before, wide, stride))
        before = wide
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


NETWORKS = {"lenet5": (lenet5, (1, 28, 28)), "resnet20": (resnet20, (3, 32, 32))}


class Normal:
    def __init__(self, make, shape):
        torch.manual_seed(0)
        self.model = make().train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), **SGD)
        self.images, self.labels = torch.randn(BATCH, *shape), torch.arange(BATCH) % 10

    def loss(self):
        return F.cross_entropy(self.model(self.images), self.labels)

    def step(self):
        self.optimizer.zero_grad()
        self.loss().backward()
        self.optimizer.step()


class TwoPasses(Normal):
    def step(self):
        self.optimizer.zero_grad()
        self.loss().backward()
        super().step()


class Ours(Normal):
    def __init__(self, make, shape):
        super().__init__(make, shape)
        self.robust = bq.RandBET(self.model, self.optimizer, rate=RATE, bits=BITS, w_max=CLIP, curriculum="always")

    def step(self):
        self.optimizer.zero_grad()
        self.robust.step(self.loss)
        self.optimizer.step()


class ByHand(Normal):
    """Codes, levels and flips in PyTorch, a random number a bit."""

    def step(self):
        parameters = list(self.model.parameters())
        with torch.no_grad():
            masters = [p.clamp_(-CLIP, CLIP).clone() for p in parameters]
            stored = [self.store(p) for p in masters]
            self.show(parameters, stored)
        self.optimizer.zero_grad()
        self.loss().backward()
        clean = [p.grad.clone() for p in parameters]
        with torch.no_grad():
            self.show(parameters, [(self.flipped(codes), low, scale) for codes, low, scale in stored])
        self.optimizer.zero_grad()
        self.loss().backward()
        with torch.no_grad():
            for p, master, gradient in zip(parameters, masters, clean):
                p.copy_(master)
                p.grad.clamp_(-0.05, 0.05).add_(gradient).div_(2)
        self.optimizer.step()

    @staticmethod
    def store(values):
        low, high = values.aminmax()
        scale = ((high - low) / (2**BITS - 1)).clamp_min(1e-12)
        return ((values - low) / scale).round().to(torch.int32), low, scale

    @staticmethod
    def show(parameters, stored):
        for p, (codes, low, scale) in zip(parameters, stored):
            p.copy_(low + codes * scale)

    @staticmethod
    def flipped(codes):
        for bit in range(BITS):
            hit = torch.rand(codes.shape) < RATE
            codes = codes ^ (hit.to(torch.int32) << bit)
        return codes


def turn(contestant, steps):
    """Seconds a step, after one that does not count."""
    contestant.step()
    start = time.perf_counter()
    for _ in range(steps):
        contestant.step()
    return (time.perf_counter() - start) / steps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn of normal steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| network | normal, ms | bq.RandBET / normal (goal 2.0) | two plain passes / normal | by hand / normal |\n|---|---|---|---|---|")
    for name in options.networks:
        contestants = [kind(*NETWORKS[name]) for kind in (Normal, Ours, TwoPasses, ByHand)]
        steps = max(3, round(options.seconds / turn(contestants[0], 3)))
        rounds = [[turn(contestant, steps) for contestant in contestants] for _ in range(options.rounds)]
        normal = statistics.median(row[0] for row in rounds)
        cells = [f"{normal * 1e3:.1f}"]
        for place in (1, 2, 3):
            low, middle, high = statistics.quantiles([row[place] / row[0] for row in rounds], n=4)
            cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if not KEEP_MEMORY.keys() <= os.environ.keys():  # it is read when a process starts
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP_MEMORY})
    main()

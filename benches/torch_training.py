"""Training in PyTorch at its best settings: the baseline of `crates/grad/benches/step.rs` and `crates/train/benches/step.rs`.

usage: torch_training.py THREADS

Each line `KIND NETWORK BATCH COUNT` on standard input is answered by the seconds of COUNT repetitions, after one that is not counted.
Networks are lenet5, resnet20 and simplenet (64 base channels, group norms), channels last. Kinds:

    pass      the loss and the gradients of all parameters
    normal    a step of SGD: a pass, momentum, weight decay
    randbet   a step with random bit errors (Stutz et al., MLSys 2021): weights clipped to 0.1, in 8-bit codes of each tensor's range;
              a pass with the codes' levels, one with the levels of codes of which each bit flips with probability 0.01, the mean of
              the gradients, a step of SGD

All weights, gradients and momenta lie in one tensor each, of which parameters are views, so that what is done with weights is a few large
operations however many tensors there are.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch_baseline import ResNet20

SHAPES = {"resnet20": (3, 32, 32), "lenet5": (1, 28, 28), "simplenet": (3, 32, 32)}
RATE, DECAY, MOMENTUM = 1e-3, 5e-4, 0.9
BIT_ERRORS, CLIP, BITS = 0.01, 0.1, 8


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )


class GroupNorm(nn.GroupNorm):
    """With a scale of 1 plus the parameter, so that the parameter may be small."""

    def __init__(self, channels):
        super().__init__(next(groups for groups in (min(most, channels // 2) for most in (32, 24, 16, 8))
                              if channels % groups == 0), channels)
        nn.init.zeros_(self.weight)

    def forward(self, x):
        return F.group_norm(x, self.num_groups, 1 + self.weight, self.bias, self.eps)


def simplenet(base=64):
    layers, before = [], 3
    for width, kernel, pool in [
        (1, 3, False), (2, 3, False), (2, 3, False), (2, 3, True), (2, 3, False), (2, 3, False), (4, 3, True),
        (4, 3, False), (4, 3, True), (8, 3, True), (32, 1, False), (4, 1, True), (4, 3, False),
    ]:
        channels = width * base
        layers += [nn.Conv2d(before, channels, kernel, padding=kernel // 2), GroupNorm(channels), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)] if pool else []
        before = channels
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(before, 10))


class Training:
    def __init__(self, network, shape):
        self.network = network.to(memory_format=torch.channels_last).train()
        self.shape = shape
        self.batches = {}
        parameters = list(network.parameters())
        count = sum(p.numel() for p in parameters)
        self.seen, self.gradients, self.momenta = (torch.zeros(count) for _ in range(3))
        self.sizes = [p.numel() for p in parameters]
        self.counts = torch.tensor(self.sizes)
        start = 0
        for p in parameters:
            view = lambda flat: self.view(flat[start:start + p.numel()], p)
            view(self.seen).copy_(p.data)
            p.data, p.grad = view(self.seen), view(self.gradients)
            start += p.numel()
        self.masters = self.seen.clone()
        self.values = (2 ** torch.arange(BITS)).to(torch.uint8)[:, None]

    @staticmethod
    def view(flat, like):
        if like.dim() == 4:
            out, into, rows, columns = like.shape
            return flat.view(out, rows, columns, into).permute(0, 3, 1, 2)
        return flat.view(like.shape)

    def batch(self, size):
        if size not in self.batches:
            images = torch.randn(size, *self.shape).to(memory_format=torch.channels_last)
            self.batches[size] = images, torch.arange(size) % 10
        return self.batches[size]

    def backward(self, batch):
        """Adds to the gradients."""
        images, labels = batch
        F.cross_entropy(self.network(images), labels).backward()

    def pass_(self, batch):
        self.gradients.zero_()
        self.backward(batch)

    @torch.no_grad()
    def update(self):
        self.momenta.mul_(MOMENTUM).add_(self.gradients).add_(self.masters, alpha=DECAY)
        self.masters.add_(self.momenta, alpha=-RATE)

    def normal(self, batch):
        self.pass_(batch)
        self.update()
        self.seen.copy_(self.masters)

    @torch.no_grad()
    def store(self):
        """Codes of the clipped weights, and what each tensor's codes stand for: a scale and a lowest value, for each weight."""
        self.masters.clamp_(-CLIP, CLIP)
        ends = torch.stack([torch.stack(part.aminmax()) for part in self.masters.split(self.sizes)])
        low, high = (end.repeat_interleave(self.counts, output_size=len(self.masters)) for end in ends.unbind(1))
        scale = ((high - low) / (2**BITS - 1)).clamp_min_(1e-12)
        return ((self.masters - low) / scale).round_().to(torch.uint8), low, scale

    @torch.no_grad()
    def show(self, codes, low, scale):
        torch.addcmul(low, codes.to(torch.float32), scale, out=self.seen)

    @torch.no_grad()
    def flipped(self, codes):
        hit = torch.rand(BITS, codes.numel()) < BIT_ERRORS
        return codes ^ (hit * self.values).sum(0, dtype=torch.uint8)

    def randbet(self, batch):
        codes, low, scale = self.store()
        self.gradients.zero_()
        self.show(codes, low, scale)
        self.backward(batch)
        self.show(self.flipped(codes), low, scale)
        self.backward(batch)
        self.gradients.mul_(0.5)
        self.update()


def main(threads):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    made = {"resnet20": ResNet20, "lenet5": lenet5, "simplenet": simplenet}
    trainings = {}
    for line in sys.stdin:
        kind, name, batch, count = line.split()
        if name not in trainings:
            trainings[name] = Training(made[name](), SHAPES[name])
        training = trainings[name]
        step = {"pass": training.pass_, "normal": training.normal, "randbet": training.randbet}[kind]
        batch = training.batch(int(batch))
        seconds = []
        for _ in range(int(count) + 1):
            start = time.perf_counter()
            step(batch)
            seconds.append(time.perf_counter() - start)
        print(*seconds[1:], flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))

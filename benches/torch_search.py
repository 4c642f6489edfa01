"""Progressive bit search in PyTorch at its best settings: the baseline of `crates/attack/benches/search.rs`.

usage: torch_search.py THREADS IMAGES

ResNet-20 at 32x32 in the mode of inference, channels last. Each line `TASK COUNT` on standard input is answered by the seconds of COUNT
repetitions, after one that is not counted. Tasks:

    flip       a step of the search: the gradient, in each layer the bit whose flip promises most, the loss with it, the best one is kept
    gradient   the gradient of all weights
    losses     the loss with one flip in each layer, without the rest of a step
    hessian    the product of the Hessian with a random vector, by differentiating the gradient

Weights are 8-bit codes in two's complement, with a scale for each layer, and what the network computes with is written in place. Only the one
weight that a flip changes is written and put back; no weight is quantized again on the way.
"""

import sys
import time

import torch
from torch import nn
from torch.nn import functional as F
from torch_baseline import ResNet20

BITS = 8
LARGEST = 2 ** (BITS - 1) - 1


class Layer:
    """The weights of a layer as codes."""

    def __init__(self, weight):
        self.weight = weight
        self.scale = weight.detach().abs().max().item() / LARGEST
        self.codes = (weight.detach() / self.scale).round().to(torch.int16).flatten()
        # In the order of memory, in which the gradient lies too.
        self.flat = weight.data.permute(0, 2, 3, 1).view(-1) if weight.dim() == 4 else weight.data.view(-1)
        if weight.dim() == 4:
            self.codes = self.codes.view(weight.shape).permute(0, 2, 3, 1).flatten()
        self.flat.copy_(self.codes * self.scale)
        self.changes = self.changes_of(self.codes)

    def best(self):
        """The weight and the code of the flip that promises the largest rise of the loss."""
        gradient = self.weight.grad
        gradient = gradient.permute(0, 2, 3, 1).reshape(-1) if gradient.dim() == 4 else gradient.view(-1)
        bit, element = divmod((self.changes * gradient).argmax().item(), len(gradient))
        return element, flipped(self.codes[element].item(), bit)

    def changes_of(self, codes):
        """For each bit, what its flip adds to the weights of some codes."""
        values = torch.tensor([-(2**bit) if bit == BITS - 1 else 2**bit for bit in range(BITS)])[:, None]
        stored = (codes[None, :] >> torch.arange(BITS)[:, None]) & 1
        return (1 - 2 * stored) * (values * self.scale)

    def keep(self, element, code):
        self.codes[element] = code
        self.flat[element] = code * self.scale
        self.changes[:, element] = self.changes_of(self.codes[element : element + 1])[:, 0]


def flipped(code, bit):
    code = (code & (2**BITS - 1)) ^ (1 << bit)
    return code - 2**BITS if code > LARGEST else code


class Search:
    def __init__(self, images):
        self.network = ResNet20().to(memory_format=torch.channels_last)
        for module in self.network.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.images = torch.rand(images, 3, 32, 32).to(memory_format=torch.channels_last)
        self.settle()
        layers = [m.weight for m in self.network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
        self.layers = [Layer(weight) for weight in layers]
        with torch.no_grad():
            self.labels = self.network(self.images).argmax(1)
        self.vector = [torch.randn_like(layer.weight) for layer in self.layers]

    @torch.no_grad()
    def settle(self):
        """Running statistics are those of the images."""
        for module in self.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        self.network.train()(self.images)
        self.network.eval()

    def weights(self):
        return [layer.weight for layer in self.layers]

    def loss(self):
        return F.cross_entropy(self.network(self.images), self.labels)

    def gradient(self):
        for weight in self.weights():
            weight.grad = None
        loss = self.loss()
        grads = torch.autograd.grad(loss, self.weights())
        for weight, grad in zip(self.weights(), grads):
            weight.grad = grad
        return loss.item()

    @torch.no_grad()
    def candidates(self):
        return [layer.best() for layer in self.layers]

    @torch.inference_mode()
    def losses(self, candidates):
        losses = []
        for layer, (element, code) in zip(self.layers, candidates):
            before = layer.flat[element].item()
            layer.flat[element] = code * layer.scale
            losses.append(self.loss().item())
            layer.flat[element] = before
        return losses

    @torch.no_grad()
    def keep(self, candidates, losses):
        best = max(range(len(losses)), key=losses.__getitem__)
        self.layers[best].keep(*candidates[best])

    def flip(self):
        self.gradient()
        candidates = self.candidates()
        losses = self.losses(candidates)
        self.keep(candidates, losses)

    def hessian(self):
        grads = torch.autograd.grad(self.loss(), self.weights(), create_graph=True)
        product = sum((grad * vector).sum() for grad, vector in zip(grads, self.vector))
        return torch.autograd.grad(product, self.weights())


def main(threads, images):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    search = Search(images)
    search.gradient()
    candidates = search.candidates()
    tasks = {
        "flip": search.flip,
        "gradient": search.gradient,
        "losses": lambda: search.losses(candidates),
        "hessian": search.hessian,
    }
    for line in sys.stdin:
        task, count = line.split()
        seconds = []
        for _ in range(int(count) + 1):
            start = time.perf_counter()
            tasks[task]()
            seconds.append(time.perf_counter() - start)
        print(*seconds[1:], flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

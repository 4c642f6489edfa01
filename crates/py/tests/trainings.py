"""A small network and what training it takes, for the tests."""

import bitquake as bq
import torch
from torch import nn
from torch.nn import functional as F

RANDBET = {"rate": 0.01, "curriculum": "always"}
CODES = {"family": "asymmetric", "bits": 8, "signed": False}
SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
    )


def batches(count, seed=5):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        labels = torch.randint(0, 5, (16,), generator=generator)
        yield torch.randn(16, 1, 8, 8, generator=generator) * 0.5 + labels[:, None, None, None], labels


def train(model, robust, optimizer, data):
    for images, labels in data:
        optimizer.zero_grad()
        robust.step(lambda: F.cross_entropy(model(images), labels))
        optimizer.step()


def values(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def made(seed=1, model=None, **table):
    model = network() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), **SGD)
    return model, optimizer, bq.RobustTraining(model, optimizer, seed=seed, **table)

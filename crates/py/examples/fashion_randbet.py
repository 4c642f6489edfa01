"""Trains a small CNN on Fashion-MNIST twice, with plain PyTorch and with random bit errors (RandBET), and judges both with bit errors in
their 8-bit codes.

    python crates/py/examples/fashion_randbet.py            # some minutes on two cores
    python crates/py/examples/fashion_randbet.py --small    # seconds, to see that it works

The data come from the Debian package dataset-fashion-mnist. The ten lines that training on bit errors adds to a loop are marked with `#`.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path

import bitquake as bq
import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

DATA = Path("/usr/share/datasets/fashion-mnist")
RATES = [1e-4, 1e-3, 5e-3, 1e-2]
STORAGE = {"family": "asymmetric", "bits": 8, "signed": False}


def idx(name, offset, shape):
    return np.frombuffer(gzip.decompress((DATA / name).read_bytes()), np.uint8, offset=offset).reshape(shape)


def load(part, limit):
    images = idx(f"{part}-images-idx3-ubyte.gz", 16, (-1, 1, 28, 28))[:limit].astype(np.float32)
    labels = idx(f"{part}-labels-idx1-ubyte.gz", 8, (-1,))[:limit].astype(np.int64)
    return (torch.from_numpy(images / 255) - 0.2860) / 0.3530, torch.from_numpy(labels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def train(images, labels, epochs, rate=None):
    """A network; with a rate, trained on bit errors of that rate."""
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [epochs * 2 // 3, epochs * 5 // 6], 0.1)
    robust = None
    if rate is not None:
        robust = bq.RandBET(model, optimizer, rate=rate, bits=8, w_max=0.2, seed=1)  #
    order = torch.Generator().manual_seed(0)
    for epoch in range(epochs):
        if robust is not None:
            robust.begin_epoch(epoch, epochs)  #
        for batch in torch.randperm(len(images), generator=order).split(128):
            optimizer.zero_grad()

            def loss():
                return cross_entropy(model(images[batch]), labels[batch])

            if robust is not None:
                robust.step(loss)  # in place of loss().backward()
            else:
                loss().backward()
            optimizer.step()
        schedule.step()
    if robust is not None:
        robust.project_()  #
        robust.close()  #
    return model.eval()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--small", action="store_true", help="few images and epochs")
    arguments.add_argument("--dir", type=Path, default=None, help="where the records and reports of the campaigns go")
    options = arguments.parse_args()
    epochs, images, tests, trials = (3, 2000, 300, 5) if options.small else (12, 30_000, 2000, 20)
    train_set, test_set = load("train", images), load("t10k", tests)
    folder = options.dir or Path(tempfile.mkdtemp())
    print(f"{images} images, {epochs} epochs; test error in % with its 95 % interval over {trials} bit error patterns on {tests} images")
    print(f"{'':>10} {'clean':>6}" + "".join(f"{rate:>20g}" for rate in RATES))
    for name, rate in (("normal", None), ("RandBET", 0.01)):
        model = train(*train_set, epochs, rate)
        campaign = bq.Campaign(
            model, test_set, bq.Fault(rates=RATES), storage=STORAGE, trials=trials, seed=1, dir=folder / name, name=name
        )
        results = campaign.run()
        clean = 100 * (1 - results.golden["metrics"]["correct"] / tests)
        cells = [f"{100 * row['err_mean']:.1f} [{100 * row['err_ci_lo']:.1f}, {100 * row['err_ci_hi']:.1f}]" for row in results.rows]
        print(f"{name:>10} {clean:>6.1f}" + "".join(f"{cell:>20}" for cell in cells), flush=True)
    print(f"records and reports: {folder}")


if __name__ == "__main__":
    main()

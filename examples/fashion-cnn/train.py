"""Trains the model of this example and writes fashion_cnn.onnx.

    python train.py [--data FOLDER] [--epochs 20] [--out fashion_cnn.onnx]

Needs torch, numpy, onnx, onnxruntime and the Debian package dataset-fashion-mnist (or the four files of
https://github.com/zalandoresearch/fashion-mnist in FOLDER). Fashion-MNIST: MIT licence, Copyright 2017 Zalando SE.
One thread, a fixed seed and deterministic kernels: the same versions on the same kind of CPU give the same file.
The epoch kept is the one best on 5,000 training images that were held out; the test images are used once, at the end.

The shipped file: made with the default arguments by torch 2.15.0, numpy 2.4.6, onnx 1.23.2 (Python 3.11, AMD EPYC with
AVX-512; two runs gave the same bytes, 4 to 5 minutes each), SHA-256
22a4447bb3660d1e2929a73ed6891c0ebf9cba1948155220472f3a1bbea95c8b. With onnxruntime 1.31.1 it gets 9,305 of the 10,000 test
images right (93.05 %), and 1,878 of the 2,000 committed ones (93.90 %). The held-out images: 94.20 %, epoch 18.
"""

import argparse
import copy
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from fashion_net import DEBIAN_FOLDER, FashionNet, normalise, read_split, to_onnx
from torch.nn import functional as F

SEED = 1
BATCH = 128
HELD_OUT = 5000  # training images kept for choosing the epoch
SHIFT = 1  # largest shift of the augmentation, in pixels
MAX_RATE = 6e-3
WEIGHT_DECAY = 2e-2


def augment(images, generator):
    """Grey images [count, 1, 28, 28], each flipped left to right half of the time and shifted by up to SHIFT pixels."""
    count = len(images)
    flip = torch.rand(count, generator=generator) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    windows = F.pad(images, (SHIFT,) * 4).unfold(2, 28, 1).unfold(3, 28, 1)[:, 0]  # [count, dy, dx, 28, 28]
    dy, dx = torch.randint(0, 2 * SHIFT + 1, (2, count), generator=generator)
    return windows[torch.arange(count), dy, dx][:, None]


def batches(count, generator):
    """A random partition of 0..count into batches; the incomplete last one is left out."""
    order = torch.randperm(count, generator=generator)
    return order[: count - count % BATCH].split(BATCH)


def to_input(grey):
    return torch.from_numpy(normalise(grey.numpy())).contiguous(memory_format=torch.channels_last)


def train_epoch(model, images, labels, optimizer, schedule, generator):
    model.train()
    for rows in batches(len(images), generator):
        loss = F.cross_entropy(model(to_input(augment(images[rows], generator))), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def accuracy(model, images, labels):
    model.eval()
    right = sum((model(to_input(x)).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500)))
    return right / len(images)


def train(images, labels, epochs):
    """The weights of the epoch that is best on the held-out images."""
    generator = torch.Generator().manual_seed(SEED)
    order = torch.randperm(len(images), generator=generator)
    held_out, kept = order[:HELD_OUT], order[HELD_OUT:]
    model = FashionNet().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=MAX_RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * (len(kept) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, MAX_RATE, total_steps=steps, pct_start=0.2)
    best, state = 0.0, None
    start = time.time()
    for epoch in range(1, epochs + 1):
        train_epoch(model, images[kept], labels[kept], optimizer, schedule, generator)
        score = accuracy(model, images[held_out], labels[held_out])
        print(f"epoch {epoch:2}: {score:.2%} of the held-out images, {time.time() - start:.0f} s", flush=True)
        if score > best:
            best, state = score, copy.deepcopy(model.state_dict())
    return {name: value.contiguous() for name, value in state.items()}


def measure(path, images, labels):
    """Right answers of ONNX Runtime for the file at `path`."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    right = 0
    for first in range(0, len(images), 500):
        (logits,) = session.run(["logits"], {"images": normalise(images[first : first + 500])})
        right += int((logits.argmax(1) == labels[first : first + 500]).sum())
    return right


def arguments():
    parser = argparse.ArgumentParser(description="Train the Fashion-MNIST model of this example.")
    parser.add_argument(
        "--data", type=Path, default=DEBIAN_FOLDER, help="folder of the four IDX files (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fashion_cnn.onnx"))
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    images, labels = read_split(args.data, "train")
    state = train(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)), args.epochs)
    onnx.save(to_onnx(state), args.out)
    images, labels = read_split(args.data, "t10k")
    right = measure(args.out, images, labels)
    print(
        f"{right} of {len(images)} test images right ({right / len(images):.2%}) with ONNX Runtime {onnxruntime.__version__}; wrote {args.out}"
    )


if __name__ == "__main__":
    main()

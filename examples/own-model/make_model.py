"""From a PyTorch model of your own to the two files that a campaign needs: my_model.onnx and my_images.npz.

    python make_model.py [--data /usr/share/datasets/fashion-mnist] [--out FOLDER]

Needs torch, numpy, onnx and onnxscript; takes seconds. Without --data it learns from 1,600 of the 2,000 images committed in
../fashion-cnn and keeps the other 400 for the campaign; with --data it learns from all 60,000 training images and keeps the
first 1,000 test images. (Fashion-MNIST: MIT licence, Copyright 2017 Zalando SE, see ../fashion-cnn/DATA-LICENSE.)

Everything specific to this example is above the line `the two files`; below it is what your own script needs.
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

SUBSET = Path(__file__).resolve().parent.parent / "fashion-cnn"
STEPS = 300
BATCH = 64


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16 * 7 * 7, 10)

    def forward(self, images):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(x.flatten(1))


def read_images(folder, split):
    """Normalised float32 images [count, 1, 28, 28] and int64 labels [count] from two gzipped IDX files."""
    pixels = gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    grey = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return ((grey / 255 - 0.2860) / 0.3530).astype(np.float32), np.frombuffer(labels, np.uint8, offset=8).astype(
        np.int64
    )


def split_data(folder):
    """(training images, training labels), (images, labels) for the campaign: never the same images."""
    if folder:
        test_images, test_labels = read_images(folder, "t10k")
        return read_images(folder, "train"), (test_images[:1000], test_labels[:1000])
    images, labels = read_images(SUBSET, "t10k-2000")
    return (images[:1600], labels[:1600]), (images[1600:], labels[1600:])


def train(model, images, labels):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        rows = torch.randint(len(images), (BATCH,))
        loss = F.cross_entropy(model(images[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


# --- the two files --------------------------------------------------------------------------------------------------


def export(model, example, path):
    """The model as one ONNX file that takes any number of images."""
    model.eval()  # BatchNorm with its learnt statistics, no dropout
    torch.onnx.export(
        model,
        (example,),
        path,
        dynamo=True,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: "batch"}},  # the key is the name of forward's argument
        # Keep BatchNorm as layers of its own. By default (optimize=True) the exporter multiplies it into the weights of the
        # convolution before it: right answers, but other weights than the ones you trained, and no BatchNorm to flip bits in.
        # A convolution with bias=False then gets a bias of zeros (a constant called val_...): leave it out with
        # select = ["*", "!val_*"], since your model does not store it.
        optimize=False,
        external_data=False,  # one file; by default the weights lie in a second one, my_model.onnx.data (bitquake reads both)
        verbose=False,
    )


def save_images(path, images, labels):
    """The images exactly as the model wants them (here: normalised), and their classes, counted from 0."""
    np.savez(path, images=images.astype(np.float32), labels=labels.astype(np.int64))


def main():
    parser = argparse.ArgumentParser(description="Train and export a small model of your own.")
    parser.add_argument("--data", type=Path, help="folder of the whole Fashion-MNIST (default: the committed subset)")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="folder for the two files (default: beside this script, where campaign.toml looks)")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the model is small: more threads only wait for each other
    (images, labels), (kept_images, kept_labels) = split_data(args.data)
    model = SmallNet()
    train(model, torch.from_numpy(images), torch.from_numpy(labels))
    export(model, torch.from_numpy(kept_images[:2]), args.out / "my_model.onnx")
    save_images(args.out / "my_images.npz", kept_images, kept_labels)
    with torch.no_grad():
        right = (model(torch.from_numpy(kept_images)).argmax(1).numpy() == kept_labels).sum()
    print(f"{right} of {len(kept_labels)} images right; wrote my_model.onnx and my_images.npz to {args.out.resolve()}")


if __name__ == "__main__":
    main()

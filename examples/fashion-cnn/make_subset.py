"""Writes the committed test images: of each class the first 200 of Fashion-MNIST's 10,000 test images, in file order.

    python make_subset.py [--data FOLDER] [--out FOLDER]

Needs the Debian package dataset-fashion-mnist, or FOLDER with its files; nothing beyond Python's own library.
The result is two gzipped IDX files, the same on every run. Licence of the images: MIT, see DATA-LICENSE.
"""

import argparse
import gzip
import struct
from pathlib import Path

PER_CLASS = 200
CLASSES = 10
PIXELS = 28 * 28
IMAGES = "images-idx3-ubyte.gz"
LABELS = "labels-idx1-ubyte.gz"
IMAGE_HEADER = struct.Struct(">IIII")  # magic 2051, count, rows, columns
LABEL_HEADER = struct.Struct(">II")  # magic 2049, count


def first_of_each_class(labels):
    """Positions of the first PER_CLASS labels of every class, ascending."""
    seen = [0] * CLASSES
    rows = []
    for row, label in enumerate(labels):
        if seen[label] < PER_CLASS:
            seen[label] += 1
            rows.append(row)
    if min(seen) < PER_CLASS:
        raise SystemExit(f"a class has fewer than {PER_CLASS} images: {seen}")
    return rows


def write(path, content):
    """Gzip without time or file name, so that the bytes depend on the content alone."""
    path.write_bytes(gzip.compress(content, compresslevel=9, mtime=0))
    print(f"{path}: {path.stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description="Cut the balanced subset of Fashion-MNIST's test images.")
    parser.add_argument(
        "--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="default: %(default)s"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    images = gzip.decompress((args.data / f"t10k-{IMAGES}").read_bytes())[IMAGE_HEADER.size :]
    labels = gzip.decompress((args.data / f"t10k-{LABELS}").read_bytes())[LABEL_HEADER.size :]
    rows = first_of_each_class(labels)
    pixels = b"".join(images[row * PIXELS : (row + 1) * PIXELS] for row in rows)
    write(args.out / f"t10k-2000-{IMAGES}", IMAGE_HEADER.pack(2051, len(rows), 28, 28) + pixels)
    write(args.out / f"t10k-2000-{LABELS}", LABEL_HEADER.pack(2049, len(rows)) + bytes(labels[row] for row in rows))


if __name__ == "__main__":
    main()

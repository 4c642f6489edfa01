"""The best NumPy way to draw and apply bit errors: exponential gaps, a cumulative sum, bitwise_xor.at.

Reads lines `NAME BYTES RATE` and prints `NAME MILLISECONDS` (median over repetitions, the better of one and two threads).
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def inject(words, p, rng):
    bits = words.size * 8
    mean = bits * p
    count = int(mean + 6 * np.sqrt(mean) + 16)
    gaps = rng.standard_exponential(count)
    gaps *= -1.0 / np.log1p(-p)
    np.floor(gaps, out=gaps)
    gaps += 1.0
    np.cumsum(gaps, out=gaps)
    sites = gaps[: np.searchsorted(gaps, bits, side="right")].astype(np.int64) - 1
    np.bitwise_xor.at(words, sites >> 3, np.left_shift(1, sites & 7).astype(np.uint8))


def timed(work):
    times = []
    began = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - began < 1.0 and len(times) < 200):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def main():
    pool = ThreadPoolExecutor(2)
    rngs = [np.random.Generator(np.random.SFC64(seed)) for seed in (1, 2)]
    buffers = {}
    for line in sys.stdin:
        name, size, rate = line.split()
        if size not in buffers:
            buffers = {size: np.random.default_rng(0).integers(0, 256, int(size), dtype=np.uint8)}
        words, p = buffers[size], float(rate)
        halves = np.array_split(words, 2)
        one = timed(lambda: inject(words, p, rngs[0]))
        two = timed(lambda: list(pool.map(lambda i: inject(halves[i], p, rngs[i]), range(2))))
        print(name, min(one, two), flush=True)


if __name__ == "__main__":
    main()

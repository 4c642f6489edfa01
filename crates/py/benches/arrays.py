"""Injecting bit errors from Python against the best way of NumPy, taking turns in one run: `python crates/py/benches/arrays.py`.

Milliseconds a pattern, median. NumPy is the better of one and two threads of exponential gaps (crates/fault/benches/numpy_inject.py), which is neither keyed nor
nested, and cannot be undone.
"""

import sys
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

import bitquake as bq

sys.path.insert(0, str(Path(__file__).parents[2] / "fault" / "benches"))
from numpy_inject import inject  # noqa: E402

GOAL = 0.5
TURN = 5


def milliseconds(work):
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def main():
    pool = ThreadPoolExecutor(2)
    rngs = [np.random.Generator(np.random.SFC64(seed)) for seed in (1, 2)]
    print(f"{'array':>10} {'rate':>7} {'NumPy':>9} {'inject_':>9} {'ratio':>6}   goal {GOAL}")
    for name, array, rounds in (("5.5M u8", np.zeros(5_500_000, np.uint8), 10), ("100M f32", np.zeros(100_000_000, np.float32), 3)):
        data = array.view(np.uint8)
        halves = np.array_split(data, 2)
        for rate in (1e-4, 1e-3, 1e-2):
            ways = [
                lambda: bq.inject_(array, rate, seed=1),
                lambda: inject(data, rate, rngs[0]),
                lambda: list(pool.map(lambda i: inject(halves[i], rate, rngs[i]), range(2))),
            ]
            # A few times each before the next one's turn, so that each finds the caches as it left them.
            turns = [[milliseconds(way) for _ in range(TURN)] for _ in range(rounds) for way in ways]
            ours, one, two = (median(sum(turns[place::3], [])) for place in range(3))
            print(f"{name:>10} {rate:>7g} {min(one, two):>9.3f} {ours:>9.3f} {ours / min(one, two):>6.2f}", flush=True)
    tracemalloc.start()
    bq.inject_(array, 1e-2, seed=1).undo_(array)
    print(f"Python memory beside the array: {tracemalloc.get_traced_memory()[1] / 1024:.0f} KiB")


if __name__ == "__main__":
    main()

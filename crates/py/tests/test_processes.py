"""Several threads and several processes, forked ones too."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import bitquake as bq

torch = pytest.importorskip("torch")

from networks import same_words, small_cnn, words  # noqa: E402

#: Above this many words at a rate of 1e-2 drawing uses the library's threads.
MANY = 4_000_000


def test_threads_with_modules_of_their_own():
    modules = [small_cnn() for _ in range(4)]
    x = torch.randn(2, 3, 8, 8)
    clean = [words(module) for module in modules]
    with bq.faulty(modules[0], 0.01, seed=1, trial=3):
        wanted = words(modules[0])
    problems, barrier = [], threading.Barrier(len(modules))

    def work(module):
        memory = bq.WeightFaults(module, 0.01)
        neurons = bq.ActivationFaults(module, bq.Fault(count=1), x)
        barrier.wait()
        try:
            for _ in range(30):
                with memory.faulty(seed=1, trial=3):
                    if not same_words(wanted, module):
                        problems.append("other flips")
                with torch.no_grad(), neurons.faulty(seed=1) as record:
                    module(x)
                if record.flips != 2:
                    problems.append(f"{record.flips} flips")
        except Exception as error:
            problems.append(repr(error))

    threads = [threading.Thread(target=work, args=(module,)) for module in modules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert all(same_words(before, module) for before, module in zip(clean, modules))


def test_threads_with_the_same_array_read_it_together():
    x = {"a": np.ones(1000, dtype=np.float32)}
    y = {"a": np.ones(1000, dtype=np.float32)}
    bq.inject_(y, 0.01, seed=1)
    found = []
    threads = [threading.Thread(target=lambda: found.extend(bq.diff(x, y).flips for _ in range(50))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200 and len(set(found)) == 1


def forked(work, seconds=20):
    """What ``work`` gives in a forked child; an error if the child does not come to an end."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, pickle.dumps(work()))
        finally:
            os._exit(0)
    os.close(write)
    end = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise TimeoutError("the forked child hangs")
        time.sleep(0.01)
    with os.fdopen(read, "rb") as pipe:
        return pickle.loads(pipe.read())


def digest(size, fault=0.01):
    x = np.zeros(size, dtype=np.float32)
    flips = bq.inject_(x, fault, seed=1).flips
    return flips, hash(x.tobytes())


# Always there on Linux, where CI runs. Windows has no fork, so nothing can go wrong with one there.
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_a_forked_child_with_few_flips():
    wanted = digest(1000)
    assert forked(lambda: digest(1000)) == wanted


@needs_fork
def test_a_forked_child_with_many_flips():
    wanted = digest(MANY)  # the threads are started here
    assert forked(lambda: digest(MANY), seconds=5) == wanted
    assert forked(lambda: forked(lambda: digest(MANY), seconds=3), seconds=5) == wanted
    assert digest(MANY) == wanted


class Images(torch.utils.data.Dataset):
    """Images with bit errors, as a dataset of faulty sensors gives them."""

    def __init__(self, pixels):
        self.pixels = pixels

    def __len__(self):
        return 4

    def __getitem__(self, place):
        x = torch.zeros(self.pixels, dtype=torch.uint8)
        bq.inject_(x, 0.01, seed=1, trial=place)
        return x


def loaded(pixels):
    loader = torch.utils.data.DataLoader(Images(pixels), batch_size=1, num_workers=2, multiprocessing_context="fork", timeout=8)
    return torch.cat(list(loader))


@needs_fork
def test_workers_of_a_data_loader():
    assert torch.equal(loaded(3000), torch.stack([Images(3000)[place] for place in range(4)]))


@needs_fork
def test_workers_of_a_data_loader_with_large_images():
    wanted = torch.stack([Images(MANY)[place] for place in range(4)])
    assert torch.equal(loaded(MANY), wanted)


def test_a_spawned_process_has_the_same_flips():
    code = "import numpy, bitquake; x = numpy.zeros(1000, 'f4'); print(bitquake.inject_(x, 0.01, seed=1).addresses().sum())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert int(told.stdout) == bq.inject_(np.zeros(1000, dtype=np.float32), 0.01, seed=1).addresses().sum()


def test_values_travel_to_other_processes():
    module = small_cnn()
    with bq.faulty(module, bq.Fault(count=3), seed=1) as pattern:
        pass
    copied = pickle.loads(pickle.dumps(pattern))
    before = words(module)
    copied.apply_(module)
    pattern.undo_(module)
    assert copied == pattern and same_words(before, module)
    assert pickle.loads(pickle.dumps(bq.Fault(count=3))) == bq.Fault(count=3)

"""What faults in PyTorch modules cost: a trial against plain inference, hooks against none, entering and leaving.

Run it with `PYTHONPATH=crates/py/python python crates/py/benches/modules.py [rounds]`, with a release build of the package. Everything is measured in
turn, round by round; figures are medians, and ratios are medians of the rounds' ratios. PyTorch has one thread, so that the processor time of the
process, which other processes on the machine disturb little, tells the same as the clock on the wall; both are given.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
import torchvision

import bitquake as bq

BATCH = 64
BATCHES = 16


def milliseconds(work):
    """On the wall, and of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - processor)


def in_turn(works, rounds):
    """The times of some works, each once a round, the order turning from round to round."""
    for work in works.values():
        work()
    names, times = list(works), {name: [] for name in works}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(milliseconds(works[name]))
    return times


def report(title, times, base, goals):
    print(f"\n{title}")
    print(f"  {'':<44} {'wall':>9} {'ratio':>8} {'processor':>13} {'ratio':>8}")
    for name, own in times.items():
        cells = []
        for clock in (0, 1):
            ratio = statistics.median(a[clock] / b[clock] for a, b in zip(own, times[base]))
            cells += [statistics.median(time[clock] for time in own), ratio]
        goal = f"   goal {goals[name]}" if name in goals else ""
        print("  {:<44} {:9.2f} ms {:6.3f} {:9.2f} ms {:6.3f}{}".format(name, *cells, goal), flush=True)


def trials(rounds):
    """A trial: faults in, the data evaluated, faults out."""
    module = torchvision.models.resnet18(weights=None).eval()
    data = torch.randn(BATCHES, BATCH, 3, 32, 32)
    counter = iter(range(10**9))

    def evaluate():
        with torch.no_grad():
            for images in data:
                module(images)

    def trial(memory):
        def run():
            with memory.faulty(seed=1, trial=next(counter)):
                evaluate()

        return run

    def one_off():
        with bq.faulty(module, 1e-5, seed=1, trial=next(counter)):
            evaluate()

    works = {"plain inference": evaluate}
    for rate in (1e-6, 1e-5, 1e-4, 1e-3):
        works[f"trial, WeightFaults, p = {rate:g}"] = trial(bq.WeightFaults(module, rate))
    works["trial, bq.faulty, p = 1e-05"] = one_off
    report(
        f"A weight bit-error trial: ResNet-18, {BATCH * BATCHES} images of 3x32x32, batches of {BATCH}",
        in_turn(works, rounds), "plain inference", {name: "1.02" for name in works if name != "plain inference"},
    )  # fmt: skip


def codes(rounds):
    """The same where the memory holds codes."""
    module = torchvision.models.resnet18(weights=None).eval()
    storage = bq.quantize(module, "symmetric", bits=8)
    data = torch.randn(BATCHES, BATCH, 3, 32, 32)
    counter = iter(range(10**9))

    def evaluate():
        with torch.no_grad():
            for images in data:
                module(images)

    def trial():
        with storage.faulty(1e-4, seed=1, trial=next(counter)):
            evaluate()

    works = {"plain inference": evaluate, "trial, 8-bit codes, p = 0.0001": trial}
    report("The same with codes in memory", in_turn(works, rounds), "plain inference", {"trial, 8-bit codes, p = 0.0001": "1.02"})


def hooks(rounds, batch, side):
    """Faults in activations against the same network without hooks, and with hooks that do nothing."""
    module = torchvision.models.resnet18(weights=None).eval()
    images = torch.randn(batch, 3, side, side)
    bits = 32 * sum(rows_elements(module, images))
    counter = iter(range(10**9))

    def run():
        with torch.no_grad():
            module(images)

    def plain_hooks():
        layers = [part for part in module.modules() if not list(part.children())]
        handles = [layer.register_forward_hook(lambda module, given, output: None) for layer in layers]
        run()
        for handle in handles:
            handle.remove()

    def with_faults(neurons):
        def work():
            with neurons.faulty(seed=1, trial=next(counter)):
                run()

        return work

    works = {
        "plain inference": run,
        "plain inference again": run,
        "plain hooks": plain_hooks,
        "count = 1 an image": with_faults(bq.ActivationFaults(module, bq.Fault(count=1), images)),
        "rate, 1 flip an image expected": with_faults(bq.ActivationFaults(module, 1 / bits)),
        "rate, 100 flips an image expected": with_faults(bq.ActivationFaults(module, 100 / bits)),
        "stuck at 1, 1 fault an image expected": with_faults(bq.ActivationFaults(module, bq.Fault("stuck-at-1", rate=1 / bits))),
    }
    goals = {name: "1.03" for name in list(works)[3:]}
    title = f"Faults in activations: ResNet-18, all {len(bq.ActivationFaults(module, 0.0).layers)} layers, a batch of {batch} images of 3x{side}x{side}"
    report(title, in_turn(works, rounds), "plain inference", goals)


def rows_elements(module, images):
    """The elements of one image in each value."""
    for _, rows in bq.ActivationFaults(module, bq.Fault(count=1), images).planned.values():
        elements = 1
        for size in rows:
            elements *= size
        yield elements


def entering(rounds):
    """Entering and leaving, with nothing in between."""
    module = torchvision.models.resnet50(weights=None).eval()
    parameters = sum(tensor.numel() for tensor in module.parameters())
    memory = bq.WeightFaults(module, 1e-6)
    counter = iter(range(10**9))

    def prepared():
        with memory.faulty(seed=1, trial=next(counter)):
            pass

    def one_off():
        with bq.faulty(module, 1e-6, seed=1, trial=next(counter)):
            pass

    works = {"WeightFaults.faulty": prepared, "bq.faulty": one_off}
    report(f"Entering and leaving: ResNet-50, {parameters / 1e6:.1f} M parameters, p = 1e-6", in_turn(works, rounds * 3), "WeightFaults.faulty",
           {"WeightFaults.faulty": "1 ms", "bq.faulty": "1 ms"})  # fmt: skip


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread, medians of {rounds} rounds")
    entering(rounds)
    trials(max(3, rounds // 2))
    codes(max(3, rounds // 2))
    hooks(rounds, batch=64, side=32)
    hooks(max(3, rounds // 2), batch=8, side=224)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Six ways of training, two networks, two widths of codes: trained, judged under bit errors, attacked, drawn on one page, and checked against the laws.

    python3 examples/fashion-robust/run.py            all of it, about an hour on two cores
    python3 examples/fashion-robust/run.py --small    a few steps of LeNet-5, to see that everything works

Needs the command `bitquake` (--bitquake FILE if it is not on the path), the Debian package dataset-fashion-mnist, and nothing of Python but
its standard library. Interrupted, it goes on where it was: finished trainings and trials are not run again.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import laws

RECIPES = Path(__file__).resolve().parent / "recipes"
NETWORKS = {"lenet5": "LeNet-5", "simplenet": "SimpleNet 8"}
# The larger network is judged on a part of the test images: as many as an hour has time for.
JUDGED = {"simplenet": ["data.limit=3000"]}
# The layers of each method.
METHODS = {
    "Normal": ["normal"],
    "RQuant": ["rquant"],
    "Clipping 0.1": ["rquant", "clipping"],
    "RandBET": ["rquant", "clipping", "randbet"],
    "WCAT": ["wcat"],
    "LSQ": ["lsq"],
}
# Trainings that only the laws ask for: a name, its method, bits, and what is set on top.
VARIANTS = [
    ("Clipping 0.25", "Clipping 0.1", 8, ["method.w_max=0.25"]),
    ("Clipping 0.05", "Clipping 0.1", 8, ["method.w_max=0.05"]),
    ("RQuant truncated", "RQuant", 8, ['method.quantization.rounding="truncate"']),
    ("RQuant truncated", "RQuant", 4, ['method.quantization.rounding="truncate"']),
]
# Trainings that are attacked: a name, its layers, bits. The first is one of the methods, trained before.
ATTACKED = [
    ("RQuant", ["rquant"], 8),
    ("Clustering", ["rquant", "clustering"], 8),
    ("Binarised", ["binary"], 1),
]
# Random flips to compare with; the network is judged after every hundred.
RANDOM = ["attack.kind=random", "evaluate.every=100"]
# A few steps, a few images, a few trials.
SMALL_TRAIN = ["train.epochs=1", "data.limit=2000"]
SMALL_RUN = ["data.limit=200", "run.trials=3"]
SMALL_ATTACK = ["data.limit=200", "attack.trials=1", "attack.images=32", "stop.flips=5", "stop.accuracy=0.0"]


class Example:
    def __init__(self, options):
        self.options = options
        self.out = options.output
        self.results = []

    def command(self, *arguments):
        """Runs bitquake; what it says about progress goes to the terminal."""
        line = [self.options.bitquake, *map(str, arguments)]
        start = time.monotonic()
        done = subprocess.run(line, stdout=subprocess.DEVNULL)
        if done.returncode != 0:
            sys.exit(f"{' '.join(line)}\nended with exit code {done.returncode}")
        return time.monotonic() - start

    def train(self, network, name, layers, bits, settings=()):
        """Trains a network; gives its folder."""
        folder = self.out / "trained" / network / f"{slug(name)}-{bits}"
        files = [RECIPES / f"{layer}.toml" for layer in ["base", network, *layers]]
        settings = [f"method.quantization.bits={bits}", *settings]
        settings += SMALL_TRAIN if self.options.small else []
        seconds = self.command("train", *files, "-o", folder, *sets(settings), "--quiet")
        print(f"{NETWORKS[network]}, {name}, {bits} bits: trained in {seconds:.0f} s", flush=True)
        return folder

    def judge(self, trained, title, settings=(), on_page=True, as_codes=True):
        """Runs the campaign on a trained network, as the codes that training stored or in float32; gives the folder of its results."""
        results = self.out / "results" / slug(title)
        settings = [f"name={title}", f"model.path={trained / 'model.onnx'}", *settings]
        settings += JUDGED.get(trained.parent.name, []) + (SMALL_RUN if self.options.small else [])
        files = [RECIPES / "judge.toml"] + ([trained / "storage.toml"] if as_codes else [])
        seconds = self.command("run", *files, "-o", results, *sets(settings), "--quiet")
        print(f"    judged in {seconds:.0f} s: {title}", flush=True)
        if on_page:
            self.results.append(results)
        return results

    def attack(self, trained, title, settings=()):
        """Attacks the codes of a trained network; gives the folder of what came out."""
        results = self.out / "attacks" / slug(title)
        settings = [f"name={title}", f"model.path={trained / 'model.onnx'}", *settings]
        settings += SMALL_ATTACK if self.options.small else []
        seconds = self.command("attack", RECIPES / "attack.toml", trained / "storage.toml", "-o", results, *sets(settings), "--quiet")
        print(f"    attacked in {seconds:.0f} s: {title}", flush=True)
        return results

    def run(self):
        found = laws.Found()
        for network in self.options.networks:
            for bits in [8, 4]:
                for name, layers in METHODS.items():
                    trained = self.train(network, name, layers, bits)
                    title = f"{NETWORKS[network]} {bits} bits - {name}"
                    found.curves[network, bits, name] = self.judge(trained, title)
        self.variants(found)
        self.attacks(found)
        page = self.out / "curves.html"
        self.command("report", *self.results, "-o", page)
        print(f"report: {page}")
        table = laws.table(found)
        (self.out / "laws.md").write_text(table)
        print(table)

    def variants(self, found):
        """What the laws need beside the curves, on LeNet-5."""
        for name, method, bits, settings in VARIANTS:
            trained = self.train("lenet5", name, METHODS[method], bits, settings)
            found.curves["lenet5", bits, name] = self.judge(trained, f"LeNet-5 variants - {name} {bits} bits")
        rquant = self.out / "trained" / "lenet5" / "rquant-8"
        for name, bits in [("MSB alone", "msb"), ("LSB alone", "0")]:
            title = f"LeNet-5 variants - RQuant 8 bits {name}"
            found.curves["lenet5", 8, name] = self.judge(rquant, title, [f'fault.bits="{bits}"'])
        upset = ["fault.counts=[1]", "run.trials=4000", "data.limit=500"]
        title = "LeNet-5 float32 - one upset"
        found.upsets = self.judge(rquant, title, upset, on_page=False, as_codes=False)


    def attacks(self, found):
        """Chosen flips and random ones, on LeNet-5."""
        for name, layers, bits in ATTACKED:
            trained = self.train("lenet5", name, layers, bits)
            found.attacks[name] = self.attack(trained, f"{name} {bits} bits")
        trained = self.out / "trained" / "lenet5" / "rquant-8"
        found.attacks["random"] = self.attack(trained, "RQuant 8 bits random", RANDOM)


def sets(settings):
    return [part for setting in settings for part in ("--set", setting)]


def slug(text):
    words = "".join(c if c.isalnum() or c == "." else " " for c in text.lower()).split()
    return "-".join(words)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitquake", default="bitquake", help="the command; default: bitquake")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/fashion-robust"), help="default: results/fashion-robust")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default: all")
    parser.add_argument("--small", action="store_true", help="a few steps of LeNet-5 alone")
    options = parser.parse_args()
    options.output = options.output.resolve()
    if options.small:
        options.networks = ["lenet5"]
    Example(options).run()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""One network, trained in four ways: which of its bits matter, how few chosen flips ruin it, what protecting bits saves, and what energy that is worth.

    python3 examples/study/run.py            all of it, about 20 minutes on two cores
    python3 examples/study/run.py --small    a few steps of two trainings, to see that everything works

Needs what examples/fashion-robust/run.py needs. With --trained DIR networks are taken from the folder `trained` that it left, and only those that
are missing are trained. Interrupted, it goes on where it was. Everything is told on one page, study.html.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import page

HERE = Path(__file__).resolve().parent
RECIPES = HERE.parent / "fashion-robust" / "recipes"
BITS = 8
# The layers of each way of training, on top of base and lenet5.
METHODS = {
    "Normal": ["normal"],
    "RQuant": ["rquant"],
    "Clipping 0.1": ["rquant", "clipping"],
    "RandBET": ["rquant", "clipping", "randbet"],
}
# The memories that are placed by energy.
PLACED = {"unprotected": "", "plan-10": " + 10 %", "plan-25": " + 25 %"}
SMALL = {
    "train": ["train.epochs=1", "data.limit=2000"],
    "rank": ["rank.images=64"],
    "attack": ["data.limit=200", "attack.trials=1", "attack.images=32", "stop.flips=5", "stop.accuracy=0.0"],
    "protect": ["data.limit=200", "run.trials=3"],
}


class Study:
    def __init__(self, options):
        self.options = options
        self.out = options.output
        self.methods = list(METHODS)[:2] if options.small else list(METHODS)

    def command(self, verb, *arguments, settings=(), output=None):
        """Runs bitquake and gives what it prints as JSON; what it says about progress goes to the terminal."""
        settings = [*settings, *(SMALL.get(verb, []) if self.options.small else [])]
        line = [self.options.bitquake, verb, *map(str, arguments), "--json"]
        line += [part for setting in settings for part in ("--set", setting)]
        line += ["-o", str(output)] if output else []
        print(f"{verb}: {output.relative_to(self.out)}", flush=True)
        done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(line)}\nended with exit code {done.returncode}")
        return json.loads(done.stdout)

    def trained(self, method):
        """The folder of a trained network."""
        ready = self.options.trained and self.options.trained / "lenet5" / f"{slug(method)}-{BITS}"
        if ready and (ready / "storage.toml").is_file():
            return ready
        folder = self.out / "trained" / slug(method)
        files = [RECIPES / f"{layer}.toml" for layer in ["base", "lenet5", *METHODS[method]]]
        self.command("train", *files, "--quiet", settings=[f"method.quantization.bits={BITS}"], output=folder)
        return folder

    def study(self, method):
        """Ranks, attacks and protects one network; gives what the page tells of it."""
        folder = self.trained(method)
        layer, model = folder / "storage.toml", f"model.path={folder / 'model.onnx'}"
        ranked = self.out / "ranked" / slug(method)
        protected = self.out / "protected" / slug(method)
        ranking = self.command("rank", HERE / "rank.toml", layer, "--quiet", settings=[model], output=ranked)
        attacked = self.command(
            "attack", RECIPES / "attack.toml", layer, "--quiet", settings=[model], output=self.out / "attacked" / slug(method)
        )
        settings = [model, f"name=LeNet-5 {method}", f"protect.ranking={ranked}"]
        judged = self.command("protect", HERE / "study.toml", layer, "--quiet", settings=settings, output=protected)
        return page.Network(method, ranking, attacked, judged, protected)

    def energy(self, networks):
        """Places the memories of all networks by the energy of their accesses."""
        models = [
            f'[[model]]\nresults = "{network.folder / "results" / memory}"\nname = "{network.name}{more}"\n'
            for network in networks
            for memory, more in PLACED.items()
        ]
        file = self.out / "energy.toml"
        file.write_text((HERE / "energy.toml").read_text() + "\n" + "\n".join(models))
        return self.command("energy", file, output=self.out / "energy")

    def run(self):
        self.out.mkdir(parents=True, exist_ok=True)
        networks = [self.study(method) for method in self.methods]
        energy = self.energy(networks)
        report = self.out / "study.html"
        report.write_text(page.html(networks, energy, (self.out / "energy" / "energy.html").read_text()))
        (self.out / "study.md").write_text(page.table(networks, energy))
        print(page.table(networks, energy))
        print(f"report: {report}")


def slug(text):
    return "".join(c if c.isalnum() or c == "." else "-" for c in text.lower())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bitquake", default="bitquake", help="the command; default: bitquake")
    parser.add_argument("-o", "--output", type=Path, default=Path("results/study"), help="default: results/study")
    parser.add_argument("--trained", type=Path, help="the folder `trained` of examples/fashion-robust/run.py")
    parser.add_argument("--small", action="store_true", help="a few steps of two trainings")
    options = parser.parse_args()
    options.output = options.output.resolve()
    options.trained = options.trained and options.trained.resolve()
    Study(options).run()


if __name__ == "__main__":
    main()

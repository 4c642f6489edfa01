"""The qualitative laws of random bit errors in trained networks, checked on the results of `run.py`.

Each law becomes a row: what it says, the numbers that speak for or against it, and whether they agree. A law that the numbers
contradict says so; nothing here is expected to hold by construction. Errors are test errors, `err` of `summary.csv`.
"""

import csv
import json
from dataclasses import dataclass, field


@dataclass
class Point:
    """One rate of one campaign; shares, not percent."""

    rate: float
    mean: float
    std: float
    lo: float
    hi: float

    def __str__(self):
        return f"{100 * self.mean:.1f}"


@dataclass
class Found:
    """Result folders: curves by (network, bits, method), attacks by name, and the campaign of single upsets."""

    curves: dict = field(default_factory=dict)
    attacks: dict = field(default_factory=dict)
    upsets: object = None

    def points(self, network, bits, method):
        return read(self.curves[network, bits, method])

    def shapes(self):
        return sorted({(network, bits) for network, bits, _ in self.curves}, key=lambda shape: (shape[0], -shape[1]))


def rows(path):
    """The rows of a CSV file of bitquake, whose first lines may be comments."""
    with open(path, newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def read(folder):
    points = [
        Point(*(float(row[key]) for key in ["rate", "err_mean", "err_std", "err_ci_lo", "err_ci_hi"]))
        for row in rows(folder / "summary.csv")
    ]
    return sorted(points, key=lambda point: point.rate)


def clean(folder):
    metrics = json.loads((folder / "golden.json").read_text())["metrics"]
    return 1 - metrics["correct"] / metrics["images"]


def percent(share):
    return f"{100 * share:.1f}"


def order(found):
    """1: at a large rate, Normal > RQuant > Clipping > RandBET; clean errors the other way by at most about a point."""
    methods = ["Normal", "RQuant", "Clipping 0.1", "RandBET"]
    for network, bits in found.shapes():
        at = list(zip(*(found.points(network, bits, method) for method in methods)))
        ordered = [all(a.mean > b.mean for a, b in zip(points, points[1:])) for points in at]
        # The largest rate at which the second is not lost yet: where all are near chance there is nothing to order.
        place = max((k for k, points in enumerate(at) if points[1].mean < 0.6), default=0)
        cleans = [clean(found.curves[network, bits, method]) for method in methods]
        near = cleans[3] - min(cleans) <= 0.015
        numbers = " > ".join(percent(point.mean) for point in at[place])
        told = f"{network} {bits} bits, p = {at[place][0].rate:g}: {numbers} %; clean {', '.join(map(percent, cleans))} %; {since(at, ordered)}"
        yield told, ordered[place] and near


def since(at, ordered):
    """From which rate on an order holds, to the largest."""
    first = max((k + 1 for k, holds in enumerate(ordered) if not holds), default=0)
    return f"in order from p = {at[first][0].rate:g} on" if first < len(at) else "not in order at the largest rate"


def clipping(found):
    """2: a smaller w_max gives a flatter curve and a larger clean error."""
    names = ["Clipping 0.25", "Clipping 0.1", "Clipping 0.05"]
    folders = [found.curves["lenet5", 8, name] for name in names]
    rise = [read(folder)[-2].mean - clean(folder) for folder in folders]
    cleans = [clean(folder) for folder in folders]
    numbers = ", ".join(f"{name[9:]}: +{percent(r)} on {percent(c)} %" for name, r, c in zip(names, rise, cleans))
    holds = rise[0] > rise[1] > rise[2] and cleans[0] <= cleans[1] + 0.005 and cleans[1] <= cleans[2] + 0.005
    yield f"rise at p = {read(folders[0])[-2].rate:g}: {numbers}", holds


def monotone(found):
    """3: the mean error grows with p, and so does the spread between patterns until errors near chance."""
    for network, bits in found.shapes():
        for method in ["RQuant", "Clipping 0.1"]:
            points = found.points(network, bits, method)
            below = [point for point in points if point.mean < 0.5]
            means = all(a.mean <= b.mean + 0.001 for a, b in zip(points, points[1:]))
            spread = all(a.std <= b.std + 0.001 for a, b in zip(below, below[1:]))
            deviations = ", ".join(f"{100 * point.std:.2f}" for point in below)
            yield f"{network} {bits} bits, {method}: {' '.join(map(str, points))} %; deviations {deviations}", means and spread


def rounding(found):
    """4: doing without rounding costs more at 4 bits than at 8."""
    cost = {}
    for bits in [8, 4]:
        with_it, without = (found.points("lenet5", bits, name) for name in ["RQuant", "RQuant truncated"])
        cost[bits] = [b.mean - a.mean for a, b in zip(with_it, without)]
    worst = {bits: max(values[:4]) for bits, values in cost.items()}
    yield f"largest cost up to p = 0.005: {percent(worst[4])} points at 4 bits, {percent(worst[8])} at 8", worst[4] > worst[8]


def positions(found):
    """5: errors in the most significant bits alone hurt nearly as much as in all, in the least significant ones hardly at all."""
    every, msb, lsb = (found.points("lenet5", 8, name)[-2] for name in ["RQuant", "MSB alone", "LSB alone"])
    base = clean(found.curves["lenet5", 8, "RQuant"])
    rise = [point.mean - base for point in (every, msb, lsb)]
    numbers = f"p = {every.rate:g}: all +{percent(rise[0])}, MSB +{percent(rise[1])}, LSB +{percent(rise[2])} points"
    yield numbers, rise[1] > 0.5 * rise[0] and abs(rise[2]) < 0.05 * max(rise[0], 0.01)


def chosen(found):
    """6: chosen flips to chance are far fewer than random ones; one-bit codes need several times as many as 8-bit ones (20 times on the published ResNet-20), clustered weights 1.5 times or more."""
    attacks = {name: json.loads((folder / "summary.json").read_text()) for name, folder in found.attacks.items()}
    mean = {name: attack["flips"]["mean"] for name, attack in attacks.items()}
    left = sum(trial["accuracy"] for trial in attacks["random"]["trials"]) / len(attacks["random"]["trials"])
    numbers = f"8 bits: chosen {flips(attacks['RQuant'])}, random {flips(attacks['random'])}, after which the accuracy is {percent(left)} %"
    yield numbers, attacks["RQuant"]["flips"]["reached"] > 0 and mean["random"] > 10 * mean["RQuant"]
    for name, least in [("Binarised", 5), ("Clustering", 1.5)]:
        ratio = mean[name] / mean["RQuant"]
        clean = percent(1 - attacks[name]["clean_accuracy"])
        yield f"{name}: {flips(attacks[name])}, {ratio:.1f} times as many; clean error {clean} %", ratio >= least


def flips(attack):
    """The mean number of flips to chance and its interval; a lower bound where some trials did not get there."""
    found = attack["flips"]
    at_least = "at least " if found["reached"] < found["trials"] else ""
    interval = found["interval"]
    return f"{at_least}{found['mean']:.0f}" + (f" [{interval['lo']:.0f}, {interval['hi']:.0f}]" if interval else "")


def generalises(found):
    """7: training at a rate serves smaller rates too."""
    for network, bits in found.shapes():
        randbet = [point for point in found.points(network, bits, "RandBET") if point.rate <= 0.01]
        trained_at = randbet[-1].mean
        holds = all(point.mean <= trained_at + 0.001 for point in randbet)
        yield f"{network} {bits} bits: {' '.join(map(str, randbet))} %", holds


def exponent(found):
    """8: of a float32 word, the exponent takes the damage, bit 30 above all."""
    bits = [row for row in rows(found.upsets / "vulnerability.csv") if row["part"] == "bit"]
    harm = {int(row["bit"]): float(row["sdc_rate"]) for row in bits}
    worst = max(harm, key=harm.get)
    # Bits that no trial has hit yet are not in the table.
    highest = harm.get(30, 0.0)
    mantissa = max((rate for bit, rate in harm.items() if bit < 23), default=0.0)
    numbers = f"SDC-1 rate of bit 30: {percent(highest)} %, of the worst mantissa bit: {percent(mantissa)} %, worst bit: {worst}"
    yield numbers, worst == 30 and highest > 10 * mantissa


LAWS = [(1, order), (2, clipping), (3, monotone), (4, rounding), (5, positions), (6, chosen), (7, generalises), (8, exponent)]


def table(found):
    lines = ["| law | measured | holds |", "|---|---|---|"]
    for number, law in LAWS:
        says = law.__doc__.split(": ", 1)[1].rstrip(".")
        for k, (numbers, holds) in enumerate(law(found)):
            lines.append(f"| {f'{number}: {says}' if k == 0 else ''} | {numbers} | {'yes' if holds else '**no**'} |")
    return "\n".join(lines) + "\n"

"""The page of the study: every number comes from the JSON that bitquake printed, every picture from one of its reports."""

import re
from dataclasses import dataclass
from html import escape
from pathlib import Path


@dataclass
class Network:
    """What the commands told of one network."""

    name: str
    ranking: dict
    attacked: dict
    judged: dict
    folder: Path

    def memory(self, slug):
        return next(memory for memory in self.judged["memories"] if memory["slug"] == slug)

    def figure(self):
        return figure((self.folder / "protect.html").read_text(), self.name)


MEMORIES = {
    "unprotected": "nothing protected",
    "plan-10": "plan, 10 % more bits",
    "uniform-secded": "SECDED everywhere, 12.5 %",
    "plan-25": "plan, 25 % more bits",
    "uniform-tmr": "three copies, 200 %",
}


def percent(share):
    return f"{100 * share:.1f}"


def between(interval, scale=100.0):
    return f" [{scale * interval['lo']:.1f}, {scale * interval['hi']:.1f}]" if interval else ""


def flips(network):
    """Chosen flips to chance; a lower bound where some trials did not get there."""
    found = network.attacked["flips"]
    at_least = "at least " if found["reached"] < found["trials"] else ""
    return f"{at_least}{found['mean']:.0f}{between(found['interval'], 1.0)}"


def error(network, slug):
    memory = network.memory(slug)
    return percent(memory["error"]) + between(memory["interval"])


def top_share(network):
    """Where the bits that matter most lie: the share that the worst tensor has of them."""
    layers = network.ranking["rankings"][0]["layers"]
    worst = max(layers, key=lambda layer: layer["top_share"])
    return f"{percent(worst['top_share'])} % in {worst['tensor'].removesuffix('.weight')}"


def lowest(network, more, energy):
    """The lowest measured energy within the loss, in percent of reading an unprotected memory reliably."""
    trade = energy["trade"]
    names = [contender["name"] for contender in trade["contenders"]]
    plain = trade["contenders"][names.index(network.name)]["reading"]
    whole = plain["exposed"] + plain["safe"]
    found = energy["budget"][0]["lowest"][names.index(network.name + more)]["measured"]
    return f"{percent(found['inference'] / whole)} %" if found else "none"


def rows(networks, energy):
    """The table: a head, then a row for each question, a column for each network."""
    rate = networks[0].judged["rate"]
    yield ["", *(network.name for network in networks)]
    yield ["error without faults, %", *(percent(network.memory("unprotected")["clean"]) for network in networks)]
    yield ["chosen flips that bring it to chance", *map(flips, networks)]
    yield ["the 1,000 bits that matter most", *map(top_share, networks)]
    for slug, what in MEMORIES.items():
        yield [f"error at p = {rate:g}, %: {what}", *(error(network, slug) for network in networks)]
    for more, what in {"": "nothing protected", " + 10 %": "plan, 10 %", " + 25 %": "plan, 25 %"}.items():
        loss = energy["budget"][0]["loss"]
        what = f"lowest energy within {percent(loss)} points of the best: {what}"
        yield [what, *(lowest(network, more, energy) for network in networks)]


def table(networks, energy):
    """The table as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows(networks, energy)]
    return "\n".join([lines[0], "|---" * (len(networks) + 1) + "|", *lines[1:]]) + "\n"


def figure(report, name):
    """The picture of a report, its names made those of this page."""
    svg = re.search(r"<svg.*?</svg>", report, re.S).group(0)
    prefix = re.sub(r"\W+", "-", name.lower())
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    return re.sub(r'aria-labelledby="([^"]+)"', lambda m: 'aria-labelledby="' + " ".join(f"{prefix}-{x}" for x in m[1].split()) + '"', svg)


def html_table(networks, energy):
    head, *body = rows(networks, energy)
    cells = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>" for row in body
    )
    return f'<div class="wide"><table class="numbers study"><thead><tr>{cells}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'


def protections(network):
    """What the two plans of a network protect, in a sentence."""
    told = []
    for slug in ["plan-10", "plan-25"]:
        plan = network.memory(slug)["plan"]
        rules = ", ".join(
            f"{rule['kind']} on bits {rule['bits']} of {rule['tensor'].removesuffix('.weight')}" for rule in plan["rules"]
        )
        told.append(f"{slug.replace('plan-', '')} %: {rules or 'nothing'}.")
    return " ".join(told)


def html(networks, energy, energy_page):
    """The page, self-contained."""
    style = re.search(r"<style>.*?</style>", energy_page, re.S).group(0)
    rate = networks[0].judged["rate"]
    trials = networks[0].memory("unprotected")["trials"]
    figures = "\n".join(
        f"<section><h2>{escape(network.name)}: what protecting bits saves</h2><figure>{network.figure()}</figure>"
        f'<p class="note">{escape(protections(network))}</p></section>'
        for network in networks
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>One network in a memory that errs</title>{style}
<style>table.study th[scope=row] {{ text-align: left; white-space: normal }}</style></head><body>
<header><p class="over">bitquake study</p><h1>One network in a memory that errs</h1>
<p class="verdict">LeNet-5 classifies the pictures of Fashion-MNIST. Its weights are stored as codes of 8 bits, in a memory whose supply voltage is lowered to save energy; the lower,
the more stored bits are wrong. The same network was trained in {len(networks)} ways. For each: which bits matter, how few chosen flips ruin it, what it saves to protect
some bits, and what energy that is worth.</p></header>
<main>
<section><h2>What came out</h2>
<p class="note">Errors are shares of pictures classified wrongly, in percent: means over {trials} fault patterns, with their intervals at 95 %. At p = {rate:g} one bit in {1 / rate:.0f} is wrong, check bits
and copies among them. All networks and all memories see the same patterns in their codes. Energies are those of reading the stored bits, in percent of an unprotected memory at
full voltage, at the lowest measured setting whose whole interval stays within the loss.</p>
{html_table(networks, energy)}
<p class="note">Read it from the top. <b>Flips</b>: how few suffice if someone chooses them. <b>Bits</b> that matter lie together, so a
plan that protects few of them is compared with protecting all: SECDED over 64 bits finds two wrong bits or more in every sixth of its words at p = 0.01, and corrects none of them, while a plan
spends its bits on strong codes where they count. <b>Training</b> is the other way: it costs no bit, and a little of the error without faults. <b>Energy</b> weighs both: extra bits are read too, so a
protection must earn what it costs.</p>
</section>
{figures}
<section><h2>Error against energy</h2><figure>{figure(energy_page, "energy")}</figure>
<p class="note">Grey steps: the front of the points that no other beats. The curve of the memory is made up (see energy.toml); put a measured one in its place.</p></section>
</main>
<footer><p>Made by examples/study/run.py from the results of bitquake. Each picture is explained in the report that it was taken from.</p></footer>
</body></html>
"""

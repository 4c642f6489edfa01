"""The command that the package brings along: as the executable, from a process of Python."""

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

import bitquake as bq

CAMPAIGN = Path(__file__).resolve().parents[3] / "examples" / "fashion-cnn" / "single-upset.toml"
BAD_INPUT, STOPPED = 3, 4


def command(*arguments, **options):
    """The command, without what the environment says of ONNX Runtime: the package's own is to be found."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DYLIB_PATH"}
    program = [sys.executable, "-m", "bitquake", *map(str, arguments)]
    return subprocess.run(program, capture_output=True, text=True, env=environment, timeout=300, **options)


def ended(child):
    """The exit code and the messages of a process, which ends by itself, or for us."""
    try:
        told = child.communicate(timeout=60)[1]
    finally:
        child.kill()
    return child.returncode, told


def records(folder):
    """The trials of a campaign, without how long they took."""
    lines = [json.loads(line) for path in sorted(folder.glob("trials-*.jsonl")) for line in path.read_text().splitlines()]
    return sorted(json.dumps({**line, "seconds": 0}, sort_keys=True) for line in lines)


def test_it_prints_what_the_executable_prints():
    told = command("bits", "0.5", "--flip", "30")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.splitlines()[0] == "0.01111110.00000000000000000000000  0x3f000000  0.5"


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["--version"], 0, "bitquake"),
        (["run", "--help"], 0, "Usage: bitquake run"),
        (["no-such-thing"], 2, "unrecognized subcommand"),
        (["inspect", "no/such/file.onnx"], 3, "no/such/file.onnx"),
    ],
)
def test_exit_codes_are_those_of_the_executable(arguments, code, says):
    told = command(*arguments)
    assert told.returncode == code
    assert says in (told.stderr if code else told.stdout)


def test_results_of_python_are_reported(tmp_path):
    import numpy as np

    weights = np.linspace(-1, 1, 20, dtype=np.float32)
    bq.Campaign(lambda: {"sum": float(weights.sum())}, weights=[weights], fault=bq.Fault(counts=[1]), trials=5, dir=tmp_path / "results").run()
    told = command("report", tmp_path / "results")
    assert (told.returncode, told.stderr.count("report.html")) == (0, 1), told
    assert len(json.loads(command("status", tmp_path / "results", "--json").stdout)) > 0


def test_it_stops_at_a_signal_and_goes_on(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # More than a machine of any speed does before the signal comes; fewer are asked for when it goes on.
    program = [sys.executable, "-m", "bitquake", "run", str(CAMPAIGN), "-o", str(broken), "--set", "run.trials=1000000"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as child:
        while child.poll() is None and not any(path.stat().st_size for path in broken.glob("trials-*.jsonl")):
            time.sleep(0.002)
        child.send_signal(signal.SIGINT)
        code, told = ended(child)
    assert code == STOPPED, told
    done = len(records(broken))
    assert 0 < done < 1_000_000
    settings = ["--set", f"run.trials={done + 5}"]
    for folder in (whole, broken):
        assert command("run", CAMPAIGN, "-o", folder, *settings).returncode == 0
    assert len(records(whole)) == done + 5 and records(broken) == records(whole)


@pytest.fixture
def waiting(tmp_path):
    """A command that reads what nobody writes."""
    os.mkfifo(tmp_path / "model.onnx")
    children = []

    def start(**options):
        program = [sys.executable, "-m", "bitquake", "inspect", str(tmp_path / "model.onnx")]
        child = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        children.append(child)
        for _ in range(3000):  # until it reads
            try:
                return child, os.open(tmp_path / "model.onnx", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                time.sleep(0.02)
        raise AssertionError("it never read")

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_a_command_that_catches_no_signal_ends_at_once(waiting):
    child, pipe = waiting()
    child.send_signal(signal.SIGINT)
    assert ended(child)[0] == -signal.SIGINT
    os.close(pipe)


def test_where_signals_are_ignored_it_goes_on(waiting):
    """In the background of a script, for example."""
    child, pipe = waiting(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    child.send_signal(signal.SIGINT)
    time.sleep(0.2)
    os.close(pipe)
    assert ended(child)[0] == BAD_INPUT


def test_tasks_of_a_cluster_start_the_same_command(tmp_path):
    script = Path(sysconfig.get_path("scripts"), "bitquake")
    told = command("submit", CAMPAIGN, "-o", tmp_path / "results", "--slurm", "--tasks", "2", "--dry-run")
    if Path(bq.__file__).parents[1] == Path(sysconfig.get_path("purelib")):  # it was installed
        assert told.returncode == 0 and str(script) in told.stdout, told
    else:
        assert told.returncode == 2 and "--executable" in told.stderr, told


def test_it_is_installed_as_a_script():
    entry = next(iter(importlib.metadata.distribution("bitquake").entry_points))
    from bitquake.__main__ import main

    assert entry.load() is main
    script = Path(sysconfig.get_path("scripts"), "bitquake")
    told = subprocess.run([script, "bits", "1.5"], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout.split()[1]) == (0, "0x3fc00000")

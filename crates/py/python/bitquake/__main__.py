"""The command ``bitquake``, as the package brings it along."""

from __future__ import annotations

import signal
import sys
import sysconfig
from pathlib import Path

from . import _core
from ._runtime import offer_runtime


def main() -> int:
    """Runs the command with the arguments of this process; returns its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Python would note a Ctrl-C and wait until the command has ended. Long commands catch it themselves.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    offer_runtime()
    return _core.command(["bitquake", *sys.argv[1:]], _script())


def _script() -> Path | None:
    """The script that starts the command; ``python -m bitquake`` looks for the one that was installed with this package."""
    started = Path(sys.argv[0]).absolute()
    if started.stem == "bitquake" and started.is_file():
        return started
    libraries = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    if Path(__file__).absolute().parents[1] not in libraries:
        return None
    script = Path(sysconfig.get_path("scripts"), "bitquake.exe" if sys.platform == "win32" else "bitquake")
    return script if script.is_file() else None


if __name__ == "__main__":
    sys.exit(main())

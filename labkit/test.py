"""`test`: everything that the tests need, pinned, and all the tests: unit, flows, end to end."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

from labkit import certificates, engine, images, progress, settings, stack
from labkit.outcome import Exit, Mistake, say
from labkit.settings import ROOT

VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "tests" / "requirements.txt"
EVERYTHING = ("tests/e2e", "tests/unit", "tests/flows", "tests/fuzz")
# Whole files side by side, each process with a lab of its own that its files share. Not those that take long: they
# measure times.
SIDE_BY_SIDE = ("--numprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")  # Ubuntu's `chromium` is no package of its archive
JUNIT = ROOT / "out" / "junit.xml"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--all", action="store_true", help="also those that take long: thousands of calls")
    parser.add_argument("pytest", nargs=argparse.REMAINDER, help="what else to tell pytest, e.g. tests/unit -k uri")


def run(given: argparse.Namespace) -> int:
    """Return 0 when all tests passed, 1 when one did not, 2 when they could not run."""
    python = ensure_venv()
    engine.ensure()
    images.ensure(settings.load(alice="baresip"))  # the others too: to build one takes longer than a test may
    certificates.require_openssl()
    if not given.pytest or any("e2e" in word for word in given.pytest):
        require_browser()
    JUNIT.parent.mkdir(exist_ok=True)
    chosen = [*([] if given.all else ["-m", "not long"]), *(given.pytest or EVERYTHING)]
    if not given.all and not given.pytest:
        chosen += SIDE_BY_SIDE
    # Before it starts: where a script runs us in the background, SIGINT is ignored, and so it would be by all that the
    # tests start and interrupt.
    signal.signal(signal.SIGINT, lambda *_: None)
    tests = subprocess.Popen(
        [str(python), "-m", "pytest", f"--junitxml={JUNIT}", *chosen],
        cwd=ROOT, stdin=subprocess.DEVNULL, process_group=0,
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "LABTEST_RUN": str(os.getpid()),
            # `./lab` in a test takes this Python straight, where `python3` is a program that first looks for one.
            "PATH": f"{Path(sys.base_exec_prefix) / 'bin'}:{os.environ['PATH']}",
            "PYTHONPYCACHEPREFIX": str(VENV / "pycache"), "PYTHONDONTWRITEBYTECODE": "",  # each process compiles else
        },
    )  # fmt: skip
    # Whoever ends us ends all of them, as a terminal's Ctrl-C does: each process takes its own labs away.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: _interrupt(tests))
    code = tests.wait()
    if code in {Exit.PASS, Exit.FAIL}:
        return code
    stack.remove_all(f"labtest-{os.getpid()}-")  # pytest-xdist gives interrupted processes 15 seconds to do so
    return Exit.USAGE


def _interrupt(tests: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(tests.pid, signal.SIGINT)


def require_browser() -> None:
    """Install Debian's browser where there is none: it looks at the page. Raises Mistake where that cannot be done."""
    if not any(map(shutil.which, BROWSERS)):
        engine.install_package("chromium", "the page's tests need `chromium`, and this machine has none")


def ensure_venv() -> Path:
    """Return the Python of a virtual environment that has the pinned packages. Raises Mistake."""
    python = VENV / "bin" / "python"
    stamp = VENV / "requirements.sha256"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    say(f"making {VENV} with the packages of {REQUIREMENTS.relative_to(ROOT)}")
    try:
        venv.create(VENV, clear=True, with_pip=True)
    except (subprocess.CalledProcessError, ImportError):
        if engine.can_install() is not None:
            raise Mistake("Python cannot make a virtual environment here: apt-get install python3-venv") from None
        engine.apt_install(["python3-venv"])
        venv.create(VENV, clear=True, with_pip=True)
    installed = progress.run(
        [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS)], "installing test packages"
    )
    if installed.returncode != 0:
        raise Mistake(f"the test packages could not be installed: {progress.last_lines(installed.stdout)}")
    stamp.write_text(wanted)
    return python

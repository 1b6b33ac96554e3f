"""What is left of a run: its folder in out/, owned by whoever typed the command, with all it takes to see why."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path

from labkit import stack
from labkit.outcome import say
from labkit.settings import BOB_HOME, DEFAULTS, HOSTS, OUT, Settings

ROUTER_STATE = "natctl show; iptables-save; nft list ruleset"


def fetch(settings: Settings, run: str) -> Path | None:
    """Copy this run's folder out of the lab's volume and point out/latest at it. None when there is none."""
    packed = subprocess.run(
        stack.inside(settings, "observer", "sh", "-c", f"cd /lab/out 2>/dev/null && exec tar -cf - *-{run}"),
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    if packed.returncode != 0 or not packed.stdout:
        return None
    OUT.mkdir(exist_ok=True)
    folder = unpack(packed.stdout)
    _point_latest(folder.name)
    own(folder)
    return folder


def unpack(packed: bytes) -> Path:
    """Put a run's folder, as tar packs it, into out/: directories and files, and nothing that leads elsewhere.

    Not `extractall`: without its filter, which Debian 12's Python has not, it would follow what a container wrote.
    """
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = [each for each in archive if (each.isdir() or each.isfile()) and ".." not in Path(each.name).parts]
        for each in members:
            path = OUT / each.name.lstrip("/")
            content = archive.extractfile(each)
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.write_bytes(content.read())
    return OUT / members[0].name


def collect(settings: Settings, again: Sequence[str], folder: Path | None = None) -> Path:
    """Write what explains a failure: logs, rules, mappings, counters, states, and the command that repeats it.

    Into the run's folder, or into a new one where the lab broke before there was a run. `again` is that command's
    verb and options.
    """
    if folder is None:
        folder = OUT / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{settings.project}-broken"
        folder.mkdir(parents=True, exist_ok=True)
        _point_latest(folder.name)
        stack.output(settings, "cp", "observer:/lab/captures", str(folder))  # as far as the taps had come
    (folder / "containers.log").write_bytes(stack.output(settings, "logs", "--no-color", "--timestamps"))
    (folder / "containers.txt").write_bytes(stack.output(settings, "ps", "--all"))
    for router in settings.routers.values():
        (folder / f"{router}.txt").write_bytes(stack.told(settings, router, "sh", "-c", ROUTER_STATE))
    (folder / "core.txt").write_bytes(stack.told(settings, "core", "nft", "list", "ruleset"))
    (folder / "repeat.txt").write_text(repeat(again) + "\n", encoding="utf-8")
    own(folder)
    return folder


def bury(settings: Settings, again: Sequence[str]) -> None:
    """Leave what explains a lab that broke, and nothing else of it."""
    try:
        say(f"evidence in {collect(settings, again)}")
    finally:  # a Ctrl-C here, or a disk that is full, leaves nothing behind either
        stack.remove(settings)


def repeat(again: Sequence[str]) -> str:
    """Return the one command that does the same again, settings from the environment included.

    The tests choose their own.
    """
    variables = [] if again[0] == "test" else [
        f"{name}={shlex.quote(os.environ[name])}"
        for name in (*DEFAULTS, BOB_HOME, *HOSTS, "LAB_TOPOLOGY", "NAT_TYPE", "NAT_TYPE_BOB", "LAB_OVERLAY",
                     "LAB_TRANSPORT", "LAB_BOB_TRANSPORT", "UA_MAPPING", "SIP_PROXY_DOMAINS")
        if os.environ.get(name)
    ]
    return " ".join([*variables, "./lab", *map(shlex.quote, again)])


def _point_latest(name: str) -> None:
    new = OUT / f".latest-{os.getpid()}"
    new.unlink(missing_ok=True)
    new.symlink_to(name)
    new.replace(OUT / "latest")  # in one step: two labs may end at the same time


def own(made: Path) -> None:
    """Under sudo, give what was made in out/ to the user who typed the command."""
    user, group = os.environ.get("SUDO_UID"), os.environ.get("SUDO_GID")
    if user and group:
        latest = OUT / "latest"
        for path in (OUT, *([latest] if latest.is_symlink() else []), made, *made.rglob("*")):
            os.chown(path, int(user), int(group), follow_symlinks=False)

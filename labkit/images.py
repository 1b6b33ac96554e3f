"""The images: one base, and what is built on it. An image's tag is the fingerprint of all that goes into it.

So a warm `up` asks one question instead of building, and two clones never run each other's code.
"""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from labkit import engine, progress
from labkit.outcome import Mistake, say
from labkit.settings import ROOT, Settings, remember

PUBLIC_BASE = "debian:trixie-slim"
OWN_BASE = "sip-nat-lab/base:trixie"
SOURCES = ("nat", "observer", "phones", "proxy", "sipp_scenarios", "compose.yaml", ".dockerignore")
NAMES = ("nat", "observer", "proxy", "phone")
PULL_S = 120
# What a container never reads stays out of the base.
_DPKG = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("doc", "man", "locale", "info")]


def ensure(settings: Settings) -> None:
    """Make sure that base and images are there; sets BASE_IMAGE and LAB_TAG. Raises Mistake."""
    require_readable()
    settings.values["BASE_IMAGE"] = ensure_base(settings.values.get("BASE_IMAGE"))
    settings.values["LAB_TAG"] = fingerprint(settings.values["BASE_IMAGE"])
    names = [f"sip-nat-lab/{name}:{settings.values['LAB_TAG']}" for name in NAMES]
    names += [f"sip-nat-lab/{phone}:{settings.values['LAB_TAG']}" for phone in settings.phones - {"sipp"}]
    if is_here(*names):
        return
    say("building the images (the first time takes about a minute)")
    files = [argument for path in settings.files for argument in ("-f", str(path))]
    built = progress.run(
        ["docker", "compose", "--project-directory", str(ROOT), *files, "--progress", "plain", "build"],
        "building the images", settings.environment(), ROOT,
    )  # fmt: skip
    if built.returncode != 0:
        raise Mistake(f"the images could not be built: {progress.last_lines(built.stdout)}")


def ensure_base(wanted: str | None) -> str:
    """Return the name of a base image that is here: the one wanted, the public one, or one made on this machine."""
    name = wanted or PUBLIC_BASE
    if is_here(name):
        return name
    if name != OWN_BASE:
        say(f"pulling {name}")
        try:
            if _docker("pull", "--quiet", name, seconds=PULL_S).returncode == 0:
                return name
        except subprocess.TimeoutExpired:
            pass
        if wanted:
            raise Mistake(f"BASE_IMAGE={wanted} is not here and cannot be pulled: unset it, or name one that can be")
    if not is_here(OWN_BASE):
        _make_base()
    remember("BASE_IMAGE", OWN_BASE)
    return OWN_BASE


def require_readable(sources: Sequence[str] = SOURCES) -> None:
    """Containers run as other users than who has cloned this (under `umask 077`, say), and must read it.

    Raises Mistake.
    """
    for source in sources:
        path = ROOT / source
        for each in filter(Path.exists, (path, *path.rglob("*"))):  # an editor's lock is a link that leads nowhere
            wanted = stat.S_IROTH | stat.S_IXOTH if each.is_dir() else stat.S_IROTH
            if each.stat().st_mode & wanted != wanted and "__pycache__" not in each.parts:
                raise Mistake(
                    f"{each.relative_to(ROOT)}: only its owner may read it, and the containers run as other users; "
                    f"do: chmod -R go+rX {' '.join(sources)}"
                )


def fingerprint(base: str, sources: Sequence[str] = SOURCES) -> str:
    """Return 12 hexadecimal digits that stand for the base and every file that goes into an image."""
    digest = hashlib.sha256(_docker("image", "inspect", "--format", "{{.Id}}", base).stdout.encode())
    for source in sources:
        path = ROOT / source
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)} {os.access(file, os.X_OK)}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _make_base() -> None:
    """Make Debian 13 from this machine's own package source: no image registry is needed."""
    obstacle = engine.can_install()
    if obstacle is not None:
        raise Mistake(
            f"{PUBLIC_BASE} cannot be pulled, and a base cannot be made here ({obstacle}): "
            "set BASE_IMAGE in .env to a Debian 13 image that this machine has"
        )
    uri = engine.debian_source()
    if uri is None:
        raise Mistake(f"{PUBLIC_BASE} cannot be pulled, and this machine has no Debian package source to make one from")
    say(f"{PUBLIC_BASE} cannot be pulled: making {OWN_BASE} from this machine's Debian package source (half a minute)")
    engine.apt_install(["mmdebstrap", "debian-archive-keyring"])
    archive = ROOT / ".cache" / "base.tar"
    archive.parent.mkdir(exist_ok=True)
    try:
        made = progress.run(
            ["mmdebstrap", "--variant=minbase", '--aptopt=APT::Install-Recommends "false"', *_DPKG, "trixie",
             str(archive), f"deb [signed-by={engine.DEBIAN_KEYRING}] {uri} trixie main"],
            "making the base",
        )  # fmt: skip
        if made.returncode != 0:
            raise Mistake(f"mmdebstrap could not make the base: {progress.last_lines(made.stdout)}")
        imported = _docker("import", str(archive), OWN_BASE)
        if imported.returncode != 0:
            raise Mistake(f"the base could not be imported: {imported.stderr.strip()}")
    finally:
        archive.unlink(missing_ok=True)


def is_here(*names: str) -> bool:
    """Say whether the engine has an image of each of these names."""
    return _docker("image", "inspect", "--format", "{{.Id}}", *names).returncode == 0


def _docker(*arguments: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, check=False, timeout=seconds, stdin=subprocess.DEVNULL
    )



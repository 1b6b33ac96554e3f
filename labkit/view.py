"""What the observer's image draws: a run's folder, or captures from elsewhere, go in as a tar; what comes out differs.

Nothing of a capture is read outside that image, which has no network and no rights.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit import engine, images, settings, stack
from labkit.outcome import LabBroken, Mistake
from labkit.settings import OUT

KEPT = ("*.pcap", "*.json", "ladder.txt", "tls.keys")  # of a run's folder: what a drawing is made of
LARGEST = 512 << 20  # bytes of all files: they are in memory
HERE = "run.json"


@dataclass(slots=True)
class Source:
    """What is drawn: its name, and its files as the observer's image calls them."""

    title: str
    files: Mapping[str, Path]
    names: Sequence[str] = ()  # of captures from elsewhere, what they are called


def run_folder(name: str = "") -> Path:
    """Return the folder of a run: the newest, or of this name or path. Raises Mistake."""
    folder = OUT / "latest" if not name else Path(name) if "/" in name else OUT / name
    if not folder.is_dir():
        raise Mistake(f"{name}: no such run in {OUT}" if name else "no run yet: `./lab up` makes one")
    if not (folder / HERE).exists() or not (folder / "verdict.json").exists():
        raise Mistake(f"{folder}: no verdict was reached, or an older `lab` made it: there is no {HERE} to draw it by")
    return folder.resolve()


def of_run(folder: Path) -> Source:
    """Return a run as a source."""
    files = {path.name: path for pattern in KEPT for path in folder.glob(pattern)}
    return Source(folder.name, files)


def of_captures(paths: Sequence[str], keys: str = "") -> Source:
    """Return one capture, or the two of a router's two sides, as a source. Raises Mistake."""
    if len(paths) > 2:
        raise Mistake(f"{len(paths)} captures: one, or two of the two sides of a router")
    for path in (*paths, *([keys] if keys else [])):
        if not Path(path).is_file():
            raise Mistake(f"{path}: no such file")
    files = {f"{number}.pcap": Path(path) for number, path in enumerate(paths)}
    if keys:
        files["tls.keys"] = Path(keys)
    return Source("", files, [Path(path).name for path in paths])


def is_run(words: Sequence[str]) -> bool:
    """Say whether these words name a run rather than captures."""
    return not words or (len(words) == 1 and not Path(words[0]).is_file() and (OUT / words[0]).is_dir())


def observe(source: Source, *verb: str) -> bytes:
    """Have the observer's image do this with a source; return what it prints. Raises Mistake, LabBroken."""
    size = sum(path.stat().st_size for path in source.files.values())
    if size > LARGEST:
        raise Mistake(f"{size >> 20} MiB of captures, {LARGEST >> 20} at the most: `editcap` or `tshark -w` cut them")
    engine.ensure()
    lab = settings.load()
    images.ensure(lab)
    done = subprocess.run(
        ["docker", "run", "--rm", "--interactive", "--network", "none", "--cap-drop", "ALL", "--read-only",
         "--tmpfs", "/tmp", "--label", f"{stack.PROJECT}=",  # images bear their builder's: this is no part of his lab
         f"sip-nat-lab/observer:{lab.values['LAB_TAG']}", *verb],
        input=f"{source.title}\n".encode() + _pack(source), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode == 2:
        raise Mistake(done.stderr.decode(errors="replace").strip())
    if done.returncode != 0:
        raise LabBroken(f"it could not be drawn: {(done.stderr.decode(errors='replace').splitlines() or [''])[-1]}")
    return done.stdout


def _pack(source: Source) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, path in source.files.items():
            _add(archive, name, path.read_bytes())
        if source.names:
            _add(archive, "names.json", json.dumps(list(source.names)).encode())
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def unpack(packed: bytes, target: Path) -> list[Path]:
    """Put the files of a tar into a folder, by their last names; return them."""
    target.mkdir(parents=True, exist_ok=True)
    found = []
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for each in archive:
            content = archive.extractfile(each) if each.isfile() else None
            if content is not None:
                path = target / Path(each.name).name
                path.write_bytes(content.read())
                found.append(path)
    return found

"""`report`: a run's folder, or captures from elsewhere, as what one keeps and sends on. Tar in, tar out.

    index.html      the page, whole by itself
    ladder.svg .png .mmd .txt
    packets.pcapng  all captures, with comments and the keys of TLS
    view.json       docs/view.md
    junit.xml       a test case for each check
    summary.md      for a CI's page
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from observer.view import drawing, foreign, mermaid, model, packets, page, run, schema, summary, terminal

NAMES = "names.json"  # in the tar of captures from elsewhere: what `0.pcap` and `1.pcap` were called
USAGE = 2


def read(folder: Path) -> schema.View:
    """Return the view of what is in a folder. Raises foreign.NoCapture."""
    names = folder / NAMES
    if not names.exists():
        return model.view(run.load(folder))
    called = json.loads(names.read_text())
    for number, name in enumerate(called):
        command = ["mergecap", "-w", "/dev/null", str(folder / f"{number}.pcap")]  # capinfos takes any text for one
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode != 0:
            raise foreign.NoCapture(f"{name}: not a capture that tshark can read")
    return foreign.load(folder, called)


def write(view: schema.View, folder: Path, target: Path) -> None:
    """Write everything into the target folder."""
    (target / "view.json").write_text(json.dumps(view, indent=1))
    (target / "index.html").write_text(page.render(view), encoding="utf-8")
    (target / "ladder.svg").write_text(drawing.svg(view), encoding="utf-8")
    (target / "ladder.mmd").write_text(mermaid.mermaid(view), encoding="utf-8")
    (target / "junit.xml").write_text(summary.junit(view), encoding="utf-8")
    (target / "summary.md").write_text(summary.markdown(view), encoding="utf-8")
    kept = folder / "ladder.txt"
    plain = kept.read_text() if kept.exists() else "".join(f"{line}\n" for line in terminal.draw(view, False))
    (target / "ladder.txt").write_text(plain, encoding="utf-8")
    drawing.png(target / "ladder.svg", target / "ladder.png")
    packets.write(folder, view, target / "packets.pcapng")


def unpack(packed: bytes, folder: Path) -> None:
    """Put the files of a tar into a folder, by their last names: what leads elsewhere leads nowhere."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for each in archive:
            content = archive.extractfile(each) if each.isfile() else None
            if content is not None:
                (folder / Path(each.name).name).write_bytes(content.read())


def main(_: Sequence[str]) -> int:
    """Read a tar of a run's folder, or of captures, from standard input; write one of the report to standard output."""
    with tempfile.TemporaryDirectory() as place:
        folder, target = Path(place) / "in", Path(place) / "out"
        folder.mkdir()
        target.mkdir()
        title = sys.stdin.buffer.readline().decode().strip()
        unpack(sys.stdin.buffer.read(), folder)
        try:
            view = read(folder)
        except foreign.NoCapture as error:
            print(error, file=sys.stderr)
            return USAGE
        view["title"] = title or view["title"]
        write(view, folder, target)
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
            archive.add(target, "report")
    return 0

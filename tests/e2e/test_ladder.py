"""The ladder in the terminal: of a run, of a lab that runs, and of captures that somebody brings."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e import captures
from tests.e2e.lab import ROOT, Command, Lab

pytestmark = pytest.mark.e2e


def test_two_captures_of_a_router_say_what_it_changed(command: Command, tmp_path: Path) -> None:
    packets = captures.calls(2)
    lan = captures.write(tmp_path / "lan.pcap", packets)
    wan = captures.write(tmp_path / "wan.pcap", captures.through_router(packets, ahead=2.5))
    for order in ((lan, wan), (wan, lan)):  # whichever is named first
        done = command.run("ladder", *map(str, order))
        assert done.returncode == 0, done.stderr
        assert "router:  source 10.0.0.5:5060 → 198.51.100.7:40000" in done.stdout
        assert "router:  destination 198.51.100.7:40000 → 10.0.0.5:5060" in done.stdout
        assert "the clock of wan.pcap is +2.5" in done.stdout
        assert "\x1b[" not in done.stdout  # no terminal, no colours
        assert "✗" not in done.stdout


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_line_ends_that_keep_a_mapping_open_are_told(command: Command, tmp_path: Path, transport: str) -> None:
    packets = captures.calls(1)
    lan = captures.write(tmp_path / "lan.pcap", packets + captures.line_ends(3), transport)
    wan = captures.write(tmp_path / "wan.pcap", captures.through_router(packets + captures.line_ends(3)), transport)
    for sides in ([lan], [lan, wan]):
        done = command.run("ladder", *map(str, sides))
        assert done.returncode == 0, done.stderr
        assert "6 keep-alives (CRLF)" in done.stdout
        assert "✗" not in done.stdout


def test_what_a_router_did_not_pass_on_is_lost(command: Command, tmp_path: Path) -> None:
    packets = captures.calls(2)
    lan = captures.write(tmp_path / "lan.pcap", [packet for packet in packets if b"180 Ringing" not in packet[3]])
    wan = captures.write(tmp_path / "wan.pcap", captures.through_router(packets))
    done = command.run("ladder", str(lan), str(wan))
    assert done.stdout.count("✗ seen outside the router, and not inside") == 2


def test_one_capture_has_addresses_for_lanes(command: Command, tmp_path: Path) -> None:
    done = command.run("ladder", str(captures.write(tmp_path / "one.pcap", captures.calls(1))))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["10.0.0.5", "198.51.100.9"]
    assert "── INVITE bob ─" in done.stdout


def test_a_capture_of_a_mirrored_port_is_read_too(command: Command, tmp_path: Path) -> None:
    done = command.run("ladder", str(captures.write(tmp_path / "one.pcap", captures.calls(1), is_mirrored=True)))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["10.0.0.5", "198.51.100.9"]
    assert "── INVITE bob ─" in done.stdout


def test_what_comes_to_the_port_for_sound_and_is_none_does_no_harm(command: Command, tmp_path: Path) -> None:
    sdp = b"v=0\r\no=- 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
    asked, *others = captures.calls(1)
    length = b"Content-Type: application/sdp\r\nContent-Length: %d" % len(sdp)
    described = (*asked[:3], asked[3].replace(b"Content-Length: 0", length) + sdp)
    ear = ("10.0.0.5", 40_000)
    text = [(asked[0] + 0.055, captures.SERVER, ear, said) for said in (b"\r\n", b"hello\r\n", b"\r\n\r\n")]
    done = command.run("ladder", str(captures.write(tmp_path / "one.pcap", [described, *text, *others])))
    assert done.returncode == 0, done.stderr
    assert "── BYE bob ─" in done.stdout


def test_what_cannot_be_drawn_is_answered_in_one_line(command: Command, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pcap"
    text = tmp_path / "text.pcap"
    text.write_text("this is no capture\n")
    silent = captures.write(tmp_path / "silent.pcap", [(1.0, captures.PHONE, captures.SERVER, b"\x80nothing")])
    for words, complaint in (
        ([nothing], "no such file"), ([text], "not a capture"), ([silent], "there is no SIP in it"),
        ([silent, silent, silent], "3 captures"), (["--follow", silent], "--follow"),
    ):  # fmt: skip
        for verb in ("ladder", "report") if "--follow" not in words else ("ladder",):
            done = command.run(verb, *map(str, words))
            assert (done.returncode, done.stdout) == (2, ""), done.stderr
            assert complaint in done.stderr.splitlines()[-1]


def test_a_terminal_has_colours(command: Command, tmp_path: Path) -> None:
    path = captures.write(tmp_path / "one.pcap", captures.calls(1))
    ours, its = pty.openpty()
    done = subprocess.Popen(
        [str(ROOT / "lab"), "ladder", str(path)], env=command.environment, cwd=ROOT, stdout=its, stderr=subprocess.PIPE
    )
    os.close(its)
    seen = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        while True:
            try:
                seen += terminal.read(4096)
            except OSError:  # EIO: nobody holds the other end any more
                break
    done.communicate()
    assert done.returncode == 0
    assert b"\x1b[36m" in seen


def test_a_call_is_followed_as_it_happens(lab: Lab) -> None:
    environment = {**os.environ, **lab.settings.values}
    following = subprocess.Popen(
        [str(ROOT / "lab"), "ladder", "--follow"], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert following.stdout is not None
    try:
        assert "alice" in following.stdout.readline()
        caller = threading.Thread(target=lab.call)
        caller.start()
        seen = ""
        while "BYE" not in seen:
            line = following.stdout.readline()
            assert line, seen
            seen += line
        caller.join()
        assert "router:" in seen
    finally:
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0
        following.stdout.close()

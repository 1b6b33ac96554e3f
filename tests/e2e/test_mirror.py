"""The proxy's mirror, heard by a collector that is not ours: Debian's sngrep."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit import settings
from tests.e2e.lab import RUN, docker
from tests.unit.process import serving

pytestmark = pytest.mark.e2e

IMAGE, NAME = "sip-nat-lab/sngrep:test", f"labtest-{RUN}-sngrep"
PORT_9060 = "2364"  # as /proc/net/udp has it
READY_S, MESSAGES = 20, 5
FIELDS = ("ip.src", "udp.srcport", "ip.dst", "udp.dstport", "sip.Call-ID", "sip.Method", "sip.Status-Code")


@pytest.fixture
def collector(lab_settings: settings.Settings) -> Iterator[str]:
    """A collector that listens: where."""
    base = lab_settings.values["BASE_IMAGE"]
    folder = Path(__file__).with_name("sngrep")
    docker("build", "--quiet", "--network", "host", "--build-arg", f"BASE_IMAGE={base}", "--tag", IMAGE, str(folder))
    docker("run", "--detach", "--name", NAME, "--publish", "127.0.0.1:0:9060/udp", IMAGE)
    try:
        deadline = time.monotonic() + READY_S
        while f":{PORT_9060} " not in docker("exec", NAME, "cat", "/proc/net/udp"):
            assert time.monotonic() < deadline
            time.sleep(0.1)  # pacing of a poll, with a deadline
        yield docker("port", NAME, "9060/udp").strip()
    finally:
        docker("rm", "--force", NAME)


def test_every_message_that_comes_or_goes_is_told(
    collector: str, lab_settings: settings.Settings, tmp_path: Path
) -> None:
    with serving(SIP_PROXY_HEP=collector) as proxy:
        assert proxy.lines_until("SIP proxy mirrors")[-1] == f"SIP proxy mirrors every message to {collector} (HEP3)"
        for number in range(MESSAGES):
            assert proxy.ask(proxy.options(number)).startswith(b"SIP/2.0 200 OK")
        ours, its = proxy.own(), f"127.0.0.1:{proxy.port}"
    told = _told(lab_settings, tmp_path)
    assert told == [
        [*came.replace(":", "\t").split("\t"), *went.replace(":", "\t").split("\t"), str(number), method, status]
        for number in range(MESSAGES)
        for came, went, method, status in ((ours, its, "OPTIONS", ""), (its, ours, "", "200"))
    ]


def _told(lab_settings: settings.Settings, folder: Path) -> list[list[str]]:
    """End the collector, and return what it was told, as tshark reads it."""
    docker("kill", "--signal", "INT", NAME)
    docker("wait", NAME)
    docker("cp", f"{NAME}:/tmp/told.pcap", str(folder))
    fields = [word for name in FIELDS for word in ("-e", name)]
    read = subprocess.run(
        ["docker", "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "tshark",
         f"sip-nat-lab/observer:{lab_settings.values['LAB_TAG']}", "-n", "-r", "-", "-d", "udp.port==1-65535,sip",
         "-T", "fields", *fields],
        input=(folder / "told.pcap").read_bytes(), capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    return [line.split("\t") for line in read.splitlines()]

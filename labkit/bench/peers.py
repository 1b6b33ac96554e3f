"""The image of the peers, which no other verb needs: built here, its tag the fingerprint of what goes into it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from labkit import images, progress
from labkit.bench.containers import SCENARIOS
from labkit.bench.systems import Images
from labkit.outcome import Mistake, say
from labkit.settings import ROOT, Settings

SOURCES = ("tests/bench/Dockerfile", "tests/bench/requirements.txt", "tests/bench/tables.py")


def ensure(lab: Settings) -> Images:
    """Return the images of a benchmark; proxy and phone are here already. Raises Mistake."""
    base, tag = lab.values["BASE_IMAGE"], lab.values["LAB_TAG"]
    name = f"sip-nat-lab/bench:{images.fingerprint(base, SOURCES)}"
    if not images.is_here(name):
        say("building the image of the peers (two minutes: Kamailio, rtpengine, Sippy, valgrind)")
        # Some networks have a certificate authority of their own, which an image knows nothing of.
        secret = next((["--secret", f"id=authorities,src={path}"] for path in _authorities() if path.is_file()), [])
        built = progress.run(
            ["docker", "build", "--progress", "plain", "--network", "host", "--build-arg", f"BASE_IMAGE={base}",
             *secret, "--tag", name, "--file", str(ROOT / SOURCES[0]), str(SCENARIOS)],
            "building the image of the peers", {**os.environ, "DOCKER_BUILDKIT": "1"}, ROOT,
        )  # fmt: skip
        if built.returncode != 0:
            raise Mistake(f"the image of the peers could not be built: {progress.last_lines(built.stdout)}")
    return Images(f"sip-nat-lab/proxy:{tag}", f"sip-nat-lab/phone:{tag}", name, lab.values["PROXY_PYTHON"])


def _authorities() -> Iterator[Path]:
    """Yield where this machine may have its certificate authorities, the likeliest first."""
    for variable in ("PIP_CERT", "SSL_CERT_FILE"):
        if os.environ.get(variable):
            yield Path(os.environ[variable])
    if found := ssl.get_default_verify_paths().cafile:
        yield Path(found)
    yield Path("/etc/ssl/certs/ca-certificates.crt")

"""/metrics, scraped by Debian's Prometheus; and the dashboard's questions, asked of it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_docker.plugin import Services

from docs import grafana
from labkit.settings import Settings
from tests.e2e.lab import RUN, Lab, docker

pytestmark = pytest.mark.e2e

IMAGE, NAME = "sip-nat-lab/prometheus:test", f"labtest-{RUN}-prometheus"
SCRAPED_S = 30
Ask = Callable[[str], list[float]]


@pytest.fixture(scope="module")
def ask(lab_settings: Settings, docker_services: Services) -> Iterator[Ask]:
    """Ask a Prometheus that stands on the lab's Internet: the values of each series."""
    base = lab_settings.values["BASE_IMAGE"]
    folder = Path(__file__).with_name("prometheus")
    docker("build", "--quiet", "--network", "host", "--build-arg", f"BASE_IMAGE={base}", "--tag", IMAGE, str(folder))
    target = f"{lab_settings.values['PROXY_IP']}:8060"
    job = {"job_name": "proxy", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    told = {"scrape_configs": [job]}
    docker("create", "--interactive", "--name", NAME, "--network", f"{lab_settings.project}_internet", IMAGE)
    running = subprocess.Popen(
        ["docker", "start", "--interactive", NAME], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert running.stdin is not None
    running.stdin.write(json.dumps(told).encode())  # JSON is YAML
    running.stdin.close()

    def answer(question: str) -> list[float]:
        query = ("promtool", "query", "instant", "--format", "json", "http://127.0.0.1:9090", question)
        said = docker("exec", NAME, *query)
        return [float(row["value"][1]) for row in json.loads(said)]

    try:
        until(lambda: _is_scraped(answer))
        yield answer
    finally:
        docker("rm", "--force", NAME)
        running.wait()


def until(is_so: Callable[[], bool]) -> None:
    """Return when it is so. While a scrape fails, for a proxy that is slow, a question has no answer."""
    deadline = time.monotonic() + SCRAPED_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.5)  # pacing of a poll, with a deadline


def _is_scraped(answer: Ask) -> bool:
    try:
        return answer("up == 1") == [1.0]
    except subprocess.CalledProcessError:  # it does not answer yet
        return False


def test_prometheus_scrapes_what_the_proxy_counts(lab: Lab, ask: Ask) -> None:
    counted: list[float] = []

    def is_told() -> bool:
        counted[:] = ask("sip_proxy_requests_total")
        return bool(counted)

    until(is_told)
    (before,) = counted
    assert lab.call().code == 0
    until(lambda: ask("sip_proxy_requests_total") >= [before + 6])  # INVITE, ACK, BYE of two calls
    until(lambda: ask("sip_proxy_bindings") >= [2])


def test_every_question_of_the_dashboard_has_an_answer(ask: Ask) -> None:
    for panel in grafana.dashboard()["panels"]:
        for target in panel["targets"]:
            assert len(ask(target["expr"].replace("$__rate_interval", "1m"))) <= 1


def test_the_page_is_as_prometheus_wants_it(lab: Lab, ask: Ask) -> None:
    fetch = "import urllib.request as web; print(web.urlopen('http://127.0.0.1:8060/metrics').read().decode(), end='')"
    page = lab.execute("proxy", "python3", "-c", fetch)
    done = subprocess.run(
        ["docker", "exec", "--interactive", NAME, "promtool", "check", "metrics"], input=page, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")

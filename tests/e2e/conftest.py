"""The lab for the end-to-end tests: a project and subnets of its own, brought up by pytest-docker.

A failing test leaves its run's folder in out/ and names it, with the command that repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_docker.plugin import Services, get_docker_services

from labkit import evidence, images, settings, stack
from tests.e2e.lab import Command, Lab, subnets

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def lab_settings() -> Iterator[settings.Settings]:
    """The settings of the lab that all tests share; its variables go into the environment for pytest-docker."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in subnets("main").items():
            patch.setenv(name, value)
        found = settings.load()
        images.ensure(found)
        for name, value in found.values.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture(scope="session")
def docker_compose_command() -> str:
    return f"docker compose --project-directory {ROOT}"


@pytest.fixture(scope="session")
def docker_compose_file(lab_settings: settings.Settings) -> list[str]:
    return [str(path) for path in lab_settings.layers]


@pytest.fixture(scope="session")
def docker_compose_project_name(lab_settings: settings.Settings) -> str:
    return lab_settings.project


@pytest.fixture(scope="session")
def docker_setup() -> list[str]:
    return ["up --detach --wait --no-build"]


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return ["down --volumes --remove-orphans --timeout 2"]


@pytest.fixture(scope="session")
def docker_services(
    lab_settings: settings.Settings,
    docker_compose_command: str,
    docker_compose_file: list[str],
    docker_compose_project_name: str,
    docker_setup: list[str],
    docker_cleanup: list[str],
) -> Iterator[Services]:
    """pytest-docker's own leaves everything standing, and no logs, when `up` itself fails: this one does not."""
    try:
        with get_docker_services(
            docker_compose_command, docker_compose_file, docker_compose_project_name, docker_setup, docker_cleanup
        ) as services:
            yield services
    except BaseException:
        folder = evidence.collect(lab_settings, ["test", "tests/e2e"])
        print(f"evidence in {folder}")
        stack.remove(lab_settings)
        raise


@pytest.fixture
def lab(lab_settings: settings.Settings, docker_services: Services, request: pytest.FixtureRequest) -> Lab:
    """The shared lab, up and healthy."""
    return Lab(lab_settings, ["test", request.node.nodeid])


@pytest.fixture(scope="module")
def router(lab_settings: settings.Settings, docker_services: Services, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The shared lab, for tests that change its router. When the module is done, router and phones are as they were."""
    changed = Lab(lab_settings, ["test", request.node.nodeid])
    yield changed
    changed.restore()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    if report.failed and call.when == "call":
        arguments = getattr(item, "funcargs", {}).values()
        labs = {given.settings.project: given.settings for given in arguments if isinstance(given, Lab)}
        folders = [evidence.collect(one, ["test", item.nodeid]) for one in labs.values()]
        folders += [folder for given in arguments if isinstance(given, Command) and (folder := given.evidence())]
        named = "\n".join(map(str, folders))
        report.sections.append(("evidence", f"{named}\nagain: ./lab test '{item.nodeid}'"))


@pytest.fixture
def command(request: pytest.FixtureRequest) -> Iterator[Command]:
    """`./lab` as a user types it, in a project of its own that is removed afterwards."""
    typed = Command(request.node.name)
    yield typed
    typed.run("down")

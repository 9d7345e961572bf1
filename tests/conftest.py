"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from consumer.testing.ministack import Ministack, MinistackMissing
from tests.house.tree import ROOT
from tests.integration.kcl.java import NO_JAVA
from tests.simulation.mutants.findings import Finding, table

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("leasehold", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("leasehold")


@pytest.fixture(scope="session")
def ministack() -> Iterator[Ministack]:
    """One ministack for the whole run; each test uses tables of its own."""
    try:
        server = Ministack.start()
    except MinistackMissing as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def nothing_logged() -> Iterator[None]:
    """For tests that drive the product through thousands of failures, each of which it tells."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built with what is installed, without network."""
    folder = tmp_path_factory.mktemp("dist")
    build = "import sys, hatchling.build as b; print(b.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(folder)], check=True, cwd=ROOT, timeout=120, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def pytest_configure(config: pytest.Config) -> None:
    """Shells start what runs in the background deaf to Ctrl-C, and so would be every process that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for real time and real servers share one process of pytest-xdist; the others keep the rest busy.

    Side by side they would measure one another. Those of the wheel share one, too, and it is built once.
    """
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("integration") or {"ministack", "endpoint_url"} & fixtures:
            item.add_marker(pytest.mark.xdist_group("real"))
        elif "wheel" in fixtures:
            item.add_marker(pytest.mark.xdist_group("wheel"))


def _not_run(config: pytest.Config) -> dict[str, int]:
    """How many tests were skipped, by reason."""
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reasons = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])] if reporter else []
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI=true a test that is skipped for whatever is missing has failed; only Java may be missing."""
    if os.environ.get("CI") == "true" and any(NO_JAVA not in reason for reason in _not_run(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _findings(reporter: Any) -> list[Finding]:
    """What came of each mutant, as the report of its test tells, from whichever process it came."""
    reports = [each for kind in ("passed", "failed") for each in reporter.stats.get(kind, []) if each.when == "call"]
    return [Finding(**value) for each in reports for name, value in each.user_properties if name == "mutant"]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was not run, and that this is a failure under CI=true; what became of each mutant."""
    for reason, count in _not_run(config).items():
        is_failure = os.environ.get("CI") == "true" and NO_JAVA not in reason
        verdict = "a failure under CI=true" if is_failure else "not run here"
        terminalreporter.write_line(f"{verdict}: {count} tests: {reason.removeprefix('Skipped: ')}", yellow=True)
    if findings := _findings(terminalreporter):
        terminalreporter.section(f"{len(findings)} mutants")
        terminalreporter.write_line(table(findings))

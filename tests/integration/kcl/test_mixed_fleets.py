"""Two cells of the matrix with shortened timers: real Java workers and real Python workers on one lease table.

`make kcl-matrix` plays all of them, with the KCL's own timers.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consumer.testing.ministack import Ministack
from tests.integration.kcl import java
from tests.integration.kcl.mixed_stage import mixed_fleet
from tests.integration.kcl.plays import perform
from tests.integration.kcl.timers import QUICK

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def _built(edition: str) -> None:
    """Skips where there is no Java; where it can't be built, that is a failure under CI=true."""
    try:
        java.build(edition)
    except java.JavaMissing as error:
        pytest.skip(str(error))
    except java.NotBuilt as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(("edition", "play"), [("kcl-3.5.1", "java-first"), ("kcl-2.7.2", "python-first")])
async def test_java_and_python_share_a_table(tmp_path: Path, ministack: Ministack, edition: str, play: str) -> None:
    _built(edition)
    async with mixed_fleet(tmp_path, ministack, edition, QUICK) as fleet:
        performance = await perform(fleet, play, print)
    assert performance.findings == []

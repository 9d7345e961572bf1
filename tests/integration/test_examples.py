"""Each example runs as its README says, and prints what the README shows."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from consumer.testing.ministack import Ministack
from tests.house.tree import ROOT

pytestmark = pytest.mark.integration


def test_the_orders_example_prints_what_its_readme_shows(ministack: Ministack):
    """``ministack`` only says that there is one; the example starts its own."""
    readme = (ROOT / "examples/orders_audit/README.md").read_text()
    (shown,) = re.findall(r"^```\n(o-1 INSERT.*?)```$", readme, re.MULTILINE | re.DOTALL)
    run = subprocess.run(
        [sys.executable, "examples/orders_audit/run_locally.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.stdout == shown
    assert ".venv/bin/python examples/orders_audit/run_locally.py" in readme

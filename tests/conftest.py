"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from consumer.testing.ministack import Ministack, MinistackMissing


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

"""What users import from lease_store, and what importing it must not drag along."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lease_store


def test_every_name_is_there_and_in_order() -> None:
    assert sorted(lease_store.__all__) == sorted(set(lease_store.__all__))
    for name in lease_store.__all__:
        assert getattr(lease_store, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        lease_store.Nothing  # noqa: B018


def test_importing_the_package_brings_no_aws_along() -> None:
    heavy = "import lease_store, sys; print([m for m in ('aiobotocore', 'aiohttp', 'botocore') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout.strip() == "[]"

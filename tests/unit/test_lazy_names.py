"""What users import from the packages: every name is there, is loaded on first use, and brings nothing else along."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

AWS = {"aiobotocore", "aiohttp", "boto3", "botocore", "msgspec"}


@pytest.mark.parametrize("package", ["consumer", "consumer.streams", "consumer.testing", "lease_store"])
def test_every_name_is_there_and_no_other(package: str) -> None:
    module = import_module(package)
    assert dir(module) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in vars(module), "asked for a second time, it is there already"
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'Nothing'"):
        module.Nothing  # noqa: B018


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("consumer", ["RecordProcessor", "Records", "WorkerConfig", "LeaseLost"]),
        ("consumer.streams", ["RecordSource", "Shard", "parse_address"]),
        ("lease_store", ["Lease", "LeaseStore", "MemoryLeaseStore"]),
    ],
)
def test_what_user_code_and_its_type_checks_name_waits_for_no_aws_library(package: str, names: list[str]) -> None:
    code = f"import sys; from {package} import {', '.join(names)}; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(said.stdout.split()) & AWS == set()

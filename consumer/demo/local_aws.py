"""Clients for the demo's own local servers, whatever AWS settings the user has."""

from __future__ import annotations

import os
from typing import Any, Final

import boto3
import botocore.session
from botocore.config import Config

__all__ = ["REGION", "clean_environment", "local_client"]

REGION: Final = "us-east-1"
# Never anybody's real ones, and never looked up anywhere.
_CREDENTIALS: Final = {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
_ATTEMPTS: Final = 5


def local_client(service: str, endpoint_url: str) -> Any:
    """A blocking client of ``service`` at ``endpoint_url``, without profiles, proxies and configuration files."""
    nowhere = (None, None, os.devnull, None)
    session = botocore.session.Session(
        session_vars={"profile": (None, None, None, None), "config_file": nowhere, "credentials_file": nowhere}
    )
    config = Config(
        region_name=REGION, proxies={}, connect_timeout=2, read_timeout=5, retries={"total_max_attempts": _ATTEMPTS}
    )
    return boto3.Session(botocore_session=session).client(
        service, endpoint_url=endpoint_url, config=config, **_CREDENTIALS
    )


def clean_environment() -> dict[str, str]:
    """The environment for a child process: the user's, without any AWS or Leasehold setting, with local credentials."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LEASEHOLD_"))}
    return kept | {
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }

"""How AWS and its clients say no: what every border reads in it, of the lease table, the streams, the dead letters."""

from __future__ import annotations

import re
import socket
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from botocore import exceptions as boto

__all__ = [
    "BAD_CREDENTIALS",
    "DENIALS",
    "NOT_CONNECTED",
    "NO_CREDENTIALS",
    "THROTTLES",
    "cause",
    "denied_action",
    "never_connected",
    "way_to_sign",
]

THROTTLES: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
DENIALS: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
# ExpiredToken is among them and not transient: botocore renews what can be renewed before it expires, so a token that
# has expired all the same came from variables or a file that somebody has to fill again.
BAD_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
# Raised before anything is sent: there is nobody to sign as.
NO_CREDENTIALS: Final = (
    boto.CredentialRetrievalError,
    boto.LoginError,
    boto.MetadataRetrievalError,
    boto.NoAuthTokenError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.RefreshWithMFAUnsupportedError,
    boto.SSOError,
    boto.TokenRetrievalError,
    boto.UnknownCredentialError,
)
NOT_CONNECTED: Final = (boto.ConnectTimeoutError, boto.ProxyConnectionError, boto.SSLError)


def never_connected(error: BaseException) -> bool:
    """Whether a connection was never made: aiobotocore has one class for that and for one that broke while in use."""
    return isinstance(error, boto.EndpointConnectionError) and isinstance(
        error.kwargs.get("error"), aiohttp.ClientConnectorError | socket.gaierror
    )


def denied_action(message: str) -> str | None:
    """The action in AWS's own words: ``... is not authorized to perform: kinesis:GetRecords on resource: ...``."""
    found = re.search(r"not authorized to perform: ([a-z0-9-]+:\w+)", message)
    return found.group(1) if found else None


def way_to_sign(endpoint: str | None) -> str:
    """A sentence on how to get credentials that ``endpoint`` takes (None: AWS's own)."""
    host = urlsplit(endpoint or "").hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return (
            "A local endpoint takes any values: set AWS_ACCESS_KEY_ID=local, AWS_SECRET_ACCESS_KEY=local and "
            "AWS_DEFAULT_REGION=us-east-1."
        )
    return "Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role gives them."


def cause(error: BaseException) -> str:
    """The type of an error and what lies behind it."""
    inner: Any = error.kwargs.get("error") if isinstance(error, boto.BotoCoreError) else None
    return f"{type(error).__name__}: {inner or error}"

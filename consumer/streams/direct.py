"""GetRecords without botocore's way of making a call: signed, sent and checked for what it is here.

All that decides what is sent was learned from a call that botocore itself has made (``direct_terms``), credentials stay
botocore's, and so does the reading of refusals: the same reply is the same error on both paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import create_parser

from consumer.clock import Clock
from consumer.streams.direct_connection import Reply
from consumer.streams.direct_pool import Connections
from consumer.streams.server_clock import server_time_of
from consumer.streams.sigv4 import Identity, Signer, host_of

__all__ = ["DirectCalls", "Terms"]

_OPERATION: Final = "GetRecords"
# Refusals that a wrong clock on this machine may be the reason for.
_CLOCK_REFUSALS: Final = frozenset(
    {
        "AuthFailure",
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
# AWS takes stamps that are up to five minutes off.
_SKEW_SECONDS: Final = 60.0
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Terms:
    """What all GetRecords calls of one client have in common.

    ``headers`` are those that are sent as they are. ``parameters`` are those that don't change from call to call.
    """

    url: str
    headers: Mapping[str, str]
    region: str
    signing_name: str
    parameters: Mapping[str, Any]


class DirectCalls:
    """Makes the calls that ``terms`` describe, over ``connections``, signed with botocore's ``credentials``.

    ``client`` is the aiobotocore client whose calls these would be: its models read refusals.
    """

    def __init__(
        self,
        terms: Terms,
        connections: Connections,
        credentials: Any,
        client: Any,
        *,
        clock: Clock,
        timeout_seconds: float,
    ) -> None:
        self._terms = terms
        self._connections = connections
        self._credentials = credentials
        self._client = client
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._signer = Signer("POST", terms.url, terms.headers, region=terms.region, service=terms.signing_name)
        self._start = _start_of_request(terms)
        self._ahead_seconds = 0.0  # the service's clock, of this machine's
        self._second = -1
        self._stamp = ""

    def serves(self, request: Mapping[str, Any]) -> bool:
        """Whether ``request`` differs from what was learned only in what may change."""
        varying = {"ShardIterator", "Limit"}
        return {name: value for name, value in request.items() if name not in varying} == self._terms.parameters

    async def get_records(self, request: Mapping[str, Any]) -> bytes | memoryview:
        """The body of a success. Raises botocore's errors, ClientError for a refusal.

        Where a refusal may come from this machine's clock being wrong, the service's clock is believed and the call
        made once more.
        """
        body = _encode(request)
        ahead_seconds = self._ahead_seconds
        reply = await self._send(body)
        if reply.status >= 300:
            error = self._refusal(reply)
            if not self._knows_better_time(error, ahead_seconds):
                raise error
            reply = await self._send(body)
            if reply.status >= 300:
                raise self._refusal(reply)
        return reply.body

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def _send(self, body: bytes) -> Reply:
        if self._credentials is None:
            raise NoCredentialsError
        frozen = await self._credentials.get_frozen_credentials()
        identity = Identity(frozen.access_key, frozen.secret_key, frozen.token)
        stamp = self._stamp_now()
        token = f"X-Amz-Security-Token: {identity.token}\r\n" if identity.token else ""
        headers = (
            f"{self._start}X-Amz-Date: {stamp}\r\n{token}"
            f"Authorization: {self._signer.authorization(identity, stamp, body)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return await self._connections.exchange(headers.encode() + body, self._timeout_seconds)

    def _stamp_now(self) -> str:
        second = int(self._clock.wall() + self._ahead_seconds)
        if second != self._second:
            self._second = second
            self._stamp = datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")
        return self._stamp

    def _refusal(self, reply: Reply) -> ClientError:
        """As botocore raises it."""
        service_model = self._client.meta.service_model
        parser: Any = create_parser(service_model.resolved_protocol)
        described = {"status_code": reply.status, "headers": reply.headers, "body": bytes(reply.body)}
        parsed = parser.parse(described, service_model.operation_model(_OPERATION).output_shape)
        kind: type[ClientError] = self._client.exceptions.from_code(parsed.get("Error", {}).get("Code"))
        return kind(parsed, _OPERATION)

    def _knows_better_time(self, error: ClientError, ahead_seconds: float) -> bool:
        """Whether ``error`` is one of time, and the service's clock another than was ``ahead_seconds`` of ours.

        Of several calls that are refused together, each is made again.
        """
        if error.response.get("Error", {}).get("Code") not in _CLOCK_REFUSALS:
            return False
        theirs = server_time_of(error.response)
        if theirs is None:
            return False
        found_seconds = theirs - self._clock.wall()
        if abs(found_seconds - ahead_seconds) < _SKEW_SECONDS:
            return False
        self._ahead_seconds = found_seconds
        return True


def _start_of_request(terms: Terms) -> str:
    parts = urlsplit(terms.url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    lines = [f"POST {target} HTTP/1.1", f"Host: {host_of(terms.url)}"]
    lines += [f"{name}: {value}" for name, value in terms.headers.items()]
    # As aiobotocore's session does: replies come as they are.
    return "\r\n".join([*lines, "Accept-Encoding: identity", ""])

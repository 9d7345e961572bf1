"""AWS Signature Version 4 for requests that differ in nothing but body, time and credentials.

What such requests have in common is made canonical once, and the signing key, which is good for a day, is kept. The
rules are those of AWS's "Create a signed AWS API request", as botocore's ``SigV4Auth`` reads them: the same request
gets the same signature from both.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

__all__ = ["Identity", "Signer", "host_of"]

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_DATE: Final = "x-amz-date"
_TOKEN: Final = "x-amz-security-token"
# Proxies add or change these on the way, or they are no part of the message: botocore leaves them out, too.
_UNSIGNED: Final = frozenset(
    {
        "baggage",
        "connection",
        "expect",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "x-amzn-trace-id",
    }
)


class Identity(NamedTuple):
    """Who signs. ``token`` is a session's, None for credentials that last."""

    access_key: str
    secret_key: str
    token: str | None = None


class _Day:
    """What one identity signs with on one day; ``stamp`` and the body's hash go between the parts of ``canonical``."""

    __slots__ = ("authorization", "canonical", "day", "identity", "key", "scope")

    def __init__(self, identity: Identity, day: str, region: str, service: str, common: _Common) -> None:
        if not f"{identity.access_key}{identity.token or ''}".isprintable():
            raise ValueError("credentials with a line break or the like in them can't be sent as a header")
        self.identity = identity
        self.day = day
        self.scope = f"{day}/{region}/{service}/aws4_request"
        key = f"AWS4{identity.secret_key}".encode()
        for part in self.scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        self.key = key
        names, self.canonical = common.around_stamp(identity.token)
        self.authorization = f"{_ALGORITHM} Credential={identity.access_key}/{self.scope}, SignedHeaders={names}, "


class _Common:
    """The part of the canonical request that all requests share."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        query = "&".join(f"{name}={value}" for name, value in sorted(_pairs(parts.query)))
        self._start = f"{method}\n{_canonical_path(parts.path)}\n{query}\n"
        self._headers = {name.lower(): value for name, value in headers.items() if name.lower() not in _UNSIGNED}
        self._headers.setdefault("host", host_of(url))

    def around_stamp(self, token: str | None) -> tuple[str, tuple[bytes, bytes]]:
        """The signed headers' names, and the canonical request before and after the time stamp."""
        headers = {**self._headers, _DATE: "", **({_TOKEN: token} if token else {})}
        names = sorted(headers)
        at = names.index(_DATE)
        lines = [f"{name}:{' '.join(headers[name].split())}\n" for name in names]
        signed = ";".join(names)
        before = self._start + "".join(lines[:at]) + f"{_DATE}:"
        after = "\n" + "".join(lines[at + 1 :]) + f"\n{signed}\n"
        return signed, (before.encode(), after.encode())


class Signer:
    """Signs requests of one ``method``, one ``url`` and one set of ``headers``.

    Headers that are no part of a signature may be among them; a time stamp, a token and a signature may not.
    Bodies are always signed. Not for S3, whose paths have rules of their own.
    """

    def __init__(self, method: str, url: str, headers: Mapping[str, str], *, region: str, service: str) -> None:
        self._common = _Common(method, url, headers)
        self._region = region
        self._service = service
        self._day: _Day | None = None

    def authorization(self, identity: Identity, stamp: str, body: bytes) -> str:
        """The value of the Authorization header; ``stamp`` is that of X-Amz-Date: ``20261121T180000Z``.

        Raises ValueError for an identity that would be more than one header.
        """
        day = self._day
        if day is None or day.day != stamp[:8] or day.identity != identity:
            day = self._day = _Day(identity, stamp[:8], self._region, self._service, self._common)
        before, after = day.canonical
        request = b"%b%b%b%b" % (before, stamp.encode(), after, sha256(body).hexdigest().encode())
        to_sign = f"{_ALGORITHM}\n{stamp}\n{day.scope}\n{sha256(request).hexdigest()}"
        return f"{day.authorization}Signature={hmac.digest(day.key, to_sign.encode(), 'sha256').hex()}"


def host_of(url: str) -> str:
    """What the Host header says: in small letters, with the port unless it is the scheme's own."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{host}:{parts.port}"


def _pairs(query: str) -> Iterator[tuple[str, str]]:
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        yield name, value


def _canonical_path(path: str) -> str:
    """Without empty and dot segments (RFC 3986, 5.2.4), and escaped, which escapes a given ``%`` once more."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    ending = "/" if kept and path.endswith("/") else ""
    start = "/" if path.startswith("/") or not kept else ""
    return quote(f"{start}{'/'.join(kept)}{ending}", safe="/~")

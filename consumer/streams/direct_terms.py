"""What a direct GetRecords call has to be like, learned from one that botocore has made; or why there can't be any.

Nothing of botocore's settings is read anew here: its own request shows endpoint, headers, region and signature, and is
signed once more for comparison. Whatever is not known for certain keeps the calls with botocore.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Final

from aiobotocore.client import AioBaseClient
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from botocore.utils import get_environ_proxies

from consumer.streams.direct import Terms
from consumer.streams.sigv4 import Identity, Signer

__all__ = ["Unsuitable", "objection", "terms_of", "verification_of"]

_VARYING: Final = frozenset({"ShardIterator", "Limit"})
_CONSTANT_HEADERS: Final = frozenset({"content-type", "user-agent", "x-amz-target"})
# Made for each call. The two of the SDK number attempts for AWS's own statistics and are not signed.
_OWN_HEADERS: Final = frozenset(
    {
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "authorization",
        "content-length",
        "x-amz-date",
        "x-amz-security-token",
    }
)
_AUTHORIZATION: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/\d{8}/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
)
# Everything on the way of a call where a user's code may hook in.
_EVENTS: Final = (
    "provide-client-params",
    "before-parameter-build",
    "before-endpoint-resolution",
    "before-call",
    "request-created",
    "choose-signer",
    "before-sign",
    "before-send",
    "response-received",
    "before-parse",
    "needs-retry",
    "after-call",
    "after-call-error",
)
# What needs no thought in a request's first line and its Host header.
_URL: Final = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+(?:/[!-~]*)?")
_LIBRARIES: Final = frozenset({"aiobotocore", "botocore"})


class Unsuitable(Exception):
    """Calls can't be made without botocore; the text says why."""


def objection(client: Any, session: Any) -> str | None:
    """Why only botocore can make the calls of ``client``, which ``session`` has made; None: there is no reason."""
    if not isinstance(client, AioBaseClient) or not isinstance(session, AioSession):
        return "the session is not aiobotocore's own"
    if type(session) is not AioSession or "create_client" in vars(session):
        return f"the session is of the class {type(session).__name__}"
    bases = [base.__name__ for base in type(client).__mro__[1:-1] if not _is_of_libraries(base)]
    if bases:
        return f"the client has the class {bases[0]} among its bases"
    config: Any = client.meta.config
    if config.http_session_cls is not AIOHTTPSession:
        return f"the session sends by {config.http_session_cls.__name__}"
    special = [name for name in ("client_cert", "proxies_config") if getattr(config, name, None)]
    special += sorted(set(config.connector_args) - {"keepalive_timeout"})
    if special:
        return f"the session's configuration has {', '.join(special)}"
    if client.meta.service_model.resolved_protocol != "json":
        return f"the service is spoken to in {client.meta.service_model.resolved_protocol}"
    return _hooked_in(client)


def _hooked_in(client: Any) -> str | None:
    """The first event on the way of the call for which somebody other than the libraries has registered a handler."""
    service = client.meta.service_model.service_id.hyphenize()
    for event in _EVENTS:
        name = f"{event}.{service}.GetRecords"
        try:
            handlers = _handlers(client.meta.events, name)
        except (AttributeError, TypeError):
            return "this botocore does not tell who listens to its events"
        for handler in handlers:
            if not _is_of_libraries(handler):
                return f"a handler is registered for {name}"
    return None


def _handlers(events: Any, name: str) -> list[Any]:
    """Botocore has no public way to ask who listens; a test holds this one against its event system."""
    emitter = getattr(events, "_emitter", events)
    return list(emitter._handlers.prefix_search(name))


def _is_of_libraries(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in _LIBRARIES


async def terms_of(sent: Any, request: Mapping[str, Any], client: Any, credentials: Any) -> Terms | None:
    """What the call that botocore has ``sent`` (a prepared request) for ``request`` shows. Raises Unsuitable.

    None where credentials have changed since, so that another call has to be looked at.
    """
    headers = {name: _text(value) for name, value in sent.headers.items()}
    names = {name.lower(): name for name in headers}
    unknown = sorted(set(names) - _CONSTANT_HEADERS - _OWN_HEADERS)
    if unknown:
        raise Unsuitable(f"botocore sends the header {unknown[0]}, whose meaning is not known here")
    scope = _AUTHORIZATION.match(headers.get(names.get("authorization", ""), ""))
    if sent.method != "POST" or scope is None or credentials is None:
        raise Unsuitable("the calls are not signed with SigV4")
    if not _URL.fullmatch(sent.url):
        raise Unsuitable("the endpoint's URL has a user, a blank or another odd character in it")
    if set(json.loads(sent.body)) != set(request):
        raise Unsuitable("botocore sends other parameters than were asked for")
    parameters = {name: value for name, value in request.items() if name not in _VARYING}
    constant = {names[name]: headers[names[name]] for name in sorted(_CONSTANT_HEADERS & set(names))}
    if proxy := _proxy_of(sent.url, client):
        raise Unsuitable(f"there is a proxy for {proxy}")
    terms = Terms(sent.url, constant, scope["region"], scope["service"], parameters)
    frozen = await credentials.get_frozen_credentials()
    if frozen.access_key != scope["key"]:
        return None
    signer = Signer("POST", terms.url, constant, region=terms.region, service=terms.signing_name)
    identity = Identity(frozen.access_key, frozen.secret_key, frozen.token)
    if signer.authorization(identity, headers[names["x-amz-date"]], sent.body) != headers[names["authorization"]]:
        raise Unsuitable("botocore's signature is another than the one that SigV4 asks for")
    return terms


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _proxy_of(url: str, client: Any) -> str | None:
    """The scheme whose proxy botocore would use for ``url``; the address may carry a password."""
    given = client.meta.config.proxies
    proxies = get_environ_proxies(url) if given is None else given
    scheme = url.partition(":")[0]
    return scheme if proxies.get(scheme) else None


def verification_of(session: Any) -> bool | str:
    """What botocore verifies servers by for clients of ``session``: its own bundle (True), none, or a bundle's path."""
    bundle: str | None = session.get_config_variable("ca_bundle")
    return os.environ.get("REQUESTS_CA_BUNDLE") or True if bundle is None else bundle

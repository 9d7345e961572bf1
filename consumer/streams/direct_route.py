"""Which way GetRecords of one client goes: botocore's, until it is known well enough to be done without."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from botocore.exceptions import ConnectionClosedError
from botocore.httpsession import create_urllib3_context, get_cert_path

from consumer.clock import Clock
from consumer.streams.direct import DirectCalls, Terms
from consumer.streams.direct_http import BadReply
from consumer.streams.direct_pool import Connections
from consumer.streams.direct_terms import Unsuitable, objection, terms_of, verification_of

__all__ = ["Route"]

_log = logging.getLogger("leasehold.streams")
_UNREADABLE_REPLIES: Final = 3
_OBSERVER: Final = "leasehold-get-records"


class Route:
    """Looks at what ``client``, made by ``session``, sends for its first GetRecords, and says so once in the log.

    ``direct`` is None while calls go botocore's way. All is for the loop on which the client was made. Should replies
    come that the direct way refuses to read, several in a row, the calls go back to botocore for good.
    """

    def __init__(self, client: Any, session: Any, resource: str, *, clock: Clock, timeout_seconds: float) -> None:
        self.direct: DirectCalls | None = None
        self._closes: Callable[[], Awaitable[None]] | None = None
        self._unreadable = 0
        self._client = client
        self._session = session
        self._resource = resource
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._sent: Any = None
        self._event = ""
        self._is_decided = self._is_learning = False
        reason = objection(client, session)
        if reason is not None:
            self._stay(reason)
        else:
            self._event = f"before-send.{client.meta.service_model.service_id.hyphenize()}.GetRecords"
            client.meta.events.register(self._event, self._see, unique_id=_OBSERVER)

    async def learn(self, request: Mapping[str, Any]) -> None:
        """Botocore has made the call for ``request``, with success: what it sent is good to go by."""
        if self._is_decided or self._is_learning or self._sent is None:
            return
        self._is_learning = True
        try:
            credentials = await self._session.get_credentials()
            terms = await terms_of(self._sent, request, self._client, credentials)
            if terms is not None:
                connections = self._connections(terms, await self._tls_for(terms.url))
                self._go(
                    DirectCalls(
                        terms,
                        connections,
                        credentials,
                        self._client,
                        clock=self._clock,
                        timeout_seconds=self._timeout_seconds,
                    )
                )
        except Unsuitable as reason:
            self._stay(str(reason))
        except Exception as error:
            self._stay(f"what botocore sends could not be learned from ({type(error).__name__}: {error})")
        finally:
            self._is_learning = False

    def answered(self) -> None:
        """A direct call had a reply."""
        self._unreadable = 0

    def failed(self, error: Exception) -> None:
        """A direct call ended with ``error``."""
        inner = error.kwargs.get("error") if isinstance(error, ConnectionClosedError) else None
        if not isinstance(inner, BadReply):
            return
        self._unreadable += 1
        if self._unreadable >= _UNREADABLE_REPLIES and self.direct is not None:
            self.direct = None
            _log.warning("%s: pages are read through botocore from now on, since %s.", self._resource, inner)

    async def close(self) -> None:
        """Close the connections that are not the client's."""
        if self._closes is not None:
            await self._closes()

    def _see(self, request: Any, **_: Any) -> None:
        self._sent = request

    def _connections(self, terms: Terms, tls: ssl.SSLContext | None) -> Connections:
        config = self._client.meta.config
        return Connections(
            terms.url,
            tls,
            clock=self._clock,
            limit=config.max_pool_connections,
            connect_timeout_seconds=config.connect_timeout,
            read_timeout_seconds=config.read_timeout,
            kept_seconds=config.connector_args["keepalive_timeout"],
        )

    async def _tls_for(self, url: str) -> ssl.SSLContext | None:
        if not url.startswith("https:"):
            return None
        return await asyncio.to_thread(_tls_context, verification_of(self._session))  # it reads a large file

    def _go(self, direct: DirectCalls) -> None:
        self.direct = direct
        self._closes = direct.close
        self._decided("%s: pages are read over direct connections from now on.", self._resource)

    def _stay(self, reason: str) -> None:
        self._decided("%s: pages are read through botocore, since %s.", self._resource, reason)

    def _decided(self, message: str, *details: str) -> None:
        self._is_decided = True
        if self._event:
            self._client.meta.events.unregister(self._event, unique_id=_OBSERVER)
        _log.info(message, *details)


def _tls_context(verification: bool | str) -> ssl.SSLContext:
    """As aiobotocore's session makes its own: botocore's protocols and ciphers, its bundle or the one it was given."""
    bundle_of: Any = get_cert_path  # the stubs know no path of a bundle
    context: ssl.SSLContext = create_urllib3_context()
    if verification:
        context.check_hostname = True
        context.load_verify_locations(bundle_of(verification))
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context

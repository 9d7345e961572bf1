"""Which calls stay with botocore, and that the log says why."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import botocore
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession

from tests.integration.direct_stage import clients_of, page, read, session_of
from tests.integration.raw_server import RawServer


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawServer]:
    async with RawServer(page) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


class OwnSession(AioSession):
    """A user's."""


class OwnTransport(AIOHTTPSession):
    """A user's."""


def hooked(event: str) -> AioSession:
    session = session_of()
    session.register(event, lambda **_: None)
    return session


def with_header() -> AioSession:
    session = session_of()

    def add(request: Any, **_: Any) -> None:
        request.headers["X-Own"] = "1"

    # As if a library did it: what is sent is looked at, too.
    add.__module__ = "botocore.handlers"
    session.register("before-sign.kinesis.GetRecords", add)
    return session


def configured(**settings: Any) -> AioSession:
    session = session_of()
    session.set_default_client_config(AioConfig(**settings))
    return session


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: session_of(kind=OwnSession), "the session is of the class OwnSession"),
        (lambda: hooked("before-sign.kinesis.GetRecords"), "registered for before-sign.kinesis.GetRecords"),
        (lambda: hooked("before-send.*"), "registered for before-send.kinesis.GetRecords"),
        (lambda: hooked("request-created"), "registered for request-created.kinesis.GetRecords"),
        (lambda: hooked("provide-client-params.kinesis"), "registered for provide-client-params.kinesis.GetRecords"),
        (lambda: hooked("after-call"), "registered for after-call.kinesis.GetRecords"),
        (lambda: configured(http_session_cls=OwnTransport), "sends by OwnTransport"),
        (lambda: configured(connector_args={"use_dns_cache": False}), "configuration has use_dns_cache"),
        (lambda: configured(signature_version=botocore.UNSIGNED), "not signed with SigV4"),
        (lambda: configured(proxies={"https": "http://localhost:1"}), None),
        (with_header, "the header x-own"),
        (session_of, None),
    ],
)
async def test_what_only_botocore_knows_stays_with_botocore_and_the_reason_is_logged(
    server: RawServer, caplog: pytest.LogCaptureFixture, make: Any, reason: str | None
) -> None:
    clients = clients_of(make())
    with caplog.at_level("INFO", "leasehold.streams"):
        async with clients.open():
            for _ in range(3):
                assert (await read(clients)).next_iterator == "next"
            assert clients.data_path == ("plain" if reason else "direct")
    (said,) = [record.message for record in caplog.records if record.name == "leasehold.streams"]
    assert (reason or "direct connections") in said


async def test_a_client_certificate_stays_with_botocore(server: RawServer, caplog: pytest.LogCaptureFixture) -> None:
    clients = clients_of(configured(client_cert="of-no-matter.pem"))
    with caplog.at_level("INFO", "leasehold.streams"):
        async with clients.open():
            assert "through botocore, since the session's configuration has client_cert" in caplog.text


async def test_where_botocore_keeps_its_listeners_elsewhere_calls_stay_with_it(
    server: RawServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(events: Any, name: str) -> list[Any]:
        raise AttributeError("as of another version")

    monkeypatch.setattr("consumer.streams.direct_terms._handlers", moved)
    clients = clients_of(session_of())
    with caplog.at_level("INFO", "leasehold.streams"):
        async with clients.open():
            assert (await read(clients)).next_iterator == "next"
            assert clients.data_path == "plain"
    assert "since this botocore does not tell who listens to its events" in caplog.text


@pytest.mark.parametrize(("path", "way"), [("aws/kinesis/?a=b", "direct"), ("a b/", "plain")])
async def test_an_endpoint_with_a_path_is_called_there(
    server: RawServer, monkeypatch: pytest.MonkeyPatch, path: str, way: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url + path)
    clients = clients_of(session_of())
    async with clients.open():
        await read(clients)
        await read(clients)
        assert clients.data_path == way
    first, second = server.asked
    assert first.start == second.start


async def test_a_proxy_stays_with_botocore_and_its_password_out_of_the_log(
    server: RawServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//user:secret@"))
    monkeypatch.setenv("http_proxy", server.url.replace("//", "//user:secret@"))
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    clients = clients_of(session_of())
    with caplog.at_level("INFO", "leasehold.streams"):
        async with clients.open():
            await read(clients)
            assert clients.data_path == "plain"
    assert "a proxy for http" in caplog.text
    assert "secret@" not in caplog.text


async def test_who_asks_for_botocore_gets_it_for_all_that_share_the_loops_clients(server: RawServer) -> None:
    clients = clients_of(session_of())
    async with clients.open():
        await read(clients)
        assert clients.data_path == "direct"
        async with clients.open("plain"):
            assert clients.data_path == "plain"
            await read(clients)
            assert "amz-sdk-request" in server.asked[-1].headers

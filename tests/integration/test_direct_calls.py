"""What the direct path sends, whom it signs as, what it makes of refusals; and when it leaves calls to botocore."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any, Final

import botocore
import pytest
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession

from consumer.clock import SystemClock
from consumer.errors import StreamCredentials, StreamError, StreamThrottled, StreamUnavailable, StreamUnreachable
from consumer.streams.aws_clients import AwsClients
from tests.integration.raw_server import Asked, RawServer, reply_of
from tests.integration.stream_sources import SESSION

PAGE: Final = b'{"Records": [], "NextShardIterator": "next", "MillisBehindLatest": 0}'
REQUEST: Final = {"ShardIterator": "a/+=é", "Limit": 10}
JSON: Final = "Content-Type: application/x-amz-json-1.1"


async def page(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(reply_of(PAGE, JSON))


def refusal(code: str, *headers: str, status: str = "400 Bad Request") -> bytes:
    return reply_of(json.dumps({"__type": f"x#{code}", "message": "no"}).encode(), JSON, *headers, status=status)


class WrongClock(SystemClock):
    """This machine's clock, ``ahead`` of the service's by so many seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def wall(self) -> float:
        return super().wall() + self.ahead


@pytest.fixture
def clock() -> WrongClock:
    return WrongClock()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawServer]:
    async with RawServer(page) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def bare_session(kind: type[AioSession] = AioSession) -> AioSession:
    made = kind()
    made.register_component("data_loader", SESSION.get_component("data_loader"))
    return made


def session_of(token: str | None = None, kind: type[AioSession] = AioSession) -> AioSession:
    made = bare_session(kind)
    made.set_credentials("key", "secret", token)
    return made


def clients_of(session: AioSession, clock: WrongClock | None = None) -> AwsClients:
    return AwsClients(
        ("kinesis",), "kinesis:clicks", clock=clock or WrongClock(), session=session, region_name="eu-west-1"
    )


async def read(clients: AwsClients, **request: Any) -> Any:
    return await clients.get_records("kinesis", REQUEST | request, resource="kinesis:clicks", shard_id="shard-1")


@pytest.fixture
async def clients(server: RawServer, clock: WrongClock) -> AsyncIterator[AwsClients]:
    """Clients that have learned."""
    made = clients_of(session_of("token"), clock)
    async with made.open():
        await read(made)
        assert made.data_path == "direct"
        yield made


async def test_a_direct_call_says_what_botocores_does(server: RawServer, clients: AwsClients) -> None:
    assert (await read(clients)).next_iterator == "next"
    theirs, ours = server.asked
    assert (ours.start, json.loads(ours.body)) == (theirs.start, json.loads(theirs.body))
    of_each_call = {"x-amz-date", "authorization", "content-length"}
    unsigned = {"amz-sdk-invocation-id", "amz-sdk-request", "accept"}
    assert set(theirs.headers) - set(ours.headers) == unsigned
    assert set(ours.headers) - set(theirs.headers) == set()
    for name in set(ours.headers) - of_each_call:
        assert ours.headers[name] == theirs.headers[name]
    assert (
        ours.headers["authorization"].partition("Signature=")[0]
        == (theirs.headers["authorization"].partition("Signature=")[0])
    )


async def test_calls_for_another_stream_go_botocores_way(server: RawServer, clients: AwsClients) -> None:
    await read(clients, StreamARN="arn:aws:kinesis:eu-west-1:123456789012:stream/other")
    assert "amz-sdk-request" in server.asked[-1].headers
    await read(clients)
    assert "amz-sdk-request" not in server.asked[-1].headers


@pytest.mark.parametrize("code", ["InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed"])
async def test_the_services_clock_is_believed_once_it_refuses_ours(
    server: RawServer, clients: AwsClients, clock: WrongClock, code: str
) -> None:
    async def strict(asked: Asked, writer: asyncio.StreamWriter) -> None:
        sent = datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        right = abs(sent - SystemClock().wall()) < 100
        writer.write(reply_of(PAGE, JSON) if right else refusal(code, f"Date: {formatdate(usegmt=True)}"))

    server.answer = strict
    clock.ahead = 3600.0
    assert (await read(clients)).next_iterator == "next"
    assert len(server.asked) == 3, "one call in vain, one that learned"
    await read(clients)
    assert len(server.asked) == 4, "what was learned is kept"
    clock.ahead = -7200.0
    pages = await asyncio.gather(*(read(clients) for _ in range(5)))
    assert [page.next_iterator for page in pages] == ["next"] * 5, "each of those that were refused together is helped"
    asked = len(server.asked)
    await read(clients)
    assert len(server.asked) == asked + 1


async def test_a_refused_signature_is_not_blamed_on_a_clock_that_is_right(
    server: RawServer, clients: AwsClients
) -> None:
    async def refuse(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(refusal("InvalidSignatureException", f"Date: {formatdate(usegmt=True)}"))

    server.answer = refuse
    with pytest.raises(StreamCredentials):
        await read(clients)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (reply_of(b"{}", status="300 Multiple Choices"), StreamUnavailable),
        (reply_of(b"", status="429 Too Many Requests"), StreamThrottled),
        (reply_of(b"<html>", status="413 Too Large"), StreamUnavailable),
        (reply_of(b"<html><body>busy</body></html>", status="503 Service Unavailable"), StreamUnavailable),
        (reply_of(b"", status="500 Oops"), StreamUnavailable),
        (
            reply_of(b"{}", "x-amzn-query-error: ThrottlingException;Sender", status="400 Bad Request"),
            StreamThrottled,
        ),
        (reply_of(b"", status="204 No Content"), StreamUnavailable),
        (reply_of(b"", status="200 OK"), StreamUnavailable),
        (reply_of(b"\x1f\x8b\x08\x00", "Content-Encoding: gzip", status="200 OK"), StreamUnavailable),
        (reply_of(PAGE, status="201 Created"), None),
    ],
)
async def test_odd_replies_mean_the_same_on_both_ways(
    server: RawServer, clients: AwsClients, reply: bytes, expected: type[StreamError] | None
) -> None:
    async def odd(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)

    plain = clients_of(session_of())
    async with plain.open("plain"):
        server.answer = odd
        outcomes = []
        for each in (clients, plain):
            try:
                outcomes.append((None, (await read(each)).next_iterator))
            except StreamError as error:
                outcomes.append((type(error), None))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] is expected


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_refused_and_nobody_follows_it(server: RawServer, clients: AwsClients, status: str) -> None:
    async def elsewhere(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(b"", f"Location: {server.url}elsewhere", status=status))

    server.answer = elsewhere
    with pytest.raises(StreamUnavailable, match=f"HTTP {status[:3]}"):
        await read(clients)
    assert len(server.asked) == 2


async def test_credentials_that_expire_are_refreshed_by_botocore(server: RawServer) -> None:
    made: list[str] = []

    async def refresh() -> dict[str, str]:
        made.append(f"token-{len(made)}")
        # Botocore refreshes at once what is good for less than ten minutes.
        expiry = datetime.now(UTC) + timedelta(minutes=1)
        return {"access_key": f"key-{len(made)}", "secret_key": "s", "token": made[-1], "expiry_time": str(expiry)}

    session = bare_session()
    session._credentials = AioRefreshableCredentials.create_from_metadata(
        metadata=await refresh(), refresh_using=refresh, method="test"
    )
    clients = clients_of(session)
    async with clients.open():
        for _ in range(5):
            await read(clients)
    tokens = [asked.headers["x-amz-security-token"] for asked in server.asked]
    assert len(set(tokens)) >= 4
    for asked in server.asked:
        number = int(asked.headers["x-amz-security-token"].removeprefix("token-")) + 1
        assert f"Credential=key-{number}/" in asked.headers["authorization"]


async def test_credentials_that_can_not_be_refreshed_are_said(server: RawServer) -> None:
    async def refresh() -> dict[str, str]:
        raise botocore.exceptions.CredentialRetrievalError(provider="test", error_msg="gone")

    session = bare_session()
    soon = {"access_key": "k", "secret_key": "s", "token": "t", "expiry_time": str(datetime.now(UTC) + timedelta(1))}
    session._credentials = AioRefreshableCredentials.create_from_metadata(
        metadata=soon, refresh_using=refresh, method="test"
    )
    clients = clients_of(session)
    async with clients.open():
        await read(clients)
        assert clients.data_path == "direct"
        session._credentials._expiry_time = datetime.now(UTC)
        with pytest.raises(StreamCredentials, match="gone"):
            await read(clients)


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


async def test_replies_that_only_botocore_reads_are_left_to_it_after_a_few(
    server: RawServer, clients: AwsClients, caplog: pytest.LogCaptureFixture
) -> None:
    async def loose(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(PAGE, JSON).replace(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-Note: a\r\n b\r\n"))

    async def cut(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(PAGE)[:-1])
        writer.close()

    for answer in (loose, loose, page, cut, cut, cut, loose, loose):
        server.answer = answer
        if answer is page:
            await read(clients)
        else:
            with pytest.raises(StreamUnavailable):
                await read(clients)
        assert clients.data_path == "direct", "a reply in between, or a cut, is no sign"
    server.answer = loose
    with pytest.raises(StreamUnavailable):
        await read(clients)
    assert clients.data_path == "plain"
    assert "through botocore from now on, since a reply's status line or headers are malformed" in caplog.text
    server.answer = page
    assert (await read(clients)).next_iterator == "next"
    assert clients.data_path == "plain"


async def test_who_asks_for_botocore_gets_it_for_all_that_share_the_loops_clients(server: RawServer) -> None:
    clients = clients_of(session_of())
    async with clients.open():
        await read(clients)
        assert clients.data_path == "direct"
        async with clients.open("plain"):
            assert clients.data_path == "plain"
            await read(clients)
            assert "amz-sdk-request" in server.asked[-1].headers


async def test_an_endpoint_that_goes_away_is_said_to_be_out_of_reach(server: RawServer, clients: AwsClients) -> None:
    await server.__aexit__()
    with pytest.raises(StreamUnreachable, match="AWS_ENDPOINT_URL_KINESIS"):
        await read(clients)

"""A topic beside a store of dead letters: whatever it does, letters are stored as fast, and what it missed is told."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from consumer.clock import SystemClock
from consumer.dead_letters import notifying
from consumer.dead_letters.letter import DeadLetter
from consumer.dead_letters.notifying import NotifyingStore
from consumer.dead_letters.opening import open_store
from consumer.testing.faults import Fault
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Proxy
from tests.contract.letter_stores import aws_session, client
from tests.dead_letters import change

pytestmark = pytest.mark.integration


@dataclass(frozen=True, slots=True)
class Scene:
    """A topic, a queue that hears of it, and a file to keep letters in."""

    arn: str
    url: str
    sns: Any
    sqs: Any
    endpoint_url: str
    path: Path

    def store(self, endpoint_url: str | None = None) -> NotifyingStore:
        session = aws_session(endpoint_url or self.endpoint_url)
        store = open_store(f"file:{self.path}", topic=self.arn, session=session, region_name="us-east-1")
        assert isinstance(store, NotifyingStore)
        return store

    def told(self) -> dict[str, dict[str, Any]]:
        """What the queue has, by sequence number."""
        found: dict[str, dict[str, Any]] = {}
        while messages := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for envelope in (json.loads(each["Body"]) for each in messages):
                found[envelope["leasehold"]["sequenceNumber"]] = envelope
        return found

    async def kept(self) -> int:
        store = self.store()
        async with store.open():
            return len([each async for each in store.letters() if isinstance(each, DeadLetter)])


@pytest.fixture
def scene(ministack: Ministack, tmp_path: Path) -> Scene:
    sns, sqs = (client(service, ministack.endpoint_url) for service in ("sns", "sqs"))
    name = f"letters-{uuid4().hex[:12]}"
    arn = sns.create_topic(Name=name)["TopicArn"]
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue = f"arn:aws:sqs:us-east-1:000000000000:{name}"
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
    return Scene(arn, url, sns, sqs, ministack.endpoint_url, tmp_path / "letters")


async def test_each_letter_is_told_without_its_record_where_that_does_not_fit(scene: Scene) -> None:
    store = scene.store()
    async with store.open():
        findings = await store.check()
        assert not findings.problems
        await store.put([change(1), change(2, bytes_of_body=300_000)])
    assert {number: "payload" in each for number, each in scene.told().items()} == {"1": True, "2": False}
    assert store.unheard == 0
    assert await scene.kept() == 2


async def test_a_missing_topic_is_told_at_start_and_holds_nobody_later(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.sns.delete_topic(TopicArn=scene.arn)
    store = scene.store()
    async with store.open():
        assert any(scene.arn in problem for problem in (await store.check()).problems)
        await store.put([change(1), change(2)])
    assert store.unheard == 2
    assert await scene.kept() == 2
    (message,) = [each for each in caplog.messages if "Nobody was told" in each]
    assert "the dead letter of record 1 of shard shardId-1, which is in file:" in message


async def test_a_topic_that_hangs_holds_nobody(
    scene: Scene, ministack: Ministack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifying, "_MOST_WAITING", 10)
    monkeypatch.setattr(notifying, "_LAST_SECONDS", 0.2)
    clock = SystemClock()
    async with Proxy(ministack.endpoint_url) as proxy:
        proxy.faults.arm(Fault.delay(3.0, "Publish", times=None, applied=False))
        store = scene.store(proxy.endpoint_url)
        with caplog.at_level(logging.WARNING):
            async with store.open():
                began = clock.monotonic()
                for number in range(30):
                    await store.put([change(number)])
                assert clock.monotonic() - began < 2.0
        assert clock.monotonic() - began < 3.0
    assert store.unheard == 30, "20 too many at once, and 10 when it was left"
    assert await scene.kept() == 30
    assert 1 <= len([each for each in caplog.messages if "Nobody was told" in each]) <= 2, "not once a letter"


async def test_a_fifo_topic_is_given_group_and_name(ministack: Ministack, tmp_path: Path) -> None:
    sns = client("sns", ministack.endpoint_url)
    arn = sns.create_topic(Name=f"letters-{uuid4().hex[:12]}.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
    async with Proxy(ministack.endpoint_url) as proxy:
        session = aws_session(proxy.endpoint_url)
        store = open_store(f"file:{tmp_path / 'l'}", topic=arn, session=session, region_name="us-east-1")
        async with store.open():
            await store.put([change(1), change(2)])
        bodies = [each.request.body.decode() for each in proxy.of("Publish")]
    assert isinstance(store, NotifyingStore)
    assert store.unheard == 0
    assert len(bodies) == 2
    assert all("MessageGroupId=" in body and "MessageDeduplicationId=" in body for body in bodies)

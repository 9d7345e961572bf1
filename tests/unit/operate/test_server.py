"""The page: what a scraper and a probe get, and a sentence where the address can't be had."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from consumer import hooks
from consumer.errors import ConfigError
from consumer.operate.coordination import Coordination
from consumer.operate.prometheus import PrometheusHook
from consumer.operate.server import serve
from consumer.operate.status import ShardStatus, WorkerStatus


async def test_metrics_and_health_are_served_and_gone_with_the_context():
    hook = PrometheusHook()
    hook(hooks.BatchProcessed("s", 5, 500, 0.1, "1", "5"))
    place = Coordination(mode="leader", because="row Leader", lock_owner="java-1", workers=2, kcl_workers=1)
    status = WorkerStatus(worker_id="w-1", shards=(ShardStatus(shard_id="s", stage="reading"),), coordination=place)
    async with aiohttp.ClientSession() as session:
        async with serve("127.0.0.1", 0, registry=hook.registry, status=lambda: status) as port:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as reply:
                assert reply.status == 200
                assert reply.content_type == "text/plain"
                assert "\nleasehold_records_processed_total 5.0\n" in await reply.text()
            async with session.get(f"http://127.0.0.1:{port}/healthz") as reply:
                assert reply.status == 200
                assert await reply.json() == {
                    "worker_id": "w-1",
                    "healthy": True,
                    "draining": False,
                    "shards_held": 1,
                    "coordination": {
                        "mode": "leader",
                        "because": "row Leader",
                        "lock_owner": "java-1",
                        "is_leader": False,
                        "workers": 2,
                        "kcl_workers": 1,
                        "planned_seconds_ago": None,
                    },
                    "problems": [],
                }
            status = WorkerStatus(worker_id="w-1", problems=("Shard s is left unread.",))
            async with session.get(f"http://127.0.0.1:{port}/healthz") as reply:
                assert reply.status == 503
                assert (await reply.json())["problems"] == ["Shard s is left unread."]
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.1:{port}/healthz")


async def test_a_scraper_that_asks_for_openmetrics_gets_it():
    hook = PrometheusHook()
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with (
        serve("127.0.0.1", 0, registry=hook.registry, status=lambda: WorkerStatus(worker_id="w")) as port,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics", headers=accept) as reply,
    ):
        assert reply.content_type == "application/openmetrics-text"
        assert (await reply.text()).endswith("# EOF\n")


async def test_a_port_in_use_is_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--http 127.0.0.1:{port}: .*the port is in use"):
            async with serve("127.0.0.1", port, registry=PrometheusHook().registry, status=WorkerStatus):
                raise AssertionError("it must not get here")


async def test_an_address_of_another_machine_is_a_sentence():
    with pytest.raises(ConfigError, match="must be an address of this machine"):
        async with serve("192.0.2.1", 0, registry=PrometheusHook().registry, status=WorkerStatus):
            raise AssertionError("it must not get here")

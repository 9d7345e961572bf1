"""Who runs, and over what: each contender is a command that reads every shard of a stream for ever."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.canned.places import Stream, stream_of
from tests.benchmarks.contenders.counting import COUNTER

__all__ = ["CONTENDERS", "COURSES", "LIMIT", "OURS", "Contender", "Course", "Places"]


@dataclass(frozen=True, slots=True)
class Course:
    """What is read, and what is done with each record. ``touch``: untouched, images or payload."""

    name: str
    title: str
    service: str
    stream: Stream
    touch: str

    @property
    def address(self) -> str:
        """What loops are told to read: a name for Kinesis, an ARN for DynamoDB."""
        return self.stream.name if self.service == "kinesis" else self.stream.dynamodb_arn


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are for one contender: the servers, its counts, a free port."""

    canned_url: str
    ministack_url: str
    counter: Path
    http_port: int


@dataclass(frozen=True, slots=True)
class Contender:
    """``command`` is given the course and the places; ``missing`` says in a sentence why it can't run here.

    ``start_seconds`` is how long it may take to read from every shard, ``warm_cpu_seconds`` how much of its own CPU
    time it reads for before its first turn. Its turns last ``turn_factor`` times those of others, where it is slow to
    get going again. ``tables_in`` is where its lease calls go: the canned server's tables, or ministack. ``data_path``
    is the way by which a worker of ours must say that it reads; None for all others.
    """

    name: str
    label: str
    touches: tuple[str, ...]
    command: Callable[[Course, Places], list[str]]
    missing: Callable[[], str | None] = lambda: None
    start_seconds: float = 60.0
    warm_cpu_seconds: float = 1.5
    turn_factor: float = 1.0
    tables_in: str = "canned"
    data_path: str | None = None

    def environment(self, course: Course, places: Places) -> dict[str, str]:
        """What points it at the servers, and says what to do."""
        tables = places.canned_url if self.tables_in == "canned" else places.ministack_url
        return {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": tables,
            "AWS_ENDPOINT_URL_DYNAMODB": tables,
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": places.canned_url,
            "AWS_ENDPOINT_URL_KINESIS": places.canned_url,
            "BENCH_SERVICE": course.service,
            "BENCH_STREAM": course.address,
            "BENCH_TOUCH": course.touch,
            COUNTER: str(places.counter),
        }


COURSES: Final = (
    Course("dynamodb", "DynamoDB Streams, 1.3 kB, images untouched", "dynamodb", stream_of("busy-16"), "untouched"),
    Course("images", "DynamoDB Streams, 1.3 kB, every new image read", "dynamodb", stream_of("busy-16"), "images"),
    Course("kinesis", "Kinesis, 1 KiB, payload as bytes", "kinesis", stream_of("busy-64"), "payload"),
)

_EVERYTHING: Final = ("untouched", "images", "payload")
# A tenure has to outlast the turns of all others, in which its worker is stopped.
_FAILOVER_SECONDS: Final = 600


def _module(name: str) -> Callable[[Course, Places], list[str]]:
    return lambda course, places: [sys.executable, "-m", f"tests.benchmarks.contenders.{name}"]


def _leasehold(course: Course, places: Places, *flags: str) -> list[str]:
    source = f"kinesis:{course.stream.name}" if course.service == "kinesis" else course.stream.dynamodb_arn
    return [
        *(str(Path(sys.executable).with_name("leasehold")), "run"),
        f"tests.benchmarks.contenders.processors:{course.touch.capitalize()}",
        *("--app", f"bench-{course.name}", "--source", source, "--initial-position", "TRIM_HORIZON"),
        *("--checkpoint-interval-seconds", "1", "--failover-seconds", str(_FAILOVER_SECONDS)),
        *("--http", f"127.0.0.1:{places.http_port}", "--log-level", "warning"),
        *flags,
    ]


def _leasehold_plain(course: Course, places: Places) -> list[str]:
    # A group of its own: the other worker has the leases of its.
    return _leasehold(course, places, "--data-path", "plain", "--app", f"bench-{course.name}-plain")


def _leasehold_tuned(course: Course, places: Places) -> list[str]:
    return _leasehold(course, places, "--tune-gc", "--app", f"bench-{course.name}-tuned")


def _needs(package: str) -> Callable[[], str | None]:
    def missing() -> str | None:
        return None if importlib.util.find_spec(package) else f"{package} is not installed; make bench installs it."

    return missing


OURS: Final = Contender("leasehold", "Leasehold, whole worker", _EVERYTHING, _leasehold, data_path="direct")
LIMIT: Final = Contender("limit", "a bare socket and msgspec", ("untouched", "payload"), _module("socket_limit"))
CONTENDERS: Final = (
    OURS,
    Contender("plain", "Leasehold, --data-path plain", _EVERYTHING, _leasehold_plain, data_path="plain"),
    Contender("tuned", "Leasehold, --tune-gc", ("images",), _leasehold_tuned, data_path="direct"),
    Contender("boto3", "a boto3 loop", _EVERYTHING, _module("boto3_loop")),
    Contender("aiobotocore", "an aiobotocore loop", _EVERYTHING, _module("aiobotocore_loop")),
    Contender(
        "async-kinesis",
        "async-kinesis 3.0.1",
        ("payload",),
        _module("async_kinesis_consumer"),
        missing=_needs("kinesis"),
    ),
    LIMIT,
)

"""Flags and variables of ``leasehold run`` as values with an origin: flag before variable before default.

Parsed here, and not by argparse, so that all problems are told at once, each with where its value came from.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, Final, Literal

from consumer.config import WorkerConfig, describe_fields, find_problems
from consumer.errors import ConfigError
from consumer.setting import description, setting, truth

__all__ = [
    "MOST_PROCESSES",
    "HttpAddress",
    "Setting",
    "Settings",
    "add_flags",
    "described",
    "parse_http",
    "resolve",
    "told_flags",
]


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """Where the HTTP page listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_http(text: str) -> HttpAddress:
    """From ``HOST:PORT`` or ``[IPv6]:PORT``. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or (":" in host and not (host.startswith("[") and host.endswith("]"))):
        raise ConfigError(f"{text!r} is not HOST:PORT; write 127.0.0.1:9464, or 0.0.0.0:9464 for every interface.")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigError(f"{port!r} in {text!r} is not a port; it is a number from 0 (any free one) to 65535.")
    return HttpAddress(host.strip("[]"), int(port))


def _log_level(text: str) -> str:
    if text.lower() not in _LOG_LEVELS:
        raise ConfigError(f"{text!r} is not a log level; it is one of {', '.join(_LOG_LEVELS)}.")
    return text.lower()


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise ConfigError(f"{text!r} is not a log format; it is text or json.")
    return text


def _processes(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST_PROCESSES):
        raise ConfigError(
            f"{text!r} is not a number of processes; it is a whole number from 1 to {MOST_PROCESSES}, or auto: one "
            "for each CPU that this process may use."
        )
    return int(text)


# More CPUs than this has no machine whose processes one would keep by hand; and each is a worker with its own scans.
MOST_PROCESSES: Final = 256
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")


def _own(
    name: str,
    default: Any,
    parse: Callable[[str], Any],
    doc: str,
    *,
    between: tuple[float, float] | None = None,
) -> Mapping[str, Any]:
    """As ``describe_fields`` has it."""
    return description(name, default, setting(default, doc, parse=parse, between=between).metadata)


_OWN: Final = (
    _own("source", MISSING, str, "The stream: dynamodb:TABLE, kinesis:STREAM, or the ARN of either."),
    _own(
        "processes",
        1,
        _processes,
        "Worker processes on this machine, or auto: one for each CPU that this process may use. Beyond one, a "
        "supervisor keeps them.",
        between=(1, MOST_PROCESSES),
    ),
    _own("http", None, parse_http, "HOST:PORT for /metrics and /healthz (default: none)."),
    _own("log_level", "info", _log_level, "debug, info, warning or error."),
    _own("log_format", "text", _log_format, "text or json; one line a record, on stderr."),
    _own(
        "tune_gc",
        False,
        truth,
        "Once started, have Python's garbage collector pass over what is there and look at the rest less often: for "
        "processors that read every image.",
    ),
)


def described() -> list[Mapping[str, Any]]:
    """Every setting of ``run`` that has a flag, the two required ones and the source first."""
    fields = [each for each in describe_fields() if each["cli"]]
    return [fields[0], _OWN[0], *fields[1:], *_OWN[1:]]


def add_flags(parser: ArgumentParser) -> None:
    """One plain-text flag a setting; what it holds is judged in ``resolve``."""
    for each in described():
        help_text = f"{each['doc']}{_told_default(each['default'])}".replace("%", "%%")
        if each["negated"]:
            parser.add_argument(each["flag"], action="store_const", const="true", help=help_text)
            parser.add_argument(
                each["negated"], dest=each["name"], action="store_const", const="false", help=f"Not {each['flag']}."
            )
        else:
            parser.add_argument(each["flag"], metavar=_metavar(each), help=help_text)


def _told_default(default: Any) -> str:
    if default is MISSING:
        return " Required."
    if default is None or default is False:
        return ""
    if default is True:
        return " (default)"
    return f" (default: {default:g})" if isinstance(default, int | float) else f" (default: {default})"


def _metavar(each: Mapping[str, Any]) -> str:
    if each["choices"]:
        return "|".join(each["choices"])
    words = {"http": "HOST:PORT", "initial_position": "POSITION", "processes": "N|auto", "log_level": "LEVEL"}
    units = {"s": "SECONDS", "B": "BYTES", "B/s": "BYTES", "records/s": "RECORDS", "": "N" if each["between"] else None}
    return words.get(each["name"]) or units.get(each["unit"]) or each["name"].rpartition("_")[2].upper()


def told_flags(given: Mapping[str, str | None]) -> list[str]:
    """The command line that says ``given`` again: texts by the settings' names, as the parser left them."""
    words = []
    for each in described():
        text = given.get(each["name"])
        if text is not None:
            words.append(_flag_of(each, text) if each["negated"] else f"{each['flag']}={text}")
    return words


def _flag_of(each: Mapping[str, Any], text: str) -> str:
    return str(each["negated"] if each["negated"] and text == "false" else each["flag"])


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and where it came from: ``--failover-seconds``, ``LEASEHOLD_FAILOVER_SECONDS`` or ``default``."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``run`` was told. ``problems`` are sentences; where there are any, values may be missing from ``values``."""

    values: Mapping[str, Setting]
    problems: tuple[str, ...]

    def get(self, name: str) -> Any:
        """The value, or None where it could not be made out."""
        setting = self.values.get(name)
        return setting.value if setting else None

    def config(self) -> WorkerConfig:
        """The worker's configuration; legal only without problems."""
        own = {each["name"] for each in _OWN}
        return WorkerConfig(**{name: setting.value for name, setting in self.values.items() if name not in own})


def resolve(
    flags: Mapping[str, str | None], environment: Mapping[str, str], only: Collection[str] | None = None
) -> Settings:
    """Every setting from ``flags`` (by field name), then ``environment``, then its default; every problem at once.

    ``only``: these names and no others, for a command that shares some settings with ``run``.
    """
    values: dict[str, Setting] = {}
    problems: list[str] = []
    for each in described():
        if only is not None and each["name"] not in only:
            continue
        name, variable = each["name"], each["variable"]
        text, origin = environment.get(variable), variable
        if (said := flags.get(name)) is not None:
            text, origin = said, _flag_of(each, said)
        if text is not None:
            try:
                values[name] = Setting(each["parse"](text), origin)
            except ConfigError as error:
                problems.append(f"{origin}: {error}")
        elif each["default"] is MISSING:
            problems.append(f"{each['flag']} is missing: {each['doc']} It may also be given as {variable}.")
        else:
            values[name] = Setting(each["default"], "default")
    for problem in find_problems({name: each.value for name, each in values.items()}):
        origin = values[problem.name].origin
        problems.append(f"{_flag(problem.name) if origin == 'default' else origin} {problem.value}: {problem.sentence}")
    return Settings(values, tuple(problems))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")

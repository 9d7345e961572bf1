"""From ``orders:Orders`` to something that makes RecordProcessors, or to a sentence that says why not."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from consumer.delivery.attempts import Retry
from consumer.errors import ConfigError
from consumer.processor import RecordProcessor

__all__ = ["LoadedProcessor", "load_processor"]

_IMAGES = frozenset({"old_image", "new_image"})
_log = logging.getLogger("leasehold.cli")


def load_processor(path: str) -> LoadedProcessor:
    """The factory that ``path`` (``module:Class`` or ``module:callable``) names; one object is made and thrown away.

    The working directory is appended to the module path, so that nothing in it can hide an installed package. Raises
    ConfigError for whatever makes the path unusable, user code that raises included.
    """
    if not path:
        raise ConfigError("the processor is missing; name its class as module:Class, such as orders:Orders.")
    module_name, colon, attribute = path.partition(":")
    if (
        not colon
        or not attribute
        or not all(part.isidentifier() for part in [*module_name.split("."), *attribute.split(".")])
    ):
        raise ConfigError(f"{path!r} is not the path of a processor; write module:Class, such as orders:Orders.")
    factory = _find(_import(module_name), module_name, attribute)
    if isinstance(factory, type) and not issubclass(factory, RecordProcessor):
        raise ConfigError(f"{path} is not a RecordProcessor; derive the class from consumer.RecordProcessor.")
    if not callable(factory):
        raise ConfigError(
            f"{path} is an object of type {type(factory).__name__}, not a RecordProcessor class or a callable "
            "that makes one."
        )
    made = _make(factory, path)
    _check(made, path)
    kind = type(made)
    return LoadedProcessor(factory, frozenset(made.requires), kind.filter, kind.lane_key, kind.retries)


@dataclass(frozen=True, slots=True)
class LoadedProcessor:
    """A factory that has made one processor, and what that one's class says (a plain function could not)."""

    factory: Callable[[], RecordProcessor]
    requires: frozenset[str]
    filter: Any
    lane_key: Callable[[Any], str] | None
    retries: Mapping[type[BaseException], Retry]

    def __call__(self) -> RecordProcessor:
        return self.factory()


def _import(name: str) -> ModuleType:
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _raised(f"Importing {name}", error) from None
        raise ConfigError(
            f"there is no module {name!r}, neither installed nor in the working directory {directory}."
        ) from None
    except KeyboardInterrupt:
        raise  # Ctrl-C, most likely
    except BaseException as error:
        raise _raised(f"Importing {name}", error) from None


def _find(module: ModuleType, module_name: str, attribute: str) -> Any:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(_missing(module, module_name, attribute))
        found = getattr(found, part)
    return found


def _missing(module: ModuleType, module_name: str, attribute: str) -> str:
    place = getattr(module, "__file__", None) or "no file"
    offered = sorted(
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, RecordProcessor) and value is not RecordProcessor
    )
    hint = f"its RecordProcessors: {', '.join(offered)}" if offered else "it defines no RecordProcessor"
    return f"the module {module_name} ({place}) has no {attribute!r}; {hint}."


def _make(factory: Callable[[], Any], path: str) -> Any:
    try:
        made = factory()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _raised(f"Making a processor with {path}()", error) from None
    if inspect.iscoroutine(made):
        made.close()
        raise ConfigError(
            f"{path} is an async function; what makes a processor must be plain, work belongs in initialize()."
        )
    return made


def _check(processor: Any, path: str) -> None:
    if not isinstance(processor, RecordProcessor):
        raise ConfigError(
            f"{path}() made an object of type {type(processor).__name__}, which is not a RecordProcessor; derive it "
            "from consumer.RecordProcessor."
        )
    if type(processor).process_records is RecordProcessor.process_records:
        raise ConfigError(f"{type(processor).__name__} ({path}) does not define process_records.")
    if inspect.isgeneratorfunction(processor.process_records) or inspect.isasyncgenfunction(processor.process_records):
        raise ConfigError(
            f"process_records of {type(processor).__name__} ({path}) contains yield, so that calling it runs none of "
            "its lines; write it without yield."
        )
    if not isinstance(processor.requires, set | frozenset | list | tuple):
        raise ConfigError(
            f"{path} requires {processor.requires!r}; write a set of names, such as requires = {{'old_image'}}."
        )
    unknown = sorted(map(str, set(processor.requires) - _IMAGES))
    if unknown:
        raise ConfigError(
            f"{path} requires {', '.join(map(repr, unknown))}; what can be required is 'old_image', 'new_image'."
        )


def _raised(doing: str, error: BaseException) -> ConfigError:
    """One sentence with the type, the message and the innermost line of user code; the traceback at level debug."""
    _log.debug("%s raised.", doing, exc_info=error)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames and frames[-1].filename != __file__ else ""
    text = " ".join(str(error).split())
    return ConfigError(
        f"{doing} raised {type(error).__name__}{f': {text}' if text else ''}{place}; --log-level debug says more."
    )

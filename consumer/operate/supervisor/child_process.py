"""One worker process: started by exec, heard and told through its lifeline."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Self

from consumer.clock import Clock
from consumer.operate.supervisor.lifeline import LINE_BYTES, VARIABLE, Asked, Told, heard

__all__ = ["ChildProcess"]

_log = logging.getLogger("leasehold.supervisor")

# What a process said last lies in the line when it ends; longer only where a child of its own holds the line open.
_LAST_WORDS_SECONDS: Final = 1.0


class ChildProcess:
    """A process that runs; whoever started it waits for ``ended()``."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        hear: Callable[[Told], None],
        clock: Clock,
    ) -> None:
        self._process = process
        self._writer = writer
        self._clock = clock
        self._hearing = asyncio.create_task(_hear(reader, hear), name=f"lifeline of pid {process.pid}")

    @classmethod
    async def start(
        cls,
        number: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        hear: Callable[[Told], None],
        clock: Clock,
    ) -> Self:
        """Run ``command`` as worker process ``number``; ``hear`` is called with what it tells. Raises OSError.

        Standard output and error are this process's own, its input is empty. It is in this process's group, so that a
        terminal's Ctrl-C and Ctrl-Z mean all.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # Before the process: there must be nothing left to wait for between its birth and whoever has it.
                reader, writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES)
            except BaseException:
                ours.close()
                raise
            # The process begins with what is held back here, until its ``Lifeline`` begins: a terminal's Ctrl-C would
            # end an interpreter that is still starting with a traceback, and it hears of it through its line.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
            try:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    env={**environment, VARIABLE: f"{number}:{theirs.fileno()}"},
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except BaseException:
                writer.close()
                raise
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
        return cls(process, reader, writer, hear, clock)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, request: Asked) -> None:
        """Tell it; what has ended hears nothing."""
        if not self._writer.is_closing():
            self._writer.write(request.encode() + b"\n")

    def kill(self) -> None:
        """End it at once; legal after its end, too."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> int:
        """Its exit code, negative where a signal ended it. All that it said was heard by then.

        Where nobody waits any more, its line is let go: it drains.
        """
        try:
            code = await self._process.wait()
            with suppress(TimeoutError):
                async with self._clock.timeout(_LAST_WORDS_SECONDS):
                    await asyncio.wait([self._hearing])
        finally:
            self._hearing.cancel()
            self._writer.close()
        return code


async def _hear(reader: asyncio.StreamReader, hear: Callable[[Told], None]) -> None:
    """Until the line ends."""
    with suppress(ConnectionError):  # it ended with something from us unread
        async for line in reader:
            try:
                told = heard(line)
            except (ValueError, TypeError, LookupError, AttributeError) as error:
                _log.warning("A worker process said something unknown (%s); is it of another version?", error)
            else:
                hear(told)

"""Dead letters in a file of this machine, a line each: for one machine, for trying things out, and for tests.

Several processes may write: each appends under the file's lock and waits for the disk. Removing appends, too, and a
session that removed much writes the file anew, under the same lock, in one step. Reading needs no lock.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import math
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from consumer.dead_letters.envelope import decode, encode
from consumer.dead_letters.letter import DeadLetter, Identity
from consumer.dead_letters.lines import Line, LineIndex, tombstone
from consumer.dead_letters.store import ALL, Findings, Selection, Unreadable
from consumer.errors import (
    DeadLetterError,
    DeadLetterStoreAccessDenied,
    DeadLetterStoreMissing,
    DeadLetterStoreUnavailable,
)
from lease_store.uninterrupted import uninterrupted

__all__ = ["FileDeadLetters"]

_LOCK_POLL_SECONDS: Final = 0.02
_PATIENCE: Final = 100
_READ_AT_ONCE_BYTES: Final = 4 * 1024 * 1024
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)

T = TypeVar("T")


class FileDeadLetters:
    """``file:PATH``. Letters of one identity are one: the last line counts."""

    tells_repeats = True
    tells_keys = True

    def __init__(self, path: str) -> None:
        self.name = f"file:{path}"
        self._path = Path(path).absolute()
        self._index = LineIndex()
        # What the index is about. It stays open, or another file could come to have its number.
        self._seen: BinaryIO | None = None
        self._removed = 0
        self._line = asyncio.Lock()
        self._given_up = threading.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Where it is left after letters were removed, the file is written anew if that halves it."""
        try:
            yield
        finally:
            if not self._line.locked():  # else a piece hangs that was given up: on the disk, or a server's
                await uninterrupted(self._in_thread(self._leave))

    async def check(self) -> Findings:
        """Makes the file, for its owner alone, where there is none."""
        try:
            await self._in_thread(partial(self._append, ()))
        except DeadLetterError as error:
            return Findings.of(error)
        return Findings()

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Returns once the lines are on the disk."""
        lines = [encode(letter) + b"\n" for letter in letters]
        await self._in_thread(partial(self._append, lines))

    async def letters(self, selection: Selection = ALL) -> AsyncGenerator[DeadLetter | Unreadable, None]:
        """What is there when it begins; 4 MB of them at a time."""
        index = await self._in_thread(self._refreshed)
        chosen = index.in_key_order(identity for identity in list(index.lines) if selection.fits(identity))
        for some in _shared_out(chosen, index):
            for letter in await self._in_thread(partial(self._read, some)):
                yield letter
        for unreadable in list(index.unreadable.values()):
            yield unreadable

    async def find(self, identity: Identity) -> DeadLetter | None:
        """One line."""
        await self._in_thread(self._refreshed)
        return next(iter(await self._in_thread(partial(self._read, [identity]))), None)

    async def whole(self, letter: DeadLetter) -> DeadLetter:
        """It is whole: a line may be as long as it must."""
        return letter

    async def remove(self, identity: Identity) -> None:
        """Appends a line that says so."""
        self._removed += 1
        await self._in_thread(partial(self._append, [tombstone(identity)]))

    async def held_keys(self, stream: str) -> frozenset[str]:
        """By what was added since the question before."""
        index = await self._in_thread(self._refreshed)
        return frozenset(identity.digest for identity in index.lines if identity.stream == stream)

    async def holds(self, stream: str, digest: str) -> bool:
        """As ``held_keys``."""
        return digest in await self.held_keys(stream)

    async def note(self, seen: str, text: str) -> str:
        """In a small file beside it, which stays there, empty, once there was one."""
        return await self._in_thread(partial(self._noted, seen, text))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """One piece of work at a time, in a thread that holds up no process that ends.

        Cancelled, it is not waited for: what waits for the file's lock gives up, and who comes next waits for its end.
        """
        await self._line.acquire()
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()
        self._given_up = given_up = threading.Event()

        def end(take: Callable[[], None]) -> None:
            self._line.release()
            if not result.done():
                take()

        def run() -> None:
            try:
                value = work()
                take = partial(result.set_result, value)
            except BaseException as error:
                take = partial(result.set_exception, error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(end, take)

        try:
            threading.Thread(target=run, name="leasehold-dead-letters", daemon=True).start()
        except RuntimeError as error:
            self._line.release()
            raise DeadLetterStoreUnavailable(
                f"No thread can be had to write {self.name}; it is tried again."
            ) from error
        try:
            return await result
        except OSError as error:
            raise self._translated(error) from error
        finally:
            given_up.set()

    def _noted(self, seen: str, text: str) -> str:
        beside = self._path.with_name(f"{self._path.name}.note")
        with open(os.open(beside, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
            self._lock(file, math.inf)
            found = file.read().decode(errors="replace")
            if found == seen:
                file.seek(0)
                file.truncate()
                _write(file, text.encode())
            return text if found == seen else found

    def _append(self, lines: Sequence[bytes]) -> None:
        with self._locked() as file:
            size = file.seek(0, os.SEEK_END)
            # A line's end comes first where somebody was killed while writing.
            torn = size and os.pread(file.fileno(), 1, size - 1) != b"\n"
            try:
                _write(file, b"".join([b"\n" if torn else b"", *lines]))
            except OSError:
                os.ftruncate(file.fileno(), size)  # a full disk: no half of a line, over and over
                raise
            os.fsync(file.fileno())

    @contextmanager
    def _locked(self, patience: float = math.inf) -> Iterator[BinaryIO]:
        """The file as it is now, nobody else's until it is closed; made where there is none.

        Raises BlockingIOError once it was asked for ``patience`` times, or nobody waits for it any more.
        """
        while True:
            is_new = not self._path.exists()
            with open(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0) as file:
                self._lock(file, patience)
                if is_new:
                    _to_disk(self._path.parent)
                if not self._is_at_path(file):
                    continue  # somebody wrote it anew while we waited
                yield file
                return

    def _lock(self, file: BinaryIO, patience: float) -> None:
        tries = 1
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if tries >= patience or self._given_up.wait(_LOCK_POLL_SECONDS):
                    raise
                tries += 1
            else:
                return

    def _is_at_path(self, file: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _refreshed(self) -> LineIndex:
        if self._seen is None or not self._is_at_path(self._seen):
            self._forget()
            if not self._path.exists():
                return self._index  # as good as an empty file; ``check`` tells where none can be made
            self._seen = self._path.open("rb")
        with os.fdopen(os.dup(self._seen.fileno()), "rb") as file:  # with no buffer of what the end looked like before
            self._index.read_on(file, self.name)
        return self._index

    def _read(self, identities: Sequence[Identity]) -> list[DeadLetter]:
        index = self._refreshed()
        places = [index.lines[identity] for identity in identities if identity in index.lines]
        return [decode(self._line_at(place)) for place in places]

    def _line_at(self, place: Line) -> bytes:
        assert self._seen is not None
        return os.pread(self._seen.fileno(), place.length, place.at)

    def _forget(self) -> None:
        if self._seen is not None:
            self._seen.close()
        self._seen, self._index = None, LineIndex()

    def _leave(self) -> None:
        try:
            if self._removed:
                self._removed = 0
                with suppress(BlockingIOError):  # others write all the time: the next one who removes something does it
                    self._tidy_up()
        finally:
            self._forget()

    def _tidy_up(self) -> None:
        with self._locked(_PATIENCE) as file:
            index = self._refreshed()
            if index.live_bytes * 2 > index.end:
                return
            fresh = self._path.with_name(f"{self._path.name}.new")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0) as anew:
                os.fchmod(anew.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
                for place in index.to_keep():
                    _write(anew, self._line_at(place))
                os.fsync(anew.fileno())
            fresh.replace(self._path)
            _to_disk(self._path.parent)

    def _translated(self, error: OSError) -> DeadLetterError:
        said = f"{error.strerror or type(error).__name__}"
        waits = "Shards whose letters go there wait, and nothing is lost, up to the stream's retention."
        if error.errno in _MISSING:
            return DeadLetterStoreMissing(f"{self.name} can't be opened ({said}): its folder must be there. {waits}")
        if error.errno in _DENIED:
            return DeadLetterStoreAccessDenied(f"This process may not write {self.name} ({said}). {waits}")
        return DeadLetterStoreUnavailable(f"{self.name} can't be read or written ({said}). It is tried again. {waits}")


def _shared_out(identities: Sequence[Identity], index: LineIndex) -> Iterator[list[Identity]]:
    """In order, each part of no more bytes than are to be in memory, one letter at least."""
    part: list[Identity] = []
    size = 0
    for identity in identities:
        length = index.lines[identity].length if identity in index.lines else 0
        if part and size + length > _READ_AT_ONCE_BYTES:
            yield part
            part, size = [], 0
        part.append(identity)
        size += length
    if part:
        yield part


def _write(file: BinaryIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _to_disk(folder: Path) -> None:
    """A file's name is on the disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Letters in a file, where the disk is full, the folder is gone, or the file is somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from consumer.dead_letters import file as module
from consumer.dead_letters.file import FileDeadLetters
from consumer.dead_letters.letter import DeadLetter
from consumer.errors import DeadLetterStoreAccessDenied, DeadLetterStoreMissing, DeadLetterStoreUnavailable
from consumer.retry import is_transient
from tests.dead_letters import change


async def listed(path: Path) -> list[str]:
    store = FileDeadLetters(str(path))
    async with store.open():
        return [each.sequence_number async for each in store.letters() if isinstance(each, DeadLetter)]


async def test_a_disk_that_is_full_keeps_no_half_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "letters"
    store = FileDeadLetters(str(path))

    class Full:
        """The real file, of which 100 bytes are written and no more."""

        def __init__(self, file: object) -> None:
            self.file = file

        def write(self, content: memoryview) -> int:
            if len(content) < whole:
                raise OSError(28, os.strerror(28))
            return int(self.file.write(content[:100]))  # type: ignore[attr-defined]

    async with store.open():
        await store.put([change(1)])
        whole = path.stat().st_size
        write = module._write
        monkeypatch.setattr(module, "_write", lambda file, content: write(Full(file), content))  # type: ignore[arg-type]
        for _ in range(3):
            with pytest.raises(DeadLetterStoreUnavailable, match="No space left") as raised:
                await store.put([change(2)])
            assert is_transient(raised.value)
        assert path.stat().st_size == whole
        monkeypatch.undo()
        await store.put([change(2)])
    assert await listed(path) == ["1", "2"]


async def test_a_folder_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    store = FileDeadLetters(str(tmp_path / "no" / "letters"))
    async with store.open():
        (problem,) = (await store.check()).problems
        assert "its folder must be there" in problem
        with pytest.raises(DeadLetterStoreMissing):
            await store.put([change(1)])
        assert [each async for each in store.letters()] == []
    assert not (tmp_path / "no").exists()


async def test_a_file_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:  # root, as whom tests may run, is refused nothing
        raise PermissionError(13, os.strerror(13))

    store = FileDeadLetters(str(tmp_path / "letters"))
    async with store.open():
        monkeypatch.setattr(module.os, "open", refuse)
        with pytest.raises(DeadLetterStoreAccessDenied, match="may not write"):
            await store.put([change(1)])


async def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    store = FileDeadLetters(str(tmp_path))
    async with store.open():
        assert (await store.check()).problems


async def test_what_is_no_letter_is_never_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    path.write_text("somebody's notes\n")
    store = FileDeadLetters(str(path))
    async with store.open():
        await store.put([change(number) for number in range(5)])
        for number in range(5):
            await store.remove(change(number).identity)
    assert path.read_text() == "somebody's notes\n"
    assert not path.with_name("letters.new").exists()


async def test_many_letters_are_removed_without_the_file_growing_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "letters"
    for _ in range(3):
        store = FileDeadLetters(str(path))
        async with store.open():
            await store.put([change(number, bytes_of_body=1000) for number in range(50)])
            assert len(await store.held_keys(change(1).stream)) == 1
            for number in range(49):
                await store.remove(change(number).identity)
        assert path.stat().st_size < 5000
    assert await listed(path) == ["49"]

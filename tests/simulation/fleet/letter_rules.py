"""What must hold of dead letters: which records may become one, what they hold, and what follows them; in words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from consumer.dead_letters.event import record_in
from consumer.dead_letters.letter import DeadLetter, Reason
from consumer.delivery.attempts import DEFAULT_ATTEMPTS
from tests.simulation.fleet.policy import pk_of, serial_of
from tests.simulation.fleet.written import Tenure, Written

if TYPE_CHECKING:
    from tests.simulation.fleet.accounts import Accounts

__all__ = ["LetterRules"]

_TIME_FRAME: Final = 0.98  # by which clocks may differ in how long something takes


class LetterRules:
    """Letters of the fleet's one store. ``ever_held``: keys of which one has been begun."""

    def __init__(self, accounts: Accounts) -> None:
        self.ever_held: set[str] = set()
        self.last_stored_at = 0.0
        self._accounts = accounts
        self._policy = accounts.policy
        self._stored: dict[tuple[str, str], dict[int, Written]] = {}
        self._newest_redriven: dict[tuple[str, str], int] = {}
        self._redriven: set[int] = set()

    # -- the store

    def begins(self, letters: Iterable[DeadLetter]) -> None:
        """They may be in the store from now on, acknowledged or not."""
        for each in letters:
            if each.payload is not None and each.reason is not Reason.KEY_HELD:
                self.ever_held.add(pk_of(record_in(each.payload, each.kind, each.sub_sequence_number)))

    def stored(self, record: Written | None, letter: DeadLetter) -> None:
        """One is in the store now, whether its writer hears of it or not."""
        if record is None:
            return
        self._of_key(record)[record.serial] = record
        record.is_redriven = False
        if letter.reason is not Reason.UNDECODABLE:
            self.last_stored_at = asyncio.get_running_loop().time()

    def removed(self, record: Written) -> None:
        """One is not in the store any more."""
        self._of_key(record).pop(record.serial, None)
        record.is_redriven = True

    def _of_key(self, record: Written) -> dict[int, Written]:
        return self._stored.setdefault((record.place[0], record.key), {})

    def left(self) -> list[Written]:
        """Records whose letters are in the store."""
        return [record for of_key in self._stored.values() for record in of_key.values()]

    # -- writing one

    def acknowledged(self, worker: str, tenure: Tenure | None, record: Written | None, letter: DeadLetter) -> None:
        """The store has acknowledged a letter; ``tenure`` is its writer's, None where it was only read."""
        accounts = self._accounts
        if record is None or letter.payload is None:
            accounts.breach(f"{worker} wrote a letter of {letter.identity}, which is no record")
            return
        if serial_of(record_in(letter.payload, letter.kind, letter.sub_sequence_number)) != record.serial:
            accounts.breach(f"{worker} wrote a letter of record {record.serial} with another's body")
        if letter.key_is_held != self._policy.holds_keys:
            accounts.breach(f"{worker} wrote a letter of record {record.serial}, key held: {letter.key_is_held}")
        why = None if tenure is None else self._why_not(tenure, record, letter)
        if why:
            accounts.breach(f"{worker} made record {record.serial} a dead letter, {letter.reason}, {why}")
        record.has_letter = True

    def _why_not(self, tenure: Tenure, record: Written, letter: DeadLetter) -> str | None:
        """Why it should not have been given up."""
        accounts, policy = self._accounts, self._policy
        if record.returned_in is tenure:
            return "although it is done with"
        if accounts.is_left_out(record):
            return "although the filter leaves it out"
        if policy.setting("on_give_up") == "drop" and letter.reason != Reason.UNDECODABLE:
            return "although it was to be dropped"
        if letter.reason == Reason.UNDECODABLE:
            return None if policy.is_unjudged(record.serial) else "although the filter understands it"
        if letter.reason == Reason.KEY_HELD:
            return None if record.key in self.ever_held else "although no record of its key is one"
        if letter.reason == Reason.RECORD_AGE_EXCEEDED:
            return None if accounts.is_old(record) else "although it is young"
        if letter.reason == Reason.RETENTION_HALF_GONE:
            return self._why_not_half_gone(tenure, record)
        return self._why_not_exhausted(tenure, record)

    def _why_not_half_gone(self, tenure: Tenure, record: Written) -> str | None:
        """By half of what was left of its retention when it first failed, and then by tries and time."""
        made = tenure.tries[record.serial] + tenure.pauses[record.serial]
        waited = asyncio.get_running_loop().time() - tenure.first_failed.get(record.serial, 0.0)
        least = self._policy.setting("lone_failure_seconds", 900.0)
        if not self._accounts.is_half_gone(record, failing_for=waited):
            return "although the stream will keep it"
        if made < DEFAULT_ATTEMPTS:
            return f"after {made} tries of {DEFAULT_ATTEMPTS}"
        return None if waited >= _TIME_FRAME * least else f"after {waited:.0f} s of {least:.0f}"

    def _why_not_exhausted(self, tenure: Tenure, record: Written) -> str | None:
        tries, most = tenure.tries[record.serial], self._most_tries(tenure.kinds.get(record.serial))
        if not tenure.blamed[record.serial]:
            return "although it never failed by itself"
        if tries < most:
            return f"after {tries} tries of {most}"
        if not self._accounts.is_poison(record.serial) and not self._accounts.fails_by_chance:
            return "although nothing is wrong with it"
        return None

    def _most_tries(self, raised: type[BaseException] | None) -> int:
        """By what was raised last, as the processor's class has it, else as the configuration has it."""
        for kind in () if raised is None else raised.__mro__:
            rule = self._policy.retries.get(kind)
            if rule is not None:
                return rule.max_attempts or self._policy.setting("max_attempts") or DEFAULT_ATTEMPTS
        return self._policy.setting("max_attempts") or DEFAULT_ATTEMPTS

    # -- what follows one

    def delivering(self, worker: str, record: Written) -> None:
        """User code of the stream sees a record."""
        if not self._policy.holds_keys:
            return
        before = next((each for each in self._of_key(record).values() if _holds(each, record)), None)
        if before is not None:
            self._accounts.breach(
                f"{worker} got record {record.serial} of {record.key}, although record {before.serial} is a dead letter"
            )

    # -- redrive

    def redriving(self, record: Written | None, *, is_marked: bool) -> None:
        """User code of a redrive sees a record."""
        if record is None or not is_marked or record.serial not in self._of_key(record):
            self._accounts.breach(f"a redrive runs {record}, marked: {is_marked}, which is no dead letter")
        elif not (self._policy.holds_keys or self._policy.even_if_newer):
            self._accounts.breach(f"a redrive runs record {record.serial}, after which others of its key have come")

    def redriven(self, records: Sequence[Written], newest_done: int) -> None:
        """A call of a redrive is through with records of one key; ``newest_done``: of it, in the stream."""
        for record in records:
            of_key, name = self._of_key(record), (record.place[0], record.key)
            before = next((each for each in of_key.values() if _holds(each, record)), None)
            if before is not None and before not in records:
                self._accounts.breach(f"a redrive is through with record {record.serial} before {before.serial}")
            newest = max(newest_done, self._newest_redriven.get(name, -1))
            is_new = not record.is_done and record.serial not in self._redriven  # a takeover repeats, letters included
            if self._policy.holds_keys and is_new and newest > record.serial:
                self._accounts.breach(f"a redrive is through with record {record.serial} after record {newest}")
            self._redriven.add(record.serial)
            self._newest_redriven[name] = max(record.serial, self._newest_redriven.get(name, -1))


def _holds(letter: Written, record: Written) -> bool:
    """Whether a letter holds back a record of its key; one that came after the record was done with holds nothing."""
    return letter.serial < record.serial and not letter.is_done

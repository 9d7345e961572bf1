"""The demo on a terminal: workers, shards and events, redrawn in place. Needs rich."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from consumer.demo.scene import Phase, ShardRow, Snapshot, WorkerRow, WorkerState

__all__ = ["LiveView", "picture"]

_WIDEST: Final = 100
_FEWEST_EVENTS: Final = 4
_MOST_EVENTS: Final = 10
_LATE_SECONDS: Final = 2.0
_COLOURS: Final = ("cyan", "magenta", "yellow")
_STATES: Final = {
    WorkerState.RUNNING: ("●", "green"),
    WorkerState.KILLED: ("✗", "bold red"),
    WorkerState.DRAINING: ("◐", "yellow"),
    WorkerState.ENDED: ("○", "dim"),
}
_BAR: Final = "█"
_BAR_WIDTH: Final = 14
_BAR_RECORDS: Final = 20


class LiveView:
    """Draws the snapshot in place, four times a second, and leaves the last one standing."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stderr=False, redirect_stdout=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        self._console.print(text, style="dim")

    def show(self, snapshot: Snapshot) -> None:
        size = self._console.size
        self._live.update(picture(snapshot, min(size.width, _WIDEST), size.height), refresh=True)


def picture(snapshot: Snapshot, width: int, height: int) -> Group:
    """The snapshot as something to print: at most ``width`` columns and, where it can be, ``height`` lines."""
    colours = {worker.name: colour for worker, colour in zip(snapshot.workers, _COLOURS, strict=False)}
    used = 9 + len(snapshot.workers)
    room = max(3, height - used - _FEWEST_EVENTS)
    shown = snapshot.shards[:room]
    events = min(_MOST_EVENTS, max(_FEWEST_EVENTS, height - used - len(shown)))
    return Group(
        _head(snapshot, width),
        Text(),
        _workers(snapshot.workers, colours, width),
        Text(),
        _shards(shown, len(snapshot.shards) - len(shown), colours, width),
        Text(),
        _events(snapshot, events, width),
    )


def _head(snapshot: Snapshot, width: int) -> Group:
    done = min(snapshot.elapsed_seconds, snapshot.seconds)
    title = Text.assemble(("leasehold demo", "bold"), f"  {snapshot.source}  ", (snapshot.phase.value, "bold green"))
    of = f" of {snapshot.seconds:.0f}" if snapshot.phase is Phase.WRITING else ""
    clock = f"{snapshot.elapsed_seconds:.0f}{of} s"
    title.append(clock.rjust(width - title.cell_len))
    waiting = max(0, snapshot.written - snapshot.delivered)
    totals = Text(no_wrap=True, overflow="ellipsis")
    for name, value in (
        ("written", snapshot.written),
        ("delivered", snapshot.delivered),
        ("on their way", waiting),
        ("repeats", snapshot.duplicates),
        ("rotations", snapshot.rotations),
        ("splits", snapshot.splits),
    ):
        if name not in ("rotations", "splits") or width >= 78:
            totals.append(f"{value:,} ", "bold").append(f"{name}  ", "dim")
    bar = ProgressBar(
        total=snapshot.seconds, completed=done, width=width, complete_style="cyan", finished_style="green"
    )
    return Group(title, bar, totals)


def _workers(workers: tuple[WorkerRow, ...], colours: dict[str, str], width: int) -> Table:
    table = _table(
        width, ("worker", "left"), ("pid", "right"), ("state", "left"), ("shards", "right"), ("records", "right")
    )
    for worker in workers:
        sign, style = _STATES[worker.state]
        table.add_row(
            Text(worker.name, f"bold {colours[worker.name]}"),
            Text(str(worker.pid), "dim"),
            Text(f"{sign} {worker.state.value}", style),
            str(worker.shards) if worker.state is WorkerState.RUNNING else Text("-", "dim"),
            f"{worker.records:,}",
        )
    return table


def _shards(shards: tuple[ShardRow, ...], hidden: int, colours: dict[str, str], width: int) -> Group | Table:
    columns = (("shard", "left"), ("owner", "left"), ("records", "right"), ("lag", "right"), ("waiting", "left"))
    table = _table(width, *columns)
    for shard in shards:
        late = shard.lag_seconds >= _LATE_SECONDS
        bar = _BAR * min(_BAR_WIDTH, -(-shard.waiting // _BAR_RECORDS)) if late else ""
        table.add_row(
            Text(f"…{shard.shard_id[-8:]}" + ("" if shard.is_open else " closed"), "" if shard.is_open else "dim"),
            Text(shard.owner or "-", colours.get(shard.owner, "dim")),
            f"{shard.records:,}",
            Text(f"{shard.lag_seconds:.1f} s", "bold red" if late else "green"),
            Text.assemble(f"{shard.waiting:>3} ", (bar, "red")),
        )
    if hidden > 0:
        return Group(table, Text(f"and {hidden} more shards", "dim"))
    return table


def _events(snapshot: Snapshot, count: int, width: int) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for number, event in enumerate(snapshot.events[-count:]):
        style = "bold red" if event.is_alarming else ""
        line = Text(f"{event.at:5.1f} s  ", "dim").append(event.text, style)
        line.truncate(width, overflow="ellipsis")
        text.append("\n" if number else "").append_text(line)
    if not snapshot.events and snapshot.phase is Phase.WRITING:
        text.append("waiting for the workers to take their first leases", "dim")
    return text


def _table(width: int, *columns: tuple[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), width=width, header_style="dim", expand=True)
    for name, side in columns:
        table.add_column(name, justify="right" if side == "right" else "left", no_wrap=True)
    return table

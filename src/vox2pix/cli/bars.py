"""Progress bars with rates and remaining time."""

from typing import TYPE_CHECKING

from vox2pix.cli.app import console
from vox2pix.cli.terminal import Terminal, shown

if TYPE_CHECKING:
    from rich.progress import TaskID


class Bars:
    """A reporter that draws progress bars with rates and remaining time.

    If `transient`, they vanish when the work is done, and are not drawn where nobody watches.
    """

    def __init__(self, where: Terminal | None = None, transient: bool = False) -> None:
        # late: a tenth of the time that `vox2pix --help` takes
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = where or console
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TextColumn("{task.fields[rate]}", style="dim", markup=False),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=self._console,
            transient=transient,
            disable=transient and not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._step, self._done = "", 0

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.say(f"  {shown(text)}")

    def begin(self, title: str, total: int, unit: str) -> None:
        """Add a bar."""
        self._task = self._bars.add_task(f"{shown(title):<23}", total=total, unit=unit, rate="")
        self._step, self._done = "", 0

    def advance(self, n: int) -> None:
        """Advance the newest bar."""
        if self._task is None:
            return
        self._bars.advance(self._task, n)
        speed = self._bars.tasks[self._task].speed
        self._bars.update(self._task, rate=f"{speed:.1f}/s" if speed else "")

    def track(self, step: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` of a step are done; a new step gets a new bar."""
        if step != self._step:
            self.begin(step[:1].upper() + step[1:], total, "")
            self._step = step
        self.advance(done - self._done)
        self._done = done

"""What the log checker says: whether a log is right, where it is not, and whether its end is there."""

from __future__ import annotations

import attrs


@attrs.frozen
class Divergence:
    """The first line that is wrong: its number from 1, what is wrong with it, and the lines around it."""

    line: int
    what: str
    before: tuple[str, ...]
    itself: str
    after: tuple[str, ...]

    def __str__(self) -> str:
        shown = [(self.line + by, text) for by, text in enumerate(self.before, -len(self.before))]
        shown += [(self.line, self.itself)]
        shown += [(self.line + by, text) for by, text in enumerate(self.after, 1)]
        rows = (f"{'>' if number == self.line else ' '} {number}: {text}" for number, text in shown)
        return "\n".join([f"line {self.line}: {self.what}", *rows])


@attrs.frozen
class Report:
    """What was found.

    Args:
        lines: how many lines were read.
        records: how many of them are steps.
        managers: how many managers took them.
        divergence: the first line that is wrong; nothing after it was checked.
        torn: the numbers of lines of which a crash left a part.
        unclosed: how many processes began to write and did not end: they still write, or crashed, or the end of
            the log is missing. Without a last line nobody can tell these apart.
        owed: what had not yet followed when its process ended, with the line that called for it.
        open_tickets: how many tickets were open then.
    """

    lines: int
    records: int
    managers: int
    divergence: Divergence | None = None
    torn: tuple[int, ...] = ()
    unclosed: int = 0
    owed: tuple[str, ...] = ()
    open_tickets: int = 0

    @property
    def exit_code(self) -> int:
        """0: right and whole; 1: it diverges; 3: right as far as it goes, but an end is missing or torn."""
        if self.divergence is not None:
            return 1
        return 3 if self.torn or self.unclosed or not self.lines else 0

    def __str__(self) -> str:
        said = [f"{self.lines} lines, {self.records} records of {self.managers} managers"]
        if self.divergence is not None:
            return f"{said[0]}: diverges\n{self.divergence}"
        found = [f"line {number} is torn" for number in self.torn]
        if self.unclosed:
            found.append(f"{self.unclosed} without its last line")
        if not self.lines:
            found.append("the log is empty")
        said.append(", ".join(found) or "right and whole")
        notes = [f"  not yet: {one}" for one in self.owed]
        if self.open_tickets:
            notes.append(f"  tickets open at the end: {self.open_tickets}")
        return "\n".join([": ".join(said), *notes])

"""A machine of one's own, typed by its context, its events and its effects."""

from __future__ import annotations

from typing import ClassVar

import attrs

from bluegreen.table.step import step
from bluegreen.table.table import Fact, State, Table, forbid, go, ignore, stay
from bluegreen.table.transitions_facade import Machine


@attrs.frozen
class Pushed:
    name: ClassVar[str] = "pushed"


@attrs.frozen
class Painted:
    colour: str
    name: ClassVar[str] = "painted"


@attrs.frozen
class Colour:
    name: str = "grey"


Event = Pushed | Painted

red = Fact("red", (True, False), lambda _, event: event.colour == "red").is_(True).named("red")


def paint(_: Colour, event: Painted) -> Colour:
    return Colour(event.colour)


def creak(_: Colour, after: Colour, __: Pushed) -> str:
    return f"the {after.name} door creaks"


DOOR: Table[Colour, Event, str] = Table(
    name="door",
    initial="Shut",
    states=(State("Shut"), State("Open")),
    events=(Pushed, Painted),
    rows=(
        go("Shut", Pushed, "Open", effects=(creak,), why="it opens"),
        go("Open", Pushed, "Shut", why="it shuts"),
        stay("Shut", Painted, guard=~red, update=paint, why="any colour"),
        forbid("Shut", Painted, guard=red, why="not red"),
        ignore("Open", Painted, why="nobody can reach it"),
    ),
)
step(DOOR, "Shut", Colour(), Painted("green"))
machine = Machine(DOOR, Colour())
machine.send(Pushed())

"""A small table in which every kind of row, and every sign that some format could trip over, occurs."""

from __future__ import annotations

from typing import Any

import attrs

from bluegreen import Fact, State, Table, events, forbid, go, ignore, stay

Pushed, Locked, Removed, Counted = events("pushed", "locked", "removed", "counted")
Pushed.safe_point = True  # type: ignore[attr-defined]

_strong = Fact("strong", (True, False), lambda c, e: c.strength > 3).is_(True)
_ends = Fact("rest", ("some", "none", "odd"), lambda c, e: "some")
enough = _strong.named("force >= 3 <N>")


@attrs.frozen
class Door:
    """How strong whoever pushes is."""

    strength: int = 0


def remember(context: Door, _: Any) -> Door:
    """Nothing needs to be kept."""
    return context


def _creak(_: Any, __: Any, ___: Any) -> str:
    return "creak"


def slam(_: Any, __: Any, ___: Any) -> str:
    """It slams."""
    return "slam"


DOOR: Table[Any, Any, Any] = Table(
    name='the door; "front"',
    initial="Shut",
    states=(
        State("Shut", tags=("closed", "quiet")),
        State("Half open: 50 %", holds=_ends.is_("some", "odd")),
        State("end"),
        State("Gone", final=True),
    ),
    events=(Pushed, Locked, Removed, Counted),
    rows=(
        go(
            "Shut",
            Pushed,
            "Half open: 50 %",
            guard=enough,
            update=remember,
            effects=(_creak, slam),
            why="it gives; a bit",
        ),
        stay("Shut", Pushed, guard=~enough, update=remember, why='too weak | or "too *tired*"'),
        go("Shut", Locked, "Shut", effects=(slam,), why="again & again"),
        ignore("Shut", Counted, why="nobody counts: <why>?"),
        go("Half open: 50 %", Pushed, "end", guard=_ends.is_("some"), why="on it goes"),
        go("Half open: 50 %", Pushed, "Shut", guard=~_ends.is_("some"), effects=(slam,), why="back"),
        forbid("Half open: 50 %", (Locked, Counted), why="not now -- later"),
        go(("Shut", "Half open: 50 %", "end"), Removed, "Gone", why="taken away"),
        go("end", Pushed, "Shut", why="it falls shut"),
        ignore("end", (Locked, Counted), why="wide open"),
        ignore("Gone", (Pushed, Locked, Removed, Counted), why="no door"),
    ),
)


def corridor(states: int) -> Table[Any, Any, Any]:
    """Return a table of so many states in a row, each with a way on, one back, one far back, and loops."""
    names = [f"Room{number:03}" for number in range(states)]
    onward, back, home, knocked = events("onward", "back", "home", "knocked")
    rows: list[Any] = []
    for number, name in enumerate(names):
        rows.append(go(name, onward, names[(number + 1) % states], why="the next room"))
        rows.append(go(name, back, names[number - 1], guard=enough, why="the room before"))
        rows.append(stay(name, back, guard=~enough, update=remember, why="too weak"))
        rows.append(go(name, home, names[number // 7], effects=(slam,), why="far back"))
        rows.append(ignore(name, knocked, why="nobody is in"))
    return Table(
        name="corridor", initial=names[0], states=[State(name) for name in names],
        events=(onward, back, home, knocked), rows=rows,
    )  # fmt: skip

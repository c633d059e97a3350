"""Pairs of tables of which it is known what differs: in their rows, and in what they do."""

from __future__ import annotations

from typing import Any, Final

import attrs
import transitions

from bluegreen.diagram.diff.behavioural import DIFFER, SAME, SO_FAR
from bluegreen.table.rows import Row, Rows
from bluegreen.table.table import Fact, State, Table, events, forbid, go, ignore, stay

Pushed, Bolted, Unbolted, Kicked = events("pushed", "bolted", "unbolted", "kicked")


@attrs.frozen
class Uses:
    """How often the door was opened."""

    count: int = 0


@attrs.frozen
class Creak:
    """It makes a noise."""

    loud: bool = False


def used(uses: Uses, event: Any) -> Uses:
    return Uses(min(uses.count + 1, 3))


def worn_out(uses: Uses, event: Any) -> Uses:
    return Uses(3)


def counted(uses: Uses, event: Any) -> Uses:
    return Uses(uses.count + 1)


def creak(before: Uses, after: Uses, event: Any) -> Creak:
    return Creak()


def groan(before: Uses, after: Uses, event: Any) -> Creak:
    return Creak(loud=True)


def _used_twice(uses: Uses, event: Any) -> Uses:
    return Uses(min(uses.count + 2, 3))


_used_twice.__name__ = "used"

age: Final = Fact(
    "age", ("new", "used", "worn"), lambda c, _: ("new", "used", "worn", "worn")[min(c.count, 3)]
)
worn = age.is_("worn").named("worn")

ROWS: Final[dict[str, Rows]] = {
    "opens": go("Shut", Pushed, "Open", guard=~worn, update=used, effects=(creak,), why="it opens"),
    "stuck": ignore("Shut", Pushed, guard=worn, why="it is stuck"),
    "bolts": go("Shut", Bolted, "Bolted", why="somebody is at home"),
    "shuts": go("Open", Pushed, "Shut", why="it shuts"),
    "ajar": forbid("Open", Bolted, why="it stands open"),
    "draws": go("Bolted", Unbolted, "Shut", why="somebody went out"),
    "holds": forbid("Bolted", Pushed, why="the bolt holds"),
    "again": ignore("Bolted", Bolted, why="it is bolted already"),
    "nothing": ignore(("Shut", "Open"), Unbolted, why="there is no bolt to draw"),
}  # fmt: skip
STATES: Final = (State("Shut"), State("Open"), State("Bolted"))


def door(*, without: str = "", more: tuple[Rows | Row, ...] = (), **given: Any) -> Table[Any, Any, Any]:
    """The door, with some rows in the place of those that are left out."""
    left_out = without.split()
    rows = [row for name, row in ROWS.items() if name not in left_out]
    made: dict[str, Any] = {
        "name": "door",
        "initial": "Shut",
        "states": STATES,
        "events": (Pushed, Bolted, Unbolted),
        "rows": (*rows, *more),
        "contexts": (Uses(),),
    }
    return Table(**{**made, **given})


@attrs.frozen(eq=False)
class Pair:
    """Two tables, and what has to be said of them.

    Args:
        changes: each change of a row or another part, as its text begins.
        verdict: on the behaviour.
        events: the shortest sequence on which they differ, if they do.
        old, new: what either answers to the last event.
    """

    name: str
    old: Table[Any, Any, Any]
    new: Table[Any, Any, Any]
    changes: tuple[str, ...]
    verdict: str = SAME
    events: tuple[str, ...] = ()
    answers: tuple[str, str] = ("", "")


DOOR: Final = door()
ALL: Final = (
    go("Shut", Kicked, "Open", why="it gives way"),
    ignore(("Open", "Bolted"), Kicked, why="it holds"),
)
tired = age.is_("used", "worn").named("worn")  # the same word for other cases
shabby = age.is_("worn").named("shabby")  # another word for the same cases
unused = age.is_("new").named("unused")  # whoever is in Open has opened it

SNAPPING: Final = door(
    without="shuts",
    more=(
        go("Open", Pushed, "Shut", guard=~unused, why="it shuts"),
        go("Open", Pushed, "Bolted", guard=unused, why="it snaps"),
    ),
)
"""The door with a row that no run takes."""

PROPOSAL: Final = door(
    without="stuck shuts again nothing",
    states=(State("Shut"), State("Open"), State("Bolted", tags=("safe",))),
    more=(
        go("Shut", Pushed, "Open", guard=worn, effects=(groan,), why="it can be forced"),
        go("Open", Pushed, "Bolted", why="there is a spring"),
        forbid("Bolted", Bolted, why="once is enough"),
        ignore("Shut", Unbolted, why="there is no bolt to draw"),
        ignore("Open", Unbolted, guard=worn, why="nobody can tell"),
        forbid("Open", Unbolted, guard=~worn, why="there is no bolt | nothing to <draw>"),
    ),
)
"""A change of the door with something of every kind in it, as one has to review it."""

PAIRS: Final = (
    Pair("the same rows", DOOR, door(), ()),
    Pair("another order of rows", DOOR, door(rows=tuple(reversed([*ROWS.values()]))), ()),
    Pair(
        "another reason",
        DOOR,
        door(without="shuts", more=(go("Open", Pushed, "Shut", why="there is a spring"),)),
        ('changed row Open.pushed: why: "it shuts" becomes "there is a spring"',),
    ),
    Pair(
        "a row that stays and does nothing, where the event was ignored",
        DOOR,
        door(without="again", more=(stay("Bolted", Bolted, why="it is bolted already"),)),
        ("changed row Bolted.bolted: outcome: ignore becomes stay",),
    ),
    Pair(
        "a row of a case that no run brings about",
        DOOR,
        SNAPPING,
        (
            "changed row Open.pushed[!unused]: guard: always becomes !unused",
            "added row Open.pushed[unused]",
        ),
    ),
    Pair(
        "a guard by another name",
        DOOR,
        door(
            without="opens stuck",
            more=(
                go("Shut", Pushed, "Open", guard=~shabby, update=used, effects=(creak,), why="it opens"),
                ignore("Shut", Pushed, guard=shabby, why="it is stuck"),
            ),
        ),
        (
            "changed row Shut.pushed[!shabby]: guard: !worn becomes !shabby (the same cases)",
            "changed row Shut.pushed[shabby]: guard: worn becomes shabby (the same cases)",
        ),
    ),
    Pair(
        "a guard of the same name for other cases",
        DOOR,
        door(
            without="opens stuck",
            more=(
                go("Shut", Pushed, "Open", guard=~tired, update=used, effects=(creak,), why="it opens"),
                ignore("Shut", Pushed, guard=tired, why="it is stuck"),
            ),
        ),
        (
            "changed row Shut.pushed[!worn]: guard: !worn, when age=new or age=used becomes !worn, when age=new",
            "changed row Shut.pushed[worn]: guard: worn, when age=worn becomes worn, when age=used or age=worn",
        ),
        DIFFER,
        ("pushed", "pushed", "pushed"),
        ("Open, Creak(loud=False)", "Shut, no effects"),
    ),
    Pair(
        "a guard that is new, so that its cell has other rows",
        DOOR,
        door(
            without="ajar",
            more=(
                forbid("Open", Bolted, guard=~worn, why="it stands open"),
                go("Open", Bolted, "Bolted", guard=worn, why="it falls shut"),
            ),
        ),
        ("changed row Open.bolted[!worn]: guard: always becomes !worn", "added row Open.bolted[worn]"),
        DIFFER,
        ("pushed", "pushed", "pushed", "bolted"),
        ("forbidden in Open", "Bolted, no effects"),
    ),
    Pair(
        "a row that leads elsewhere",
        DOOR,
        door(without="shuts", more=(go("Open", Pushed, "Bolted", why="it snaps"),)),
        (
            'retargeted row Open.pushed: outcome: -> Shut becomes -> Bolted; why: "it shuts" becomes "it snaps"',
        ),
        DIFFER,
        ("pushed", "pushed"),
        ("Shut, no effects", "Bolted, no effects"),
    ),
    Pair(
        "what was forbidden is ignored",
        DOOR,
        door(without="holds", more=(ignore("Bolted", Pushed, why="the bolt holds"),)),
        ("changed row Bolted.pushed: outcome: forbid becomes ignore",),
        DIFFER,
        ("bolted", "pushed"),
        ("forbidden in Bolted", "Bolted, no effects"),
    ),
    Pair(
        "other effects",
        DOOR,
        door(
            without="opens",
            more=(
                go("Shut", Pushed, "Open", guard=~worn, update=used, effects=(creak, groan), why="it opens"),
            ),
        ),
        ("changed row Shut.pushed[!worn]: effects: creak becomes creak, groan",),
        DIFFER,
        ("pushed",),
        ("Open, Creak(loud=False)", "Open, Creak(loud=False), Creak(loud=True)"),
    ),
    Pair(
        "another reducer, which shows only later",
        DOOR,
        door(
            without="opens",
            more=(
                go("Shut", Pushed, "Open", guard=~worn, update=worn_out, effects=(creak,), why="it opens"),
            ),
        ),
        ("changed row Shut.pushed[!worn]: reducer: used becomes worn_out",),
        DIFFER,
        ("pushed", "pushed", "pushed"),
        ("Open, Creak(loud=False)", "Shut, no effects"),
    ),
    Pair(
        "the same rows, and a reducer that does something else under the same name",
        DOOR,
        door(
            without="opens",
            more=(
                go("Shut", Pushed, "Open", guard=~worn, update=_used_twice, effects=(creak,), why="it opens"),
            ),
        ),
        (),
        DIFFER,
        ("pushed", "pushed", "pushed"),
        ("Open, Creak(loud=False)", "Shut, no effects"),
    ),
    Pair(
        "a state and an event more",
        DOOR,
        door(
            without="stuck",
            states=(*STATES, State("Gone", final=True)),
            events=(Pushed, Bolted, Unbolted, Kicked),
            more=(
                go("Shut", Pushed, "Gone", guard=worn, why="it falls off"),
                ignore("Gone", (Pushed, Bolted, Unbolted), why="there is no door"),
                *ALL,
                ignore("Gone", Kicked, why="there is no door"),
            ),
        ),
        (
            "added state Gone",
            "added event kicked",
            'changed row Shut.pushed[worn]: outcome: ignore becomes -> Gone; why: "it is stuck" becomes "it falls off"',
            "added row Shut.kicked",
            "added row Open.kicked",
            "added row Bolted.kicked",
            "added row Gone.pushed",
            "added row Gone.bolted",
            "added row Gone.unbolted",
            "added row Gone.kicked",
        ),
        DIFFER,
        ("pushed", "pushed", "pushed", "pushed", "pushed"),
        ("Shut, no effects", "Gone, no effects"),
    ),
    Pair(
        "another state to begin with",
        DOOR,
        door(initial="Bolted"),
        ("changed table door: initial: Shut becomes Bolted",),
        DIFFER,
        (),
        ("Shut, no effects", "Bolted, no effects"),
    ),
    Pair(
        "counting without end, which a bound has to end",
        door(
            without="opens stuck",
            more=(go("Shut", Pushed, "Open", update=counted, effects=(creak,), why="it opens"),),
        ),
        door(
            without="opens stuck",
            more=(go("Shut", Pushed, "Open", update=counted, effects=(creak,), why="there is no end to it"),),
        ),
        ('changed row Shut.pushed: why: "it opens" becomes "there is no end to it"',),
        SO_FAR,
    ),
)


def turnstile(*, strict: bool) -> transitions.Machine:
    machine = transitions.Machine(
        states=["Locked", "Free"],
        initial="Locked",
        auto_transitions=False,
        name="turnstile",
        ignore_invalid_triggers=not strict,
    )
    machine.add_transition("coin", "Locked", "Free", conditions="genuine")
    machine.add_transition("passed", "Free", "Locked", before="ring")
    return machine


STRICT: Final = turnstile(strict=True)
LENIENT: Final = turnstile(strict=False)
"""Two machines of transitions: one refuses what has no transition, the other one ignores it."""

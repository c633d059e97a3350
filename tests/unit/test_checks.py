"""A table that is not a machine is refused: with every reason at once, where it is, and with what shows it.

All broken tables are one good table, a lamp, with something exchanged.
"""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import attrs
import pytest

from bluegreen.errors import TableError
from bluegreen.table.guards import ALWAYS, Fact, Guard
from bluegreen.table.rows import Row, RowKind, Rows, TableFinding
from bluegreen.table.table import State, Table, forbid, go, ignore, stay


@attrs.frozen
class Pressed:
    name: ClassVar[str] = "pressed"


@attrs.frozen
class Dimmed:
    level: int
    name: ClassVar[str] = "dimmed"


@attrs.frozen
class Unplugged:
    """An event that is in no alphabet here."""

    name: ClassVar[str] = "unplugged"


@attrs.frozen
class Nameless:
    pass


@attrs.frozen
class PerInstance:
    name: str = "not_of_the_class"


@attrs.frozen
class TwoWords:
    name: ClassVar[str] = "two words"


@attrs.frozen
class AlsoPressed:
    name: ClassVar[str] = "pressed"


@attrs.frozen
class Lamp:
    level: int = 0


def fails(*_: Any) -> Any:
    raise ZeroDivisionError("no")


def effect(*_: Any) -> str:
    return "click"


level = Fact(
    "level", ("off", "low", "high"), lambda _, e: "off" if e.level == 0 else "low" if e.level < 5 else "high"
)
glows = Fact("glows", (True, False), lambda lamp, _: lamp.level > 0)
worn = Fact("worn", (True, False), lambda lamp, _: lamp.level > 8)
unlisted = Fact("unlisted", (1, 2), lambda lamp, _: lamp.level)
raising = Fact("raising", (True, False), fails)
empty = Fact("empty", (), lambda *_: None)
narrow = Fact("narrow", (1, 2), lambda *_: 1, within={"Dark": (1,)})
OFF, DARK, LIT = level.is_("off"), "Dark", "Lit"
SHINES = glows.is_(True).named("glows")


def to(value: int) -> Any:
    def reduce(lamp: Lamp, _: Any) -> Lamp:
        return attrs.evolve(lamp, level=value)

    return reduce


def dim(lamp: Lamp, event: Dimmed) -> Lamp:
    return attrs.evolve(lamp, level=event.level)


STATES = (State(DARK, holds=~SHINES), State(LIT, holds=SHINES))
PRESSED = (
    go(DARK, Pressed, LIT, update=to(5), effects=(effect,), why="on"),
    go(LIT, Pressed, DARK, update=to(0), why="off"),
)
DIMMED_DARK = (ignore(DARK, Dimmed, why="it is off"),)
DIMMED_LIT = (
    go(LIT, Dimmed, DARK, guard=OFF, update=dim, why="dimmed to nothing"),
    stay(LIT, Dimmed, guard=~OFF, update=dim, why="a level"),
)
CONTEXTS, SAMPLES = (Lamp(), Lamp(3)), (Pressed(), Dimmed(0), Dimmed(3), Dimmed(7))


def lamp(**parts: Any) -> Table[Any, Any, Any]:
    """Make the lamp, with some of its parts exchanged."""
    rows = [
        *parts.pop("pressed", PRESSED),
        *parts.pop("dark", DIMMED_DARK),
        *parts.pop("lit", DIMMED_LIT),
        *parts.pop("more", ()),
    ]
    whole = {
        "name": "lamp",
        "initial": DARK,
        "states": STATES,
        "events": (Pressed, Dimmed),
        "rows": rows,
        "contexts": CONTEXTS,
        "samples": SAMPLES,
    }
    return Table(**{**whole, **parts})


def findings_of(**parts: Any) -> list[TableFinding]:
    with pytest.raises(TableError) as refused:
        lamp(**parts)
    return list(refused.value.findings)


def test_the_lamp_itself_is_a_machine() -> None:
    assert len(lamp().rows) == 5


def row(*args: Any, **fields: Any) -> Row:
    return Row(*args, why="why", **fields)


MISSING = TableFinding("missing", "no row", LIT, "dimmed")

BROKEN: dict[str, tuple[dict[str, Any], list[TableFinding]]] = {
    # Totality.
    "a pair has no row": ({"lit": ()}, [MISSING]),
    "two rows of a cell overlap": (
        {"lit": (*DIMMED_LIT, stay(LIT, Dimmed, guard=level.is_("high"), why="bright"))},
        [
            TableFinding(
                "overlap", "Lit.dimmed[!level=off] stay and Lit.dimmed[level=high] stay", LIT, "dimmed",
                (("level", "high"),),
            )
        ],
    ),
    "a row without a guard overlaps with one that has one": (
        {"dark": (*DIMMED_DARK, forbid(DARK, Dimmed, guard=OFF, why="it is off"))},
        [TableFinding("overlap", "Dark.dimmed ignore and Dark.dimmed[level=off] forbid", DARK, "dimmed",
                 (("level", "off"),))],
    ),
    "a cell has two rows without a guard": (
        {"more": (stay(DARK, Pressed, why="nothing"),)},
        [TableFinding("overlap", "Dark.pressed -> Lit and Dark.pressed stay", DARK, "pressed")],
    ),
    "a row is written twice": (
        {"more": (DIMMED_LIT[0],)},
        [TableFinding("overlap", "Lit.dimmed[level=off] -> Dark and Lit.dimmed[level=off] -> Dark", LIT, "dimmed",
                 (("level", "off"),))],
    ),
    "the guards of a cell leave a gap": (
        {"lit": (DIMMED_LIT[0], stay(LIT, Dimmed, guard=level.is_("low"), update=dim, why="a level"))},
        [TableFinding("gap", "no row is enabled", LIT, "dimmed", (("level", "high"),))],
    ),
    "two facts together leave a gap": (
        {"lit": (DIMMED_LIT[0], stay(LIT, Dimmed, guard=~OFF & worn.is_(False), update=dim, why="a level"))},
        [TableFinding("gap", "no row is enabled", LIT, "dimmed", (("level", "low"), ("worn", True)))],
    ),
    "a guard is never true": (
        {"more": (ignore(LIT, Dimmed, guard=OFF & ~OFF, why="never"),)},
        [TableFinding("never", "the guard of Lit.dimmed[level=off & !level=off] ignore is false in every case",
                 LIT,
                 "dimmed")],
    ),
    "a guard is true of other states only": (
        {
            "dark": (
                ignore(DARK, Dimmed, guard=narrow.is_(1), why="it is off"),
                forbid(DARK, Dimmed, guard=narrow.is_(2), why="cannot be"),
            )
        },
        [TableFinding("never", "the guard of Dark.dimmed[narrow=2] forbid is false in every case", DARK,
                 "dimmed")],
    ),
    # The graph.
    "a state cannot be reached": (
        {
            "states": (*STATES, State("Broken")),
            "more": (go("Broken", Pressed, DARK, update=to(0), why="mended"), ignore("Broken", Dimmed,
                                                                                 why="broken")),
        },
        [TableFinding("unreachable", "no sequence of rows leads there from Dark", "Broken")],
    ),
    "a state cannot be left": (
        {
            "states": (*STATES, State("Broken")),
            "pressed": (go(DARK, Pressed, "Broken", update=to(0), why="bang"), go(DARK, Dimmed, LIT, update=to(5),
                                                                              why="on"),
                        PRESSED[1]),
            "dark": (),
            "more": (stay("Broken", Pressed, why="nothing"), go("Broken", Dimmed, "Broken", why="nothing")),
        },
        [TableFinding("trap", "no row leads out of it, and it is not final", "Broken")],
    ),
    "a final state is left": (
        {"states": (STATES[0], attrs.evolve(STATES[1], final=True))},
        [TableFinding("final", "final, but rows lead to Dark", LIT)],
    ),
    # Names.
    "the initial state is unknown": (
        {"initial": "Drak"},
        [TableFinding("unknown state", "the initial state 'Drak' is not declared")],
    ),
    "a row starts in an unknown state": (
        {"more": (go("Drak", Pressed, LIT, why="a slip"),)},
        [TableFinding("unknown state", "a row starts in 'Drak'", "Drak", "pressed")],
    ),
    "a row leads to an unknown state": (
        {"pressed": (PRESSED[0], go(LIT, Pressed, "Drak", why="a slip"), go(LIT, Dimmed, DARK, update=to(0),
                                                                            why="off")),
         "lit": ()},
        [TableFinding("unknown state", "a row leads to 'Drak'", LIT, "pressed")],
    ),
    "a row has an event that is not in the alphabet": (
        {"more": (ignore(DARK, Unplugged, why="dark is dark"),)},
        [TableFinding("unknown event", "unplugged is not in the alphabet", DARK, "unplugged")],
    ),
    "a row has the name of an event instead of its class": (
        {"more": (ignore(DARK, "pressed", why="a slip"),)},
        [TableFinding("unknown event", "'pressed' is not in the alphabet", DARK, "'pressed'")],
    ),
    "a row has an event instead of its class": (
        {"more": (ignore(DARK, Pressed(), why="a slip"),)},
        [TableFinding("unknown event", "Pressed() is not in the alphabet", DARK, "Pressed()")],
    ),
    "a sample is not in the alphabet": (
        {"samples": (*SAMPLES, Unplugged())},
        [TableFinding("unknown event", "the sample Unplugged() is not in the alphabet", event="unplugged")],
    ),
    "a sample is a class": (
        {"samples": (*SAMPLES, Pressed)},
        [TableFinding("unknown event", f"the sample {Pressed!r} is not in the alphabet", event=repr(type))],
    ),
    "a state is declared twice": (
        {"states": (*STATES, STATES[0])},
        [TableFinding("duplicate", "declared 2 times", DARK)],
    ),
    "an event is listed twice": (
        {"events": (Pressed, Dimmed, Pressed)},
        [TableFinding("duplicate", "2 events have this name", event="pressed")],
    ),
    "two events have the same name": (
        {"events": (Pressed, Dimmed, AlsoPressed), "more": (ignore((DARK, LIT), AlsoPressed, why="the same"),
                                                            )},
        [TableFinding("duplicate", "2 events have this name", event="pressed")],
    ),
    "an event has no name": (
        {"events": (Pressed, Dimmed, Nameless), "more": (ignore((DARK, LIT), Nameless, why="who?"),)},
        [TableFinding("alphabet", f"{Nameless!r} is no class with a `name` that is one word",
                 event=repr(Nameless))],
    ),
    "the name of an event is not the class's": (
        {"events": (Pressed, Dimmed, PerInstance), "more": (ignore((DARK, LIT), PerInstance, why="who?"),)},
        [TableFinding("alphabet", f"{PerInstance!r} is no class with a `name` that is one word",
                 event=repr(PerInstance))],
    ),
    "the name of an event cannot be a trigger": (
        {"events": (Pressed, Dimmed, TwoWords), "more": (ignore((DARK, LIT), TwoWords, why="who?"),)},
        [TableFinding("alphabet", f"{TwoWords!r} is no class with a `name` that is one word", event="two words")],
    ),
    "the alphabet has an event instead of a class": (
        {"events": (Pressed, Dimmed, Unplugged())},
        [TableFinding("alphabet", "Unplugged() is no class with a `name` that is one word", event="Unplugged()")],
    ),
    # Rows that contradict themselves.
    "a transition has no target": (
        {"pressed": (PRESSED[0], row(LIT, Pressed, RowKind.GO))},
        [TableFinding("outcome", "Lit.pressed is a transition without a target", LIT, "pressed")],
    ),
    "a row that stays has a target": (
        {"pressed": (PRESSED[0], row(LIT, Pressed, RowKind.STAY, target=DARK))},
        [TableFinding("outcome", "Lit.pressed stay has the target 'Dark', and is no transition", LIT, "pressed")],
    ),
    "a row that ignores has a reducer": (
        {"dark": (row(DARK, Dimmed, RowKind.IGNORE, reducer=dim),)},
        [TableFinding("outcome", "Dark.dimmed ignore changes nothing, but has a reducer or effects", DARK,
                 "dimmed")],
    ),
    "a row that forbids has effects": (
        {"dark": (row(DARK, Dimmed, RowKind.FORBID, effects=(effect,)),)},
        [TableFinding("outcome", "Dark.dimmed forbid changes nothing, but has a reducer or effects", DARK,
                 "dimmed")],
    ),
    "a row does not say why": (
        {"dark": (ignore(DARK, Dimmed, why=" "),)},
        [TableFinding("reason", "Dark.dimmed ignore does not say why", DARK, "dimmed")],
    ),
    # Facts.
    "two facts of a cell have the same name": (
        {"more": (stay(LIT, Dimmed, guard=Fact("level", (1, 2), lambda *_: 1).is_(1), why="another level"),)},
        [TableFinding("fact", "two facts are called 'level'", LIT, "dimmed")],
    ),
    "two facts of a guard have the same name": (
        {"lit": (DIMMED_LIT[0], stay(LIT, Dimmed, guard=~OFF & Fact("level", ("low",),
                                                                   lambda *_: "low").is_("low"),
                                     why="another level"))},
        [TableFinding("fact", "two facts are called 'level'", LIT, "dimmed")],
    ),
    "a fact of a condition has the name of a fact of a guard": (
        {"states": (State(DARK, holds=Fact("level", (1,), lambda *_: 1).is_(1)), State(LIT))},
        [TableFinding("fact", "two facts are called 'level'", DARK)],
    ),
    "a fact has no values": (
        {"dark": (ignore(DARK, Dimmed, guard=empty.is_(), why="nothing"),)},
        [TableFinding("fact", "fact 'empty' has no values", DARK, "dimmed")],
    ),
    "a fact has no values in a state": (
        {"dark": (ignore(DARK, Dimmed, guard=attrs.evolve(narrow, within={DARK: ()}).is_(1), why="nothing"),)},
        [TableFinding("fact", "fact 'narrow' in Dark has no values", DARK, "dimmed")],
    ),
    "a fact has a value in a state that it does not have": (
        {"dark": (ignore(DARK, Dimmed, guard=attrs.evolve(narrow, within={DARK: (1, 3)}).is_(1),
                         why="nothing"),)},
        [TableFinding("fact", "fact 'narrow' in Dark is 3, which is not among its values", DARK, "dimmed",
                 (("narrow", 3),))],
    ),
    "a fact has fewer values in a state that does not exist": (
        {"dark": (ignore(DARK, Dimmed, guard=attrs.evolve(narrow, within={"Drak": (1,)}).is_(1, 2),
                         why="nothing"),)},
        [TableFinding("fact", "fact 'narrow' in Drak: there is no such state", DARK, "dimmed")],
    ),
    "a fact has an undeclared value in a sample": (
        {"dark": (ignore(DARK, Dimmed, guard=unlisted.is_(1, 2), why="nothing"),)},
        [TableFinding("fact", "fact 'unlisted' is 0, which is not among its values there", DARK, "dimmed",
                 (("unlisted", 0),))],
    ),
    "a fact has a value in a sample that it should only have in other states": (
        {
            "dark": (
                ignore(DARK, Dimmed, guard=attrs.evolve(level, within={DARK: ("off",)}).is_("off"),
                       why="it is off"),
            ),
            "lit": (go(LIT, Dimmed, DARK, update=to(0), why="off"),),
        },
        [TableFinding("fact", "fact 'level' is 'low', which is not among its values there", DARK, "dimmed",
                 (("level", "low"),))],
    ),
    "a fact raises": (
        {
            "dark": (
                ignore(DARK, Dimmed, guard=raising.is_(True), why="it is off"),
                forbid(DARK, Dimmed, guard=raising.is_(False), why="it is off"),
            )
        },
        [TableFinding("fact", "fact 'raising' raises ZeroDivisionError('no')", DARK, "dimmed")],
    ),
    "a fact of a condition raises": (
        {"states": (State(DARK), State(LIT, holds=raising.is_(True)))},
        [
            TableFinding("result", "Dark.pressed -> Lit breaks Lit: fact 'raising' raises ZeroDivisionError('no')",
                    DARK,
                    "pressed"),
            TableFinding("fact", "fact 'raising' raises ZeroDivisionError('no')", LIT),
        ],
    ),
    "a fact of a condition has an undeclared value": (
        {"states": (State(DARK), State(LIT, holds=unlisted.is_(1, 2)))},
        [
            TableFinding("result",
                    "Dark.pressed -> Lit breaks Lit: fact 'unlisted' is 5, which is not among its values "
                    "there", DARK, "pressed"),
            TableFinding("fact", "fact 'unlisted' is 0, which is not among its values there", LIT),
        ],
    ),
    # Results.
    "a reducer breaks the condition of the target": (
        {"pressed": (go(DARK, Pressed, LIT, why="it forgets to glow"), PRESSED[1])},
        [TableFinding("result", "Dark.pressed -> Lit breaks Lit: glows", DARK, "pressed")],
    ),
    "a reducer breaks the condition of its own state": (
        {"lit": (DIMMED_LIT[0], stay(LIT, Dimmed, guard=~OFF, update=to(0), why="it goes out"))},
        [TableFinding("result", "Lit.dimmed[!level=off] stay breaks Lit: glows", LIT, "dimmed", (("level", "low"),
                                                                                            ))],
    ),
    "a reducer raises": (
        {"pressed": (go(DARK, Pressed, LIT, update=fails, why="bang"), PRESSED[1])},
        [TableFinding("result", "Dark.pressed -> Lit: its reducer fails raises ZeroDivisionError('no')", DARK,
                 "pressed")],
    ),
    "a reducer returns something else": (
        {"pressed": (go(DARK, Pressed, LIT, update=lambda *_: None, why="what?"), PRESSED[1])},
        [TableFinding("result",
                 "Dark.pressed -> Lit breaks Lit: fact 'glows' raises AttributeError(\"'NoneType' object "
                 "has no attribute 'level'\")", DARK, "pressed")],
    ),
    "an effect raises": (
        {"pressed": (go(DARK, Pressed, LIT, update=to(5), effects=(effect, fails), why="bang"), PRESSED[1])},
        [TableFinding("result", "Dark.pressed -> Lit: its effect fails raises ZeroDivisionError('no')", DARK,
                 "pressed")],
    ),
    "an effect is no function": (
        {"pressed": (go(DARK, Pressed, LIT, update=to(5), effects=("click",), why="a slip"), PRESSED[1])},
        [TableFinding("result", "Dark.pressed -> Lit: its effect 'click' raises TypeError(\"'str' object is not "
                 "callable\")", DARK, "pressed")],
    ),
    "no context satisfies the condition of a state": (
        {"contexts": (Lamp(),)},
        [TableFinding("result", "none of the contexts satisfies its condition, glows: no row of it was tried",
                 LIT)],
    ),
    # Several at once: one finding of each check.
    "five faults": (
        {
            "initial": "Drak",
            "dark": (ignore(DARK, Dimmed, why=""),),
            "lit": (DIMMED_LIT[0],),
            "pressed": (go(DARK, Pressed, LIT, why="it forgets to glow"), PRESSED[1]),
            "more": (forbid(LIT, Unplugged, why="no"),),
        },
        [
            TableFinding("unknown state", "the initial state 'Drak' is not declared"),
            TableFinding("reason", "Dark.dimmed ignore does not say why", DARK, "dimmed"),
            TableFinding("unknown event", "unplugged is not in the alphabet", LIT, "unplugged"),
            TableFinding("gap", "no row is enabled", LIT, "dimmed", (("level", "low"),)),
            TableFinding("result", "Dark.pressed -> Lit breaks Lit: glows", DARK, "pressed"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_table_is_refused_with_these_findings_and_no_others(fault: str) -> None:
    parts, expected = BROKEN[fault]
    assert findings_of(**parts) == expected


def test_there_are_broken_tables_for_every_kind_of_finding() -> None:
    kinds = {finding.kind for _, findings in BROKEN.values() for finding in findings}
    documented = set(TableFinding.__doc__.partition("kind:")[2].partition("state:")[0].split("`")[1::2])
    assert kinds == documented
    assert len(BROKEN) >= 15


def test_the_table_with_five_faults_shows_five_findings_in_one_message() -> None:
    with pytest.raises(TableError) as refused:
        lamp(**BROKEN["five faults"][0])
    assert str(refused.value) == "\n".join(
        [
            "table 'lamp' is refused, 5 findings:",
            "  1. unknown state: the initial state 'Drak' is not declared",
            "  2. reason (Dark, dimmed): Dark.dimmed ignore does not say why",
            "  3. unknown event (Lit, unplugged): unplugged is not in the alphabet",
            "  4. gap (Lit, dimmed): no row is enabled when level='low'",
            "  5. result (Dark, pressed): Dark.pressed -> Lit breaks Lit: glows",
        ]
    )
    assert refused.value.table == "lamp"


def test_one_finding_is_not_called_findings() -> None:
    with pytest.raises(
        TableError, match=r"^table 'lamp' is refused, 1 finding:\n  1\. missing \(Lit, dimmed\): no row$"
    ):
        lamp(lit=())


def test_a_refusal_survives_pickling_with_its_findings() -> None:
    with pytest.raises(TableError) as refused:
        lamp(lit=())
    again = pickle.loads(pickle.dumps(refused.value))
    assert again.findings == (MISSING,)
    assert str(again) == str(refused.value)


def test_a_cell_that_cannot_be_decided_does_not_hide_what_is_wrong_with_the_others() -> None:
    """Without the row for (Lit, dimmed), the reducer of another row is tried all the same."""
    wrong = (go(DARK, Pressed, LIT, why="it forgets to glow"), PRESSED[1])
    kinds = [finding.kind for finding in findings_of(lit=(), pressed=wrong)]
    assert kinds == ["missing", "result"]


def test_a_wrong_fact_is_not_reported_again_as_a_gap_or_an_overlap() -> None:
    same_name = Fact("level", ("off",), lambda *_: "off")
    found = findings_of(
        lit=(DIMMED_LIT[0], stay(LIT, Dimmed, guard=same_name.is_("off"), why="overlaps, with gaps"))
    )
    assert {finding.kind for finding in found} == {"fact"}


def test_each_gap_and_overlap_of_the_same_rows_is_shown_once_and_different_ones_each() -> None:
    many = Fact("many", tuple(range(9)), lambda *_: 0)
    found = findings_of(
        dark=(
            ignore(DARK, Dimmed, guard=many.is_(0, 1, 2, 3), why="a"),
            forbid(DARK, Dimmed, guard=many.is_(2, 3, 4, 5), why="b"),
            stay(DARK, Dimmed, guard=many.is_(5, 6), why="c"),
        )
    )
    assert [(finding.kind, finding.valuation) for finding in found] == [
        ("overlap", (("many", 2),)),
        ("overlap", (("many", 5),)),
        ("gap", (("many", 7),)),
    ]


def test_a_fault_that_many_samples_show_is_one_finding() -> None:
    contexts = [Lamp(0), *(Lamp(value) for value in range(1, 9))]
    found = findings_of(
        lit=(DIMMED_LIT[0], stay(LIT, Dimmed, guard=~OFF, update=fails, why="bang")), contexts=contexts
    )
    assert len(found) == 1


def test_without_contexts_nothing_is_tried() -> None:
    wrong = (go(DARK, Pressed, LIT, update=fails, why="bang"), PRESSED[1])
    assert lamp(pressed=wrong, contexts=()).initial == DARK
    assert lamp(pressed=wrong, samples=()).initial == DARK


def test_a_condition_may_look_at_a_fact_that_has_fewer_values_in_its_state() -> None:
    """Every context is tried in every state, so the condition is asked about contexts of other states too."""
    dark = attrs.evolve(glows, within={DARK: (False,)})
    states = (State(DARK, holds=dark.is_(False)), State(LIT, holds=dark.is_(True)))
    assert lamp(states=states).holds(LIT, Lamp(3))


def test_a_row_that_is_only_ignored_or_forbidden_does_not_count_as_a_way_out() -> None:
    found = findings_of(
        pressed=(PRESSED[0], forbid(LIT, Pressed, why="stuck")), lit=(ignore(LIT, Dimmed, why="stuck"),)
    )
    assert [(finding.kind, finding.state) for finding in found] == [("trap", LIT)]


def test_a_final_state_needs_no_way_out_and_may_refuse_or_ignore_everything() -> None:
    burnt = State(LIT, holds=SHINES, final=True)
    rows = (PRESSED[0], forbid(LIT, Pressed, why="burnt out"))
    assert (
        lamp(states=(STATES[0], burnt), pressed=rows, lit=(ignore(LIT, Dimmed, why="burnt out"),)).initial
        == DARK
    )


def test_a_guard_that_was_written_by_hand_may_name_no_facts() -> None:
    never = Guard("never", (), lambda _: False)
    found = findings_of(more=(stay(DARK, Pressed, guard=never, why="never"),))
    assert [finding.kind for finding in found] == ["never"]
    assert isinstance(PRESSED[0], Rows)
    assert PRESSED[0].rows[0].guard is ALWAYS

"""Tables that are made from machines of `transitions` do what those machines do."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import transitions
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from transitions.extensions import HierarchicalGraphMachine, HierarchicalMachine, LockedMachine
from transitions.extensions.asyncio import AsyncMachine, HierarchicalAsyncMachine

from bluegreen import STRATEGY, Context, Machine
from bluegreen.diagram.renderers.mermaid import state_diagram
from bluegreen.errors import EventForbidden
from bluegreen.table.rows import RowKind
from bluegreen.table.step import step
from bluegreen.verify import Always, Verification, explore, from_transitions
from bluegreen.verify.export.from_transitions import MOST, field

CONDITIONS = ("ready", "allowed", "late")
TRIGGERS = ("pushed", "pulled", "turned")


class Model:
    """Conditions are attributes, which the test sets; callbacks write down their names."""

    state: Any

    def __init__(self) -> None:
        self.said: list[str] = []
        self.ready = self.allowed = self.late = False

    def writes(self, name: str) -> Callable[[], None]:
        def write() -> None:
            self.said.append(name)

        write.__name__ = name
        return write


def callbacks(of: Model, name: str) -> st.SearchStrategy[list[Callable[[], None]]]:
    return st.sampled_from([[], [], [of.writes(name)]])


@st.composite
def moves(draw: st.DrawFn, model: Model, number: str, sources: list[str]) -> dict[str, Any]:
    given_ = st.lists(st.sampled_from(CONDITIONS), max_size=2)
    return {
        "trigger": draw(st.sampled_from(TRIGGERS)),
        "source": draw(st.sampled_from([*sources, "*"])),
        "dest": draw(st.sampled_from([*sources, *sources, "=", None])),
        "conditions": draw(given_),
        "unless": draw(given_),
        **{kind: draw(callbacks(model, f"{kind}_{number}")) for kind in ("prepare", "before", "after")},
    }


@st.composite
def tree(draw: st.DrawFn, model: Model, name: str, depth: int) -> tuple[dict[str, Any], list[str]]:
    """A state, nested at most two deep, and the names of what is in it as seen from outside."""
    state: dict[str, Any] = {
        "name": name,
        "on_enter": draw(callbacks(model, f"enter_{name}")),
        "on_exit": draw(callbacks(model, f"exit_{name}")),
        "ignore_invalid_triggers": draw(st.sampled_from([None, True, False])),
    }
    children = [
        draw(tree(model, f"{name}{n}", depth - 1)) for n in range(draw(st.integers(0, 2)) if depth else 0)
    ]
    inside = [one for _, names in children for one in names]
    if children:
        state["children"] = [child for child, _ in children]
        state["transitions"] = [
            draw(moves(model, f"{name}_{n}", inside)) for n in range(draw(st.integers(0, 2)))
        ]
        if draw(st.booleans()):
            state["initial"] = children[0][0]["name"]
    return state, [name, *(f"{name}_{one}" for one in inside)]


@st.composite
def machines(draw: st.DrawFn, nested: bool) -> tuple[Any, Model]:
    model = Model()
    trees = [draw(tree(model, name, 2 if nested else 0)) for name in "abc"[: draw(st.integers(1, 3))]]
    names = [one for _, several in trees for one in several]
    machine = (HierarchicalMachine if nested else transitions.Machine)(
        model=model,
        states=[state for state, _ in trees],
        initial=draw(st.sampled_from(names)),
        transitions=[draw(moves(model, str(n), names)) for n in range(draw(st.integers(1, 6)))],
        auto_transitions=draw(st.booleans()),
        ignore_invalid_triggers=draw(st.booleans()),
        **{
            kind: draw(callbacks(model, kind))
            for kind in ("prepare_event", "before_state_change", "after_state_change", "finalize_event")
        },
    )
    return machine, model


def real(machine: Any, model: Model, state: str, trigger: str) -> tuple[str, bool, list[str]] | None:
    """What the machine itself does: the state, whether a transition was made, what was called; none if it refuses."""
    machine.set_state(state, model)
    model.said.clear()
    try:
        done = model.trigger(trigger)  # type: ignore[attr-defined]
    except transitions.MachineError:
        return None
    return model.state, bool(done), model.said


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_a_table_does_in_every_state_and_case_what_its_machine_does(nested: bool) -> None:
    outcomes: set[str] = set()

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(machines(nested), st.booleans())
    def agree(made: tuple[Any, Model], auto: bool) -> None:
        machine, model = made
        begins = model.state
        table = from_transitions(machine, auto_transitions=auto)
        assert table.initial == begins
        event(f"{len(table.states)} states")
        for state in table.states:
            for sent in table.choices(state.name):
                for name in CONDITIONS:
                    setattr(model, name, getattr(sent, name, False))
                right = real(machine, model, state.name, sent.name)
                row = table.row(state.name, None, sent)
                outcomes.add(row.outcome.value)
                if right is None:
                    assert row.outcome is RowKind.FORBID
                    continue
                taken = step(table, state.name, None, sent)
                assert (taken.state, [one.name for one in taken.effects]) == (right[0], right[2])
                assert right[1] == (row.why == "internal" or row.outcome is RowKind.GO)

    agree()
    assert outcomes == {"go", "stay", "ignore", "forbid"}


def door(**options: Any) -> Any:
    options = {"states": ["Shut", "Open"], "initial": "Shut", "auto_transitions": False, **options}
    return transitions.Machine(model=Model(), **options)


def test_what_is_wrong_with_a_machine_is_one_list_and_the_table_stands_all_the_same() -> None:
    machine = door(states=["Shut", "Open", "Burnt", "Lost"])
    machine.add_transition("pushed", "Shut", "Open")
    machine.add_transition("pushed", "Shut", "Burnt", conditions="late")
    machine.add_transition("pulled", "Open", "Nowhere")
    machine.add_transition("pulled", "Burnt", "Burnt")
    table = from_transitions(machine)
    assert [str(one) for one in table.findings] == [
        "unknown state (Open, pulled): a row leads to 'Nowhere'",
        "never (Shut, pushed): the guard of Shut.pushed[never] -> Burnt is false in every case",
        "trap (Open): no row leads out of it, and it is not final",
        "trap (Burnt): no row leads out of it, and it is not final",
        "unreachable (Lost): no sequence of rows leads there from Shut",
        "trap (Lost): no row leads out of it, and it is not final",
    ]
    assert "Shut --> Open : pushed" in state_diagram(table)


def test_a_machine_is_explored_with_its_conditions_as_free_choices() -> None:
    machine = door()
    machine.add_transition("pushed", "Shut", "Open", conditions=["ready"], unless=["late"])
    machine.add_transition("pulled", "Open", "Shut")
    table = from_transitions(machine)
    assert table.findings == ()
    found = explore(table, None, table.choices)
    assert (found.states, found.complete, found.missed) == (2, True, ())
    shut = Always(
        "shut", "it is never opened late", lambda taken: taken.step.state != "Open" or not taken.event.late
    )
    assert Verification(table, events=table.choices, properties=(shut,)).explore().violations == ()
    ready = Always("late", "it is never opened", lambda taken: taken.step.state != "Open")
    (broken,) = Verification(table, properties=(ready,)).explore().violations
    assert [(one.name, one.ready, one.late) for one in broken.events] == [("pushed", True, False)]


def test_conditions_and_callbacks_have_stable_names() -> None:
    def enough() -> bool:
        return True

    def other() -> bool:
        return True

    other.__name__ = "enough"
    machine = door()
    first = lambda: True  # noqa: E731
    machine.add_transition("pushed", "Shut", "Open", conditions=[first, enough], before=partial(print, "x"))
    machine.add_transition(
        "pushed", "Open", "Shut", conditions=[first, other, lambda: False, "checks.enough"]
    )
    table = from_transitions(machine)
    assert [str(row.guard) for row in table.rows if row.outcome is RowKind.GO] == [
        "lambda_1 & enough",
        "lambda_1 & enough_2 & lambda_2 & checks.enough",
    ]
    assert [one.__name__ for one in table.rows[0].effects] == ["before_print"]
    assert field("checks.enough") in {one.name for one in table.events[0].__attrs_attrs__}


class Light(enum.Enum):
    RED = 1
    GREEN = 2


def test_states_may_be_members_of_an_enumeration() -> None:
    machine = transitions.Machine(states=Light, initial=Light.RED, auto_transitions=False)
    machine.add_transition("turned", Light.RED, Light.GREEN)
    machine.add_transition("turned", Light.GREEN, Light.RED)
    table = from_transitions(machine, name="light")
    assert (table.name, table.initial, table.findings) == ("light", "RED", ())
    assert [str(row) for row in table.rows] == ["RED.turned -> GREEN", "GREEN.turned -> RED"]


@pytest.mark.parametrize("kind", [LockedMachine, AsyncMachine, HierarchicalAsyncMachine])
def test_the_other_kinds_of_machines_are_read_in_the_same_way(kind: Any) -> None:
    machine = kind(states=["A", "B"], initial="A", auto_transitions=False)
    machine.add_transition("turned", "A", "B", conditions="ready")
    machine.add_transition("turned", "A", "A")
    machine.add_transition("turned", "B", "A")
    machine.ready = False
    table = from_transitions(machine)
    assert [str(row) for row in table.rows] == [
        "A.turned[ready] -> B",
        "A.turned[!ready] -> A",
        "B.turned -> A",
    ]
    machine.ready = True
    done = machine.turned()
    if asyncio.iscoroutine(done):
        asyncio.run(done)
    assert machine.state == "B"


class OwnCondition(transitions.core.Condition):
    def check(self, event_data: Any) -> bool:
        return True


class OwnTransition(transitions.core.Transition):
    condition_cls = OwnCondition


class OwnMachine(transitions.Machine):
    transition_cls = OwnTransition


def parallel() -> Any:
    return HierarchicalMachine(states=["A", {"name": "P", "parallel": ["x", "y"]}], initial="A")


def own() -> Any:
    machine = OwnMachine(states=["A", "B"], initial="A", auto_transitions=False)
    machine.add_transition("turned", "A", "B", conditions="ready")
    return machine


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (parallel, "the states in P are parallel; accepted: one at a time"),
        (own, r"OwnCondition has its own check; accepted: transitions\.Machine, also hierarchical"),
        (lambda: Machine(STRATEGY, Context.initial()), "has its table already, as `table`"),
        (lambda: "a machine", r"builtins\.str is no machine of transitions; accepted"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(make: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        from_transitions(make())


def test_a_machine_without_an_initial_state_needs_one_to_be_named() -> None:
    machine = transitions.Machine(model=None, states=["A", "B"], initial=None, auto_transitions=False)
    machine.add_transition("turned", "A", "B")
    with pytest.raises(ValueError, match="the machine begins in None; give `initial`"):
        from_transitions(machine)
    assert from_transitions(machine, initial="A").initial == "A"


def test_too_many_conditions_in_one_cell_are_refused() -> None:
    machine = door()
    machine.add_transition("pushed", "Shut", "Open", conditions=[f"c{n}" for n in range(MOST + 1)])
    with pytest.raises(ValueError, match=f"asks {MOST + 1} conditions in Shut; accepted: at most {MOST}"):
        from_transitions(machine)


def test_a_trigger_that_is_forbidden_says_where_and_what_is_accepted() -> None:
    machine = door()
    machine.add_transition("pushed", "Shut", "Open")
    machine.add_transition("pulled", "Open", "Shut")
    table = from_transitions(machine)
    pushed = table.events[0]
    with pytest.raises(EventForbidden, match=r"pushed is forbidden in Open: .*; accepted: pulled"):
        step(table, "Open", None, pushed())


def test_a_table_that_was_made_is_a_machine_again() -> None:
    machine = HierarchicalGraphMachine(
        states=["night", {"name": "day", "initial": "rain", "children": ["rain", "sun"]}],
        initial="night",
        auto_transitions=False,
        graph_engine="mermaid",
    )
    machine.add_transition("passed", "night", "day")
    machine.add_transition("passed", "day", "night")
    machine.add_transition("cleared", "day_rain", "day_sun", conditions="ready")
    again: Any = Machine(from_transitions(machine), None)
    again.passed()
    again.cleared(ready=True)
    assert again.state == "day_sun"
    again.passed()
    assert again.state == "night"

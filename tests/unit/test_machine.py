"""`step` is pure; `Machine` is a `transitions.Machine` that commits a whole step or nothing."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import attrs
import pytest
import transitions
from transitions.extensions import GraphMachine
from transitions.extensions.markup import MarkupMachine

from bluegreen.errors import BluegreenError, EventForbidden, GuardError
from bluegreen.machines.query import QUERY, Cleared, Prepared, QueryContext
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.effects import Audit, CacheStrategy, CloseSessions, Publish
from bluegreen.machines.strategy.events import (
    AuthSuccess,
    Error456,
    QueryStarted,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.table.rows import RowKind
from bluegreen.table.step import Step, explain, may, step
from bluegreen.table.table import Fact, State, Table, forbid, go, ignore
from bluegreen.table.transitions_facade import Machine, Refused
from bluegreen.types import Strategy, Ticket

B, G = Strategy.BLUE, Strategy.GREEN
NEW = Context.initial()
STABLE = Context(active=B, state_version=7, verified=True)


@pytest.fixture
def machine() -> Machine[Any, Any, Any]:
    return Machine(STRATEGY, NEW)


@pytest.fixture
def stable(machine: Machine[Any, Any, Any]) -> Machine[Any, Any, Any]:
    machine.send(AuthSuccess(B, 0))
    return machine


# Asking and stepping.


def test_a_step_has_the_state_the_context_the_effects_in_order_and_the_row() -> None:
    taken = step(STRATEGY, "Detecting", NEW, AuthSuccess(B, 0))
    assert taken.state == "Stable"
    assert taken.context == Context(active=B, state_version=1, verified=True)
    assert taken.effects == (
        CacheStrategy(B),
        Publish(B, 1),
        CloseSessions(G),
        Audit(AuthSuccess(B, 0)),
    )
    assert taken.row is STRATEGY.row("Detecting", NEW, AuthSuccess(B, 0))


def test_an_ignored_event_gives_back_the_very_same_context() -> None:
    taken = step(STRATEGY, "Stable", STABLE, StrategyAnnounced(B, 7))
    assert taken.row.outcome is RowKind.IGNORE
    assert taken.context is STABLE
    assert (taken.state, taken.effects) == ("Stable", ())


def test_a_row_without_a_reducer_gives_back_the_very_same_context() -> None:
    assert step(STRATEGY, "Stable", STABLE, AuthSuccess(G, 7)).context is STABLE


def test_a_forbidden_event_says_what_where_why_and_what_would_be_accepted() -> None:
    with pytest.raises(EventForbidden) as raised:
        step(STRATEGY, "Failed", STABLE, QueryStarted())
    error = raised.value
    assert (error.event, error.state, error.reason) == ("query_started", "Failed", "both strategies failed")
    assert error.accepted == (
        "connection_opened",
        "query_completed",
        "query_cancelled",
        "query_failed",
        "cache_invalidated",
        "reset",
    )
    assert str(error) == (
        "query_started is forbidden in Failed: both strategies failed; accepted: connection_opened, "
        "query_completed, query_cancelled, query_failed, cache_invalidated, reset"
    )


def test_what_would_be_accepted_does_not_name_the_event_that_was_refused() -> None:
    """In Stable a rollback is forbidden only while no previous strategy is known."""
    with pytest.raises(EventForbidden) as raised:
        step(STRATEGY, "Stable", STABLE, RollbackRequested())
    assert "rollback_requested" not in raised.value.accepted
    assert "query_started" in raised.value.accepted


def test_an_event_of_another_machine_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="Prepared"):
        step(STRATEGY, "Stable", STABLE, Prepared("q"))  # type: ignore[misc]


def test_may_says_whether_an_event_is_accepted_ignored_or_not() -> None:
    assert may(STRATEGY, "Stable", STABLE, QueryStarted())
    assert may(STRATEGY, "Stable", STABLE, StrategyAnnounced(B, 7))
    assert not may(STRATEGY, "Failed", STABLE, QueryStarted())


def test_explain_says_which_row_why_and_from_which_facts() -> None:
    assert explain(STRATEGY, "Stable", STABLE, StrategyAnnounced(G, 6)) == (
        "Stable.strategy_announced[!is active & !held down & !fresh] ignore: stale (I6) "
        "(fresh=False, names='other', held=False)"
    )


def test_explain_needs_no_facts_where_a_cell_has_one_row() -> None:
    assert explain(STRATEGY, "Failed", STABLE, QueryStarted()) == (
        "Failed.query_started forbid: both strategies failed"
    )


# Machine: what it does


def test_a_machine_begins_in_the_initial_state_with_the_context_that_was_given(
    machine: Machine[Any, Any, Any],
) -> None:
    assert (machine.state, machine.context) == ("Detecting", NEW)


def test_send_commits_the_step_and_returns_it(machine: Machine[Any, Any, Any]) -> None:
    taken = machine.send(AuthSuccess(B, 0))
    assert (machine.state, machine.context) == (taken.state, taken.context)
    assert taken == step(STRATEGY, "Detecting", NEW, AuthSuccess(B, 0))


def test_a_trigger_takes_the_fields_of_its_event(machine: Machine[Any, Any, Any]) -> None:
    assert machine.auth_success("blue", 0) is True
    assert machine.strategy_announced(strategy="GREEN", state_version=1) is True
    assert machine.state == "PendingTransition"


def test_a_trigger_takes_an_event_object(machine: Machine[Any, Any, Any]) -> None:
    assert machine.auth_success(AuthSuccess(B, 0)) is True
    assert machine.state == "Stable"


def test_a_trigger_is_also_found_by_name(machine: Machine[Any, Any, Any]) -> None:
    assert machine.trigger("auth_success", "blue", 0) is True
    assert machine.state == "Stable"
    with pytest.raises(AttributeError, match="Do not know event named 'authenticated'"):
        machine.trigger("authenticated")


def test_a_trigger_with_the_wrong_fields_changes_nothing(machine: Machine[Any, Any, Any]) -> None:
    with pytest.raises(TypeError, match="state_version"):
        machine.auth_success("blue")
    with pytest.raises(ValueError, match="'red' is no strategy"):
        machine.auth_success("red", 0)
    assert (machine.state, machine.context) == ("Detecting", NEW)


def test_a_trigger_whose_event_is_ignored_returns_false(stable: Machine[Any, Any, Any]) -> None:
    before = stable.context
    assert stable.strategy_announced("blue", 1) is False
    assert stable.context is before


def test_a_trigger_whose_row_stays_returns_true(stable: Machine[Any, Any, Any]) -> None:
    assert stable.query_started() is True
    assert stable.context.open_blue == 1


def test_a_forbidden_event_is_caught_as_the_error_of_either_library(machine: Machine[Any, Any, Any]) -> None:
    for error in (Refused, EventForbidden, BluegreenError, transitions.MachineError):
        with pytest.raises(error):
            machine.query_started()
        with pytest.raises(error):
            machine.send(QueryStarted())
    assert (machine.state, machine.context) == ("Detecting", NEW)


def test_a_refusal_has_the_facts_of_both_libraries(machine: Machine[Any, Any, Any]) -> None:
    with pytest.raises(Refused) as raised:
        machine.query_started()
    error = raised.value
    assert (error.event, error.state) == ("query_started", "Detecting")
    assert error.value == str(error)
    assert str(error).startswith(
        "query_started is forbidden in Detecting: no strategy yet; wait for the detection;"
    )
    assert error.__cause__ is None


def test_a_refusal_survives_pickling(machine: Machine[Any, Any, Any]) -> None:
    with pytest.raises(Refused) as raised:
        machine.query_started()
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is Refused
    assert (str(again), again.event, again.accepted) == (
        str(raised.value),
        raised.value.event,
        raised.value.accepted,
    )


# All or nothing.


@attrs.frozen
class Poked:
    how: str = "softly"
    name: ClassVar[str] = "poked"


def explode(*_: Any) -> Any:
    raise ZeroDivisionError("bang")


way = Fact(
    "way",
    ("softly", "reducer", "effect", "fact", "forbidden"),
    lambda _, e: explode() if e.how == "fact" else e.how,
)


@pytest.fixture
def fragile() -> Table[int, Poked, str]:
    """A table without samples, so that what raises is not found at definition."""
    return Table(
        name="fragile",
        initial="Whole",
        states=(State("Whole"), State("Poked")),
        events=(Poked,),
        rows=(
            go("Whole", Poked, "Poked", guard=way.is_("softly", "fact"), update=lambda c, _: c + 1, why="poked"),
            go("Whole", Poked, "Poked", guard=way.is_("reducer"), update=explode, why="its reducer raises"),
            go(
                "Whole", Poked, "Poked", guard=way.is_("effect"), update=lambda c, _: c + 1,
                effects=(lambda *_: "said", explode), why="its effect raises",
            ),
            forbid("Whole", Poked, guard=way.is_("forbidden"), why="no"),
            go("Poked", Poked, "Whole", why="again"),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ("reducer", ZeroDivisionError),
        ("effect", ZeroDivisionError),
        ("fact", ZeroDivisionError),
        ("sideways", GuardError),
        ("forbidden", Refused),
    ],
)
def test_whatever_raises_leaves_state_and_context_as_they_were_and_tells_no_observer(
    fragile: Table[int, Poked, str], how: str, error: type[Exception]
) -> None:
    told: list[Step] = []
    machine = Machine(fragile, 41, on_step=lambda _, __, taken: told.append(taken))
    with pytest.raises(error):
        machine.send(Poked(how))
    with pytest.raises(error):
        machine.poked(how)  # type: ignore[operator]
    assert (machine.state, machine.context, told) == ("Whole", 41, [])
    machine.send(Poked())
    assert (machine.state, machine.context, len(told)) == ("Poked", 42, 1)


def test_an_observer_that_raises_is_heard_and_the_step_stands(fragile: Table[int, Poked, str]) -> None:
    machine = Machine(fragile, 41, on_step=explode)
    with pytest.raises(ZeroDivisionError):
        machine.send(Poked())
    assert (machine.state, machine.context) == ("Poked", 42)


def test_an_observer_gets_the_model_the_event_and_the_step_after_the_commit() -> None:
    seen: list[tuple[Any, Any, str, Step]] = []
    machine = Machine(
        STRATEGY, NEW, on_step=lambda model, event, taken: seen.append((model, event, model.state, taken))
    )
    taken = machine.send(AuthSuccess(B, 0))
    machine.strategy_announced("blue", 1)
    assert seen[0] == (machine, AuthSuccess(B, 0), "Stable", taken)
    assert [one[3].row.outcome for one in seen] == [RowKind.GO, RowKind.IGNORE]


# Machine: as users of transitions know it


def test_is_state_answers_for_every_state(stable: Machine[Any, Any, Any]) -> None:
    assert stable.is_Stable()
    assert not stable.is_Detecting()
    assert not stable.is_PendingTransition()
    assert not stable.is_Failed()
    assert stable.is_state("Stable", stable)


def test_may_answers_without_side_effects(stable: Machine[Any, Any, Any]) -> None:
    before = stable.context
    assert stable.may_query_started()
    assert stable.may_strategy_announced("green", 1)
    assert stable.may_strategy_announced(StrategyAnnounced(B, 1))  # ignored, so accepted
    assert not stable.may_rollback_requested()
    assert not stable.may_query_completed(Ticket(1, B, 0))
    assert stable.may_trigger("reset")
    assert (stable.state, stable.context) == ("Stable", before)


def test_get_triggers_names_what_is_not_forbidden_in_a_state(machine: Machine[Any, Any, Any]) -> None:
    everything = [event.name for event in STRATEGY.events]
    assert sorted(machine.get_triggers("Stable")) == sorted(everything)
    assert set(everything) - set(machine.get_triggers("Failed")) == {"query_started", "rollback_requested"}
    assert set(everything) - set(machine.get_triggers("Detecting")) == {"rollback_requested"}


def test_get_transitions_has_one_for_each_row_that_is_not_forbidden(machine: Machine[Any, Any, Any]) -> None:
    rows = [row for row in STRATEGY.rows if row.outcome is not RowKind.FORBID]
    assert len(machine.get_transitions()) == len(rows)
    (announced,) = machine.get_transitions("strategy_announced", "Stable", "PendingTransition")
    assert announced.dest == "PendingTransition"
    assert [condition.func for condition in announced.conditions] == ["fresh & !is active & !held down"]
    assert machine.get_transitions("query_started", "Failed") == []
    assert {one.dest for one in machine.get_transitions("query_started")} == {None}  # internal
    assert {one.dest for one in machine.get_transitions(source="Failed")} == {"Detecting", None}


def test_final_states_are_final_for_transitions_too() -> None:
    machine = Machine(QUERY, QueryContext(Ticket(1, B, 0)))
    assert [name for name, state in machine.states.items() if state.final] == [
        "Completed",
        "Cancelled",
        "Failed",
    ]


def test_there_are_no_triggers_that_go_round_the_table(machine: Machine[Any, Any, Any]) -> None:
    assert not hasattr(machine, "to_Stable")
    assert set(machine.events) == {event.name for event in STRATEGY.events}


class Marked(Machine[Any, Any, Any], MarkupMachine):
    """Our machine with the introspection of transitions that its diagrams are made from."""


class Drawn(Machine[Any, Any, Any], GraphMachine):
    """Our machine with the diagrams of transitions."""


def test_a_machine_mixed_with_markup_lists_all_states_and_transitions() -> None:
    machine = Marked(STRATEGY, NEW)
    assert [state["name"] for state in machine.markup["states"]] == [state.name for state in STRATEGY.states]
    arrows = {(one["trigger"], one["source"], one.get("dest")) for one in machine.markup["transitions"]}
    rows = [row for row in STRATEGY.rows if row.outcome is not RowKind.FORBID]
    assert arrows == {(row.event.name, row.state, row.target) for row in rows}
    assert len(machine.markup["transitions"]) == len(rows)
    conditions = {
        tuple(one["conditions"]) for one in machine.markup["transitions"] if one["source"] == "Failed"
    }
    assert conditions == {("always",), ("ticket open",)}
    assert machine.auth_success("blue", 0)


def test_a_machine_mixed_with_graphs_draws_every_transition_and_the_state_it_is_in() -> None:
    machine = Drawn(STRATEGY, NEW, graph_engine="mermaid")
    assert "Class Detecting s_active" in machine.get_graph().draw(None)
    machine.auth_success("blue", 0)
    drawn = machine.get_graph(force_new=True).draw(None)
    assert "Class Stable s_active" in drawn
    for row in STRATEGY.rows:
        if row.outcome is RowKind.GO:
            assert f"{row.state} --> {row.target}" in drawn


def test_remove_model_and_dispatch_work_as_they_do_there() -> None:
    one, two = Thing(), Thing()
    machine = Machine(STRATEGY, NEW, model=[one, two])
    assert machine.dispatch("auth_success", "blue", 0) is True
    assert [one.state, two.state] == ["Stable", "Stable"]  # type: ignore[attr-defined]
    machine.remove_model(two)
    machine.dispatch("reset")
    assert [one.state, two.state] == ["Detecting", "Stable"]  # type: ignore[attr-defined]


# Models


class Thing:
    """Anything that is bound to a machine."""


def test_a_model_of_ones_own_gets_state_context_and_triggers() -> None:
    thing: Any = Thing()
    machine = Machine(STRATEGY, NEW, model=thing)
    assert (thing.state, thing.context) == ("Detecting", NEW)
    assert thing.auth_success("green", 0)
    assert thing.is_Stable()
    assert thing.context.active is G
    assert not hasattr(machine, "state")


def test_several_models_do_not_share_anything() -> None:
    one, two = Thing(), Thing()
    machine: Any = Machine(STRATEGY, NEW, model=(one, two))
    machine.send(AuthSuccess(B, 0), one)
    machine.send(AuthSuccess(G, 0), two)
    machine.send(QueryStarted(), two)
    views = [(model.context.active, model.context.open_green) for model in (one, two)]  # type: ignore[attr-defined]
    assert views == [(B, 0), (G, 1)]


def test_the_machine_itself_can_be_one_of_several_models() -> None:
    thing: Any = Thing()
    machine: Any = Machine(STRATEGY, NEW, model=[Machine.self_literal, thing])
    thing.auth_success("blue", 0)
    assert (machine.state, thing.state) == ("Detecting", "Stable")
    assert machine.context is NEW


def test_a_model_that_comes_later_begins_at_the_beginning_and_may_begin_elsewhere() -> None:
    machine: Any = Machine(STRATEGY, NEW)
    machine.auth_success("blue", 0)
    late, elsewhere = Thing(), Thing()
    machine.add_model(late)
    machine.add_model([elsewhere], "Failed")
    states = [(model.state, model.context) for model in (late, elsewhere)]  # type: ignore[attr-defined]
    assert states == [("Detecting", NEW), ("Failed", NEW)]
    assert elsewhere.reset()  # type: ignore[attr-defined]


def test_a_model_that_is_bound_again_keeps_its_state_and_its_context() -> None:
    thing: Any = Thing()
    machine = Machine(STRATEGY, NEW, model=thing)
    thing.auth_success("blue", 0)
    before = thing.context
    machine.add_model(thing)
    assert (thing.state, thing.context) == ("Stable", before)


def test_a_machine_without_a_model_only_sends_for_those_that_are_added() -> None:
    machine = Machine(STRATEGY, NEW, model=None)
    assert machine.models == []
    thing: Any = Thing()
    machine.add_model(thing)
    assert machine.send(AuthSuccess(B, 0), thing).state == thing.state == "Stable"


def test_the_attribute_of_the_state_can_be_chosen() -> None:
    thing: Any = Thing()
    machine = Machine(STRATEGY, NEW, model=thing, model_attribute="strategy_state")
    machine.send(AuthSuccess(B, 0), thing)
    assert thing.strategy_state == "Stable"
    assert thing.is_strategy_state_Stable()
    assert not hasattr(thing, "state")
    assert thing.may_query_started()


def test_the_attribute_of_the_context_can_be_chosen_by_a_subclass() -> None:
    class Named(Machine[Any, Any, Any]):
        context_attribute = "strategy_context"

    thing: Any = Thing()
    Named(STRATEGY, NEW, model=thing)
    thing.auth_success("blue", 0)
    assert thing.strategy_context.active is B
    assert not thing.may_rollback_requested()
    assert not hasattr(thing, "context")


def test_one_model_can_be_bound_to_two_machines_with_attributes_of_their_own() -> None:
    class OfQuery(Machine[Any, Any, Any]):
        context_attribute = "query_context"

    thing: Any = Thing()
    ticket = Ticket(1, B, 0)
    strategy = Machine(STRATEGY, NEW, model=thing, model_attribute="strategy_state")
    query = OfQuery(QUERY, QueryContext(ticket), model=thing, model_attribute="query_state")
    strategy.send(AuthSuccess(B, 0), thing)
    query.send(Cleared(), thing)
    assert (thing.strategy_state, thing.query_state) == ("Stable", "Completed")


def test_a_machine_of_another_table_has_the_triggers_of_that_table() -> None:
    machine: Any = Machine(DOOR, None)
    assert machine.poked() is True
    assert machine.is_Open()
    with pytest.raises(Refused, match=r"^poked is forbidden in Open: it stays open; accepted: nothing$"):
        machine.poked("forbidden")
    assert machine.poked("softly") is False


DOOR: Table[Any, Any, Any] = Table(
    name="door",
    initial="Shut",
    states=(State("Shut"), State("Open", final=True)),
    events=(Poked,),
    rows=(
        go("Shut", Poked, "Open", why="it opens"),
        ignore("Open", Poked, guard=~way.is_("forbidden"), why="it is open"),
        forbid("Open", Poked, guard=way.is_("forbidden"), why="it stays open"),
    ),
)


def test_news_of_the_wrong_version_is_ignored_by_a_trigger_as_by_send(stable: Machine[Any, Any, Any]) -> None:
    assert stable.error_456("blue", 0) is False
    assert stable.send(Error456(B, 0)).row.outcome is RowKind.IGNORE
    assert stable.state == "Stable"


# -- copies and pickles


class Model:
    pass


def test_machine_comes_back_from_a_pickle_and_a_copy_where_it_was(stable: Machine[Any, Any, Any]) -> None:
    for again in (pickle.loads(pickle.dumps(stable)), copy.deepcopy(stable), copy.copy(stable)):
        assert (again.state, again.context, again.table) == (stable.state, stable.context, STRATEGY)
        again.strategy_announced("green", again.context.state_version)
        assert (again.state, again.is_PendingTransition(), again.may_rollback_requested()) == (
            "PendingTransition",
            True,
            True,
        )
        assert stable.state == "Stable"


def test_model_is_copied_with_its_machine() -> None:
    model = Model()
    machine: Machine[Any, Any, Any] = Machine(STRATEGY, Context.initial(), model=model)
    machine.note = "kept"  # type: ignore[attr-defined]
    model.auth_success("blue", 0)  # type: ignore[attr-defined]
    again: Any = copy.deepcopy(machine)
    (other,) = again.models
    other.strategy_announced("green", other.context.state_version)
    assert (other.state, again.note, model.state) == ("PendingTransition", "kept", "Stable")  # type: ignore[attr-defined]
    assert other is not model


def test_table_that_cannot_be_imported_is_not_pickled() -> None:
    table: Any = Table(
        **{**attrs.asdict(STRATEGY, recurse=False, filter=lambda one, _: one.init), "name": "nowhere"}
    )
    with pytest.raises(
        pickle.PicklingError, match=r"table 'nowhere' cannot be pickled: .* must be a name of a module"
    ):
        pickle.dumps(Machine(table, Context.initial()))


# -- what would be accepted, and have no effect


def nothing(*_: Any) -> None:
    pass


@pytest.mark.parametrize(
    "ask",
    [
        lambda machine: machine.add_transition("leap", "Stable", "Failed"),
        lambda machine: machine.add_ordered_transitions(),
        lambda machine: machine.remove_transition("reset"),
        lambda machine: machine.add_states("Elsewhere"),
        lambda machine: machine.add_state("Elsewhere"),
        lambda machine: machine.on_enter_Stable(nothing),
        lambda machine: machine.on_exit_Stable(nothing),
        lambda machine: machine.before_reset(nothing),
        lambda machine: machine.after_reset(nothing),
        lambda machine: setattr(machine, "before_state_change", nothing),
        lambda machine: setattr(machine, "finalize_event", [nothing]),
        lambda machine: Machine(STRATEGY, Context.initial(), after_state_change=nothing),
        lambda machine: Machine(STRATEGY, Context.initial(), on_exception=nothing),
        lambda machine: Machine(STRATEGY, Context.initial(), states=["Elsewhere"]),
        lambda machine: Machine(STRATEGY, Context.initial(), ordered_transitions=True),
        lambda machine: Machine(
            STRATEGY, Context.initial(), model=type("Lamp", (), {"on_enter_Stable": nothing})()
        ),
    ],
)
def test_callbacks_and_further_transitions_are_refused(stable: Machine[Any, Any, Any], ask: Any) -> None:
    with pytest.raises(TypeError, match=r"a Machine of table 'strategy' does not take .*pass on_step="):
        ask(stable)

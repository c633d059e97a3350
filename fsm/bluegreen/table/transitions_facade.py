"""`Machine`: the face of the library `transitions` over a table.

States, triggers, `is_<State>()`, `may_<event>()`, `get_triggers` and `get_transitions` work as they do there; only
what an event does is replaced: `step` decides it. So callbacks would never be called, and transitions that are added
would never be taken: both are refused. A machine can be copied, and pickled if its table can be imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar, cast

import transitions
from transitions.core import Condition, EventData, Transition

from bluegreen.errors import EventForbidden
from bluegreen.table.step import Step, step
from bluegreen.table.table import Row, RowKind, Table

C = TypeVar("C")
E = TypeVar("E")
F = TypeVar("F")


class Refused(EventForbidden, transitions.MachineError):
    """`EventForbidden` for those who catch `transitions.MachineError`."""

    def __init__(self, error: EventForbidden) -> None:
        super().__init__(error.event, error.state, error.reason, error.accepted)
        self.value = str(error)

    def __str__(self) -> str:
        return self.value


class _GuardCondition(Condition):
    """Shows a row's guard to the introspection of `transitions`, and answers its `may_` questions."""

    def __init__(self, row: Row) -> None:
        super().__init__(str(row.guard))
        self.row = row

    def check(self, event_data: EventData) -> bool:
        """Whether the guard holds for the model's context and the event that the arguments make."""
        machine: Any = event_data.machine
        event = machine.make_event(self.row.event, event_data.args, event_data.kwargs)
        context = getattr(event_data.model, machine.context_attribute)
        taken: Row = machine.table.row(self.row.state, context, event)
        return taken is self.row


class _RowTransition(Transition):
    """A row as `transitions` sees it. A forbidden row has none; an ignored row is an internal transition."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.state, cast(str, row.target))  # none: internal, as in transitions
        self.row = row
        self.conditions = [_GuardCondition(row)]


class _TableEvent(transitions.core.Event):
    """A trigger that makes the event from its arguments and takes one step with it."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A model keeps triggers. They need the machine when they are called, and it may not be whole before that.
        return _TableEvent, (self.name, self.machine)

    def trigger(self, model: Any, *args: Any, **kwargs: Any) -> bool:
        """Take one step. Return whether a row was taken that is not `ignore`.

        Raises:
            Refused: the event is forbidden; nothing has changed.
        """
        machine: Any = self.machine
        event = machine.make_event(machine.alphabet[self.name], args, kwargs)
        return machine.send(event, model).row.outcome is not RowKind.IGNORE


_CALLBACKS: Final = (
    "before_state_change", "after_state_change", "prepare_event", "finalize_event", "on_exception", "on_final",
)  # fmt: skip
_BUILT: Final = ("states", "transitions", "initial", "auto_transitions", "ordered_transitions")


def _refusal(table: Table[Any, Any, Any] | None, what: str) -> TypeError:
    """Return the error for what `transitions` would accept, and this machine would never look at."""
    name = "a table" if table is None else f"table {table.name!r}"
    return TypeError(
        f"a Machine of {name} does not take {what}: its rows decide what an event does, and its effects say what is to "
        "be done. Change the table, or pass on_step= to see each step"
    )


class Machine(transitions.Machine, Generic[C, E, F]):
    """A `transitions.Machine` that is filled from a table and dispatches through `step`.

    Args:
        table: the machine's rows.
        context: the extended state to start with.
        model: the object that gets triggers, `state` and `context`; the machine itself by default.
        on_step: called after each commit with the step; for tests and observers.
        options: those of `transitions.Machine` that concern models and names.

    Raises:
        TypeError: callbacks or transitions are given, or added later. The rows of the table decide, and its effects say
            what is to be done; `on_step` sees each step.

    `machine.send(event)` takes an event object. Triggers take its fields: `machine.error_456("blue", 3)`.

    >>> from bluegreen.machines.strategy.table import STRATEGY, Context, AuthSuccess
    >>> machine = Machine(STRATEGY, Context.initial())
    >>> machine.send(AuthSuccess("blue", 0)).state
    'Stable'
    >>> machine.is_Stable(), machine.may_rollback_requested()
    (True, False)

    Source: design, "Where the libraries stand".
    """

    event_cls = _TableEvent
    context_attribute = "context"

    def __init__(
        self,
        table: Table[C, E, F],
        context: C,
        model: Any = transitions.Machine.self_literal,
        on_step: Callable[[Any, E, Step], None] | None = None,
        **options: Any,
    ) -> None:
        refused = [name for name in (*_CALLBACKS, *_BUILT) if options.get(name)]
        if refused:
            raise _refusal(table, ", ".join(refused))
        self._options = options
        self.table = table
        self.alphabet: Mapping[str, type[Any]] = {event.name: event for event in table.events}
        self.on_step = on_step
        self._first = context
        super().__init__(
            model=model,
            states=[{"name": state.name, "final": state.final} for state in table.states],
            initial=table.initial,
            transitions=cast(Any, table.rows),
            auto_transitions=False,
            **options,
        )
        self._made = frozenset(self.__dict__)

    # Copies and pickles: what a machine was made of, and where its models are.

    def __getstate__(self) -> dict[str, Any]:
        """Return what `__setstate__` makes the same machine of."""
        names = self.model_attribute, self.context_attribute
        return {
            "made_of": (self.table, self._first, self.on_step, self._options),
            "models": [
                (None if one is self else one, *(getattr(one, name) for name in names)) for one in self.models
            ],
            "more": {name: value for name, value in self.__dict__.items() if name not in self._made},
        }

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Make the machine anew, with its models where they were."""
        table, first, on_step, options = kept["made_of"]
        models = [self if model is None else model for model, _, _ in kept["models"]]
        cast(Any, Machine).__init__(self, table, first, models, on_step, **options)
        for model, (_, state, context) in zip(models, kept["models"], strict=True):
            setattr(model, self.model_attribute, state)
            setattr(model, self.context_attribute, context)
        self.__dict__.update(kept["more"])

    # What `transitions` offers besides, and what would be accepted here and have no effect.

    def __getattr__(self, name: str) -> Any:
        """Return what refuses a callback: `before_<event>`, `on_enter_<State>` and their like are asked to add one."""
        if not name.startswith(("before_", "after_", "on_enter_", "on_exit_")):
            return super().__getattr__(name)

        def refuse(*_: Any, **__: Any) -> None:
            raise _refusal(self.table, name)

        return refuse

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse callbacks of the whole machine."""
        if name in _CALLBACKS and value:
            raise _refusal(self.__dict__.get("table"), name)
        super().__setattr__(name, value)

    def add_transition(self, trigger: Any, *_: Any, **__: Any) -> None:
        """Raise TypeError: the rows of the table are all that there is."""
        raise _refusal(self.table, f"a transition of {trigger!r}")

    def add_ordered_transitions(self, *_: Any, **__: Any) -> None:
        """Raise TypeError, as `add_transition`."""
        raise _refusal(self.table, "ordered transitions")

    def remove_transition(self, trigger: Any, *_: Any, **__: Any) -> None:
        """Raise TypeError: a table without a row is another table."""
        raise _refusal(self.table, f"the removal of {trigger!r}")

    def add_states(self, states: Any, *args: Any, **options: Any) -> None:
        """Add the states of the table; raise TypeError later on."""
        if self.states:
            raise _refusal(self.table, f"the state {states!r}")
        super().add_states(states, *args, **options)

    def add_transitions(self, transitions: Any) -> None:
        """Fill the machine with the rows of its table. `transitions` calls it before it binds models."""
        for row in transitions:
            name = row.event.name
            if name not in self.events:
                self.events[name] = self._create_event(name, self)
            if row.outcome is not RowKind.FORBID:
                self.events[name].add_transition(_RowTransition(row))

    def add_model(self, model: Any, initial: Any = None) -> None:
        """Bind a model: it gets the triggers, the initial state and the initial context."""
        several = isinstance(model, (list, tuple))
        given: list[Any] = [*cast("list[Any]", model)] if several else [model]
        models: list[Any] = [self if one is self.self_literal else one for one in given]
        added = [one for one in models if one not in self.models]
        for one in added:
            named = [f"{kind}_{state}" for state in self.states for kind in ("on_enter", "on_exit")]
            ignored = [name for name in named if one is not self and callable(getattr(one, name, None))]
            if ignored:
                raise _refusal(self.table, f"{', '.join(ignored)} of {type(one).__name__}")
        super().add_model(model, initial)
        for one in added:
            setattr(one, self.context_attribute, self._first)

    def make_event(self, cls: type[Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the event of a trigger: the object that it was called with, or one made from its fields."""
        if len(args) == 1 and not kwargs and isinstance(args[0], cls):
            return args[0]
        return cls(*args, **kwargs)

    def send(self, event: E, model: Any = None) -> Step:
        """Take one step with `event`, and commit it to the model.

        Raises:
            Refused: the event is forbidden; nothing has changed.
        """
        model = self if model is None else model
        attribute = self.model_attribute
        try:
            taken = step(self.table, getattr(model, attribute), getattr(model, self.context_attribute), event)
        except EventForbidden as error:
            raise Refused(error) from None
        setattr(model, attribute, taken.state)
        setattr(model, self.context_attribute, taken.context)
        if self.on_step is not None:
            self.on_step(model, event, taken)
        return taken

"""The gateway in front of both stacks: routes by strategy, obeys the phase, counts everything. Pure.

A request passes through `arrived`, `strike`, `admit`, `completed` and, if it fails, `answered`, in this
order. Waiting (latency, silence, a slow statement) is the server's part, between those steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs

from bluegreen_adapters.testing.engine.faults import FaultPlan, InjectedFault
from bluegreen_adapters.testing.engine.handlers import Fields, Handler
from bluegreen_adapters.testing.engine.options import REFUSALS, EngineOptions
from bluegreen_adapters.testing.engine.phases import (
    STRATEGIES,
    Answer,
    Phase,
    Strategy,
    Work,
    named,
    other,
)
from bluegreen_adapters.testing.engine.sql import ParsedStatement
from bluegreen_adapters.testing.engine.stacks import ACCESS_DENIED, Problem, Stack, StackQuery
from bluegreen_adapters.testing.engine.statistics import Offence, Recorder, Statistics

UNAVAILABLE = Problem("UNAVAILABLE", "failed to connect to the stack")
SUSPENDED = Problem("UNAVAILABLE", "status: 503, cluster is suspended")
VANISHED = Problem("UNAVAILABLE", "the stack went away while it served this request")
BAD_TOKEN = Problem("UNAUTHENTICATED", "the bearer token is not valid")

_NO_QUERY = StackQuery("", ParsedStatement("", writes=False, rows=0, batch=1))


@attrs.define(eq=False)
class EngineCall:
    """A request, and what is found out about it on its way.

    Args:
        method: which call this is.
        request: its message; only fields are read.
        named: the strategy as it was sent; empty if none was.
        token: the bearer token, or none.
        planner_ip: the engine address in the metadata; empty if there is none.

    Attributes:
        strategy: the stack that it goes to, or none if it named none.
        query: the query that it is about, even if that has vanished, or none.
        was_executed, had_rows: what that query was before this request.
    """

    method: Handler
    request: Any
    named: str = ""
    token: str | None = None
    planner_ip: str = ""
    strategy: Strategy | None = None
    session_id: str = ""
    query: StackQuery | None = None
    was_executed: bool = False
    had_rows: bool = False


@attrs.frozen
class Served:
    """A request was let in and has had its effect.

    Args:
        fields: fields of the response.
        after_s: seconds that it takes.
        generation: generation of the stack that serves it.
    """

    fields: Fields
    after_s: float = 0.0
    generation: int = 0


class Silence:
    """A request is accepted and gets no answer."""


SILENCE = Silence()


class Gateway:
    """Both stacks behind one address. One thread at a time.

    Args:
        options: how the engine is set up.
        clock: seconds, for the timeline only.

    >>> gateway = Gateway(EngineOptions())
    >>> gateway.enter(named("announce", target="green"))
    >>> gateway.announcement("blue")
    'green'
    """

    def __init__(self, options: EngineOptions, clock: Callable[[], float] = time.monotonic) -> None:
        self.options = options
        self.stacks: dict[Strategy, Stack] = {
            name: Stack(name, colliding_ids=options.colliding_ids, rotate_sessions=options.rotate_sessions)
            for name in STRATEGIES
        }
        self.faults = FaultPlan()
        self.recorder = Recorder()
        self.phase = named("steady", active=options.active)
        self._tokens = set(options.tokens)
        self._refusal = REFUSALS[options.refusal]
        self._clock = clock
        self._began_s = clock()
        self.enter(self.phase)

    # -- control

    def enter(self, phase: Phase) -> None:
        """Begin a phase: its conducts hold from now on, and stacks that forget do so."""
        self.phase = phase
        at_s = self._clock() - self._began_s
        self.recorder.phase(phase, at_s)
        for name, stack in self.stacks.items():
            if phase.conduct(name).forgets:
                self.recorder.vanished(name, stack.forget(), at_s)

    def revoke_token(self, token: str) -> bool:
        """Accept a bearer token no more, and return whether it was accepted until now."""
        known = token in self._tokens
        self._tokens.discard(token)
        return known

    def statistics(self) -> Statistics:
        """Return a picture of all counts."""
        return self.recorder.snapshot(
            open_sessions={name: stack.open_sessions for name, stack in self.stacks.items()},
            open_queries={name: len(stack.queries) for name, stack in self.stacks.items()},
            faults=self.faults.counts,
        )

    def reset_statistics(self) -> None:
        """Count from zero again; the timeline begins with the present phase."""
        self.recorder.reset()
        self.recorder.phase(self.phase, self._clock() - self._began_s)

    def running(self, strategy: Strategy) -> int:
        """How many queries of a stack are executed and have not ended."""
        return sum(query.executed for query in self.stacks[strategy].queries.values())

    # -- the way of a request

    def arrived(self, call: EngineCall) -> None:
        """Count a request, find its stack and its query, and tell what it carries that belongs elsewhere."""
        name = call.named.lower()
        call.strategy = "blue" if name == "blue" else "green" if name == "green" else None
        self.recorder.request(call.method.name, call.strategy or "none", token=call.token is not None)
        request = call.request
        call.session_id = getattr(request, "sessionId", "")
        if call.strategy is None:
            if call.method.name != "healthCheck":
                self._offend(call, f"strategy {call.named!r}" if call.named else "no strategy")
            return
        stack, foreign = self.stacks[call.strategy], self.stacks[other(call.strategy)]
        wrong: str | None = None
        if foreign.issued_session(call.session_id):
            wrong = "session of the other stack"
        if call.method.has_query:
            query_id: str = request.queryId
            query = call.query = stack.find(query_id) or stack.vanished.get(query_id)
            if query is not None:
                call.was_executed = query.executed
                call.had_rows = query.has_handed_rows
            if foreign.issued_query(query_id):
                wrong = "query of the other stack"
            elif foreign.engine_ip in (request.engineIP, call.planner_ip):
                wrong = "engine address of the other stack"
        if wrong is not None:
            self._offend(call, wrong)

    def strike(self, call: EngineCall) -> InjectedFault | None:
        """Return the injected fault that meets this request, or none."""
        if call.query is not None:
            text: str | None = call.query.statement.text
        else:
            text = getattr(call.request, "queryString", None)
        return self.faults.strike(call.method.name, call.strategy or "none", text)

    def admit(self, call: EngineCall) -> Served | Problem | Silence:
        """Meet a request as the phase says, and do its work if it is let in."""
        if call.method.name == "healthCheck" and call.strategy is None:
            return Served({})
        if call.strategy is None:
            return self._refusal
        answer = self.phase.conduct(call.strategy).answer(self._work(call))
        if answer != "serve":
            return self._turned_away(answer)
        stack = self.stacks[call.strategy]
        if call.method.role == "authenticate":
            return self._authenticate(call, stack)
        if call.method.role != "open":
            denied = self._denied(call, stack)
            if denied is not None:
                return denied
        return self._perform(call, stack)

    def completed(self, call: EngineCall, served: Served) -> Problem | None:
        """After the time that the work took: whether the stack is still there to answer."""
        if call.strategy is not None and self.stacks[call.strategy].generation != served.generation:
            return VANISHED
        return None

    def announcement(self, strategy: Strategy | None) -> str:
        """What the responses of a stack carry in `new_strategy`."""
        return (strategy and self.phase.conduct(strategy).announces) or ""

    def renewed_session(self, call: EngineCall) -> str:
        """The session id that the response to this request carries."""
        return self.stacks[call.strategy].renewed(call.session_id) if call.strategy else call.session_id

    def answered(self, call: EngineCall, problem: Problem) -> None:
        """Count an answer that is an error, and tell which statement may be lost by it."""
        if problem.refusal:
            self.recorder.refused(call.method.name, call.strategy or "none")
        else:
            self.recorder.error(call.method.name, problem.code)
        query = call.query
        if query is None:
            return
        unclear = call.method.role == "execute" and problem.transport and query.statement.writes
        stranded = call.was_executed and (query.statement.writes or call.had_rows)
        if unclear or (stranded and problem != ACCESS_DENIED):
            self.recorder.allow_loss(query.statement.text)

    def given_up(self, call: EngineCall) -> None:
        """The client ended a request before it had an answer."""
        self.answered(call, Problem("CANCELLED", "the client gave up"))

    # -- parts of admit

    def _work(self, call: EngineCall) -> Work:
        if not call.method.has_query:
            return "new"
        if call.query is not None:
            return "running" if call.query.executed else "prepared"
        return "prepared" if call.method.role == "execute" else "running"

    def _turned_away(self, answer: Answer) -> Problem | Silence:
        if answer == "silent":
            return SILENCE
        if answer == "unavailable":
            return UNAVAILABLE
        return SUSPENDED if answer == "suspended" else self._refusal

    def _authenticate(self, call: EngineCall, stack: Stack) -> Served | Problem:
        if call.token is not None:
            return Served({}, 0.0, stack.generation) if call.token in self._tokens else BAD_TOKEN
        request = call.request
        if request.user != self.options.user or request.password != self.options.password:
            return Served({}, 0.0, stack.generation)
        self.recorder.authenticated(stack.strategy)
        call.session_id = stack.open_session(request.user)
        return Served({"engineIP": stack.engine_ip}, 0.0, stack.generation)

    def _denied(self, call: EngineCall, stack: Stack) -> Problem | None:
        if call.token is not None:
            return None if call.token in self._tokens else BAD_TOKEN
        return None if stack.knows_session(call.session_id) else ACCESS_DENIED

    def _perform(self, call: EngineCall, stack: Stack) -> Served | Problem:
        method = call.method
        query = call.query
        if method.role in ("execute", "use") and (query is None or query.id not in stack.queries):
            return stack.unknown(call.request.queryId)
        outcome = method.perform(stack, call.request, query or _NO_QUERY)
        if isinstance(outcome, Problem):
            return outcome
        after_s = 0.0
        if method.role == "execute" and query is not None:
            self.recorder.executed(query.statement.text, writes=query.statement.writes)
            after_s = query.statement.sleep_s
        return Served(outcome, after_s, stack.generation)

    def _offend(self, call: EngineCall, reason: str) -> None:
        request = call.request
        self.recorder.offence(
            Offence(
                method=call.method.name,
                strategy=call.named,
                reason=reason,
                session_id=call.session_id,
                query_id=getattr(request, "queryId", ""),
                engine_ip=getattr(request, "engineIP", ""),
                phase=self.phase.name,
            )
        )

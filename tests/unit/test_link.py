"""A link without I/O: its flows are driven step by step, so that every order of events can be had."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

import attrs
import pytest

from bluegreen.config.settings import Settings
from bluegreen.errors import QueryLost, StrategyUnavailable
from bluegreen.machines.strategy.events import AuthSuccess, CacheInvalidated, StrategyAnnounced
from bluegreen.runtime.manager import StrategyManager
from bluegreen.runtime.sansio import Sleep, Wait
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.protocol import Fault, Method, Probe, Protocol, Role, StatusRule
from bluegreen_adapters.connection.query import Rpc
from bluegreen_adapters.connection.requests import Blank, Failure, Launch, Outcome, Reply, Send
from bluegreen_adapters.connection.session_pool import SessionPool
from support.clock import FakeClock
from support.managing import BLUE, GREEN, SCOPE, on_blue

PROTOCOL = Protocol(
    "toy",
    methods={
        "login": Method(Role.AUTHENTICATE, repeatable=True),
        "begin": Method(Role.BEGIN, repeatable=True),
        "execute": Method(Role.USE, effect="executed"),
        "look": Method(Role.USE, repeatable=True),
        "fetch": Method(Role.USE, effect="fetched", rows=("rows",)),
        "clear": Method(Role.END, effect="cleared", repeatable=True),
        "cancel": Method(Role.END, effect="cancelled", repeatable=True),
        "names": Method(Role.FREE, repeatable=True),
        "change": Method(Role.FREE),
    },
    statuses=(
        StatusRule(Fault.WRONG_STRATEGY, ("UNKNOWN",), "456"),
        StatusRule(Fault.NOT_AUTHENTICATED, ("INTERNAL",), "denied"),
    ),
    probe=Probe("names", lambda session_id: Message(sessionId=session_id or ""), as_begin=False),
)


@attrs.define
class Message:
    """A message of any method."""

    sessionId: str = ""
    queryId: str = ""
    engineIP: str = ""
    queryString: str = ""
    rows: str = ""
    new_strategy: str = ""


class Refused(Exception):
    """What a driver raises for a status."""


def failure(code: str, details: str = "") -> Failure:
    return Failure(code, details, Refused(code, details))


REFUSED = failure("UNKNOWN", "456")
UNAVAILABLE = failure("UNAVAILABLE")
DENIED = failure("INTERNAL", "denied")

Flow = Generator[Any, Any, Any]


class Stacks:
    """Answers what the link sends, as two stacks would. `refusing` refuses everything."""

    def __init__(self) -> None:
        self.refusing: set[str] = set()
        self.announces = ""
        self.sent: list[tuple[str, str, str]] = []
        self.sessions = 0
        self.waited: list[float] = []
        self.launches: Callable[[Send], Any] = lambda send: None
        self.blank: Any = Message()

    def answer(self, command: Any) -> Any:
        if isinstance(command, Send):
            return self.outcome(command)
        if isinstance(command, Launch):
            return self.launches(command.send)
        if isinstance(command, Blank):
            return self.blank
        assert isinstance(command, (Wait, Sleep)), command
        if isinstance(command, Wait):
            self.waited.append(command.timeout_s)
            return command.future.done()
        self.waited.append(command.delay_s)
        return None

    def outcome(self, send: Send) -> Outcome:
        strategy = str(dict(send.metadata)["strategy"])
        self.sent.append((send.method, strategy, send.request.queryId))
        if strategy in self.refusing:
            return REFUSED
        made = Message(new_strategy=self.announces)
        if send.method == "begin":
            made = attrs.evolve(made, queryId="1", engineIP=strategy)
        if send.method == "fetch":
            made = attrs.evolve(made, rows=strategy)
        if send.method == "login":
            self.sessions += 1
            made = attrs.evolve(made, sessionId=f"{strategy}-{self.sessions}")
        return Reply(made)

    def run(self, flow: Flow, answer: Any = None) -> Any:
        """Drive a flow to its end."""
        try:
            while True:
                answer = self.answer(flow.send(answer))
        except StopIteration as stop:
            return stop.value

    def methods(self) -> list[str]:
        return [method for method, _, _ in self.sent]


@pytest.fixture
def manager() -> StrategyManager:
    return on_blue(StrategyManager(SCOPE, Settings()))


@pytest.fixture
def stacks() -> Stacks:
    return Stacks()


@pytest.fixture
def link(manager: StrategyManager) -> Connection:
    return Connection(manager, PROTOCOL)


def rpc(name: str, query: Any = "", **fields: Any) -> Rpc:
    deadline_s, metadata = fields.pop("deadline_s", None), fields.pop("metadata", ())
    return Rpc(name, PROTOCOL.methods[name], Message(queryId=query, **fields), metadata, deadline_s)


def begun(stacks: Stacks, link: Connection, text: str = "SELECT 1", *, executed: bool = True) -> Any:
    answer = stacks.run(link.call(rpc("begin", queryString=text)))
    if executed:
        stacks.run(link.call(rpc("execute", answer.queryId)))
    return answer


def login(stacks: Stacks, link: Connection) -> Any:
    return stacks.run(link.call(rpc("login", queryString="me")))


def paused(flow: Flow, stacks: Stacks, method: str) -> Send:
    """Drive a flow until it sends `method`, and leave it there."""
    command = next(flow)
    while not (isinstance(command, Send) and command.method == method):
        command = flow.send(stacks.answer(command))
    return command


# -- several RPCs of one query at once


def test_rows_that_arrive_after_the_query_has_been_begun_again_are_fetched_again(
    link: Connection, stacks: Stacks
) -> None:
    query = begun(stacks, link)
    fetch = link.call(rpc("fetch", query.queryId))
    paused(fetch, stacks, "fetch")
    stacks.refusing = {"blue"}
    stacks.run(link.call(rpc("look", query.queryId)))
    assert stacks.run(fetch, Reply(Message(rows="blue"))).rows == "green"


def test_rows_that_arrive_while_the_query_is_begun_again_are_fetched_again(
    link: Connection, stacks: Stacks
) -> None:
    query = begun(stacks, link)
    fetch, look = link.call(rpc("fetch", query.queryId)), link.call(rpc("look", query.queryId))
    paused(fetch, stacks, "fetch")
    stacks.refusing = {"blue"}
    send = paused(look, stacks, "look")
    paused_at = look.send(stacks.answer(send))  # the repair has begun
    waiting = fetch.send(Reply(Message(rows="blue")))
    assert isinstance(waiting, Wait)
    stacks.run(look, stacks.answer(paused_at))
    assert waiting.future.done()
    assert stacks.run(fetch, True).rows == "green"


def test_rows_that_arrived_first_forbid_to_begin_again(link: Connection, stacks: Stacks) -> None:
    query = begun(stacks, link)
    look = link.call(rpc("look", query.queryId))
    paused(look, stacks, "look")
    assert stacks.run(link.call(rpc("fetch", query.queryId))).rows == "blue"
    with pytest.raises(QueryLost, match="rows of it"):
        stacks.run(look, REFUSED)


@pytest.mark.parametrize("outcome", [Reply(Message()), REFUSED, UNAVAILABLE])
def test_a_repair_waits_for_the_execution_that_is_under_way(
    link: Connection, stacks: Stacks, outcome: Outcome
) -> None:
    query = begun(stacks, link, "INSERT INTO t", executed=False)
    execute, look = link.call(rpc("execute", query.queryId)), link.call(rpc("look", query.queryId))
    paused(execute, stacks, "execute")
    paused(look, stacks, "look")
    stacks.refusing = {"blue"}
    waiting = look.send(REFUSED)
    assert isinstance(waiting, Wait)
    assert not waiting.future.done()
    if outcome is UNAVAILABLE:
        with pytest.raises(QueryLost, match="may have been executed"):
            stacks.run(execute, outcome)
    else:
        stacks.run(execute, outcome)
    assert waiting.future.done()
    if outcome is REFUSED:  # it was never executed on blue: both go on, on green
        stacks.run(look, True)
    else:
        with pytest.raises(QueryLost):
            stacks.run(look, True)
    assert stacks.methods().count("execute") == (1 if outcome is REFUSED else 0)


def test_two_executions_at_once_leave_nothing_to_wait_for(link: Connection, stacks: Stacks) -> None:
    query = begun(stacks, link, executed=False)
    flows = [link.call(rpc("execute", query.queryId)) for _ in range(2)]
    for flow in flows:
        paused(flow, stacks, "execute")
    for flow in flows:
        stacks.run(flow, Reply(Message()))
    stacks.refusing = {"blue"}
    assert stacks.run(link.call(rpc("fetch", query.queryId))).rows == "green"
    assert stacks.waited == []


@pytest.mark.parametrize("name", ["look", "execute", "clear"])
def test_nobody_waits_for_another_call_of_the_query_for_ever(
    link: Connection, stacks: Stacks, name: str
) -> None:
    query = begun(stacks, link)
    repair = link.call(rpc("look", query.queryId))
    paused(repair, stacks, "look")
    stacks.refusing = {"blue"}
    repair.send(REFUSED)
    with pytest.raises(StrategyUnavailable, match="another call of the same query"):
        stacks.run(link.call(rpc(name, query.queryId)))
    assert stacks.waited == [30.0]


def test_a_query_that_is_ended_while_it_is_begun_again_leaves_no_ticket(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    query = begun(stacks, link)
    look = link.call(rpc("look", query.queryId))
    paused(look, stacks, "look")
    stacks.refusing = {"blue"}
    command = look.send(REFUSED)
    link.close()
    with pytest.raises(QueryLost, match="ended while it was begun again"):
        stacks.run(look, stacks.answer(command))
    assert manager.open_tickets == ()


def test_a_query_that_is_ended_while_a_strategy_is_looked_for_leaves_no_ticket(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    login(stacks, link)
    query = begun(stacks, link)
    look = link.call(rpc("look", query.queryId))
    paused(look, stacks, "look")
    asked = look.send(REFUSED)
    assert isinstance(asked, Send)
    assert (asked.method, manager.state) == ("login", "Detecting")
    link.close()
    with pytest.raises(QueryLost, match="ended while it was begun again"):
        look.send(stacks.answer(asked))
    assert manager.open_tickets == ()


def test_a_replay_that_is_refused_when_it_is_executed_begins_once_more(
    link: Connection, stacks: Stacks
) -> None:
    query = begun(stacks, link)
    look = link.call(rpc("look", query.queryId))
    paused(look, stacks, "look")
    begin = look.send(REFUSED)
    execute = look.send(stacks.answer(begin))
    assert execute.method == "execute"
    assert ("strategy", "green") in execute.metadata
    stacks.run(look, REFUSED)
    assert stacks.methods()[-3:] == ["begin", "execute", "look"]
    assert {strategy for _, strategy, _ in stacks.sent[-3:]} == {"blue"}


def test_a_strategy_that_is_good_for_others_only_is_given_up_after_three_attempts(
    stacks: Stacks, manager: StrategyManager
) -> None:
    link = Connection(manager, PROTOCOL, credentials=lambda: (Message(), ()))
    flow = link.call(rpc("names"))
    command = next(flow)
    for attempt in range(3):
        assert command.method == "login"
        manager.send(CacheInvalidated())  # another connection detects meanwhile, and finds it good
        manager.send(AuthSuccess(BLUE, manager.state_version))
        if attempt < 2:
            command = flow.send(REFUSED)
    with pytest.raises(StrategyUnavailable, match="blue accepts no session: 456"):
        flow.send(REFUSED)
    assert manager.open_tickets == ()


def test_an_error_of_the_server_is_raised_although_an_execution_is_under_way(
    link: Connection, stacks: Stacks
) -> None:
    query = begun(stacks, link, executed=False)
    execute, look = link.call(rpc("execute", query.queryId)), link.call(rpc("look", query.queryId))
    paused(execute, stacks, "execute")
    paused(look, stacks, "look")
    with pytest.raises(Refused):
        look.send(failure("INTERNAL", "not yet"))
    stacks.run(execute, Reply(Message()))


# -- flows that are broken off


def roles(stacks: Stacks, link: Connection) -> dict[str, Callable[[], Flow]]:
    query = begun(stacks, link)
    prepared = begun(stacks, link, executed=False)
    kept = [query, prepared]
    return {
        "login": lambda: link.call(rpc("login", queryString="another")),
        "begin": lambda: link.call(rpc("begin", queryString="SELECT 1")),
        "names": lambda: link.call(rpc("names")),
        "execute": lambda: link.call(rpc("execute", kept[1].queryId)),
        "fetch": lambda: link.call(rpc("fetch", kept[0].queryId)),
        "clear": lambda: link.call(rpc("clear", kept[0].queryId)),
    }


@pytest.mark.parametrize("role", ["login", "begin", "names", "execute", "fetch", "clear"])
@pytest.mark.parametrize("how", ["interrupted", "let go", "let go while the lock is held"])
def test_a_call_that_is_broken_off_at_any_step_leaves_no_ticket(role: str, how: str) -> None:
    step = 0
    while True:
        stacks, manager = Stacks(), on_blue(StrategyManager(SCOPE, Settings()))
        link = Connection(manager, PROTOCOL)
        login(stacks, link)
        flows = roles(stacks, link)
        stacks.refusing = {"blue"}
        flow = flows[role]()
        try:
            command = next(flow)
            for _ in range(step):
                command = flow.send(stacks.answer(command))
        except StopIteration:
            break
        if how == "interrupted":
            with pytest.raises(KeyboardInterrupt):
                flow.throw(KeyboardInterrupt())
        elif how == "let go":
            flow.close()
        else:
            with manager._lock:
                flow.close()
        del flow, command
        flows.clear()
        gc.collect()
        assert manager.open_tickets == (), f"at step {step}"
        step += 1
    assert step > 1


def test_an_execution_that_is_broken_off_is_not_repeated(link: Connection, stacks: Stacks) -> None:
    query = begun(stacks, link, "INSERT INTO t", executed=False)
    execute = link.call(rpc("execute", query.queryId))
    paused(execute, stacks, "execute")
    with pytest.raises(KeyboardInterrupt):
        execute.throw(KeyboardInterrupt())
    stacks.refusing = {"blue"}
    with pytest.raises(QueryLost):
        stacks.run(link.call(rpc("look", query.queryId)))
    assert stacks.methods().count("execute") == 0


def test_a_query_and_its_link_may_go_in_either_order(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    queries = [begun(stacks, link), begun(stacks, link)]
    assert len(manager.open_tickets) == 2
    queries.pop()
    gc.collect()
    assert len(manager.open_tickets) == 1
    assert len(link.queries) == 1
    stacks.sent.clear()


def test_a_query_outlives_its_link_without_harm(manager: StrategyManager, stacks: Stacks) -> None:
    link = Connection(manager, PROTOCOL)
    query = begun(stacks, link)
    del link
    gc.collect()
    assert manager.open_tickets == ()
    del query
    gc.collect()


# -- ids


def test_ids_that_are_in_use_are_made_different(link: Connection, stacks: Stacks) -> None:
    first, second = begun(stacks, link), begun(stacks, link)
    assert first.queryId == "1"
    assert second.queryId == "1~2"
    stacks.run(link.call(rpc("look", second.queryId)))
    assert stacks.sent[-1] == ("look", "blue", "1")
    del first
    gc.collect()
    assert link.queries == ("1~2",)


def test_an_answer_to_a_begin_without_an_id_begins_nothing(
    link: Connection, manager: StrategyManager, stacks: Stacks
) -> None:
    flow = link.call(rpc("begin"))
    paused(flow, stacks, "begin")
    assert stacks.run(flow, Reply(Message(new_strategy="green"))) == Message()
    assert (link.queries, manager.open_tickets) == ((), ())


def test_an_rpc_of_a_query_that_nobody_knows_goes_to_where_new_work_goes(
    link: Connection, stacks: Stacks
) -> None:
    stacks.run(link.call(rpc("look", "unknown")))
    stacks.run(link.call(rpc("clear", "unknown")))
    assert stacks.sent == [("look", "blue", "unknown"), ("clear", "blue", "unknown")]


def test_a_query_that_could_not_be_begun_again_is_lost_and_can_be_cleared(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    query = begun(stacks, link)
    stacks.refusing = {"blue", "green"}
    with pytest.raises(StrategyUnavailable, match="neither strategy takes the request"):
        stacks.run(link.call(rpc("look", query.queryId)))
    with pytest.raises(QueryLost):
        stacks.run(link.call(rpc("look", query.queryId)))
    assert stacks.run(link.call(rpc("clear", query.queryId))) == Message()
    stacks.blank = None
    with pytest.raises(QueryLost, match="not on any stack"):
        stacks.run(link.call(rpc("clear", query.queryId)))
    assert (link.queries, manager.open_tickets) == ((), ())


# -- answers


def test_an_announcement_of_no_strategy_is_ignored_with_a_warning(
    link: Connection, stacks: Stacks, manager: StrategyManager, caplog: pytest.LogCaptureFixture
) -> None:
    stacks.announces = "purple"
    assert stacks.run(link.call(rpc("names"))).new_strategy == ""
    assert manager.state == "Stable"
    assert "'purple' is no strategy" in caplog.text


def test_a_server_that_announces_nonsense_for_ever_does_not_fill_the_log(
    link: Connection, stacks: Stacks, manager: StrategyManager, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(200):
        stacks.announces = f"{number}\x1b[2J\r\n" + "purple" * 200_000
        stacks.run(link.call(rpc("names")))
    (told,) = [one.getMessage() for one in caplog.records if "announcement" in one.getMessage()]
    assert len(told) < 300
    assert told.isprintable()
    assert manager.state == "Stable"


@pytest.mark.parametrize("raised", [LookupError("login was not made"), None])
def test_an_rpc_whose_announcement_cannot_be_prepared_for_succeeds(
    link: Connection, stacks: Stacks, raised: Exception | None
) -> None:
    login(stacks, link)
    stacks.announces = "green"
    flow = link.call(rpc("names"))
    launch = flow.send(stacks.answer(paused(flow, stacks, "names")))
    assert isinstance(launch, Launch)
    with pytest.raises(StopIteration):
        flow.send(None) if raised is None else flow.throw(raised)
    assert stacks.run(link.call(rpc("names"))) == Message()
    assert stacks.sent[-2:] == [("login", "green", ""), ("names", "green", "")]


def test_a_session_that_is_opened_meanwhile_is_not_opened_ahead_of_time_as_well(
    link: Connection, stacks: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(stacks, link)
    stacks.announces = "green"
    flow = link.call(rpc("names"))
    announcing = stacks.answer(paused(flow, stacks, "names"))
    seen = SessionPool.on

    def seen_before_another_thread_opens_it(sessions: SessionPool, strategy: Any) -> Any:
        monkeypatch.setattr(SessionPool, "on", seen)
        before = seen(sessions, strategy)
        stacks.run(sessions.opened(strategy, 1.0))
        return before

    monkeypatch.setattr(SessionPool, "on", seen_before_another_thread_opens_it)
    with pytest.raises(StopIteration):
        flow.send(announcing)
    assert stacks.sent[-1] == ("login", "green", "")


@pytest.mark.parametrize("ends", ["cancelled", "refused", "with an empty answer", "well"])
def test_a_session_ahead_of_time_is_used_only_if_there_is_one(
    link: Connection, stacks: Stacks, ends: str
) -> None:
    login(stacks, link)
    launched: list[Future[Outcome]] = []
    stacks.launches = lambda send: launched.append(Future()) or launched[-1]  # type: ignore[func-returns-value]
    stacks.announces = "green"
    stacks.run(link.call(rpc("names")))
    stacks.announces = ""
    (future,) = launched
    if ends == "cancelled":
        future.cancel()
    else:
        answers = {"refused": REFUSED, "with an empty answer": Reply(Message())}
        future.set_result(answers.get(ends, Reply(Message(sessionId="early"))))
    stacks.sent.clear()
    stacks.run(link.call(rpc("names")))
    assert stacks.methods() == (["names"] if ends == "well" else ["login", "names"])
    assert len(launched) == 1


def test_a_server_that_announces_both_in_turn_is_not_authenticated_at_as_often_as_it_answers(
    stacks: Stacks,
) -> None:
    clock = FakeClock()
    link = Connection(on_blue(StrategyManager(SCOPE, Settings(), clock=clock)), PROTOCOL)
    login(stacks, link)
    query = begun(stacks, link)
    launched: list[str] = []

    def launches(send: Send) -> Future[Outcome]:
        launched.append(send.method)
        begun: Future[Outcome] = Future()
        begun.set_result(Reply(Message(sessionId="early")))
        return begun

    def flap(times: int) -> int:
        before = len(launched)
        for turn in range(times):
            stacks.announces = "blue" if turn % 2 else "green"
            stacks.run(link.call(rpc("look", query.queryId)))
        return len(launched) - before

    stacks.launches = launches
    assert flap(200) == 4
    for _ in range(3):
        clock.advance(link.manager.settings.failed_cooldown_s)
        assert flap(200) == 1
    clock.advance(60.0)
    assert flap(200) == 4


def test_what_is_not_repeatable_and_belongs_to_no_query_is_not_repeated(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    flow = link.call(rpc("change"))
    paused(flow, stacks, "change")
    with pytest.raises(Refused):
        flow.send(UNAVAILABLE)
    assert manager.open_tickets == ()
    flow = link.call(rpc("change"))
    paused(flow, stacks, "change")
    assert stacks.run(flow, REFUSED) == Message()  # refused at the gateway: it took no effect
    assert stacks.sent == [("change", "green", "")]


def test_a_clear_that_the_application_gives_up_can_be_sent_again(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    query = begun(stacks, link)
    flow = link.call(rpc("clear", query.queryId))
    paused(flow, stacks, "clear")
    with pytest.raises(Refused):
        flow.send(failure("DEADLINE_EXCEEDED"))
    assert manager.open_tickets == ()
    stacks.sent.clear()
    assert stacks.run(link.call(rpc("clear", query.queryId))) == Message()
    assert stacks.sent == [("clear", "blue", "1")]


# -- sessions


def test_if_who_opens_a_session_is_stopped_the_next_one_opens_it(link: Connection, stacks: Stacks) -> None:
    login(stacks, link)
    first, second = link.call(rpc("names")), link.call(rpc("names"))
    paused(first, stacks, "names")
    paused(second, stacks, "names")
    login_sent = first.send(DENIED)
    assert isinstance(login_sent, Send)
    waiting = second.send(DENIED)
    assert isinstance(waiting, Wait)
    with pytest.raises(KeyboardInterrupt):
        first.throw(KeyboardInterrupt())
    assert waiting.future.done()
    assert stacks.run(second, True) == Message()


def test_a_session_that_somebody_else_opens_too_slowly_is_not_waited_for(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    login(stacks, link)
    first, second = link.call(rpc("names")), link.call(rpc("names"))
    paused(first, stacks, "names")
    paused(second, stacks, "names")
    first.send(DENIED)
    waiting = second.send(DENIED)
    assert isinstance(waiting, Wait)
    command = second.send(False)  # not within its time: the denial took no effect, so the query begins again
    assert isinstance(command, (Wait, Send))
    second.close()
    first.close()
    assert manager.open_tickets == ()


def test_a_denied_session_that_is_renewed_by_an_empty_answer_is_unavailable(
    link: Connection, stacks: Stacks
) -> None:
    login(stacks, link)
    flow = link.call(rpc("names"))
    paused(flow, stacks, "names")
    command = flow.send(DENIED)
    assert isinstance(command, Send)
    on_green = flow.send(Reply(Message()))
    assert ("strategy", "green") in on_green.metadata
    with pytest.raises(StrategyUnavailable, match="no new one is given"):
        flow.send(Reply(Message()))


def test_a_stack_that_refuses_the_renewed_session_is_left(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    login(stacks, link)
    query = begun(stacks, link, "INSERT INTO t", executed=False)
    flow = link.call(rpc("execute", query.queryId))
    paused(flow, stacks, "execute")
    probe = flow.send(DENIED)
    assert isinstance(probe, Send)
    assert probe.method == "names"
    stacks.refusing = {"blue"}
    stacks.run(flow, DENIED)
    assert manager.active == GREEN
    assert stacks.sent[-1][:2] == ("execute", "green")


@pytest.mark.parametrize("attempts", [1, 5])
def test_a_request_is_sent_again_as_often_as_the_settings_say_and_then_its_stack_is_left(
    stacks: Stacks, attempts: int
) -> None:
    manager = on_blue(StrategyManager(SCOPE, Settings(retry_attempts=attempts)))
    link = Connection(manager, PROTOCOL)
    login(stacks, link)
    flow = link.call(rpc("names"))
    command: Any = paused(flow, stacks, "names")
    for number in range(attempts):
        assert manager.active is BLUE
        assert isinstance(flow.send(UNAVAILABLE), Sleep)
        if number < attempts - 1:  # the last one is for the other stack
            command = flow.send(None)
            assert isinstance(command, Send)
            assert ("strategy", "blue") in command.metadata
    stacks.run(flow, None)
    assert (manager.state, manager.active) == ("Stable", GREEN)
    assert stacks.sent[-1][:2] == ("names", "green")


def test_statement_is_classified_only_for_the_last_resend(stacks: Stacks) -> None:
    """Until then its stack gets the request again, whatever the statement does."""
    asked: list[Any] = []

    def reads(request: Any) -> bool:
        asked.append(request)
        return True

    manager = on_blue(StrategyManager(SCOPE, Settings(retry_attempts=2)))
    link = Connection(manager, attrs.evolve(PROTOCOL, reads=reads))
    login(stacks, link)
    query = begun(stacks, link)
    flow = link.call(rpc("look", query.queryId))
    paused(flow, stacks, "look")
    assert isinstance(flow.send(UNAVAILABLE), Sleep)
    assert isinstance(flow.send(None), Send)
    assert asked == []
    assert isinstance(flow.send(UNAVAILABLE), Sleep)
    assert len(asked) == 1
    flow.close()


def test_a_login_is_a_safe_point_at_which_a_switch_is_committed(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    login(stacks, link)
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    flow = Connection(manager, PROTOCOL).call(rpc("login", queryString="me"))
    paused(flow, stacks, "login")  # by now it has a ticket, and that has not ended
    assert (manager.state, manager.active) == ("Stable", GREEN)
    flow.close()


def test_the_other_strategy_is_asked_before_an_answer_is_held_against_one(
    link: Connection, stacks: Stacks, manager: StrategyManager
) -> None:
    login(stacks, link)
    kept = begun(stacks, link)
    flow = link.call(rpc("names"))
    paused(flow, stacks, "names")
    manager.send(StrategyAnnounced(GREEN, manager.state_version))
    stacks.run(flow, Reply(Message()))
    flow = link.call(rpc("names"))
    on_green = paused(flow, stacks, "login")
    assert ("strategy", "green") in on_green.metadata
    on_blue_too = flow.send(Reply(Message()))  # green says no: an empty answer
    assert ("strategy", "blue") in on_blue_too.metadata
    stacks.run(flow, stacks.answer(on_blue_too))
    assert (manager.state, manager.active) == ("Stable", BLUE)
    assert manager.snapshot.context.held_down is GREEN
    assert link.queries == (kept.queryId,)


def test_without_a_method_that_authenticates_a_login_is_an_error_of_the_description(
    manager: StrategyManager,
) -> None:
    link = Connection(
        manager, Protocol("toy", methods={}, queries=False), credentials=lambda: (Message(), ())
    )
    with pytest.raises(LookupError, match="nothing to authenticate with"):
        next(link.call(rpc("names")))
    assert manager.open_tickets == ()


def test_the_sessions_of_a_link_say_where_they_are_and_nothing_else(link: Connection, stacks: Stacks) -> None:
    assert repr(link.sessions) == "<Sessions on nothing>"
    login(stacks, link)
    assert repr(link.sessions) == "<Sessions on blue>"


def test_a_replay_presents_the_token_of_the_call_that_needs_it(link: Connection, stacks: Stacks) -> None:
    old = (("authorization", "old"), ("trace", "1"))
    query = stacks.run(link.call(rpc("begin", queryString="SELECT 1", metadata=old)))
    stacks.run(link.call(rpc("execute", query.queryId, metadata=old)))
    stacks.refusing = {"blue"}
    look = link.call(rpc("look", query.queryId, metadata=(("authorization", "new"), ("other", "2"))))
    begin = paused(look, stacks, "begin")
    assert begin.metadata == (("authorization", "new"), ("trace", "1"), ("strategy", "green"))


# -- deadlines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("bluegreen_adapters.connection.query.time.monotonic", lambda: now[0])
    return now


def test_nothing_is_waited_for_beyond_the_deadline_of_the_call(
    link: Connection, stacks: Stacks, clock: list[float], manager: StrategyManager
) -> None:
    login(stacks, link)
    flow = link.call(rpc("names", deadline_s=102.0))
    send = paused(flow, stacks, "names")
    assert send.timeout_s == 2.0
    clock[0] = 101.5
    pause = flow.send(UNAVAILABLE)
    assert isinstance(pause, Sleep)
    assert pause.delay_s <= 0.05
    again = flow.send(None)
    assert again.timeout_s == 0.5
    with pytest.raises(Refused, match="DEADLINE_EXCEEDED"):
        flow.send(failure("DEADLINE_EXCEEDED"))
    assert (manager.state, manager.open_tickets) == ("Stable", ())


def test_a_session_that_takes_longer_than_the_call_may_is_nobodys_fault(
    link: Connection, stacks: Stacks, clock: list[float], manager: StrategyManager
) -> None:
    login(stacks, link)
    version = manager.state_version
    first, second = (link.call(rpc("names", deadline_s=102.0)) for _ in range(2))
    paused(first, stacks, "names")
    paused(second, stacks, "names")
    leading, following = first.send(DENIED), second.send(DENIED)
    assert (leading.timeout_s, following.timeout_s) == (2.0, 2.0)
    for flow, late in ((first, failure("DEADLINE_EXCEEDED")), (second, False)):
        with pytest.raises(StrategyUnavailable, match="deadline of the call"):
            flow.send(late)
    assert (manager.state, manager.state_version, manager.open_tickets) == ("Stable", version, ())


def test_a_login_with_a_short_deadline_is_nobodys_fault(
    link: Connection, clock: list[float], stacks: Stacks, manager: StrategyManager
) -> None:
    flow = link.call(rpc("login", deadline_s=100.5))
    assert paused(flow, stacks, "login").timeout_s == 0.5
    with pytest.raises(StrategyUnavailable, match="deadline of the call"):
        flow.send(failure("DEADLINE_EXCEEDED"))
    assert manager.state == "Stable"


def test_an_error_of_the_driver_reaches_a_flow_with_a_deadline(
    link: Connection, clock: list[float], stacks: Stacks, manager: StrategyManager
) -> None:
    flow = link.call(rpc("names", deadline_s=100.5))
    paused(flow, stacks, "names")
    with pytest.raises(KeyboardInterrupt):
        flow.throw(KeyboardInterrupt())
    flow = link.call(rpc("names", deadline_s=100.5))
    paused(flow, stacks, "names")
    flow.close()
    assert manager.open_tickets == ()


def test_threads_that_begin_queries_with_the_same_ids_get_different_ones(
    link: Connection, manager: StrategyManager
) -> None:
    answers: list[Any] = []
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        answers.extend(begun(Stacks(), link) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(answer.queryId) for answer in answers}) == 400
    assert len(manager.open_tickets) == 400
    answers.clear()
    gc.collect()
    assert manager.open_tickets == ()


# -- the channel around it


class Recorder:
    """A channel that only notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.asked.append((name, args))


def test_what_a_channel_cannot_decide_it_leaves_to_the_real_one(link: Connection) -> None:
    grpc_sync = pytest.importorskip("bluegreen_adapters.grpc.channel", reason="needs grpcio")
    real = Recorder()
    with grpc_sync.SwitchingChannel(real, link) as channel:
        channel.subscribe(print)
        channel.unsubscribe(print)
        channel.stream_unary("/Toy/up")
        channel.stream_stream("/Toy/both")
        channel.unary_unary("/Toy/names")
        with pytest.raises(LookupError, match="login was not made on this channel, only names"):
            channel.port.stub("login")
        with pytest.raises(TypeError, match="no such command"):
            channel.port.perform("nonsense")
    assert [name for name, _ in real.asked] == [
        "subscribe",
        "unsubscribe",
        "stream_unary",
        "stream_stream",
        "unary_unary",
        "close",
    ]

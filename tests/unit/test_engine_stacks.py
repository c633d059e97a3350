"""A stack of the test engine: its sessions, its queries, and what it forgets."""

from __future__ import annotations

from bluegreen_adapters.testing.engine.stacks import ROTATED_IDS_KEPT, Problem, Stack, StackQuery


def prepared(stack: Stack, text: str = "SELECT 1 /*+ rows(5) batch(2) */") -> StackQuery:
    query = stack.prepare(text)
    assert isinstance(query, StackQuery)
    return query


def rows(stack: Stack, query: StackQuery) -> list[int]:
    numbers: list[int] = []
    while True:
        batch = stack.next_batch(query)
        assert not isinstance(batch, Problem)
        if not batch:
            return numbers
        numbers += batch


def test_a_query_is_prepared_executed_read_and_ended() -> None:
    stack = Stack("blue")
    query = prepared(stack)
    assert stack.find(query.id) is query
    assert stack.execute(query) is None
    assert rows(stack, query) == [0, 1, 2, 3, 4]
    assert query.exhausted
    assert stack.end(query.id) is None
    assert stack.find(query.id) is None


def test_rows_are_not_handed_out_before_execution() -> None:
    stack = Stack("blue")
    problem = stack.next_batch(prepared(stack))
    assert isinstance(problem, Problem)
    assert "has not been executed" in problem.details


def test_executing_again_counts_and_begins_the_result_again() -> None:
    stack = Stack("blue")
    query = prepared(stack)
    stack.execute(query)
    stack.next_batch(query)
    stack.execute(query)
    assert query.executions == 2
    assert rows(stack, query) == [0, 1, 2, 3, 4]


def test_a_failing_statement_is_not_executed() -> None:
    stack = Stack("blue")
    query = prepared(stack, "INSERT INTO t /*+ fail(disk full) */")
    problem = stack.execute(query)
    assert problem == Problem("INTERNAL", "disk full")
    assert not query.executed


def test_a_hint_that_makes_no_sense_fails_the_prepare() -> None:
    problem = Stack("blue").prepare("SELECT 1 /*+ batch(0) */")
    assert isinstance(problem, Problem)
    assert problem.code == "INVALID_ARGUMENT"


def test_ending_twice_is_harmless_and_ending_a_stranger_is_not() -> None:
    stack = Stack("blue")
    query = prepared(stack)
    assert stack.end(query.id) is None
    assert stack.end(query.id) is None
    for unknown in ("blue-q-99", "green-q-1", "", "blue-q-x"):
        assert isinstance(stack.end(unknown), Problem)


def test_the_stacks_give_ids_that_the_other_one_does_not_know() -> None:
    blue, green = Stack("blue"), Stack("green")
    assert prepared(blue).id != prepared(green).id
    assert blue.issued_query(prepared(blue).id)
    assert not blue.issued_query(prepared(green).id)
    assert blue.issued_session(blue.open_session("u"))
    assert not blue.issued_session(green.open_session("u"))
    assert blue.engine_ip != green.engine_ip


def test_colliding_ids_are_the_same_in_both_stacks_and_sessions_are_not() -> None:
    blue, green = Stack("blue", colliding_ids=True), Stack("green", colliding_ids=True)
    assert prepared(blue).id == prepared(green).id
    assert blue.open_session("u") != green.open_session("u")


def test_an_expired_session_is_unknown_and_its_queries_stay() -> None:
    stack = Stack("blue")
    session = stack.open_session("u")
    query = prepared(stack)
    assert stack.knows_session(session)
    assert stack.expire_sessions() == 1
    assert not stack.knows_session(session)
    assert stack.open_sessions == 0
    assert stack.find(query.id) is query


def test_session_ids_stay_unless_they_rotate() -> None:
    stack = Stack("blue")
    session = stack.open_session("u")
    assert stack.renewed(session) == session


def test_rotated_session_ids_are_valid_for_a_while() -> None:
    stack = Stack("blue", rotate_sessions=True)
    ids = [stack.open_session("u")]
    for _ in range(ROTATED_IDS_KEPT):
        ids.append(stack.renewed(ids[-1]))
    assert len(set(ids)) == len(ids)
    assert not stack.knows_session(ids[0])
    assert all(stack.knows_session(one) for one in ids[1:])
    assert stack.open_sessions == 1
    assert stack.renewed("blue-s-unknown") == "blue-s-unknown"


def test_a_stack_that_forgets_begins_anew_and_tells_what_vanished() -> None:
    stack = Stack("blue")
    session = stack.open_session("u")
    query = prepared(stack)
    generation = stack.generation
    assert stack.forget() == (query,)
    assert stack.generation == generation + 1
    assert stack.find(query.id) is None
    assert stack.vanished[query.id] is query
    assert not stack.knows_session(session)
    assert isinstance(stack.end(query.id), Problem)
    assert prepared(stack).id != query.id

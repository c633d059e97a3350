"""A hostile server cannot grow a client's memory, make it send without end, fill its log, or break a line of it.

Nor can it make the client authenticate as often as it likes. Shown with the real connector; each side is a process.

    make test-slow ARGS='tests/integration/test_hostile_server.py --hostile-seconds=60'
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import attrs
import pytest

pytest.importorskip("resource")
pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen_adapters.testing.engine.statistics import Statistics
from support.hostile import ABUSES, UNLISTED, Cost, HostileServer, asked, one_line
from support.telling import tell

# Each wait has a bound of its own, which the option moves.
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(0)]

RATES = {"long": 4.0} | {abuse: 10.0 for abuse in ABUSES if abuse != "long"}
"""Queries in a second, at a moderate pace: a query is seven or eight answers. Long ones are a megabyte each, of which
the transport alone makes some two per cent of a core for each query."""

FAST = 120.0
"""Queries in a second that ask for up to 1,000 answers."""

WARM_S = 1.0
GROWN_KB = 16 * 1024
"""By how much the most memory may grow: less than the answers of one second hold, where each is a megabyte."""

BLOCKS = 150 if sys.version_info >= (3, 11) else 600
"""By how many the blocks of Python's memory may become more: less than one for each answer of three seconds.
Python 3.10 fills some caches first: after 1,500 queries and 12 seconds they had 461, and no more after that."""

REQUESTS = 12
"""How many requests of a query a client may send, besides logins: a query that is begun three times and takes three
batches needs as many. A client that spins sends more, or changes its mind without being told to."""

LINE_BYTES = 1000
STARTED = 1
"""Lines that say which strategy was found at the start."""

COOLDOWN_S = 1.0
"""The default of `failed_cooldown_s`."""

AHEAD = 4 + 1
"""Sessions that may be opened ahead of time at once, and one that has come back by the end."""


@attrs.frozen
class Endured:
    """What asking a hostile server has cost, and what the server has seen of it."""

    cost: Cost
    seen: Statistics

    @property
    def authentications(self) -> int:
        """How often the client has asked for a session, on whichever stack."""
        return sum(self.seen.requests["authenticate"].values())

    @property
    def lasted_s(self) -> float:
        """How long the client has asked."""
        return self.cost.lasted_s


Endure = Callable[..., Endured]


@pytest.fixture(scope="module")
def endure(pytestconfig: pytest.Config) -> Endure:
    """Ask a server with this abuse, once for all tests that look at what comes of it."""
    seconds: float = pytestconfig.getoption("--hostile-seconds")
    known: dict[tuple[str, float], Endured] = {}

    def endured(abuse: str, rate: float | None = None) -> Endured:
        rate = RATES[abuse] if rate is None else rate
        if (abuse, rate) not in known:
            with HostileServer(abuse, max_seconds=seconds + 900) as server:
                cost = asked(server, seconds, rate=rate, warm_s=WARM_S)
                known[abuse, rate] = one = Endured(cost, server.statistics())
            tell(told(abuse, one))
        return known[abuse, rate]

    return endured


def told(abuse: str, one: Endured) -> str:
    cost, lasted_s = one.cost, one.lasted_s
    per_second = {
        "answers": one.seen.total_requests / lasted_s,
        "authentications": one.authentications / lasted_s,
        "steps": cost.steps / cost.seconds,
    }
    parts = (
        f"{cost.queries} queries in {cost.seconds:.1f} s, {cost.failed} of them failed",
        f"{100 * cost.cpu:.1f} % of a core",
        f"memory +{cost.grown_kb} kB, {cost.blocks:+} blocks",
        f"{cost.lines} lines, {cost.bytes} bytes logged",
        f"in a second {', '.join(f'{number:.1f} {name}' for name, number in per_second.items())}",
    )
    return f"{abuse}: {'; '.join(parts)}"


TO_AND_FRO = ("flapping", "sending away")
RUNS = [pytest.param((abuse, None), id=abuse) for abuse in ABUSES] + [
    pytest.param((abuse, FAST), id=f"{abuse} fast") for abuse in TO_AND_FRO
]


@pytest.fixture(params=RUNS)
def endured(request: pytest.FixtureRequest, endure: Endure) -> Endured:
    return endure(*request.param)


def test_memory_does_not_grow_with_what_a_server_says(endured: Endured) -> None:
    assert endured.cost.grown_kb <= GROWN_KB
    assert endured.cost.blocks <= BLOCKS


def test_a_client_sends_no_more_requests_and_takes_no_more_steps_than_its_queries_ask_for(
    endured: Endured,
) -> None:
    others = endured.seen.total_requests - endured.authentications
    assert others <= REQUESTS * endured.cost.total
    assert endured.cost.steps <= endured.seen.total_requests


def test_the_log_has_a_bound_that_does_not_depend_on_how_often_a_server_answers(endured: Endured) -> None:
    cost = endured.cost
    assert cost.lines <= 100 + endured.lasted_s + 2
    assert cost.bytes <= cost.lines * LINE_BYTES


def test_each_record_of_the_log_is_one_line_of_printable_characters(endured: Endured) -> None:
    assert endured.cost.broken == ()


@pytest.mark.parametrize("abuse", ["long", "invalid", "odd"])
def test_what_is_no_strategy_is_no_reason_to_do_anything(abuse: str, endure: Endure) -> None:
    one = endure(abuse)
    assert one.cost.failed == 0
    assert one.cost.steps == 0
    assert 1 <= one.cost.lines - STARTED <= 1 + one.lasted_s // 60
    assert one.authentications == 1
    assert set(one.seen.requests["executeStatement"]) == {"blue"}


def test_a_client_that_is_refused_by_both_asks_each_of_them_once_for_each_query(endure: Endure) -> None:
    one = endure("refusing")
    assert one.cost.failed == one.cost.queries
    assert all(re.match(r"Unavailable: [\d.:]+: both strategies failed", error) for error in one.cost.errors)
    assert all(one_line(error) and len(error) < LINE_BYTES for error in one.cost.errors)
    assert one.seen.requests.keys() == {"authenticate"}
    assert one.authentications <= 2 * one.cost.total


def test_a_refusal_in_other_words_reaches_the_application_unchanged(endure: Endure) -> None:
    """No whole message is a known form, so it is the server's own answer, whatever characters it has."""
    one = endure("refusing in other words")
    assert one.cost.failed == one.cost.queries
    seen = [text for error in one.cost.errors for text in UNLISTED if f'details = "{text}"' in error]
    assert sorted(seen) == sorted(UNLISTED)
    assert len(one.cost.errors) == len(UNLISTED)
    assert one.seen.requests.keys() == {"authenticate"}
    # The connector finds the words anywhere in a message, and logs in once more by itself.
    assert one.authentications <= 2 * 2 * one.cost.total


@pytest.mark.parametrize("rate", [None, FAST], ids=["moderate", "fast"])
@pytest.mark.parametrize("abuse", TO_AND_FRO)
def test_a_server_that_sends_its_client_to_and_fro_gets_a_session_for_a_query_at_most_and_some_by_the_clock(
    abuse: str, rate: float | None, endure: Endure
) -> None:
    one = endure(abuse, rate)
    assert one.cost.steps > one.cost.queries, "otherwise it was not sent to and fro"
    assert one.authentications <= one.cost.total + AHEAD + one.lasted_s / COOLDOWN_S


def test_no_query_runs_on_both_stacks_or_twice(endured: Endured) -> None:
    seen = endured.seen
    assert (seen.misrouted, seen.offences) == (0, ())
    assert (seen.executed_twice, seen.reads_repeated) == ({}, {})
    executed = seen.reads_executed + seen.writes_executed
    assert executed == (0 if endured.cost.errors else endured.cost.total)
    assert seen.open_queries == {"blue": 0, "green": 0}

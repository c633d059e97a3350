"""The suite itself: its loader is strict, its runner can fail, and every way runs what it is meant to run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen_adapters.testing.engine import EngineProcess
from support.cases import Case, CaseError, all_cases, case_of, read_cases
from support.forgetting import nothing_known
from support.running import Mismatch, run
from support.ways import WAYS

CASES = all_cases(Path(__file__).parent / "cases")
AT_LEAST = {
    "sync": 190,
    "sync-v2": 190,
    "oauth": 160,
    "pool": 190,
    "sqlalchemy": 160,
    "aio": 190,
    "aio-v2": 190,
    "channel": 190,
    "channel-aio": 190,
    "interceptor": 190,
    "interceptor-aio": 190,
}
"""How many cases each way runs at least; the cluster managers have no queries, and tests of their own."""


def case(**changes: Any) -> dict[str, Any]:
    return {
        "name": "a name",
        "why": "a rule",
        "steps": [{"query": "read", "from": "blue"}],
        "ends": {"executed": {"read": 1}},
        **changes,
    }


# -- the loader


def test_a_case_says_what_it_needs() -> None:
    steps = [
        {"execute": "read"},
        {"execute": "read 2", "by": "a.d"},
        {"cancel": True},
        {"ask": "explain", "by": "a.d"},
        {"expire": "blue"},
    ]
    assert case_of(case(steps=steps)).needs == {"queries", "cursors", "cancel", "explain", "session"}
    assert case_of(case(steps=[{"execute": "read"}, {"execute": "read"}])).needs == {"queries", "reuse"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"extra": 1}, "Case has no extra"),
        ({"steps": [{"qeury": "read"}]}, "one of these keys says what a step is"),
        ({"steps": [{"query": "read", "frm": "blue"}]}, "Query has no frm"),
        ({"steps": [{"query": "SELECT 1"}]}, "'SELECT 1'; accepted: read"),
        ({"steps": [{"query": "read", "clear": True}]}, "one of these keys says what a step is"),
        ({"steps": [{"phase": "anounce"}]}, "'anounce'; accepted"),
        ({"steps": [{"phase": "steady", "blue": {"nw": "serve"}}]}, "nw"),
        ({"steps": [{"switch": "gracful"}]}, "'gracful' is no switch"),
        ({"steps": [{"fault": {"rpc": "fetsch"}}]}, "'fetsch'; accepted"),
        ({"steps": [{"fault": {"rpc": "fetch", "acton": "drop"}}]}, "acton"),
        ({"steps": [{"expire": "red"}]}, "'red'; accepted: blue, green"),
        ({"steps": [{"fetch": 0, "from": "blue"}]}, "fetch: 0"),
        ({"steps": [{"fetch": "all"}]}, "either `from` or `raises`"),
        ({"steps": [{"execute": "read", "raises": "trouble"}]}, "'trouble'; accepted: lost"),
        ({"steps": [{"execute": "read", "by": "a.b.c"}]}, "'a.b.c'"),
        ({"steps": [{"execute": "read", "answer": ["INTERNAL", "no"]}]}, "without `raises: server`"),
        ({"steps": [{"execute": "read", "raises": "server", "answer": ["INTERN", "no"]}]}, "'INTERN'"),
        ({"steps": [{"execute": "read", "raises": "server", "answer": "INTERNAL"}]}, "the whole text"),
        (
            {"steps": [{"fetch": 1, "raises": "lost", "answer": ["INTERNAL", "no"]}]},
            "without `raises: server`",
        ),
        ({"steps": [{"ask": "weather"}]}, "'weather'; accepted: schemas"),
        ({"steps": [{"believes": {"mood": 1}}]}, "mood; accepted: state"),
        ({"steps": ["query"]}, "is no step"),
        ({"ends": {"executed": {"raed": 1}}}, "'raed'; accepted: read"),
        ({"ends": {"executd": {}}}, "Ends has no executd"),
        ({"ends": {}}, "Ends needs executed"),
        ({"ends": {"executed": {}, "open_queries": {"red": 1}}}, "'red'; accepted"),
        ({"needs": ["wings"]}, "wings; accepted: queries"),
        ({"not_for": {"fax": "slow"}}, "fax; accepted: sync"),
        ({"engine": {"colour": 1}}, "colour"),
        ({"settings": {"replay": "always"}}, "replay"),
    ],
)
def test_what_is_not_known_is_refused_by_name(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(CaseError, match="a name: ") as caught:
        case_of(case(**changes))
    assert told in str(caught.value)


def test_a_name_is_used_once(tmp_path: Path) -> None:
    text = "- {name: a, why: b, steps: [{query: read, from: blue}], ends: {executed: {read: 1}}}\n"
    (tmp_path / "one.yaml").write_text(text)
    assert [each.name for each in read_cases(tmp_path / "one.yaml")] == ["a"]
    (tmp_path / "two.yaml").write_text(text)
    with pytest.raises(CaseError, match="used twice"):
        all_cases(tmp_path)
    (tmp_path / "two.yaml").write_text("name: a\n")
    with pytest.raises(CaseError, match="a list of cases"):
        all_cases(tmp_path)


# -- how much is run


def test_there_are_enough_cases_and_every_way_runs_enough_of_them() -> None:
    assert len(CASES) >= 210
    present = {name for name, way in WAYS.items() if way.absent is None}
    runs = Counter(way for way in WAYS for each in CASES if each.inapplicable(way) is None)
    assert set(AT_LEAST) == set(WAYS) - {"cluster"}
    short = {way: runs[way] for way in AT_LEAST if way in present and runs[way] < AT_LEAST[way]}
    assert short == {}
    assert runs["cluster"] == 0


def test_what_does_not_apply_has_a_reason() -> None:
    reasons = {each.inapplicable(way) for way in WAYS for each in CASES} - {None}
    assert all(reason and len(reason.split()) >= 4 for reason in reasons)


# -- the runner


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    with nothing_known():
        yield


READ = {"query": "read", "from": "blue"}
ONCE = {"executed": {"read": 1}}
WRONG: Mapping[str, tuple[dict[str, Any], str]] = {
    "rows of another stack": (case(steps=[{"query": "read", "from": "green"}]), "rows from"),
    "an error that does not come": (case(steps=[{"execute": "read", "raises": "lost"}]), "raised nothing"),
    "an error that is not expected": (case(steps=[{"query": "wrong", "from": "blue"}]), "no such column"),
    "an error of another kind": (case(steps=[{"execute": "wrong", "raises": "lost"}]), "expected: lost"),
    "an error that says something else": (
        case(steps=[{"execute": "wrong", "raises": "server", "says": "no such table"}]),
        "no such table",
    ),
    "a part of the server's answer": (
        case(steps=[{"execute": "wrong", "raises": "server", "answer": ["INTERNAL", "no such"]}]),
        "the server's answer was",
    ),
    "another status of the server": (
        case(steps=[{"execute": "wrong", "raises": "server", "answer": ["NOT_FOUND", "no such column"]}]),
        "the server's answer was",
    ),
    "a statement executed less often": (case(steps=[READ], ends={"executed": {"read": 2}}), "executed"),
    "a statement that is not mentioned": (case(steps=[READ, {"query": "write"}], ends=ONCE), "executed"),
    "a query that is left open": (
        case(steps=[{"execute": "read"}, {"fetch": 2, "from": "blue"}]),
        "left open",
    ),
    "a query that is not left open": (
        case(steps=[READ], ends={**ONCE, "open_queries": {"blue": 1}}),
        "left open",
    ),
    "another active stack": (case(steps=[READ], ends={**ONCE, "active": "green"}), "active"),
    "fewer authentications": (
        case(steps=[READ], ends={**ONCE, "authentications": {"blue": 0}}),
        "authentications",
    ),
    "other requests": (case(steps=[READ], ends={**ONCE, "requests": {"prepare": {"green": 1}}}), "requests"),
    "too many requests": (case(steps=[{**READ, "requests": 3}]), "requests for one call"),
    "another belief": (case(steps=[READ, {"believes": {"tickets": 1}}]), "the manager believes"),
}


@pytest.mark.integration
@pytest.mark.parametrize("way", ["sync", "channel-aio"])
@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_expectation_is_found(
    name: str, way: str, engines: Callable[[Mapping[str, Any]], EngineProcess]
) -> None:
    data, told = WRONG[name]
    wrong: Case = case_of(data)
    with pytest.raises(Mismatch, match=told):
        run(wrong, WAYS[way], engines(wrong.engine))

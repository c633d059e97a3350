"""The explorer page, in a real browser, does what the table says, by mouse and by keyboard, and loads nothing."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import transitions

from bluegreen.config.settings import Settings
from bluegreen.diagram.page.page import explorer_page
from bluegreen.errors import EventForbidden
from bluegreen.machines.query import QUERY, QueryContext
from bluegreen.machines.strategy.context import Context
from bluegreen.machines.strategy.events import (
    CooldownEnded,
    Error456,
    QueryCompleted,
    QueryFailed,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.manager import StrategyManager
from bluegreen.table.rows import events, forbid, go, ignore
from bluegreen.table.step import step
from bluegreen.table.table import State, Table
from bluegreen.types import Scope, Strategy, Ticket
from bluegreen.verify.exploration.counterexample import as_list
from bluegreen.verify.exploration.single_table import explore_strategy, strategy_events
from bluegreen.verify.exploration.version_abstraction import rebase
from bluegreen.verify.export.formats import facts_of, read_json, to_json
from bluegreen.verify.export.from_transitions import from_transitions
from bluegreen.verify.properties.step_invariants import STEPS
from bluegreen.verify.trace.writer import Journal
from bluegreen.verify.unvalidated_table import Unchecked
from bluegreen.verify.verification import Verification
from selfcheck.cli.explore import _violation
from selfcheck.mutation.known_bugs import FIELD_BUGS
from support.browser import Browser, Page, asks_chromium, chromium
from support.pages import Explorer
from support.telling import tell
from support.walking import QueryWalk, StrategyWalk, chosen, sample_label

pytestmark = [asks_chromium, pytest.mark.integration, pytest.mark.slow]

BLUE, GREEN = Strategy.BLUE, Strategy.GREEN
SCRIPTS = 1000
SCOPE = Scope("page.example:443")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def strategy_text() -> str:
    return explorer_page(STRATEGY)


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    page = browser.page()
    page.resized(1280)
    yield page
    assert page.errors == []
    assert [one for one in page.requests if not one.startswith(("file:", "data:", "about:"))] == []
    page.call("Page.close")


@pytest.fixture
def explorer(tab: Page, strategy_text: str, tmp_path: Path) -> Explorer:
    return Explorer(tab, strategy_text, tmp_path)


def seed_of(request: pytest.FixtureRequest) -> int:
    seed: int = request.config.getoption("randomly_seed", default=0) or 0
    return seed


# What it shows is what the table says.


def test_a_thousand_random_scripts_show_what_python_says(
    explorer: Explorer, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(seed_of(request))
    labels: list[str] = explorer.page.run(
        "[...document.querySelectorAll('[data-label]')].map((one) => one.dataset.label)"
    )
    begins: list[str] = explorer.page.run(
        "[...document.querySelector('#begin').options].map((one) => one.text)"
    )
    scripts, expected = [], []
    for _ in range(SCRIPTS):
        begin = rng.randrange(len(begins))
        commit_when, default = begins[begin].split(", default ")
        walk = StrategyWalk(
            Settings(commit_when=commit_when, default_strategy=None if default == "none" else default)
        )
        wanted: list[Any] = [(walk.shown, None, "none")]
        taken: list[str] = []
        for _ in range(rng.randint(1, 16)):
            ((label, row),) = chosen(rng, walk, labels, 1)
            taken.append(label)
            wanted.append((walk.shown, row, walk.effects))
        scripts.append({"begin": begin, "events": [{"label": label} for label in taken]})
        expected.append(wanted)
    shown = explorer.played(scripts)
    compared = 0
    for script, wanted, frames in zip(scripts, expected, shown, strict=True):
        for (state, row, effects), frame in zip(wanted, frames, strict=True):
            assert {name: frame[name] for name in state} == state, script
            if row is not None:
                assert (frame["why"]["row"], frame["why"]["effects"]) == (row, effects), script
            assert frame["current"] == f"Rows of {state['state']}"
            compared += 1
    tell(f"explorer page: {SCRIPTS} random scripts, {compared} moments the same in Chromium and in Python")


def test_the_query_machine_shows_what_python_says(
    tab: Page, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    explorer, rng = Explorer(tab, explorer_page(QUERY), tmp_path), random.Random(seed_of(request))
    labels = [sample_label(event) for event in QUERY.samples]
    begins = [(reads, replay) for reads in (True, False) for replay in ("reads", "never")]
    scripts, expected = [], []
    for number in range(200):
        reads, replay = begins[number % 4]
        walk = QueryWalk(QueryContext(Ticket(1, BLUE, 1), reads, replay))
        wanted, taken = [walk.shown], []
        for _ in range(8):
            ((label, _row),) = chosen(rng, walk, labels, 1)
            taken.append({"label": label})
            wanted.append(walk.shown)
        scripts.append({"begin": number % 4, "events": taken})
        expected.append(wanted)
    for wanted, frames in zip(expected, explorer.played(scripts), strict=True):
        assert [{name: frame[name] for name in wanted[0]} for frame in frames] == wanted


def test_where_no_context_is_known_guards_are_free_to_choose(
    tab: Page, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    table = read_json(to_json(STRATEGY))
    explorer, rng, facts = (
        Explorer(tab, explorer_page(table), tmp_path),
        random.Random(seed_of(request)),
        facts_of(table),
    )
    scripts, expected = [], []
    for _ in range(100):
        state, taken, wanted = table.initial, [], [table.initial]
        for _ in range(10):
            event = rng.choice(table.events)
            asked = [fact for row in table.rows if row.state == state for fact in row.guard.facts]
            known = {fact.name: rng.choice(fact.domain(state)) for fact in dict.fromkeys(asked)}
            selected = [
                (f"#fact-{number}", fact.values.index(known[fact.name]))
                for number, fact in enumerate(facts)
                if fact.name in known
            ]
            taken.append({"label": event.name, "facts": selected})
            with suppress(EventForbidden):
                state = step(table, state, known, event()).state
            wanted.append(state)
        scripts.append({"begin": 0, "events": taken})
        expected.append(wanted)
    shown = explorer.played(scripts)
    assert [[frame["state"] for frame in frames] for frames in shown] == expected


# Walks.


def test_a_graceful_switch_is_stepped_through(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)", "query_started", "strategy_announced(green)", "query_started")
    shown = explorer.shown
    assert shown["state"] == "PendingTransition"
    assert shown["tickets"] == ["#1 on blue, version 1", "#2 on green, version 2"]
    explorer.press("query_completed(blue)")
    shown = explorer.shown
    assert (shown["state"], shown["context"]["active"], shown["context"]["previous"]) == (
        "Stable",
        "green",
        "blue",
    )
    assert shown["tickets"] == ["#2 on green, version 2"]
    assert shown["why"]["row"] == "PendingTransition.query_completed[ticket open & safe to commit]"
    assert shown["why"]["reason"] == "a safe point"
    assert "PendingTransition to Stable, because a safe point" in shown["said"]


def test_a_rollback_is_stepped_through(explorer: Explorer) -> None:
    explorer.press(
        "auth_success(blue)", "strategy_announced(green)", "connection_opened", "rollback_requested"
    )
    assert (explorer.shown["state"], explorer.shown["context"]["pending"]) == ("PendingTransition", "blue")
    explorer.press("rollback_requested")
    assert (explorer.shown["state"], explorer.shown["context"]["active"]) == ("Stable", "green")


def test_an_abrupt_switch_is_stepped_through(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)", "query_started", "error_456(blue)")
    assert (explorer.shown["state"], explorer.shown["context"]["untried"]) == ("Detecting", "green, blue")
    explorer.press("auth_success(green)", "query_failed(blue)")
    assert (explorer.shown["state"], explorer.shown["context"]["active"]) == ("Stable", "green")
    assert explorer.shown["tickets"] == []


def test_a_refused_event_says_why_and_changes_nothing(explorer: Explorer) -> None:
    before = explorer.shown
    assert explorer.page.run("document.querySelector('[data-label=query_started]').ariaDisabled") == "true"
    assert "no strategy yet; wait for the detection" in explorer.page.text(
        '[data-event="query_started"] .because'
    )
    explorer.press("query_started")
    after = explorer.shown
    assert (
        after["said"] == "query_started is forbidden in Detecting: no strategy yet; wait for the detection."
    )
    assert (after["state"], after["context"], after["step"]) == (
        before["state"],
        before["context"],
        before["step"],
    )


def test_the_horizon_is_said_where_it_is_met(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)", "query_started", "query_started", "query_started")
    assert len(explorer.shown["tickets"]) == 2
    assert "this page goes as far as 2 open tickets at a time" in explorer.shown["said"]


def test_guards_are_shown_as_they_are_in_this_context(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)")
    explorer.page.run("document.querySelector('[data-label=\"strategy_announced(blue)\"]').focus()")
    told = explorer.page.text("#preview")
    assert "Known here: fresh=True, names='active', held=False" in told
    assert "is active is true: it is taken" in told
    assert (
        "fresh & !is active & !held down is false; if it were true, the event leads to PendingTransition"
        in told
    )


def test_time_goes_back_and_forward_and_a_new_step_begins_another_future(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)", "strategy_announced(green)", "connection_opened")
    states = [frame["state"] for frame in explorer.frames()]
    assert states == ["Detecting", "Stable", "PendingTransition", "Stable"]
    explorer.page.click("#back")
    explorer.page.click("#back")
    assert explorer.shown["state"] == "Stable"
    explorer.press("reset")
    assert explorer.shown["step"] == "2 of 2"


def test_one_of_several_tickets_ends(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)", "query_started", "query_started")
    explorer.page.click('[data-ticket="2"] button')
    assert explorer.shown["tickets"] == ["#1 on blue, version 1"]
    explorer.open(explorer.link)
    assert explorer.shown["tickets"] == ["#1 on blue, version 1"]


def test_an_event_in_the_diagram_is_taken_by_a_click(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)")
    states = [state.name for state in STRATEGY.states]
    ends = {"source": states.index("Stable"), "target": states.index("PendingTransition")}
    arrows = json.loads(explorer.page.text("#data"))["arrows"]
    (number,) = (index for index, one in enumerate(arrows) if ends.items() <= one.items())
    explorer.page.run(
        f"[...document.querySelectorAll('#a{number} text')].find((one) => one.dataset.event === 'strategy_announced')"
        ".dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert explorer.shown["state"] == "PendingTransition"
    assert explorer.shown["context"]["pending"] == "green"
    taken = explorer.page.run(
        "[...document.querySelectorAll('#canvas text.taken')].map((one) => one.textContent)"
    )
    assert taken == ["strategy_announced"]


def test_a_link_brings_the_walk_back(explorer: Explorer) -> None:
    explorer.press("auth_success(green)", "query_started", "error_456(green), stale", "cache_expired")
    explorer.page.click("#back")
    shown, fragment = explorer.shown, explorer.link
    explorer.open(fragment)
    again = explorer.shown
    assert {**again, "said": ""} == {**shown, "said": ""}
    explorer.page.click("#forward")
    assert explorer.shown["state"] == "Detecting"


def test_a_link_of_another_table_says_so(explorer: Explorer) -> None:
    explorer.press("auth_success(green)")
    said = json.loads(unquote(explorer.link[1:]))
    explorer.open(
        "#" + json.dumps({**said, "of": "another", "do": [*said["do"], "gone(away)"]}).replace('"', "%22")
    )
    assert explorer.shown["said"].startswith("The link was made for another version of this table.")
    assert "gone(away) is no event of this page" in explorer.shown["said"]


# Logs and counterexamples.


def _journal(settings: Settings | None = None, queries: int = 1) -> tuple[str, list[Any]]:
    text, records = io.BytesIO(), list[Any]()
    with Journal(text) as journal:
        manager = StrategyManager(SCOPE, settings or Settings())
        stop = manager.subscribe(records.append, every_step=True)
        journal.follow(manager)
        tickets = [manager.start(lambda strategy, seconds_left: None) for _ in range(queries)]
        manager.send(StrategyAnnounced(GREEN, manager.state_version))
        after = manager.start(lambda strategy, seconds_left: None)
        for one in tickets:
            manager.end(QueryCompleted(one))
        manager.send(StrategyAnnounced(BLUE, manager.state_version - 1))
        manager.send(RollbackRequested())
        manager.end(QueryFailed(after))
        manager.send(Error456(BLUE, manager.state_version))
        manager.send(CooldownEnded())
        manager.start(lambda strategy, seconds_left: None)
        stop()
    return text.getvalue().decode(), records


def test_the_log_of_a_real_run_is_played(explorer: Explorer, tmp_path: Path) -> None:
    text, records = _journal()
    file = tmp_path / "audit.jsonl"
    file.write_text(text)
    explorer.read_file(file)
    explorer.page.wait("document.querySelector('#loaded').textContent.includes('steps are ready')")
    assert "page.example:443" in explorer.page.text("#loaded")
    frames = explorer.frames()
    assert len(frames) == len(records) + 1
    for record, frame in zip(records, frames[1:], strict=True):
        assert frame["state"] == record.step.state
        assert frame["why"]["row"] == record.step.row.name
        assert frame["context"]["state_version"] == str(record.step.context.state_version)
        assert frame["context"]["active"] == str(record.step.context.active or "none")
        assert frame["why"]["the log"] == "The table says the same."


def test_the_journal_of_a_demo_is_played_and_the_table_says_the_same(
    explorer: Explorer, tmp_path: Path
) -> None:
    demo = pytest.importorskip("bluegreen_adapters.testing.demo.runner", reason='needs the extra "e6data"')
    from bluegreen_adapters.testing.demo.schedule import Planned, Schedule

    file = tmp_path / "demo.jsonl"
    plan = Schedule(
        (Planned(0.2, "graceful"), Planned(0.9, "abrupt")), ends_s=1.6, least_queries=0, most_s=20.0
    )
    demo.run(plan, installed=True, threads=1, seed=1, told=lambda progress: None, steps=str(file))
    lines = map(json.loads, file.read_text("utf-8").splitlines())
    states = [one["step"]["after"]["state"] for one in lines if "step" in one]
    assert set(states) >= {"Stable", "PendingTransition"}
    explorer.read_file(file)
    explorer.page.wait("document.querySelector('#loaded').textContent.includes('steps are ready')")
    assert "differ from the table" not in explorer.page.text("#loaded")
    frames = explorer.frames()
    assert [frame["state"] for frame in frames[1:]] == states


def test_a_log_that_goes_further_than_the_page_is_shown_as_it_is(explorer: Explorer) -> None:
    text, records = _journal(queries=3)
    assert "are beyond what this page has" in explorer.load(text)
    frames = explorer.frames()
    assert [frame["state"] for frame in frames[1:]] == [record.step.state for record in records]
    assert max(len(frame["tickets"]) for frame in frames) == 4


def test_a_log_that_the_table_contradicts_is_noticed(explorer: Explorer) -> None:
    text, _ = _journal()
    wrong = text.replace('"after":{"state":"PendingTransition"', '"after":{"state":"Stable"', 1)
    assert wrong != text
    assert "1 differ from the table" in explorer.load(wrong)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is nothing in it"),
        ('{"journal":"begun"}\n{', "line 2 is no JSON"),
        ('{"journal":"begun"}', "no step is in it"),
        ('{"violations": 1}', 'it has no "violations"'),
        ('{"violations": []}', "no violation in it is about strategy"),
        ("flew_away", "flew_away is no event of this page"),
        ("1. query_started", "query_started is forbidden in Detecting"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_reason(explorer: Explorer, text: str, said: str) -> None:
    assert said in explorer.load(text)


@pytest.mark.parametrize("form", ["list", "json"])
def test_a_counterexample_is_played(tab: Page, tmp_path: Path, form: str) -> None:
    wrong = next(bug for bug in FIELD_BUGS if bug.base is STRATEGY and _broken(bug.table()))
    table = wrong.table()
    broken = _broken(table)
    first = rebase(Context.initial())
    explorer = Explorer(
        tab, explorer_page(Verification(table, first, strategy_events, plain=rebase)), tmp_path
    )
    told = _violation("strategy", broken.name, broken.detail, broken.events, ())
    text = told["counterexample"] if form == "list" else json.dumps({"violations": [told]})
    assert f"{len(broken.events)} steps are ready" in explorer.load(text)
    state, context, wanted = table.initial, first, [table.initial]
    for event in broken.events:
        taken = step(table, state, context, event)
        state, context = taken.state, rebase(taken.context)
        wanted.append(state)
    assert [frame["state"] for frame in explorer.frames()] == wanted


def test_a_counterexample_of_a_machine_of_transitions_is_played(tab: Page, tmp_path: Path) -> None:
    machine = transitions.Machine(states=["Ice", "Water"], initial="Ice", auto_transitions=False)
    machine.add_transition("warmed", "Ice", "Water", conditions=["hot_enough", "long_enough"])
    machine.add_transition("cooled", "Water", "Ice")
    explorer = Explorer(tab, explorer_page(from_transitions(machine)), tmp_path)
    happened = ("warmed(True, False)", "warmed(True, True)", "cooled")
    assert "3 steps are ready" in explorer.load(as_list(("thaws", "it never does"), (), happened))
    assert [frame["state"] for frame in explorer.frames()] == ["Ice", "Ice", "Water", "Ice"]
    explorer.open(explorer.link)
    assert explorer.shown["step"] == "3 of 3"


def _broken(table: Table[Any, Any, Any]) -> Any:
    found = explore_strategy(table, STEPS).violations
    return found[0] if found else None


# Hands and eyes.


def test_all_of_it_is_done_with_the_keyboard(explorer: Explorer) -> None:
    page = explorer.page

    def reach(label: str) -> None:
        page.press("e")
        for _ in range(60):
            if page.run("document.activeElement.dataset.label || ''") == label:
                return
            page.press("ArrowDown")
        raise AssertionError(f"no arrow leads to {label}")

    for label in ("auth_success(blue)", "query_started", "strategy_announced(green)"):
        reach(label)
        page.press("Enter")
    assert explorer.shown["state"] == "PendingTransition"
    page.press("t")
    page.press("Enter")
    assert (explorer.shown["state"], explorer.shown["context"]["active"]) == ("Stable", "green")
    page.press("b")
    assert explorer.shown["step"] == "3 of 4"
    page.press("f")
    assert explorer.shown["step"] == "4 of 4"
    page.press("0")
    assert explorer.shown["step"] == "0 of 4"
    page.press("d")
    page.press("ArrowRight")
    page.press("Enter")
    assert page.text("#rows-state") == page.run(
        "document.activeElement.getAttribute('aria-label')"
    ).removeprefix("Rows of ")
    page.press("/")
    for letter in "rollback":
        page.press(letter)
    assert page.run("document.querySelectorAll('#found button').length") > 0
    page.press("Tab")
    page.press("Enter")
    assert page.run("document.activeElement.dataset.label") == "rollback_requested"
    page.press("?", shift=True)
    assert page.run("document.getElementById('help').open") is True
    page.press("Escape")
    assert page.run("document.getElementById('help').open") is False
    page.press("r")
    assert explorer.shown["step"] == "0 of 0"


def test_what_would_be_loaded_is_refused_and_noticed(
    browser: Browser, strategy_text: str, tmp_path: Path
) -> None:
    page = browser.page()
    Explorer(page, strategy_text, tmp_path)
    assert page.errors == []
    page.run("fetch('http://127.0.0.1:9/anything').catch(() => null)")
    for _ in range(1000):  # what is reported comes with the answers to other questions
        if page.errors:
            break
        page.run("0")
    assert any("Content Security Policy" in error for error in page.errors)
    page.call("Page.close")


def test_a_log_plays_by_itself_step_by_step_and_can_be_paused(explorer: Explorer) -> None:
    page = explorer.page
    page.run("window.setInterval = (step) => { window.tick = step; return 1; }")
    explorer.press("auth_success(blue)", "query_started", "reset")
    page.press("p")
    assert explorer.shown["step"] == "0 of 3"
    assert page.run("document.getElementById('play').ariaPressed") == "true"
    page.run("tick()")
    assert explorer.shown["step"] == "1 of 3"
    page.click("#play")
    assert page.run("document.getElementById('play').ariaPressed") == "false"
    page.click("#play")
    page.run("tick(); tick()")
    assert explorer.shown["step"] == "3 of 3"
    assert page.run("document.getElementById('play').ariaPressed") == "false"


def test_tab_reaches_every_control_and_shows_where_it_is(explorer: Explorer) -> None:
    page = explorer.page
    page.run(
        "window.wanted = [...document.querySelectorAll('a, button, input, select, textarea, summary')]"
        ".concat([...document.querySelectorAll('[tabindex=\"0\"]')])"
        ".filter((one) => one.checkVisibility() && !one.closest('dialog'))"
    )
    page.run("window.reached = new Set(); window.unseen = []")
    for _ in range(int(page.run("wanted.length")) + 5):
        page.press("Tab")
        page.run(
            "(() => { const one = document.activeElement; reached.add(one);"
            " if (one === document.body) return; const style = getComputedStyle(one);"
            " const box = one.querySelector('polygon, path');"
            " const seen = style.outlineStyle !== 'none' || (box && getComputedStyle(box).strokeDasharray !== 'none');"
            " if (!seen) unseen.push(one.outerHTML.slice(0, 80)); })()"
        )
    assert (
        page.run("wanted.filter((one) => !reached.has(one)).map((one) => one.outerHTML.slice(0, 80))") == []
    )
    assert page.run("unseen") == []


def test_single_keys_can_be_switched_off(explorer: Explorer) -> None:
    explorer.press("auth_success(blue)")
    explorer.page.click("#single")
    explorer.page.press("b")
    assert explorer.shown["step"] == "1 of 1"


@pytest.mark.parametrize("table", [STRATEGY, QUERY], ids=lambda table: table.name)
@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_or_overlaps(
    tab: Page, strategy_text: str, tmp_path: Path, table: Any, width: int, scheme: str
) -> None:
    tab.resized(width)
    tab.scheme(scheme)
    explorer = Explorer(tab, strategy_text if table is STRATEGY else explorer_page(table), tmp_path)
    explorer.press(
        *(["auth_success(blue)", "query_started", "strategy_announced(green)"] if table is STRATEGY else [])
    )
    tab.run("document.querySelector('#event-list button').focus()")
    assert tab.run("document.documentElement.scrollWidth") <= width
    assert tab.run(_OVERFLOWING) == []
    assert tab.run(_OVERLAPPING) == []
    assert tab.run(_CUT) == []
    assert tab.picture().startswith(b"\x89PNG")


_CUT = """(() => {
  const canvas = document.querySelector('#canvas').getBoundingClientRect();
  return [...document.querySelectorAll('#canvas text')].filter((one) => {
    const box = one.getBoundingClientRect();
    const height = one.getScreenCTM().a * parseFloat(getComputedStyle(one).fontSize);
    const beside = box.left < canvas.left || box.right > canvas.right;
    return beside || box.top < canvas.top || box.bottom > canvas.bottom || height < 9;
  }).map((one) => one.textContent);
})()"""
"""The labels that are cut at a side of the diagram's box, or are too small to be read."""

_OVERFLOWING = """[...document.querySelectorAll('body *')].filter((one) => {
  if (one.closest('svg, script, dialog, .skip') || !one.checkVisibility()) return false;
  if (['auto', 'scroll'].includes(getComputedStyle(one).overflowX)) return false;
  return one.clientWidth > 0 && one.scrollWidth > one.clientWidth + 1;
}).map((one) => one.outerHTML.slice(0, 90))"""

_OVERLAPPING = """(() => {
  const texts = [...document.querySelectorAll('#canvas text')].map((one) => [one.textContent, one.getBBox()]);
  const found = [];
  texts.forEach(([a, p], i) => texts.slice(i + 1).forEach(([b, q]) => {
    const wide = Math.min(p.x + p.width, q.x + q.width) - Math.max(p.x, q.x);
    const high = Math.min(p.y + p.height, q.y + q.height) - Math.max(p.y, q.y);
    if (wide > 1 && high > Math.min(p.height, q.height) * 0.35) found.push(`${a} | ${b}`);
  }));
  const { width, height } = document.querySelector('#canvas svg').viewBox.baseVal;
  const shift = document.querySelector('#canvas .graph').transform.baseVal.consolidate().matrix;
  texts.forEach(([a, p]) => {
    const [x, y] = [p.x + shift.e, p.y + shift.f];
    if (x < 0 || x + p.width > width || y < 0 || y + p.height > height) found.push(`${a} is cut`);
  });
  document.querySelectorAll('#canvas .node.state').forEach((node) => {
    const [first] = node.querySelectorAll('polygon, path');
    const box = first.getBBox();
    node.querySelectorAll('text').forEach((text) => {
      const inner = text.getBBox();
      const leaves = inner.x < box.x - 0.5 || inner.x + inner.width > box.x + box.width + 0.5;
      if (leaves) found.push(`${text.textContent} leaves its box`);
    });
    const around = first.getBoundingClientRect();
    document.querySelectorAll('#canvas .node.label text').forEach((text) => {
      const label = text.getBoundingClientRect();
      const wide = Math.min(label.right, around.right) - Math.max(label.left, around.left);
      const high = Math.min(label.bottom, around.bottom) - Math.max(label.top, around.top);
      if (wide > 1 && high > 1) found.push(`${text.textContent} lies on a state`);
    });
  });
  return found;
})()"""


def test_a_narrow_screen_has_a_diagram_of_its_own_with_numbers_that_are_listed(
    tab: Page, strategy_text: str, tmp_path: Path
) -> None:
    tab.resized(420)
    explorer = Explorer(tab, strategy_text, tmp_path)
    assert tab.run("[...document.querySelectorAll('#key b')].map((one) => one.textContent)") == list(
        "1234567"
    )
    numbers = "[...document.querySelectorAll('#canvas .label text')].map((one) => one.textContent).sort()"
    assert tab.run(numbers) == list("1234567")
    tab.run(
        "[...document.querySelectorAll('#key button')].find((one) => one.textContent === 'auth_success').click()"
    )
    tab.run("document.activeElement.click()")  # it asks for which strategy
    assert explorer.shown["current"] == "Rows of Stable"
    assert tab.run("document.querySelector('#key button.taken').textContent") == "auth_success"
    assert tab.run("document.querySelector('#canvas text.taken').textContent") == "2"
    tab.resized(1280)
    tab.wait("document.querySelector('#key').childElementCount === 0")
    assert explorer.shown["current"] == "Rows of Stable"
    assert "auth_success" in tab.run("document.querySelector('#canvas text.taken').textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(explorer: Explorer, scheme: str) -> None:
    explorer.page.run(f"document.documentElement.dataset.theme = '{scheme}'")
    names = ("paper", "card", "ink", "faint", "mark", "taken", "here")
    colours = {
        one: explorer.page.run(
            f"getComputedStyle(document.documentElement).getPropertyValue('--{one}').trim()"
        )
        for one in names
    }
    for front, behind in [
        (front, behind) for front in ("ink", "faint", "mark", "taken") for behind in ("paper", "card")
    ] + [("ink", "here")]:
        assert _contrast(colours[front], colours[behind]) >= 4.5, (front, behind)


def _contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(part, 16) / 255 for part in re.findall("..", colour.removeprefix("#"))]
        red, green, blue = (
            part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    dark, bright = sorted((light(one), light(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_what_is_written_in_a_table_is_not_taken_for_markup(tab: Page, tmp_path: Path) -> None:
    (Went,) = events("went")
    evil = "</script><img src=x onerror=alert(1)>"
    table = Table(
        name=f"evil{evil}", initial="A", states=(State("A"), State("B", final=True)), events=(Went,),
        rows=(go("A", Went, "B", why=evil), ignore("B", Went, why="over")),
    )  # fmt: skip
    explorer = Explorer(tab, explorer_page(Verification(table)), tmp_path)
    explorer.press("went")
    assert explorer.shown["why"]["reason"] == evil
    assert tab.run("document.querySelectorAll('img').length") == 0


def test_a_table_that_was_never_checked_shows_where_it_does_not_decide(tab: Page, tmp_path: Path) -> None:
    went, came = events("went", "came")
    rows = (go("A", went, "B", why="on"), go("A", went, "C", why="also on"), go("B", came, "A", why="back"))
    explorer = Explorer(
        tab, explorer_page(Unchecked("torn", "A", (State("A"), State("B")), (went,), rows)), tmp_path
    )
    explorer.press("went")
    assert explorer.shown["said"] == "went is not decided in A: several rows are enabled."
    explorer.press("came")
    assert explorer.shown["said"] == "came is not decided in A: no row is enabled."
    assert explorer.shown["step"] == "0 of 0"


def _large(states: int) -> Table[Any, Any, Any]:
    alphabet = events(*(f"event_{number}" for number in range(8)))
    names = [f"State{number}" for number in range(states)]
    rows = []
    for number, name in enumerate(names):
        rows.append(go(name, alphabet[0], names[(number + 1) % states], why="on"))
        rows.append(go(name, alphabet[1], names[(number * 7 + 3) % states], why="across"))
        rows += [forbid(name, one, why="not here") for one in alphabet[2:5]]
        rows += [ignore(name, one, why="it does nothing") for one in alphabet[5:]]
    return Table(
        name="large", initial=names[0], states=[State(one) for one in names], events=alphabet, rows=rows
    )


def test_two_hundred_states_can_be_walked_through(tab: Page, tmp_path: Path) -> None:
    explorer = Explorer(tab, explorer_page(Verification(_large(200))), tmp_path)
    loaded = tab.run("performance.timing.loadEventEnd - performance.timing.navigationStart")
    took = tab.run(
        "(() => { const begun = performance.now(); const one = document.querySelector('[data-label=event_0]');"
        " for (let count = 0; count < 100; count += 1) { one.click(); document.body.offsetHeight; }"
        " return (performance.now() - begun) / 100; })()"
    )
    assert explorer.shown["state"] == "State100"
    tell(f"explorer page of 200 states: loaded in {loaded} ms, a step with layout takes {took:.1f} ms")

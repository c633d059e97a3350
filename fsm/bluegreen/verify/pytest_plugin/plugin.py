"""What `pytest --bluegreen-verify` does: the tables that a project declares become tests, and its own are counted.

A project declares tables with `bluegreen_tables` in the configuration of pytest: a line for each, `module:NAME` of a
`Verification` or a `Table`, or a module in which every `Verification` is taken.

quick: the definition and the exploration of each table. full: also its mutants, and long random runs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest

from bluegreen.diagram.coverage.io import tally_json
from bluegreen.errors import TableError
from bluegreen.verify.coverage.reachable import Reach, reach
from bluegreen.verify.coverage.recorder import CoverageRecorder
from bluegreen.verify.coverage.report import coverage_kinds, lines
from bluegreen.verify.properties.base import Always
from bluegreen.verify.pytest_plugin.discovery import Declared, declared

NOTHING: Final = (
    "--bluegreen-verify: no table is declared; add to the configuration of pytest, for example: "
    'bluegreen_tables = ["package.module:TABLE"]'
)


TOLD: Final = "bluegreen_verify"
"""What an item's text is called among the properties of its report."""


class NotVerified(AssertionError):
    """A table does not do what is said about it. The text is all that is shown."""


class TableItem(pytest.Item):
    """One thing that is asked of one table."""

    def __init__(self, *, runs: Callable[[], str], **named: Any) -> None:
        super().__init__(**named)  # pyright: ignore[reportUnknownMemberType]  pytest leaves them open
        self._runs = runs

    def runtest(self) -> None:
        """Ask it; what it has to tell goes with its report, from whichever process, to the summary."""
        self.user_properties.append((TOLD, self._runs()))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return the findings without a traceback: they are not about code."""
        if isinstance(excinfo.value, (NotVerified, TableError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Any, int | None, str]:
        """Return what a report calls it."""
        return self.path, None, self.nodeid


class TableNode(pytest.Collector):
    """One table; its items were made with it."""

    def collect(self) -> list[pytest.Item]:
        """Return nothing: nobody asks."""
        return []


def _make_node(kind: Any, parent: Any, **named: Any) -> Any:
    """Make a node in the way of pytest, which declares no types for it."""
    return kind.from_parent(parent, **named)


class Verify:
    """The plugin of one run.

    Raises:
        pytest.UsageError: no table is declared.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._full = config.getoption("bluegreen_verify") == "full"
        self._tally: str | None = config.getoption("bluegreen_tally")
        entries = config.getini("bluegreen_tables")
        if not entries:
            raise pytest.UsageError(NOTHING)
        self._entries: list[str] = entries
        self._declared: list[Declared] = []
        self._reached: dict[str, Reach] = {}
        self._watch = CoverageRecorder(())

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionstart(self) -> Generator[None, Any, Any]:
        """Import the tables, when the paths of the configuration are set and no test is imported yet."""
        result = yield
        self._declared = declared(self._entries)
        self._watch = CoverageRecorder(one.table for one in self._declared if one.table is not None)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Add the items, before anybody deselects or shuffles."""
        for one in self._declared:
            node = _make_node(TableNode, session, name=one.name, nodeid=f"bluegreen::{one.name}")
            items += [
                _make_node(TableItem, node, name=name, runs=runs) for name, runs in self._questions(one)
            ]

    def _questions(self, one: Declared) -> list[tuple[str, Callable[[], str]]]:
        found: list[tuple[str, Callable[[], str]]] = [("definition", lambda: _defined(one))]
        if one.verification is not None and one.error is None:
            found.append(("explore", lambda: self._explored(one)))
            if self._full:
                found += [("mutants", lambda: _mutated(one))] if one.verification.mutants else []
                found += [("stateful", lambda: _held(one))]
        return found

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, Any, Any]:
        """Count while tests run."""
        with self._watch.installed():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Count the project's own tests, each as a run of its own."""
        self._watch.counting = not isinstance(item, TableItem)
        self._watch.begin()
        return (yield)

    def _reach(self, one: Declared) -> Reach | None:
        if one.verification is None:
            return None
        if one.name not in self._reached:
            self._reached[one.name] = reach(one.verification)
        return self._reached[one.name]

    def _explored(self, one: Declared) -> str:
        reached = self._reach(one)
        assert reached is not None
        if not reached.explored.ok:
            raise NotVerified(f"{one.name}: {reached.explored}")
        return ""

    # With pytest-xdist, each process counts its own tests, and the first one sums up.

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hand over what was counted, if this is one of several processes."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["bluegreen_verify"] = self._watch.as_dict()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take what another process has counted; one that crashed has left nothing."""
        self._watch.add(getattr(node, "workeroutput", {}).get("bluegreen_verify", {}))

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        """Tell what the tests covered, and write it down if that is asked for."""
        tables = [one.table for one in self._declared if one.table is not None]
        if self._tally is not None:
            Path(self._tally).write_text(tally_json(map(self._watch.tally, tables)), encoding="utf-8")
        terminalreporter.section("bluegreen: what the tests took of each table")
        for one in self._declared:
            if one.table is not None:
                kinds = coverage_kinds(one.table, self._watch.tally(one.table), self._reach(one))
                for line in lines(one.name, kinds, verbose=config.get_verbosity() > 0):
                    terminalreporter.line(line)
        for report in terminalreporter.getreports("passed"):
            for name, text in getattr(report, "user_properties", ()):
                if name == TOLD and text:
                    terminalreporter.line(text)


def _defined(one: Declared) -> str:
    if one.error is not None:
        raise one.error
    return ""


def _mutated(one: Declared) -> str:
    assert one.verification is not None
    found = one.verification.mutate()
    if found.survivors or found.stale:
        raise NotVerified(f"{one.name}: {found}")
    return f"{one.name}: {found}"


def _held(one: Declared) -> str:
    verification = one.verification
    assert verification is not None
    try:
        import hypothesis
        from hypothesis.stateful import run_state_machine_as_test
    except ImportError as error:
        raise NotVerified("long random runs need Hypothesis: pip install 'bluegreen[verify]'") from error
    from bluegreen.verify.hypothesis.stateful import state_machine_for
    from bluegreen.verify.hypothesis.systems_under_test import MachineSubject

    own = verification.subject
    machine = state_machine_for(
        verification.table,
        own or (lambda: MachineSubject(verification.table, verification.context)),
        properties=[each for each in verification.properties if isinstance(each, Always)],
        events=None if hasattr(own, "events") else verification.events_of,
    )
    run_state_machine_as_test(machine, settings=hypothesis.settings(deadline=None))
    return f"{one.name}: {machine.tally.steps} random steps, {machine.tally.coverage()}"

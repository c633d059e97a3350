"""`pytest --bluegreen-verify` on small projects: what passes, what fails with which findings, and what is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

DOOR = """
    import attrs
    from bluegreen import Fact, State, Table, events, forbid, go, ignore, stay
    from bluegreen.verify import Always, Sometimes, Verification

    Pushed, Locked = events("pushed", "locked")

    @attrs.frozen
    class Uses:
        count: int = 0

    def used(uses, event):
        return Uses(min(uses.count + 1, 3))

    worn = Fact("worn", (True, False), lambda uses, event: uses.count >= LIMIT).is_(True).named("worn")

    def rows():
        return (
            go("Shut", Pushed, "Open", guard=~worn, update=used, why="it opens"),
            ignore("Shut", Pushed, guard=worn, why="it is stuck"),
            forbid("Open", Locked, why="it is open"),
            go("Open", Pushed, "Shut", why="it shuts"),
            ignore("Shut", Locked, why="there is no key"),
        )

    def door(**options):
        return Table(name="door", initial="Shut", states=(State("Shut"), State("Open")), events=(Pushed, Locked),
                     rows=options.pop("rows", rows()), **options)
"""

GOOD = (
    DOOR.replace("LIMIT", "2")
    + """
    DOOR = Verification(door(), Uses(), properties=(
        Always("worn", "it opens at most twice", lambda taken: taken.step.context.count <= 2),
        Always("turns", "what is pushed turns, unless it is worn",
               lambda t: t.event != Pushed() or t.context.count > 1 and t.state == "Shut" or t.step.state != t.state),
        Always("refuses", "locked is refused in Open", lambda t: (t.state, t.event) != ("Open", Locked())),
        Always("counts", "each opening counts", lambda t: t.step.state != "Open" or t.step.context != Uses(0)),
    ))
"""
)

TESTS = """
    import pytest
    from bluegreen import EventForbidden, Machine, may, step
    from doors import DOOR, Locked, Pushed, Uses

    def test_it_opens_and_shuts():
        machine = Machine(DOOR.table, Uses())
        machine.pushed()
        assert not machine.may_locked()
        machine.pushed()

    def test_it_sticks():
        assert step(DOOR.table, "Shut", Uses(2), Pushed()).state == "Shut"
        assert may(DOOR.table, "Shut", Uses(0), Locked())
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project that declares what is in `doors.py`; the tests run without our other plugins."""
    pytester.makepyprojecttoml(
        """
        [tool.pytest.ini_options]
        pythonpath = ["."]
        addopts = ["-p", "no:randomly", "-p", "no:asyncio", "-p", "no:cacheprovider"]
        bluegreen_tables = ["doors"]
        """
    )
    return pytester


def told(result: pytest.RunResult) -> list[str]:
    """The lines of the summary about tables."""
    begin = next(n for n, line in enumerate(result.outlines) if "bluegreen: what the tests took" in line)
    found = []
    for line in result.outlines[begin + 1 :]:
        if line.startswith("="):
            break
        found += [line] * bool(line)
    return found


def test_a_good_table_passes_and_a_row_that_the_tests_left_out_is_missed(project: pytest.Pytester) -> None:
    project.makepyfile(doors=GOOD, test_doors=TESTS)
    result = project.runpytest_inprocess("--bluegreen-verify")
    result.assert_outcomes(passed=4)
    assert told(result) == [
        "door",
        "  rows: 3 of 5 by the tests, 5 by the explorer, 2 missed, 0 infeasible",
        "    missed: Open.locked forbid",
        "    missed: Shut.locked ignore",
        "  guard outcomes: 4 of 4 by the tests, 4 by the explorer, 0 missed, 0 infeasible",
        "  row pairs: 1 of 13 by the tests, 12 by the explorer, 11 missed, 1 infeasible",
    ]


def test_what_the_tests_took_is_written_to_a_file_that_the_coverage_of_a_diagram_reads(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(doors=GOOD, test_doors=TESTS)
    result = project.runpytest_inprocess("--bluegreen-verify", "--bluegreen-tally=tally.json")
    result.assert_outcomes(passed=4)
    (counted,) = json.loads((project.path / "tally.json").read_text("utf-8"))["tallies"]
    assert (counted["table"], counted["taken"]) == ("door", [1, 1, 0, 1, 0])


def test_a_tally_is_not_written_if_nothing_is_counted(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--bluegreen-tally=tally.json")
    result.stderr.fnmatch_lines(["*--bluegreen-tally counts what --bluegreen-verify watches: give both*"])
    assert not (project.path / "tally.json").exists()


def test_what_no_run_takes_is_infeasible_and_not_missed(project: pytest.Pytester) -> None:
    infeasible = DOOR.replace("LIMIT", "9") + "\n    DOOR = Verification(door(), Uses())\n"
    project.makepyfile(doors=infeasible, test_doors=TESTS.partition("def test_it_sticks")[0])
    result = project.runpytest_inprocess("--bluegreen-verify")
    result.assert_outcomes(passed=3)
    assert "    infeasible: Shut.pushed[worn] ignore" in told(result)
    assert "    missed: Open.locked forbid" in told(result)
    assert "    infeasible: Shut.pushed[worn]: True" in told(result)
    assert not [line for line in told(result) if "missed" in line and "worn" in line and "!" not in line]


def test_what_the_tests_take_and_the_explorer_cannot_is_told(project: pytest.Pytester) -> None:
    narrow = DOOR.replace("LIMIT", "9") + "\n    DOOR = Verification(door(), Uses())\n"
    project.makepyfile(doors=narrow, test_doors=TESTS.replace("Uses(2)", "Uses(9)"))
    result = project.runpytest_inprocess("--bluegreen-verify")
    assert any("beyond the explorer" in line and "Shut.pushed[worn] ignore" in line for line in told(result))


def test_when_a_bound_ends_the_explorer_the_rest_is_unknown_and_the_item_fails(
    project: pytest.Pytester,
) -> None:
    counting = GOOD.replace("min(uses.count + 1, 3)", "uses.count + 1").replace("LIMIT", "2")
    bounded = counting.replace("uses.count >= 2", "uses.count >= 50").replace(
        "    ))\n", "    ), states=5)\n"
    )
    project.makepyfile(doors=bounded)
    result = project.runpytest_inprocess("--bluegreen-verify")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*NOT all of them: a bound or a violation ended it*"])
    assert "    unknown, the explorer did not see everything: Shut.pushed[worn] ignore" in told(result)


def test_a_bad_table_fails_with_all_findings(project: pytest.Pytester) -> None:
    bad = GOOD.replace('go("Open", Pushed, "Shut", why="it shuts"),', "").replace('why="it opens"', 'why=""')
    project.makepyfile(doors=bad)
    result = project.runpytest_inprocess("--bluegreen-verify")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "table 'door' is refused, 3 findings:",
            "  1. reason (Shut, pushed): *does not say why",
            "  2. missing (Open, pushed): no row",
            "  3. trap (Open): no row leads out of it, and it is not final",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_broken_property_fails_with_the_events_that_show_it(project: pytest.Pytester) -> None:
    project.makepyfile(doors=GOOD.replace("count <= 2", "count <= 1"))
    result = project.runpytest_inprocess("--bluegreen-verify")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["worn: it opens at most twice", "  1. pushed", "  2. pushed", "  3. pushed"])


def test_full_tries_mutants_and_tells_of_what_no_mutant_breaks(project: pytest.Pytester) -> None:
    project.makepyfile(doors=GOOD)
    result = project.runpytest_inprocess("--bluegreen-verify=full", "-k", "not stateful")
    result.assert_outcomes(passed=3, deselected=1)
    assert "door: 11 of 11 mutants noticed" in told(result)
    assert "  no mutant breaks: worn" in told(result)


def test_a_mutant_that_nothing_notices_is_named_and_fails(project: pytest.Pytester) -> None:
    line = next(line for line in GOOD.splitlines() if '"refuses"' in line)
    project.makepyfile(doors=GOOD.replace(line, ""))
    result = project.runpytest_inprocess("--bluegreen-verify=full", "-k", "not stateful")
    result.assert_outcomes(passed=2, failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["door: 10 of 11 mutants noticed", "  nothing notices: Open.locked forbid: deleted"]
    )


def test_a_survivor_that_is_explained_passes_and_an_explanation_that_is_out_of_date_fails(
    project: pytest.Pytester,
) -> None:
    explained = 'explained={"Open.locked forbid: deleted": "nobody looks"}'
    strict = GOOD.replace("    ))\n", f"    ), {explained})\n")
    project.makepyfile(doors=strict)
    result = project.runpytest_inprocess("--bluegreen-verify=full", "-k", "not stateful")
    result.assert_outcomes(passed=2, failed=1, deselected=1)
    result.stdout.fnmatch_lines(["  explained, but noticed or gone: Open.locked forbid: deleted"])
    line = next(line for line in strict.splitlines() if '"refuses"' in line)
    project.makepyfile(doors=strict.replace(line, ""))
    result = project.runpytest_inprocess("--bluegreen-verify=full", "-k", "not stateful")
    result.assert_outcomes(passed=3, deselected=1)


JAMMED = """
    class Jammed:
        def __init__(self):
            self.state, self.context = "Shut", Uses()
        def send(self, event):
            if event == Locked() and self.state == "Open":
                return
            taken = step(DOOR.table, self.state, self.context, event)
            self.state, self.context = taken.state, taken.context
"""

FEW = """
    from hypothesis import settings
    settings.register_profile("few", max_examples=20, database=None)
    settings.load_profile("few")
"""


def test_full_holds_a_machine_against_its_table_in_long_random_runs(project: pytest.Pytester) -> None:
    project.makepyfile(doors=GOOD, conftest=FEW)
    result = project.runpytest_inprocess("--bluegreen-verify=full", "-k", "stateful")
    result.assert_outcomes(passed=1, deselected=3)
    (line,) = [line for line in told(result) if "random steps" in line]
    assert line.endswith("random steps, door: 5 of 5 rows taken, 2 of 2 guards seen true and false")


def test_full_notices_a_subject_that_does_something_else(project: pytest.Pytester) -> None:
    wrong = GOOD.replace("from bluegreen.verify", "from bluegreen import step\n    from bluegreen.verify", 1)
    wrong = wrong.replace("    DOOR = Verification(", JAMMED + "\n    DOOR = Verification(")
    project.makepyfile(doors=wrong.replace("    ))\n", "    ), subject=Jammed)\n"), conftest=FEW)
    result = project.runpytest_inprocess("--bluegreen-verify=full", "-k", "stateful")
    result.assert_outcomes(failed=1, deselected=3)
    result.stdout.fnmatch_lines(["*Disagreement: Locked() was accepted, and Open.locked forbid forbids it*"])


def test_without_the_option_nothing_is_imported_and_nothing_is_told(project: pytest.Pytester) -> None:
    project.makepyfile(
        doors="raise RuntimeError('imported')",
        test_nothing="import sys\ndef test_nothing(): assert 'bluegreen' not in sys.modules",
    )
    result = project.run(sys.executable, "-m", "pytest")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*bluegreen:*")


def test_with_the_option_and_no_table_pytest_says_what_to_add(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--bluegreen-verify", "-p", "no:asyncio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*no table is declared; add to the configuration of pytest*bluegreen_tables =*"]
    )


def test_a_path_after_the_option_is_told_apart_from_its_value(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("--bluegreen-verify", "tests")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*'tests'; accepted: quick, full; before a path, write --bluegreen-verify=quick*"]
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("doors:NOTHING", "*doors has no NOTHING; wanted: a Verification or a Table*"),
        ("doors:Pushed", "*doors:Pushed is a type; wanted: a Verification or a Table*"),
        ("json", "*json has no Verification; name the table: json:NAME*"),
        ("no_such_module:X", "*No module named 'no_such_module'*"),
    ],
)
def test_an_entry_that_is_no_table_is_a_failing_test(project: pytest.Pytester, entry: str, said: str) -> None:
    project.makepyfile(doors=GOOD)
    result = project.runpytest_inprocess("--bluegreen-verify", "-o", f"bluegreen_tables={entry}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([said])


def test_a_plain_table_and_a_machine_of_transitions_are_declared_by_name(project: pytest.Pytester) -> None:
    project.makepyfile(
        lamps="""
        import transitions
        from bluegreen.verify import Verification, from_transitions
        machine = transitions.Machine(states=["On", "Off", "Broken"], initial="Off", auto_transitions=False)
        machine.add_transition("switched", "Off", "On", conditions="powered")
        machine.add_transition("switched", "On", "Off")
        LAMP = from_transitions(machine, name="lamp")
        """
    )
    entries = "bluegreen_tables=lamps:LAMP\nbluegreen.machines.retry:RETRY"
    result = project.runpytest_inprocess("--bluegreen-verify", "-v", "-o", entries)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "bluegreen::lamp::definition FAILED*",
            "bluegreen::retry::explore PASSED*",
            "  1. unreachable (Broken): no sequence of rows leads there from Off",
        ]
    )


def test_items_are_deselected_like_any_test(project: pytest.Pytester) -> None:
    project.makepyfile(doors=GOOD, test_doors=TESTS)
    result = project.runpytest_inprocess("--bluegreen-verify", "-k", "definition")
    result.assert_outcomes(passed=1, deselected=3)


def test_several_processes_count_together(project: pytest.Pytester) -> None:
    project.makepyfile(doors=GOOD, test_doors=TESTS)
    alone = project.runpytest_inprocess("--bluegreen-verify")
    several = project.run(sys.executable, "-m", "pytest", "--bluegreen-verify", "-n", "2")
    several.assert_outcomes(passed=4)
    assert told(several) == told(alone)


def test_the_plugin_works_without_xdist(project: pytest.Pytester) -> None:
    project.makepyfile(doors=GOOD)
    result = project.run(sys.executable, "-m", "pytest", "--bluegreen-verify", "-p", "no:xdist")
    result.assert_outcomes(passed=2)


def test_after_the_run_steps_cost_what_they_did(project: pytest.Pytester) -> None:
    from bluegreen.table.table import Table

    before = Table.row
    project.makepyfile(doors=GOOD, test_doors=TESTS)
    project.runpytest_inprocess("--bluegreen-verify")
    assert Table.row is before


def test_the_module_of_the_options_imports_nothing_of_bluegreen() -> None:
    from bluegreen_adapters import pytest_plugin

    source = Path(str(pytest_plugin.__file__)).read_text("utf-8")
    assert [line for line in source.splitlines() if line.startswith(("import ", "from "))] == [
        "from __future__ import annotations",
        "import argparse",
        "import pytest",
    ]

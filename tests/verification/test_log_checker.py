"""What the log checker finds in journals of real managers: whatever was changed, and nothing else."""

from __future__ import annotations

import io
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import bluegreen.runtime.manager as manager_module
from bluegreen.cli.verify_log import verify_logs
from bluegreen.config.settings import Settings
from bluegreen.errors import BluegreenError, StrategyUnavailable
from bluegreen.machines.strategy.context import COUNTS, Context
from bluegreen.machines.strategy.effects import IssueTicket
from bluegreen.machines.strategy.events import (
    AuthFailure,
    AuthSuccess,
    CacheInvalidated,
    ConnectionOpened,
    CooldownEnded,
    DrainTimedOut,
    Error456,
    PersistentFailure,
    QueryCancelled,
    QueryCompleted,
    QueryFailed,
    QueryStarted,
    Reset,
    RollbackRequested,
    StrategyAnnounced,
)
from bluegreen.machines.strategy.reducers import end_ticket, start_on_active
from bluegreen.machines.strategy.table import STRATEGY
from bluegreen.runtime.manager import StrategyManager
from bluegreen.table.rows import RowKind
from bluegreen.table.step import step
from bluegreen.table.table import Table
from bluegreen.types import Scope, Strategy
from bluegreen.verify.trace.checker import check_log
from bluegreen.verify.trace.format import FORMER_ROWS, Short, Whole, recorded, situation
from bluegreen.verify.trace.writer import Journal

TRIES = 1_000
ENDS = (QueryCompleted, QueryCancelled, QueryFailed)


def load(manager: StrategyManager, chance: random.Random, steps: int) -> None:
    """Random queries and news, until `steps` have changed something; then the queries end."""
    tickets = []
    while manager.snapshot.sequence < steps:
        strategy, version = chance.choice(list(Strategy)), manager.state_version
        if chance.random() < 0.3:
            news = [
                StrategyAnnounced(strategy, version), StrategyAnnounced(strategy, version),
                Error456(strategy, version), AuthSuccess(strategy, version), ConnectionOpened(), Reset(),
                CacheInvalidated(), RollbackRequested(), CooldownEnded(), DrainTimedOut(),
            ]  # fmt: skip
            try:
                manager.send(chance.choice(news))
            except BluegreenError:
                continue
        elif len(tickets) < chance.randrange(1, 6):
            try:
                tickets.append(manager.start(lambda strategy, left_s: None))
            except StrategyUnavailable:
                manager.send(Reset())
        else:
            manager.end(chance.choice(ENDS)(tickets.pop(chance.randrange(len(tickets)))))
    for ticket in tickets:
        manager.end(QueryCompleted(ticket))


def journal_of(chance: random.Random, steps: int = 25) -> list[bytes]:
    """The lines of a journal of two scopes, one of them with other settings, in turns."""
    text = io.BytesIO()
    with Journal(text) as journal:
        managers = [
            StrategyManager(Scope("one:1"), Settings(logging_level="ERROR")),
            StrategyManager(Scope("two:2", "x"), Settings(logging_level="ERROR", commit_when="first_safe_point")),
        ]  # fmt: skip
        for manager in managers:
            journal.follow(manager)
        for part in range(1, 6):
            for manager in managers:
                load(manager, chance, steps * part // 5)
    return text.getvalue().splitlines(keepends=True)


def journals() -> Iterator[tuple[random.Random, list[bytes]]]:
    """As many tries as are asked for, on journals of twenty loads; the seed is printed."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    logs = [journal_of(chance) for _ in range(20)]
    for lines in logs:
        report = check_log(lines)
        assert report.exit_code == 0, report
        assert report.records >= 50
    for number in range(TRIES):
        yield chance, logs[number % len(logs)]


def resealed(lines: list[bytes]) -> list[bytes]:
    """The same lines with check sums that fit: what somebody would do who knows how they are made."""
    made, crc = [], 0
    for line in lines:
        text = line[:-19]
        crc = zlib.crc32(text, crc)
        made.append(b'%b,"crc":"%08x"}\n' % (text, crc))
    return made


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def another(value: Any, chance: random.Random) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + chance.choice([-2, -1, 1, 2])
    if value in ("blue", "green"):
        return chance.choice([{"blue": "green", "green": "blue"}[value], None])
    if value is None:
        return chance.choice(["blue", "green", 0])
    if value == []:
        return ["blue"]
    return value[:-1] + ("y" if value[-1] == "x" else "x")


def with_leaf(line: bytes, path: tuple[Any, ...], value: Any) -> bytes:
    said = json.loads(line)
    inner = said
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


def flipped(
    chance: random.Random, lines: list[bytes], within: Callable[[tuple[Any, ...]], bool]
) -> tuple[int, list[bytes]]:
    """One field of one line has another value; the number of the line."""
    at = chance.choice([number for number, line in enumerate(lines) if b'"step":' in line])
    path, value = chance.choice([leaf for leaf in leaves(json.loads(lines[at])) if within(leaf[0])])
    return at + 1, [*lines[:at], with_leaf(lines[at], path, another(value, chance)), *lines[at + 1 :]]


def found(lines: list[bytes]) -> int | None:
    """The number of the first line that is wrong."""
    divergence = check_log(lines).divergence
    return None if divergence is None else divergence.line


def test_each_flipped_field_is_found_in_its_line() -> None:
    for chance, lines in journals():
        at, wrong = flipped(chance, lines, lambda path: True)
        assert found(wrong) == at, wrong[at - 1]


def test_each_flipped_field_of_a_step_is_found_also_by_what_it_says() -> None:
    """The check sums fit: table, order and tickets find it alone. The clock's time is in no relation to them."""
    for chance, lines in journals():
        at, wrong = flipped(chance, lines, lambda path: path[0] not in ("at_s", "crc"))
        line = found(resealed(wrong))
        if json.loads(lines[at - 1])["ticket"] is None:
            assert line == at, wrong[at - 1]
        else:  # another number of a ticket may be found only where it ends
            assert line is not None, wrong[at - 1]
            assert line >= at


@pytest.mark.parametrize("seal", [list, resealed])
def test_each_dropped_line_is_found(seal: Callable[[list[bytes]], list[bytes]]) -> None:
    for chance, lines in journals():
        at = chance.randrange(len(lines))
        report = check_log(seal([*lines[:at], *lines[at + 1 :]]))
        assert report.exit_code == (3 if at == len(lines) - 1 else 1)


@pytest.mark.parametrize("seal", [list, resealed])
def test_two_swapped_records_of_one_manager_are_found(seal: Callable[[list[bytes]], list[bytes]]) -> None:
    for chance, lines in journals():
        number = chance.choice([b'"manager":1,"sequence"', b'"manager":2,"sequence"'])
        own = [at for at, line in enumerate(lines) if number in line]
        if chance.random() < 0.5:
            first = chance.randrange(len(own) - 1)
            one, other = own[first : first + 2]
        else:
            one, other = sorted(chance.sample(own, 2))
        wrong = list(lines)
        wrong[one], wrong[other] = wrong[other], wrong[one]
        assert found(seal(wrong)) == one + 1


def test_any_two_swapped_lines_are_found() -> None:
    for chance, lines in journals():
        one, other = sorted(chance.sample(range(len(lines)), 2))
        wrong = list(lines)
        wrong[one], wrong[other] = wrong[other], wrong[one]
        assert found(wrong) == one + 1


def test_each_version_forged_from_a_record_on_is_found_though_all_that_follows_fits() -> None:
    for chance, lines in journals():
        own = [at for at, line in enumerate(lines) if b'"manager":1,"sequence"' in line]
        start, by = chance.choice(own), chance.choice([-3, -1, 1, 2, 7])
        wrong = list(lines)
        for at in own[own.index(start) :]:
            said = json.loads(wrong[at])
            for name, version in said["version"].items():
                if version is not None:
                    wrong[at] = with_leaf(wrong[at], ("version", name), version + by)
        assert found(wrong) == start + 1
        assert found(resealed(wrong)) == start + 1


def test_a_missing_end_is_reported_and_is_no_divergence() -> None:
    for chance, lines in journals():
        report = check_log(lines[: chance.randrange(1, len(lines))])
        assert (report.divergence, report.unclosed, report.exit_code) == (None, 1, 3)


def test_a_line_torn_by_a_crash_is_reported_apart() -> None:
    for chance, lines in journals():
        at = chance.randrange(1, len(lines))
        torn = lines[at][: chance.randrange(1, len(lines[at]) - 1)]
        report = check_log([*lines[:at], torn])
        assert (report.divergence, report.torn, report.exit_code) == (None, (at + 1,), 3)


def test_a_journal_that_goes_on_after_a_crash_is_checked_to_its_end(tmp_path: Any) -> None:
    path = tmp_path / "journal.jsonl"
    first = b"".join(journal_of(random.Random(1)))
    path.write_bytes(first[:-60])
    with Journal(path) as journal:
        manager = StrategyManager(Scope("again:1"))
        journal.follow(manager)
        manager.start(lambda strategy, left_s: None)
    report = check_log(path.read_bytes().splitlines(keepends=True))
    assert (report.divergence, len(report.torn), report.unclosed) == (None, 1, 1)
    wrong = path.read_bytes().replace(b'"query":1,"strategy":"blue"', b'"query":1,"strategy":"green"')
    assert check_log(wrong.splitlines(keepends=True)).exit_code == 1


def test_the_line_that_differs_is_shown_with_those_around_it() -> None:
    lines = journal_of(random.Random(2))
    wrong = [*lines[:20], with_leaf(lines[20], ("step", "row"), "Stable.nothing"), *lines[21:]]
    text = str(check_log(wrong))
    assert 'line 21: row is "Stable.nothing", and must be "' in text
    assert [number for number in range(100) if f"\n  {number}: {{" in text] == [18, 19, 20, 22, 23, 24]
    assert "\n> 21: {" in text


# Tables that are wrong.


def on_active(row: Any) -> Any:
    """New queries go to active while a transition is pending."""
    if row.state != "PendingTransition" or row.event is not QueryStarted:
        return row
    effects = (lambda before, after, event: IssueTicket(after.active, after.state_version),)
    return attrs.evolve(row, reducer=start_on_active, effects=effects)


def starving(row: Any) -> Any:
    """A query's end does not commit, whichever strategy it was on."""
    if row.state != "PendingTransition" or row.event not in ENDS or row.outcome is not RowKind.GO:
        return row
    return attrs.evolve(row, outcome=RowKind.STAY, target=None, reducer=end_ticket, effects=())


def unversioned(row: Any) -> Any:
    """An announcement is no new version."""
    if row.state != "Stable" or row.event is not StrategyAnnounced or row.outcome is not RowKind.GO:
        return row
    return attrs.evolve(row, reducer=lambda context, event: attrs.evolve(context, pending=event.strategy))


@pytest.mark.unjournaled  # it is wrong
@pytest.mark.parametrize(
    ("change", "by"), [(on_active, "I3 routed"), (starving, "L1 progress"), (unversioned, "I6 versioned")]
)
def test_a_log_of_a_wrong_table_is_found_by_the_right_table_and_by_properties(
    change: Callable[[Any], Any], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong: Table[Any, Any, Any] = attrs.evolve(STRATEGY, rows=[change(row) for row in STRATEGY.rows])
    monkeypatch.setattr(manager_module, "STRATEGY", wrong)
    lines = journal_of(random.Random(3), steps=400)
    divergence = check_log(lines).divergence
    assert divergence is not None
    assert " is broken" not in divergence.what
    itself = check_log(lines, wrong).divergence
    assert itself is not None
    assert f"{by} is broken" in itself.what
    assert check_log(lines, wrong, always=()).divergence is None


def test_judgements_are_remembered_without_versions_since_the_table_is_the_same_in_all() -> None:
    """What `Judge` relies on: moved by any number of versions, each step of the table is the same step."""
    chance = random.Random(random.randrange(2**32))
    context, state = Context.initial(), "Detecting"
    rows = set()
    for _ in range(5_000):
        event = chance.choice([StrategyAnnounced, Error456, AuthSuccess])(
            chance.choice(list(Strategy)), context.state_version - chance.choice([0, 0, 0, 1])
        )
        if chance.random() < 0.2:
            event = chance.choice([ConnectionOpened, Reset, CacheInvalidated])()
        by = chance.randrange(1, 10**6)
        moved = (
            attrs.evolve(event, state_version=event.state_version + by)
            if hasattr(event, "state_version")
            else event
        )
        one = step(STRATEGY, state, context, event)
        other = step(STRATEGY, state, attrs.evolve(context, state_version=context.state_version + by), moved)
        assert (other.state, other.row) == (one.state, one.row)
        assert attrs.evolve(other.context, state_version=other.context.state_version - by) == one.context
        state, context = one.state, one.context
        rows.add(one.row)
    assert len(rows) > 15


# The runtime.


def test_a_record_that_is_handed_over_late_is_written_in_its_turn() -> None:
    manager, text = StrategyManager(Scope("late:1")), io.BytesIO()
    manager.start(lambda strategy, left_s: None)
    nested: list[Any] = []

    def hurry(record: Any) -> None:
        """Comes before the journal; takes a step itself, which is handed over first."""
        if not nested:
            nested.append(record)
            manager.try_start()

    with Journal(text) as journal:
        manager.subscribe(hurry, every_step=True)
        journal.follow(manager)
        manager.try_start()
    report = check_log(text.getvalue().splitlines(keepends=True))
    assert (report.exit_code, report.records) == (0, 2)


@pytest.mark.unjournaled  # it is wrong
def test_a_record_that_never_comes_is_a_divergence() -> None:
    manager, text = StrategyManager(Scope("lost:1")), io.BytesIO()
    with Journal(text) as journal:
        journal.follow(manager)
        manager.start(lambda strategy, left_s: None)
        audience = manager._audience
        followers, audience.followers = audience.followers, ()
        manager.try_start()
        audience.followers = followers
        manager.try_start()
    report = check_log(text.getvalue().splitlines(keepends=True))
    assert report.divergence is not None
    assert report.divergence.what == "sequence is 4, and must be 3: 1 missing"


def test_a_journal_that_begins_while_queries_run_takes_their_ends() -> None:
    manager, text = StrategyManager(Scope("midway:1")), io.BytesIO()
    ticket = manager.start(lambda strategy, left_s: None)
    with Journal(text) as journal:
        journal.follow(manager)
        other = manager.try_start()
        assert other is not None
        manager.end(QueryCompleted(ticket))
        manager.end(QueryCompleted(other))
    lines = text.getvalue().splitlines(keepends=True)
    assert check_log(lines).exit_code == 0
    wrong = [*lines[:3], with_leaf(lines[3], ("ticket", "query"), 3), *lines[4:]]
    assert found(resealed(wrong)) == 4


@pytest.mark.unjournaled  # it is wrong
def test_a_ticket_that_the_runtime_ends_twice_is_found() -> None:
    """The counts allow it, since another query runs; the table sees no numbers."""
    manager, text = StrategyManager(Scope("twice:1")), io.BytesIO()
    with Journal(text) as journal:
        journal.follow(manager)
        ticket = manager.start(lambda strategy, left_s: None)
        manager.try_start()
        manager.end(QueryCompleted(ticket))
        manager._tickets[ticket.query] = ticket
        manager.end(QueryCompleted(ticket))
    divergence = check_log(text.getvalue().splitlines(keepends=True)).divergence
    assert divergence is not None
    assert divergence.what == "ticket 1 is not open"


def test_a_disk_that_is_full_ends_the_journal_and_no_query(caplog: pytest.LogCaptureFixture) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 1_200:
                super().write(bytes(data)[: 1_200 - self.tell()])
                raise OSError(28, "No space left on device")
            return super().write(data)

    text = Full()
    journal = Journal(text)
    manager = StrategyManager(Scope("full:1"))
    journal.follow(manager)
    for _ in range(3):
        manager.start(lambda strategy, left_s: None)
    journal.close()
    assert len(manager.open_tickets) == 3
    assert caplog.text.count("an observer raised") == 1
    report = check_log(text.getvalue().splitlines(keepends=True))
    assert (report.divergence, len(report.torn)) == (None, 1)


def test_a_short_line_stands_for_the_whole_one_whatever_happens_in_between() -> None:
    chance = random.Random(5)
    manager, told = StrategyManager(Scope("short:1")), list[Any]()
    manager.subscribe(told.append, every_step=True)
    load(manager, chance, 3_000)
    short, whole = Short(7, manager.scope), Whole()
    lines = [short.of(record) for record in told]
    assert [whole.of(line) for line in lines] == [recorded(7, record) for record in told]
    assert sum(len(line) < 300 for line in lines) > 100
    first = next(line for line in lines if not line.endswith("}"))
    with pytest.raises(ValueError, match="and 0 were written whole before it"):
        Whole().of(first)


def test_every_field_of_a_context_is_in_a_line() -> None:
    counted = attrs.evolve(Context.initial(), **dict.fromkeys(COUNTS, 1), held_down="blue", rolled_back=True)
    written = {*json.loads(situation("Stable", counted)), "state_version", "settings"}
    assert written == {"state", *(field.name for field in attrs.fields(Context))}


def test_counts_of_zero_and_no_rollback_are_in_no_line_so_that_older_journals_can_be_read() -> None:
    assert not {*COUNTS, "rolled_back"} & set(json.loads(situation("Stable", Context.initial())))


def test_the_exit_code_is_that_of_the_worst_file(tmp_path: Any) -> None:
    lines = journal_of(random.Random(4))
    files = {"right": lines, "open": lines[:-1], "wrong": [*lines[:9], *lines[10:]]}
    for name, content in files.items():
        (tmp_path / name).write_bytes(b"".join(content))
    right, still_open, wrong = (str(tmp_path / name) for name in files)
    said: list[str] = []
    assert verify_logs([right], said.append) == 0
    assert verify_logs([right, still_open], said.append) == 3
    assert verify_logs(["--open", right, still_open], said.append) == 0
    assert verify_logs([still_open, wrong, right], said.append) == 1
    assert verify_logs([right, str(tmp_path / "none")], said.append) == 2
    assert verify_logs([], said.append) == 2
    assert any("records per second" in text for text in said)
    assert any("line 10: " in text for text in said)


def test_a_journal_of_before_refusals_of_single_users_is_still_read() -> None:
    """Rows were narrowed since; their former names stand in older journals, and nothing of the new fields does."""
    text = io.BytesIO()
    with Journal(text) as journal:
        manager = StrategyManager(Scope("one:1"), Settings(logging_level="ERROR"))
        journal.follow(manager)
        ticket = manager.start(lambda strategy, left_s: None)
        manager.send(AuthFailure(Strategy.BLUE, manager.state_version))
        manager.send(AuthFailure(Strategy.GREEN, manager.state_version))
        manager.send(AuthSuccess(Strategy.BLUE, manager.state_version))
        manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
        manager.end(QueryCompleted(manager.start(lambda strategy, left_s: None)))
        manager.send(PersistentFailure(Strategy.GREEN, manager.state_version))
        manager.end(QueryCompleted(ticket))
    older = [_as_before(line) for line in text.getvalue().splitlines(keepends=True)]
    assert b"others served" not in b"".join(older)
    report = check_log(resealed(older))
    assert (report.exit_code, report.records) == (0, 10), report


def _as_before(line: bytes) -> bytes:
    told = line.decode()
    for row, former in FORMER_ROWS.items():
        told = told.replace(f'"row":"{row}"', f'"row":"{former}"')
    for setting in (',"probe_after_s":2.0', ',"forms":[]'):
        told = told.replace(setting, "")
    return told.encode()


def test_each_former_name_is_that_of_a_row_that_was_narrowed() -> None:
    assert {row.name for row in STRATEGY.rows} >= set(FORMER_ROWS)
    assert not {row.name for row in STRATEGY.rows} & set(FORMER_ROWS.values())


def test_what_concerns_one_connection_is_in_a_journal_and_is_held_against_the_table() -> None:
    text = io.BytesIO()
    with Journal(text) as journal:
        manager = StrategyManager(Scope("one:1"), Settings(logging_level="ERROR"))
        journal.follow(manager)
        manager.end(QueryCompleted(manager.start(lambda strategy, left_s: None)))
        alone = manager.try_start(alone=Strategy.GREEN)
        assert alone is not None
        manager.end(QueryCompleted(alone))
    lines = text.getvalue().splitlines(keepends=True)
    assert check_log(lines).exit_code == 0
    forged = resealed([line.replace(b',"alone":"green"', b"") for line in lines])
    assert check_log(forged).exit_code == 1

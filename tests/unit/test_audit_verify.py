"""What is done to the files of an audit is found, and told from what a crash leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bluegreen.machines.strategy.events import StrategyAnnounced
from bluegreen.types import Strategy
from bluegreen_adapters.observe.audit.format import FIRST, HEAD_SUFFIX, headed, lines_of, sealed, unsealed
from bluegreen_adapters.observe.audit.verifier import Verified, verify
from bluegreen_adapters.observe.audit.writer import AuditWriter
from support.auditing import DAY_S, NOON_S, lost, observed, paths, queries, refused, tell
from support.clock import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON_S)


@pytest.fixture
def killed(tmp_path: Path, clock: FakeClock) -> Path:
    """The file of a process that was killed: it has no last line."""
    manager, told = observed()
    queries(manager, 5)
    manager.send(StrategyAnnounced(Strategy.GREEN, manager.state_version))
    audit = AuditWriter(tmp_path, clock=clock)
    tell(audit, told)
    (path,) = paths(tmp_path, "changes")
    return path


@pytest.fixture
def three_files(tmp_path: Path, clock: FakeClock) -> list[Path]:
    manager, told = observed()
    audit = AuditWriter(tmp_path, clock=clock)
    for _ in range(3):
        queries(manager, 5)
        tell(audit, told)
        clock.advance(DAY_S)
    audit.close()
    return paths(tmp_path, "changes")


def head(path: Path) -> Path:
    return path.with_name(path.name + HEAD_SUFFIX)


def resealed(path: Path, change: Callable[[str], str]) -> None:
    """Change lines as somebody who knows how they are made, and make hashes and head anew."""
    data, found, number = b"", FIRST, 0
    with path.open("rb") as file:
        for raw in lines_of(file):
            line = unsealed(raw)
            assert line is not None
            made, found = sealed(change(line.text), line.time, found)
            data, number = data + made, number + 1
    path.write_bytes(data)
    head(path).write_bytes(headed(number, found))


def findings(folder: Path) -> list[tuple[str, int, str]]:
    return [(one.file, one.line, one.what) for one in verify(folder).findings]


def test_an_audit_of_a_process_that_was_killed_is_right_and_said_to_have_no_end(killed: Path) -> None:
    found = verify(killed.parent)
    assert (found.ok, found.records, found.open, found.torn) == (True, 12, 1, ())


def test_a_part_of_a_line_at_the_end_is_set_aside_and_nothing_before_it_is_lost(killed: Path) -> None:
    right = killed.read_bytes()
    for length in (1, 50, 200):
        killed.write_bytes(right + right[:length])
        found = verify(killed.parent)
        assert (found.ok, found.records) == (True, 12)
        (torn,) = found.torn
        assert (torn.file, torn.line) == (killed.name, 15)
        assert torn.what == f"{length} bytes of a line without its end"


def test_lines_that_the_head_does_not_count_yet_are_right_if_their_chain_is(killed: Path) -> None:
    with killed.open("rb") as file:
        third = unsealed(list(lines_of(file))[2])
    assert third is not None
    head(killed).write_bytes(headed(3, third.hash))
    assert verify(killed.parent).ok


@pytest.mark.parametrize("gone", [1, 5])
def test_lines_that_are_cut_off_at_the_end_are_missed(killed: Path, gone: int) -> None:
    lines = killed.read_bytes().splitlines(keepends=True)
    killed.write_bytes(b"".join(lines[:-gone]))
    assert findings(killed.parent) == [
        (killed.name, 14 - gone, "the head of the file counts 14 lines: the last ones are missing")
    ]


def test_a_last_line_that_lost_its_end_after_it_was_counted_is_missed(killed: Path) -> None:
    killed.write_bytes(killed.read_bytes()[:-1])
    assert not verify(killed.parent).ok
    killed.write_bytes(killed.read_bytes() + b" ")
    assert "its end was changed" in str(verify(killed.parent))


def test_a_head_that_is_gone_or_changed_is_a_finding(killed: Path) -> None:
    right = head(killed).read_bytes()
    head(killed).write_bytes(right.replace(b"000014", b"000013"))
    assert findings(killed.parent) == [
        (killed.name, 13, "its hash is not the one that the head of the file has")
    ]
    head(killed).write_bytes(right[:-1])
    assert findings(killed.parent) == [(killed.name, 0, "its head is not written as an audit writes it")]
    head(killed).unlink()
    assert findings(killed.parent) == [
        (killed.name, 0, "its head is not there: lines may be missing at its end")
    ]


def test_a_changed_line_is_named_and_two_of_them_are_both(killed: Path) -> None:
    lines = killed.read_bytes().splitlines(keepends=True)
    for number in (4, 9):
        lines[number] = lines[number].replace(b'"at_s":', b'"at_s":1')
    killed.write_bytes(b"".join(lines))
    wrong = "its hash is wrong: it was changed, or lines before it are missing, new or moved"
    assert findings(killed.parent) == [(killed.name, 5, wrong), (killed.name, 10, wrong)]


def test_two_swapped_lines_and_a_doubled_one_are_found(killed: Path) -> None:
    lines = killed.read_bytes().splitlines(keepends=True)
    killed.write_bytes(b"".join([*lines[:4], lines[5], lines[4], *lines[6:]]))
    assert not verify(killed.parent).ok
    killed.write_bytes(b"".join([*lines[:5], lines[4], *lines[5:]]))
    assert not verify(killed.parent).ok


def test_a_step_that_the_table_does_not_take_is_found_even_if_all_hashes_are_made_anew(killed: Path) -> None:
    def forge(text: str) -> str:
        forged = '"after":{"state":"Stable","active":"green"'
        wrong = '"after":{"state":"Stable","active":"blue"'
        return text.replace(wrong, forged) if '"sequence":3,' in text else text

    resealed(killed, forge)
    ((file, line, what),) = findings(killed.parent)
    assert (file, line) == (killed.name, 5)
    assert what == 'the table does not do this: after.active is "green", and must be "blue"'


def test_a_line_that_stands_for_a_step_that_was_not_written_is_found(killed: Path) -> None:
    resealed(killed, lambda text: text.replace('"step":2', '"step":9'))
    assert findings(killed.parent)[0][1:] == (
        6,
        "it does not say what its kind says: ValueError('step is 9, and 3 were written whole before it')",
    )


def test_a_step_that_is_left_out_is_found_even_if_all_hashes_are_made_anew(killed: Path) -> None:
    lines = killed.read_bytes().splitlines(keepends=True)
    killed.write_bytes(b"".join(lines[:6] + lines[7:]))
    resealed(killed, lambda text: text)
    ((_, line, what),) = findings(killed.parent)
    assert (line, what) == (7, "the table does not do this: sequence is 6, and must be 5: 1 missing")


def test_files_follow_each_other_and_one_that_is_missing_or_another_is_found(three_files: list[Path]) -> None:
    first, second, third = three_files
    assert verify(first.parent).ok
    data, counted = second.read_bytes(), head(second).read_bytes()
    head(second).unlink()
    second.unlink()
    assert findings(first.parent) == [
        (third.name, 1, f"{second.name} is missing, and no line says that it was removed")
    ]
    head(second).write_bytes(counted)
    assert f"{second.name}: it is missing, with 13 lines" in str(verify(first.parent))
    second.write_bytes(data)
    resealed(second, lambda text: text.replace("queries", "questions").replace('"at_s":', '"at_s":1'))
    assert findings(first.parent) == [
        (
            third.name,
            1,
            f"it does not follow the last line of {second.name}, of which lines are missing or changed",
        )
    ]


def test_a_file_that_follows_one_that_need_not_be_kept_any_more_is_right_without_it(
    tmp_path: Path, clock: FakeClock
) -> None:
    audit = AuditWriter(tmp_path, clock=clock)
    for days in (
        100,
        95,
        0,
    ):  # no error for so long that the line about the removal of the first file is gone too
        audit([refused()])
        clock.advance(days * DAY_S)
    audit.close()
    assert len(paths(tmp_path, "errors")) == 1
    for path in paths(tmp_path, "changes"):
        path.unlink()
        head(path).unlink()
    assert findings(tmp_path) == []


def test_a_file_under_the_name_of_another_is_found(three_files: list[Path]) -> None:
    first, second, _ = three_files
    first.write_bytes(second.read_bytes())
    head(first).write_bytes(head(second).read_bytes())
    assert (first.name, 1, f"it belongs to {second.name}") in findings(first.parent)


def test_a_line_after_the_last_one_is_found(three_files: list[Path]) -> None:
    path = three_files[2]
    last = unsealed(path.read_bytes().splitlines(keepends=True)[-1])
    assert last is not None
    path.write_bytes(path.read_bytes() + sealed('{"audit":"query_lost"', last.time, last.hash)[0])
    assert [one.what for one in verify(path.parent).findings] == ["it comes after the last line"]


def test_a_gap_is_told_and_is_no_finding(tmp_path: Path, clock: FakeClock) -> None:
    manager, told = observed()
    queries(manager, 5)
    audit = AuditWriter(tmp_path, clock=clock)
    audit(told[:3] + told[6:])
    audit.close()
    found = verify(tmp_path)
    assert (found.ok, found.missing, len(found.gaps)) == (True, 3, 1)
    assert "gap: " in str(found)


def test_a_file_that_is_no_audit_is_told_as_such_with_a_bounded_number_of_findings(killed: Path) -> None:
    killed.write_bytes(b"no line\n" * 1_000)
    found = verify(killed.parent)
    assert len(found.findings) == 21
    assert found.findings[0].what == "it is no line of an audit"


def test_a_line_that_never_ends_is_not_kept_in_memory(killed: Path) -> None:
    with killed.open("ab") as file:
        file.write(b"x" * (3 << 20))
    found = verify(killed.parent)
    assert found.records == 12
    assert len(found.torn) == 3


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "README").write_text("what is here")
    audit = AuditWriter(tmp_path, clock=clock)
    audit([refused(), lost()])
    audit.close()
    found = verify(tmp_path)
    assert isinstance(found, Verified)
    assert (found.ok, found.files) == (True, 2)

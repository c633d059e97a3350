"""The engines that the cases share, and the list of combinations that do not apply."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen_adapters.testing.engine import EngineProcess
from support.cases import Case, all_cases
from support.telling import tell_section
from support.ways import ENGINE, WAYS, decoders_kept

FOLDER = Path(__file__).parent / "cases"
CASES = all_cases(FOLDER)
QUICK_WAYS = ("sync", "aio")
"""Ways in on which each case is quick: one for threads and one for asyncio. On the others it is slow."""

Engines = Callable[[Mapping[str, Any]], EngineProcess]


def applicable() -> Iterator[tuple[str, Case]]:
    """Yield every way with every case that applies to it."""
    for way in WAYS:
        for case in CASES:
            if case.inapplicable(way) is None:
                yield way, case


def inapplicable() -> dict[tuple[str, str], list[str]]:
    """Return the names of the cases that do not apply, by way and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for way in WAYS:
        for case in CASES:
            reason = case.inapplicable(way)
            if reason is not None:
                found.setdefault((way, reason), []).append(case.name)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"way", "case"} <= set(metafunc.fixturenames):
        given = [
            pytest.param(
                way,
                case,
                id=f"{way}: {case.name}",
                marks=[] if way in QUICK_WAYS else [pytest.mark.slow],
            )
            for way, case in applicable()
        ]
        metafunc.parametrize(("way", "case"), given)


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """Starts the engine with the options that a case asks for; one engine for each set of options."""
    started: dict[str, EngineProcess] = {}
    with ExitStack() as stack:
        stack.enter_context(decoders_kept())

        def engine_with(options: Mapping[str, Any]) -> EngineProcess:
            key = repr(sorted(options.items()))
            if key not in started:
                started[key] = stack.enter_context(EngineProcess(**{**ENGINE, **options}))
            return started[key]

        yield engine_with


@pytest.fixture(scope="session")
def _inapplicable_told() -> None:
    """Show in the summary what does not apply, and why, once a case has run."""
    found = inapplicable()
    runs = sum(1 for _ in applicable())
    lines = [
        f"{len(CASES)} cases, {len(WAYS)} ways, {runs} runs, {sum(map(len, found.values()))} do not apply"
    ]
    for (way, reason), names in found.items():
        told = f"all {len(names)}" if len(names) == len(CASES) else f"{len(names)}: {'; '.join(names)}"
        lines.append(f"  {way}: {reason} ({told})")
    tell_section("conformance: what does not apply, and why", lines)

"""Every case over every way in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from bluegreen_adapters.testing.engine import EngineProcess
from support.cases import Case
from support.forgetting import nothing_known
from support.running import run
from support.ways import WAYS

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("_inapplicable_told")]


@pytest.fixture(autouse=True)
def _nothing_is_known() -> Iterator[None]:
    with nothing_known():
        yield


def test_what_comes_of_it_is_what_the_case_says(
    way: str, case: Case, engines: Callable[[Mapping[str, Any]], EngineProcess]
) -> None:
    run(case, WAYS[way], engines(case.engine))

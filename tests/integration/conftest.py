"""What tests of the real connector begin with: an engine as it is after its start, in a process that knows nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bluegreen_adapters.testing.engine import EngineProcess


@pytest.fixture
def nothing_is_known() -> Iterator[None]:
    """Put the state of the process back: the connector's, our registry's, and what was patched."""
    from support.forgetting import nothing_known  # it needs the connector, which not each test here does

    with nothing_known():
        yield


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[EngineProcess]:
    """An engine that every way in can use."""
    from support.ways import ENGINE

    with EngineProcess(**ENGINE) as process:
        yield process


@pytest.fixture
def engine(shared_engine: EngineProcess) -> EngineProcess:
    """The engine, where blue serves and nothing is counted."""
    from support.engine import fresh

    return fresh(shared_engine)

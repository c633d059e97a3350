"""What a process knows of clusters, put back to where a new process has it: for between two tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from e6data_python_connector import e6data_grpc
from e6data_python_connector import strategy as cluster_strategy

from bluegreen.runtime import registry
from bluegreen_adapters import e6data


def forget_strategies() -> None:
    """Put the connector's own state back: it has two dicts per process."""
    for cache in (e6data_grpc._local_strategy_cache, cluster_strategy._local_strategy_cache):
        cache.update(
            active_strategy=None,
            last_check_time=0,
            pending_strategy=None,
            query_strategy_map={},
            last_transition_time=0,
            session_invalidated=False,
        )


def forget_everything() -> None:
    """Put back the connector's state, what the adapter has patched in it, and our registry."""
    e6data.uninstall()
    forget_strategies()
    for scope in registry.scopes():
        registry.forget(scope)


@contextmanager
def nothing_known() -> Iterator[None]:
    """A process in which nothing is known at the beginning, and nothing is left in the end."""
    forget_everything()
    try:
        yield
    finally:
        forget_everything()

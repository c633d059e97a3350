"""An application for `gunicorn --preload`: the master learns the strategy, and each worker answers with its own query.

It is found by its environment: `ENGINE_PORT`, `BLUEGREEN_STORE`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from bluegreen.config.settings import Settings
from bluegreen.machines.strategy.events import QueryCompleted
from bluegreen.runtime.registry import managed
from bluegreen.types import Scope
from bluegreen_adapters import e6data
from bluegreen_adapters.stores import join_store
from support.nursery import first_query

PORT = int(os.environ["ENGINE_PORT"])
SETTINGS = Settings.from_environment()
e6data.install(SETTINGS)
# What the master does before it forks: without gRPC, which does not survive a fork of a process that has used it.
_manager = join_store(managed(Scope(f"127.0.0.1:{PORT}"), SETTINGS))
_manager.end(QueryCompleted(_manager.start(lambda strategy, left_s: None)))


def application(_: dict[str, Any], begin: Callable[[str, list[tuple[str, str]]], Any]) -> Iterable[bytes]:
    """Run a query; answer with the worker's number, where the query ran, and how many requests were refused."""
    told = f"{os.getpid()}: {first_query(PORT)}".encode()
    begin("200 OK", [("Content-Length", str(len(told)))])
    return [told]

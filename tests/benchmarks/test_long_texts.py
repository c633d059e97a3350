"""What long statements and long error texts cost a connection beside what gRPC does with them."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector.server import e6x_engine_pb2 as pb

from bluegreen.config.settings import Settings
from bluegreen.runtime.manager import StrategyManager
from bluegreen_adapters.connection import query as queries
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.evidence import Request
from bluegreen_adapters.connection.query import Rpc
from bluegreen_adapters.connection.requests import Reply, Send
from bluegreen_adapters.e6data.protocol import PROTOCOL
from support.managing import SCOPE, on_blue
from support.telling import tell

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

LONG = "SELECT * FROM t WHERE id IN (" + ",".join(str(number) for number in range(727_000)) + ")"
"""About 5 MB."""

RUNS = 5


def answer(send: Send) -> Reply:
    """Answer as a stack does that accepts everything."""
    if send.method.startswith("prepare"):
        return Reply(pb.PrepareStatementResponse(queryId="q", engineIP="10.0.0.1", sessionId="s"))
    return Reply(pb.ExecuteStatementResponse())


def ran(link: Connection, request: Any) -> float:
    """Begin and execute a query; return the seconds that the connection took, the request's making aside."""

    def call(name: str, request: Any) -> Any:
        flow = link.call(Rpc(name, PROTOCOL.methods[name], request))
        reply: Any = None
        try:
            while True:
                command = flow.send(reply)
                reply = answer(command) if isinstance(command, Send) else None
        except StopIteration as stop:
            return stop.value

    began_s = time.perf_counter()
    query = call("prepareStatementV2", request).queryId
    call("executeStatementV2", pb.ExecuteStatementV2Request(sessionId="s", queryId=query))
    return time.perf_counter() - began_s


def test_long_statement_is_copied_once_and_never_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that succeeds does not pay for looking at its text."""
    copied: list[int] = []
    deepcopy = copy.deepcopy

    def counting(value: Any, *args: Any) -> Any:
        copied.append(value.ByteSize() if hasattr(value, "ByteSize") else 0)
        return deepcopy(value, *args)

    monkeypatch.setattr(queries.copy, "deepcopy", counting)
    monkeypatch.setattr(type(PROTOCOL), "only_reads", lambda *_: pytest.fail("the statement was looked at"))
    link = Connection(on_blue(StrategyManager(SCOPE, Settings())), PROTOCOL)
    long, short = (
        pb.PrepareStatementV2Request(sessionId="s", queryString=text) for text in (LONG, "SELECT 1")
    )
    ran(link, long)
    assert len([size for size in copied if size > len(LONG)]) == 1
    monkeypatch.undo()
    more = [statistics.median(ran(link, long) - ran(link, short) for _ in range(9)) for _ in range(RUNS)]
    tell(
        f"a statement of {len(LONG) / 1e6:.1f} MB costs a query {1e3 * statistics.median(more):.2f} ms more "
        f"({1e3 * min(more):.2f} to {1e3 * max(more):.2f} in {RUNS} runs)"
    )


@pytest.mark.parametrize(
    "repeated", ["x", "status: 45", "Access denie", "query ", "Wrong strategy. Status: 456. Expected: "]
)
def test_long_status_text_is_searched_to_a_bound(repeated: str) -> None:
    """Twice the text costs the same: only a prefix is looked at (`tests/unit/test_evidence.py` counts it)."""
    took: dict[int, list[float]] = {64: [], 128: []}
    for _ in range(RUNS):
        for size, times in took.items():
            text = (repeated * (size * 1024 // len(repeated) + 1))[: size * 1024]
            times.append(timed(lambda text=text: PROTOCOL.judge("UNKNOWN", text, Request.BEGIN)))  # type: ignore[misc]
    told = ", ".join(f"{size} KB {1e3 * statistics.median(times):.3f} ms" for size, times in took.items())
    tell(f"a status text of {repeated!r} again and again is classified in: {told}")
    assert PROTOCOL.judge("UNKNOWN", repeated * 9000, Request.EXECUTE).then == "answer"


def timed(function: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    function()
    return time.perf_counter() - began_s

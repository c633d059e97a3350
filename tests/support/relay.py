"""A TCP relay in front of a server of this process, whose connections a test can cut at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import threading

from bluegreen_adapters.testing.engine.server import HOST

CHUNK = 64 * 1024
WITHIN_S = 30.0


class Relay:
    """Passes bytes on to `port`, both ways. A context manager.

    Attributes:
        port: the port that it listens at.
        cuts: how often all connections were cut.
    """

    host = HOST

    def __init__(self, port: int) -> None:
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        self.cuts = 0
        self._server = self._do(asyncio.start_server(self._relayed, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self.host}:{self.port}"

    def cut(self) -> None:
        """Reset every connection; the next one is accepted as before."""
        self.cuts += 1
        self._do(self._cut())

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()

    def _do(self, work: object) -> object:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WITHIN_S)  # type: ignore[arg-type]

    async def _cut(self) -> None:
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others)  # each ends with its connection

    async def _relayed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._target)
        ends = {writer, back}
        self._open |= ends
        try:
            await asyncio.gather(_passed(reader, back), _passed(there, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()

"""A store for a fleet, in Redis or Valkey: a stream for each scope, whose entries have the epoch as their id.

So Redis itself refuses a writer that was late, and a reader goes on behind the last entry that it has: nothing depends
on a message that arrives while somebody listens. A thread for each scope follows its stream and keeps the newest record
in memory, where queries look; another one writes. So no query, and no event loop, waits for the network: a write is
waited for as long as the store's bound says.

    redis://user:password@host:6379/0?wait_ms=5
    rediss://host:6379/0?ssl_ca_certs=/etc/ssl/redis.pem
    redis+sentinel://host:26379,host:26379/service?db=0
    redis+cluster://host:6379

Source: spec, sections 2 and 4.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import attrs
import redis
import redis.exceptions
import redis.sentinel

from bluegreen.errors import SettingsError, StoreError
from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.store import StoreRecord
from bluegreen.types import Scope
from bluegreen_adapters.stores.bounded_executor import Bounded
from bluegreen_adapters.stores.url_options import WAIT_MS, numbers

T = TypeVar("T")
_log = logging.getLogger("bluegreen.stores")

KEPT: Final = 64
"""Entries that a stream keeps, about. One is enough; the others are for people."""
_BLOCK_MS: Final = 500
_SOCKET_S: Final = 1.5
_JOIN_S: Final = 0.1
_AGAIN_S: Final = (0.02, 0.05, 0.1, 0.25)
"""How long to wait before the next attempt to connect; the last one is for all that come after."""
_FIELD: Final = b"record"
_FAULTS: Final = (redis.RedisError, redis.exceptions.RedisClusterException, OSError)
"""What a client raises. The second one is no `RedisError`."""
_WORDS: Final = (
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_keyfile_password", "ssl_cert_reqs", "ssl_check_hostname",
    "db", "client_name",
)  # fmt: skip

_LEASE: Final = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
_RELEASE: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

Client = Any
"""A client of redis-py, of whichever kind; its methods are the commands."""


class RedisStore:
    """A store in Redis.

    Args:
        name: for people, without credentials.
        connect: makes a client.
        wait_s: seconds that a query waits at most.
    """

    def __init__(
        self, name: str, connect: Callable[[], Client], wait_s: float = WAIT_MS.default / 1000
    ) -> None:
        self.name = name
        self._connect = connect
        self._wait_s = wait_s
        self._worker = Bounded(name, wait_s, self._moved)
        self._client: Client = None
        self._followers: dict[Scope, Follower] = {}
        self._lock = threading.Lock()
        self._closed = False
        reborn_in_children(self)

    def watch(self, scope: Scope) -> Callable[[], int]:
        """As `Store.watch`. Whoever joins, which is no query yet, waits a moment for the first answer."""
        follower = self._follower(scope)
        follower.met(_JOIN_S)
        moves = follower.moves

        def look() -> int:
            if moves[0] < 0:  # this is a child that was forked, and its parent's thread is not here
                follower.begin()
            return moves[0]

        return look

    def read(self, scope: Scope) -> StoreRecord:
        """As `Store.read`: what the thread that follows the stream has seen last."""
        self._check()
        return self._follower(scope).record(self._wait_s)

    def subscribe(self, scope: Scope, callback: Callable[[StoreRecord], object]) -> None:
        """Call `callback` with each record that arrives from now on, in the thread that follows the stream."""
        self._follower(scope).callbacks.append(callback)

    def write(self, scope: Scope, record: StoreRecord) -> StoreRecord | None:
        """As `Store.write`. Redis refuses an id that is not greater than the last one."""
        self._check()
        follower = self._follower(scope)
        there = follower.record(self._wait_s)
        if (record.incarnation, record.store_epoch) != (there.incarnation, there.store_epoch + 1):
            return None

        def add(client: Client) -> StoreRecord | None:
            fields = {_FIELD: record.to_json()}
            try:
                client.xadd(_key(scope), fields, id=f"{record.store_epoch}-0", maxlen=KEPT, approximate=True)
            except redis.ResponseError as error:
                if "equal or smaller" not in str(error):
                    raise
                # Whoever was late is to see who was faster, also where the thread that follows has not got so far.
                follower.show(client.xrevrange(_key(scope), count=1))
                return None
            return record

        return self._do(add)

    def lease(self, scope: Scope, holder: str, ttl_s: float) -> bool:
        """As `Store.lease`, by the clock of the server."""
        self._check()
        ttl_ms = max(1, int(1000 * ttl_s))
        return bool(self._do(lambda client: client.eval(_LEASE, 1, _key(scope, "lease"), holder, ttl_ms)))

    def release(self, scope: Scope, holder: str) -> None:
        """As `Store.release`."""
        self._check()
        self._do(lambda client: client.eval(_RELEASE, 1, _key(scope, "lease"), holder))

    def close(self) -> None:
        """As `Store.close`."""
        self._closed = True
        for follower in tuple(self._followers.values()):
            follower.end()
        self._worker.begin(self._disconnect)
        self._worker.end()

    def after_fork(self) -> None:
        """In a forked child: threads and connections are the parent's."""
        self._lock = threading.Lock()
        self._client = None  # the client closes nothing that it has not opened in this process
        for follower in self._followers.values():
            follower.after_fork()

    def _check(self) -> None:
        if self._closed:
            raise StoreError(self.name, "it is closed")

    def _follower(self, scope: Scope) -> Follower:
        follower = self._followers.get(scope)
        if follower is None:
            with self._lock:
                follower = self._followers.get(scope)
                if follower is None:
                    follower = self._followers[scope] = Follower(self.name, scope, self._connect)
            follower.begin()
        return follower

    def _do(self, job: Callable[[Client], T]) -> T:
        def connected() -> T:
            if self._client is None:
                self._client = self._connect()
            return job(self._client)

        try:
            return self._worker.do(connected)
        except _FAULTS as error:
            raise StoreError(self.name, describe_error(error)) from None

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _moved(self) -> None:
        for follower in tuple(self._followers.values()):
            follower.move()


class Follower:
    """The thread that follows the stream of a scope.

    Attributes:
        moves: a list of one number, which changes when there may be something to read; negative: it has not begun.
        callbacks: called with each record.
    """

    def __init__(self, name: str, scope: Scope, connect: Callable[[], Client]) -> None:
        self.moves = [0]
        self.callbacks: list[Callable[[StoreRecord], object]] = []
        self._name, self._scope, self._connect = name, scope, connect
        self._last = b"0-0"
        self._seen: StoreRecord | None = None
        self._reason = "it was not reached yet"
        self._over = False
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._first = threading.Event()

    def begin(self) -> None:
        """Begin to follow, unless that has begun."""
        with self._lock:
            if self._thread is not None or self._over:
                return
            self._first = threading.Event()
            self._thread = threading.Thread(target=self._follow, name="bluegreen-redis", daemon=True)
            self._thread.start()
            self.moves[0] = max(0, self.moves[0])

    def end(self) -> None:
        """Stop following; the thread ends soon."""
        self._over = True
        self.move()

    def after_fork(self) -> None:
        """In a forked child: what was read stays, the thread has to be begun."""
        self._lock = threading.Lock()
        self._thread = None
        self.moves[0] = -1

    def met(self, wait_s: float) -> None:
        """Wait until the server has answered, or has failed to."""
        if self._seen is None:
            self._first.wait(wait_s)

    def move(self) -> None:
        """Tell who looks that there may be something to read."""
        self.moves[0] += 1

    def show(self, entries: Any) -> None:
        """Take note of entries that somebody else has read."""
        for entry in entries:
            self._arrived(_parsed(self._name, entry)[1])

    def record(self, wait_s: float) -> StoreRecord:
        """Return the newest record.

        Raises:
            StoreError: the server does not answer, or has not answered yet.
        """
        self.begin()
        self.met(wait_s)
        seen = self._seen
        if seen is None:
            raise StoreError(self._name, self._reason)
        return seen

    def _follow(self) -> None:
        failures = 0
        while not self._over:
            try:
                with contextlib.closing(self._connect()) as client:
                    self._look(client)
                    failures = 0
                    while not self._over:
                        if not self._next(client):
                            self._look(client)
            except _FAULTS as error:
                self._lost(describe_error(error))
            except StoreError as error:
                self._lost(error.reason)
            if not self._over:
                time.sleep(_AGAIN_S[min(failures, len(_AGAIN_S) - 1)])
                failures += 1

    def _look(self, client: Client) -> None:
        """See which incarnation of the store this is, and what stands in it: also when it has been quiet for a while,
        since a stream that was deleted and begun anew counts from the beginning."""
        incarnation = _incarnation(client, self._scope)
        entries = client.xrevrange(_key(self._scope), count=1)
        self._last, record = _parsed(self._name, entries[0]) if entries else (b"0-0", StoreRecord())
        self._met(attrs.evolve(record, incarnation=incarnation))

    def _next(self, client: Client) -> bool:
        """Wait for the next entries; return whether there were any."""
        found = client.xread({_key(self._scope): self._last}, block=_BLOCK_MS)
        if not found:
            return False
        ((_, entries),) = found
        self._last, record = _parsed(self._name, entries[-1])
        self._arrived(record)
        return True

    def _arrived(self, record: StoreRecord) -> None:
        """Take note of an entry of the incarnation that is known, unless a later one has arrived."""
        seen = self._seen
        if seen is not None and record.store_epoch > seen.store_epoch:
            self._met(attrs.evolve(record, incarnation=seen.incarnation))

    def _met(self, record: StoreRecord) -> None:
        if record == self._seen:
            return
        if self._seen is None:
            _log.debug("%s: %s is followed", self._name, self._scope)
        self._seen = record
        self._first.set()
        self.move()
        for callback in self.callbacks:
            callback(record)

    def _lost(self, reason: str) -> None:
        self._reason = reason
        if self._seen is not None or not self._first.is_set():
            _log.debug("%s: %s is not followed: %s", self._name, self._scope, reason)
            self._seen = None
            self._first.set()
            self.move()


def describe_error(error: Exception) -> str:
    """Return an error of the client as one short line; it names no credentials."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _key(scope: Scope, of: str = "news") -> str:
    """Return a key; the braces keep all those of a scope on one node of a cluster."""
    return f"bluegreen:{{{quote(scope.target, safe=':.')}/{quote(scope.cluster, safe='')}}}:{of}"


def _incarnation(client: Client, scope: Scope) -> str:
    """Name the life of the store: of its data, which may be lost, and of its server, which may be another one."""
    key = _key(scope, "incarnation")
    client.set(key, secrets.token_hex(8), nx=True)
    born: bytes = client.get(key) or b""
    run = ""
    if not isinstance(client, redis.RedisCluster):
        with contextlib.suppress(redis.exceptions.NoPermissionError):
            run = str(client.info("server").get("run_id", ""))[:12]
    return f"{born.decode()}-{run}"


def _parsed(name: str, entry: Any) -> tuple[bytes, StoreRecord]:
    number, fields = entry
    line = fields.get(_FIELD)
    if line is None:
        raise StoreError(name, f"entry {number.decode()} of a stream is no record")
    epoch = int(number.split(b"-")[0])
    return number, attrs.evolve(StoreRecord.from_json(line), store_epoch=epoch)


def opened(url: str) -> RedisStore:
    """Return the store of a URL; it need not be there.

    Raises:
        SettingsError: an option is wrong; every finding at once.
    """
    values = numbers(url, {"wait_ms": WAIT_MS}, _WORDS)
    parts = urlsplit(url)
    options = [(name, text) for name, text in parse_qsl(parts.query) if name in _WORDS]
    hosts = parts.netloc.rpartition("@")[2]
    if not hosts:
        raise SettingsError([f"store is {url!r}; accepted: {parts.scheme}://host:port"])
    name = f"{parts.scheme}://{hosts}{parts.path}"
    common = {"socket_timeout": _SOCKET_S, "socket_connect_timeout": _SOCKET_S}
    return RedisStore(name, _connecting(url, options, common), values["wait_ms"] / 1000)


def _connecting(url: str, options: list[tuple[str, str]], common: dict[str, Any]) -> Callable[[], Client]:
    parts = urlsplit(url)
    kind = parts.scheme.partition("+")[2]
    if kind == "sentinel":
        service = unquote(parts.path.strip("/"))
        if not service:
            raise SettingsError(
                [f"store: {parts.scheme} needs a service: {parts.scheme}://host:port/service"]
            )
        at = parts.netloc.rpartition("@")[2].split(",")
        hosts = [(host, int(port or 26379)) for host, _, port in (one.partition(":") for one in at)]
        login = {
            "username": unquote(parts.username or "") or None,
            "password": unquote(parts.password or "") or None,
        }
        given = {**common, **{key: value for key, value in login.items() if value}, **dict(options)}
        sentinel: Any = redis.sentinel.Sentinel  # without types
        return lambda: sentinel(hosts, **common).master_for(service, **given)
    scheme = "redis" if kind else parts.scheme
    plain = urlunsplit((scheme, parts.netloc, parts.path, urlencode(options), ""))
    if kind == "cluster":
        return lambda: redis.RedisCluster.from_url(plain, **common)
    plainly: Any = redis.Redis  # its types are partial
    return lambda: plainly.from_url(plain, **common)

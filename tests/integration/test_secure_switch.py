"""Secure channels through a switch: each stack has a certificate of its own, and the connector sees the one, then the
other, behind one address. Nothing is lost by that, and whoever cannot show a good certificate is not spoken to.

Access control is the server's: it does not depend on the strategy, and its refusals are no news about one.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import grpc
import pytest

pytest.importorskip("e6data_python_connector", reason='needs the extra: pip install "bluegreen[e6data]"')

from e6data_python_connector import e6data_grpc

from bluegreen.errors import StrategyUnavailable
from bluegreen_adapters.testing.engine import EngineProcess
from bluegreen_adapters.testing.engine.statistics import Statistics
from support.engine import READ, quick, until
from support.gateway import Gateway
from support.tls import Authority
from support.ways import WAYS, AnyConnection, Way, causes, manager_of, over

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("nothing_is_known")]

OTHER: Mapping[str, str] = {"blue": "green", "green": "blue"}
WITH_SESSIONS = ("sync", "sync-v2", "pool", "aio")
SWITCHES: Mapping[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "graceful": (("announce", {}), ("cutover", {}), ("drain", {}), ("retire", {})),
    "silent": (("cutover", {"announces": False}), ("drain", {"announces": False}), ("retire", {})),
    "rollback": (("announce", {}), ("cutover", {}), ("rollback", {}), ("withdraw", {}), ("steady", {})),
}
"""The phases of switches that lose nothing. Certificates change where new work does."""

SOON = {f"{name}_reconnect_backoff_ms": 50 for name in ("initial", "min", "max")}
"""Options of a channel that tries a connection again soon after it could not be made."""


@attrs.frozen
class Certificates:
    """Whose certificates there are.

    Attributes:
        blue, green: those of the two stacks, each of an authority of its own.
        client, stranger: those of clients, likewise.
        both: path of a file with the authorities of both stacks.
    """

    blue: Authority
    green: Authority
    client: Authority
    stranger: Authority
    both: str

    @property
    def of_stacks(self) -> dict[str, Authority]:
        return {"blue": self.blue, "green": self.green}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = {
        "blue": Authority(tmp_path_factory.mktemp("blue")),
        "green": Authority(tmp_path_factory.mktemp("green")),
        "client": Authority(tmp_path_factory.mktemp("client"), "client.example", common_name="the client"),
        "stranger": Authority(
            tmp_path_factory.mktemp("stranger"), "client.example", common_name="a stranger"
        ),
    }
    both = tmp_path_factory.mktemp("both") / "roots.pem"
    both.write_bytes(Path(made["blue"].root).read_bytes() + Path(made["green"].root).read_bytes())
    return Certificates(**made, both=str(both))


@pytest.fixture
def gateway(engine: EngineProcess, certificates: Certificates) -> Iterator[Gateway]:
    with Gateway(engine, certificates.of_stacks) as opened:
        yield opened


def connected(gateway: Gateway, roots: str | bytes, way: str = "sync", **changes: Any) -> AnyConnection:
    """Connect over TLS.

    Args:
        roots: the certificates of the authorities that are known, or the path of a file with them.
    """
    given = {"secure": True, "ssl_cert": roots, "grpc_options": SOON, **changes}
    return WAYS[way].open(gateway, quick(), **given)


def asked(connection: AnyConnection, text: str = READ) -> set[str]:
    """Run a query to its end; return the stacks that its rows came from."""
    cursor = connection.cursor()
    cursor.execute(text)
    seen = {row[2] for row in cursor.fetchall()} if text.startswith("SELECT") else set()
    cursor.clear()
    cursor.close()
    return seen


def refusal(connection: AnyConnection, text: str = READ) -> BaseException:
    """Return what the application gets, and let it be well told."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  each way wraps it in its own manner
        asked(connection, text)
    return caught.value


def lasting_refusal(connection: AnyConnection) -> BaseException:
    """Ask until nothing goes over the connections any more that were open before, and return what is told then."""
    met: list[BaseException] = []

    def refused() -> bool:
        try:
            asked(connection)
        except Exception as error:  # noqa: BLE001  whatever it is is returned
            met.append(error)
        return bool(met)

    until(refused)
    return met[0]


def usable(connection: AnyConnection, stack: str) -> bool:
    """Whether a query gets through, and to this stack."""
    try:
        return asked(connection) == {stack}
    except Exception:  # noqa: BLE001  it is not
        return False


def everything(error: BaseException) -> str:
    """Return what an error and all its causes say."""
    return " | ".join(str(cause) for cause in causes(error))


def unavailable(error: BaseException) -> str:
    """Return what a `StrategyUnavailable` in a chain of causes says; it has to be there."""
    found = [cause for cause in causes(error) if isinstance(cause, StrategyUnavailable)]
    assert found, f"{error!r} tells of no strategy"
    return str(found[0])


def sound(engine: EngineProcess) -> Statistics:
    """Return what was counted, after a look at what holds after every switch here."""
    seen = engine.statistics()
    assert seen.offences == ()
    assert seen.misrouted == 0
    assert seen.executed_twice == {}
    assert set(seen.reads_repeated) <= {READ}
    return seen


class Load:
    """Queries, one after the other on each of some connections, in threads. A context manager that ends them."""

    def __init__(self, *connections: AnyConnection) -> None:
        self.done = 0
        self.failed: list[BaseException] = []
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(len(connections))
        self._threads = [self._pool.submit(self._work, *one) for one in enumerate(connections)]

    def more(self, queries: int = 8) -> None:
        """Wait until so many queries more have ended, or none does any longer."""
        wanted = self.done + queries
        until(lambda: self.done >= wanted or bool(self.failed))

    def _work(self, number: int, connection: AnyConnection) -> None:
        for turn in itertools.count(1):
            if self._over.is_set() or self.failed:
                return
            read = turn % 4 != 0
            text = f"SELECT {number}, {turn} /*+ rows(4) batch(2) */" if read else f"INSERT {number}, {turn}"
            try:
                assert len(asked(connection, text)) == read
            except BaseException as error:  # noqa: BLE001  whatever it is has failed
                self.failed.append(error)
            self.done += 1

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()


def switched(engine: EngineProcess, gateway: Gateway, kind: str, load: Load) -> None:
    """Play a switch from blue to green under a load; whoever gets new work shows its certificate."""
    for name, variant in SWITCHES[kind]:
        engine.phase(name, **({"active": "blue"} if name == "steady" else {"target": "green"}), **variant)
        if gateway.presents != engine.active:
            gateway.presents = engine.active
            until_shown(gateway, engine.active, load)
        load.more()


def until_shown(gateway: Gateway, stack: str, load: Load) -> None:
    """Wait for a handshake with a stack's certificate after those that were there."""
    before = len(gateway.shown)
    until(lambda: stack in gateway.shown[before:] or bool(load.failed))


# -- certificates that change


@over("sync", "sync-v2", "oauth", "pool", "aio", "aio-v2")
@pytest.mark.parametrize("kind", SWITCHES)
def test_queries_go_on_before_during_and_after_a_switch_to_another_certificate(
    way: Way, kind: str, engine: EngineProcess, gateway: Gateway, certificates: Certificates
) -> None:
    with ExitStack() as opened:
        connections = [opened.enter_context(connected(gateway, certificates.both, way.name)) for _ in "12"]
        with Load(*connections) as load:
            load.more()
            switched(engine, gateway, kind, load)
        assert load.failed == []
        assert {stack for one in connections for stack in asked(one)} == {engine.active}
        assert manager_of(gateway).active == engine.active
    seen = sound(engine)
    assert set(gateway.shown) == {"blue", "green"}
    assert set(seen.requests["prepareStatementV2"]) == {"blue", "green"}
    assert seen.errors == {}


@pytest.mark.parametrize("read", [False, True], ids=["path", "content"])
def test_authorities_of_ones_own_are_given_as_a_path_or_as_their_content(
    read: bool, engine: EngineProcess, gateway: Gateway, certificates: Certificates
) -> None:
    roots = Path(certificates.both).read_bytes() if read else certificates.both
    with connected(gateway, roots) as connection, Load(connection) as load:
        switched(engine, gateway, "graceful", load)
    assert load.failed == []
    assert set(gateway.shown) == {"blue", "green"}
    sound(engine)


# -- certificates that are not good


@over("sync", "sync-v2", "oauth", "pool", "aio", "aio-v2")
def test_a_stack_with_a_certificate_of_an_unknown_authority_is_not_spoken_to_and_the_other_one_is(
    way: Way, engine: EngineProcess, gateway: Gateway, certificates: Certificates
) -> None:
    with connected(gateway, certificates.blue.root, way.name) as connection:
        assert asked(connection) == {"blue"}
        gateway.presents = "green"
        told = [lasting_refusal(connection)]
        arrived = len(gateway.seen)
        engine.phase("abrupt", target="green")
        while gateway.shown.count("green") < 3:
            told.append(refusal(connection))
        assert gateway.methods("green") == []
        assert len(gateway.seen) == arrived
        assert all("CERTIFICATE_VERIFY_FAILED" in everything(error) for error in told), told[-1]
        engine.phase("abrupt", target="blue")
        gateway.presents = "blue"
        until(lambda: usable(connection, "blue"))
    assert sound(engine).requests["executeStatementV2"].keys() == {"blue"}


@over("sync", "aio")
def test_the_error_says_in_itself_what_is_wrong_with_a_certificate(
    way: Way, gateway: Gateway, certificates: Certificates
) -> None:
    with connected(gateway, certificates.stranger.root, way.name) as connection:
        for _ in range(3):  # also where it is known from before
            reason = unavailable(refusal(connection))
            assert "blue: UNAVAILABLE, CERTIFICATE_VERIFY_FAILED" in reason
            assert "green: UNAVAILABLE, CERTIFICATE_VERIFY_FAILED" in reason
    assert gateway.seen == []


def test_a_certificate_for_another_host_is_not_spoken_to_and_the_error_says_so(
    engine: EngineProcess, tmp_path: Path
) -> None:
    elsewhere = Authority(tmp_path, "elsewhere.example")
    with Gateway(engine, {"blue": elsewhere}) as gateway, connected(gateway, elsewhere.root) as connection:
        assert "blue: UNAVAILABLE, Hostname Verification Check failed" in unavailable(refusal(connection))
    assert gateway.seen == []


@over("sync", "oauth", "aio")
def test_a_stack_that_wants_no_tls_any_more_is_not_spoken_to(
    way: Way, engine: EngineProcess, certificates: Certificates
) -> None:
    secure = Gateway(engine, certificates.of_stacks)
    with secure, connected(secure, certificates.both, way.name) as connection:
        assert asked(connection) == {"blue"}
        secure.close()
        engine.phase("abrupt", target="green")
        with Gateway(engine, None, port=secure.port) as plain:
            until(lambda: "WRONG_VERSION" in everything(refusal(connection)))
            assert plain.seen == []
            with WAYS[way.name].open(plain, quick()) as careless:
                assert asked(careless) == {"green"}, (
                    "who asks for no TLS gets in, so it is TLS that keeps out"
                )
        with Gateway(engine, certificates.of_stacks, presents="green", port=secure.port) as again:
            until(lambda: usable(connection, "green"))
    assert set(again.shown) == {"green"}
    sound(engine)


@over("sync", "oauth", "aio")
def test_queries_stay_where_they_are_while_the_gateway_does_not_trust_the_stack_that_was_announced(
    way: Way, engine: EngineProcess, certificates: Certificates
) -> None:
    of_green = {"green": certificates.green, "mended": certificates.blue}
    with ExitStack() as opened:
        end = opened.enter_context(Gateway(engine, of_green, presents="green"))
        trusts = grpc.ssl_channel_credentials(Path(certificates.blue.root).read_bytes())
        options = [(f"grpc.{name}", value) for name, value in SOON.items()]
        onward = opened.enter_context(grpc.secure_channel(end.address, trusts, options))
        given = {"blue": certificates.blue}
        gateway = opened.enter_context(Gateway(engine, given, onward={"green": onward}))
        connection = opened.enter_context(connected(gateway, certificates.blue.root, way.name))
        with Load(connection) as load:
            load.more()
            engine.phase("announce", target="green")
            until(lambda: end.shown.count("green") > 1 or bool(load.failed))
            load.more()
            assert end.seen == []
            assert load.failed == []
            end.presents = "mended"
            until(lambda: "executeStatementV2" in end.methods("green") or bool(load.failed))
            load.more()
        assert load.failed == []
        assert asked(connection) == {"green"}
    sound(engine)


# -- certificates of clients


def showing(authority: Authority | None) -> Callable[[Any], grpc.ChannelCredentials]:
    """Return what makes the connector's credentials with a client's certificate, for which it has no argument."""

    def credentials(roots: str) -> grpc.ChannelCredentials:
        known = Path(roots).read_bytes()
        if authority is None:
            return grpc.ssl_channel_credentials(known)
        return grpc.ssl_channel_credentials(
            known, Path(authority.key).read_bytes(), Path(authority.certificate).read_bytes()
        )

    return credentials


@pytest.fixture
def mutual(engine: EngineProcess, certificates: Certificates) -> Iterator[Gateway]:
    with Gateway(engine, certificates.of_stacks, clients=certificates.client) as opened:
        yield opened


@pytest.mark.parametrize("name", ["sync", "oauth"])
@pytest.mark.parametrize("kind", SWITCHES)
def test_a_client_with_a_certificate_goes_through_a_switch_and_shows_it_to_both_stacks(
    kind: str,
    name: str,
    engine: EngineProcess,
    mutual: Gateway,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(e6data_grpc, "get_ssl_credentials", showing(certificates.client))
    with connected(mutual, certificates.both, name) as connection, Load(connection) as load:
        load.more()
        switched(engine, mutual, kind, load)
    assert load.failed == []
    assert {call.client for call in mutual.seen} == {"the client"}
    assert {call.stack for call in mutual.seen} == set(mutual.shown) == {"blue", "green"}
    sound(engine)


@pytest.mark.parametrize("active", ["blue", "green"])
@pytest.mark.parametrize("shown", ["none", "stranger"])
def test_a_client_without_a_good_certificate_is_refused_on_either_stack(
    shown: str,
    active: str,
    engine: EngineProcess,
    mutual: Gateway,
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine.phase("abrupt", target=active)
    mutual.presents = active
    other = certificates.stranger if shown == "stranger" else None
    monkeypatch.setattr(e6data_grpc, "get_ssl_credentials", showing(other))
    with connected(mutual, certificates.both) as connection:
        assert "UNAVAILABLE" in unavailable(refusal(connection))
    assert mutual.seen == []
    assert engine.statistics().total_requests == 0
    monkeypatch.setattr(e6data_grpc, "get_ssl_credentials", showing(certificates.client))
    with connected(mutual, certificates.both) as connection:
        until(lambda: usable(connection, active))


# -- sessions


@over(*WITH_SESSIONS)
def test_a_stack_is_authenticated_at_once_and_before_it_is_asked_for_anything_else(
    way: Way, engine: EngineProcess, gateway: Gateway, certificates: Certificates
) -> None:
    with connected(gateway, certificates.both, way.name) as connection, Load(connection) as load:
        load.more()
        switched(engine, gateway, "graceful", load)
    assert load.failed == []
    for stack in ("blue", "green"):
        methods = gateway.methods(stack)
        assert methods[0] == "authenticate", stack
        assert methods.count("authenticate") == 1, stack
        assert "executeStatementV2" in methods, stack
    assert sound(engine).authentications == {"blue": 1, "green": 1}


# -- access


def begun_on(stack: str, engine: EngineProcess, gateway: Gateway) -> None:
    """Let a stack serve, and show its certificate."""
    if engine.active != stack:
        engine.phase("abrupt", target=stack)
    gateway.presents = stack


def standing(gateway: Gateway) -> tuple[str, Any, Any, int]:
    """What the manager believes, and how often that has changed."""
    manager = manager_of(gateway)
    return manager.state, manager.active, manager.pending, manager.state_version


@over("sync", "aio")
@pytest.mark.parametrize("code", [None, "PERMISSION_DENIED", "UNAUTHENTICATED"])
@pytest.mark.parametrize("active", ["blue", "green"])
def test_who_may_not_is_refused_alike_on_either_stack_and_that_is_no_news_about_one(
    way: Way,
    active: str,
    code: str | None,
    engine: EngineProcess,
    gateway: Gateway,
    certificates: Certificates,
) -> None:
    begun_on(active, engine, gateway)
    attempts = 5
    with connected(gateway, certificates.both, way.name) as known:
        assert asked(known) == {active}
        believed = standing(gateway)
        engine.reset_statistics()
        if code is not None:
            engine.fault(action="status", method="authenticate", code=code, details="this user may not")
        for _ in range(attempts):
            with connected(gateway, certificates.both, way.name, password="wrong") as connection:
                told = everything(refusal(connection))
                assert "no strategy" not in told
                assert (code or "redentials") in told or "session" in told
        assert standing(gateway) == believed
        assert asked(known) == {active}
    seen = sound(engine)
    logins = seen.requests["authenticate"]
    assert logins.keys() <= {"blue", "green"}
    assert all(number <= attempts for number in logins.values()), "each stack is asked once for each attempt"
    assert seen.authentications == {}
    assert seen.requests["prepareStatementV2"] == {active: 1}


@over("sync", "oauth", "aio")
def test_a_statement_that_a_user_may_not_run_is_refused_alike_before_and_after_a_switch(
    way: Way, engine: EngineProcess, gateway: Gateway, certificates: Certificates
) -> None:
    engine.fault(
        action="status",
        method="prepareStatementV2",
        statement="secret",
        code="PERMISSION_DENIED",
        details="user@example.com may not read secret",
    )
    told = []
    with connected(gateway, certificates.both, way.name) as connection:
        for active in ("blue", "green", "blue"):
            begun_on(active, engine, gateway)
            assert asked(connection) == {active}
            believed = standing(gateway)
            engine.reset_statistics()
            error = refusal(connection, "SELECT 1 FROM secret")
            told.append([cause.details() for cause in causes(error) if isinstance(cause, grpc.RpcError)][-1])
            assert standing(gateway) == believed
            assert sound(engine).requests["prepareStatementV2"] == {active: 1}
            assert asked(connection) == {active}
    assert told == ["user@example.com may not read secret"] * 3

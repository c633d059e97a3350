"""A cluster behind TLS, and a token endpoint for it: what the connector's OAuth needs. All on loopback.

    with secure_cluster() as cluster:
        with cluster.ways["aio-oauth-client"].open(cluster.engine) as connection:
            ...

The connector verifies the cluster with the certificate authority that it is given, and the endpoint with that of
the process, which `secure_cluster` replaces by way of `SSL_CERT_FILE`.
"""

from __future__ import annotations

import base64
import functools
import json
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import attrs
import pytest
import trustme
from e6data_python_connector import e6data_grpc

from bluegreen.config.settings import Settings
from bluegreen_adapters import e6data
from bluegreen_adapters.testing.engine import EngineProcess
from support.ways import ENGINE, AnyConnection, Way, _DriverConnection, _given, directly, on_loop

CLIENT_ID, CLIENT_SECRET = "client@example.com", "client secret / +"
ACCESS_TOKEN = "token-that-lasts"
LONG_S, SHORT_S = 3600, 1
"""Lifetimes of tokens. The connector renews a token a minute early, so it asks for one per request if it is short."""

_POOL = tuple(f"issued-token-{number}" for number in range(1, 401))


class Authority:
    """A certificate authority and a certificate of it, as PEM files.

    Args:
        directory: where the files are written.
        names: whom the certificate is for: hosts, by default the loopback address, or a client.
        common_name: its common name, if it has one.

    Attributes:
        root: path of the authority's own certificate.
        certificate, key: paths of the certificate and of its private key.
    """

    def __init__(self, directory: Path, *names: str, common_name: str | None = None) -> None:
        authority = trustme.CA()
        given = names or ("127.0.0.1", "localhost")
        issued = authority.issue_cert(*given, common_name=common_name)
        self.root = str(directory / "root.pem")
        self.certificate = str(directory / "certificate.pem")
        self.key = str(directory / "key.pem")
        authority.cert_pem.write_to_path(self.root)
        issued.private_key_pem.write_to_path(self.key)
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(self.certificate, append=number > 0)


class TokenEndpoint:
    """An HTTPS endpoint for the client credentials grant, in a thread. A context manager.

    Args:
        authority: what its certificate comes from.
        tokens: what it hands out, each once.

    Attributes:
        lifetime_s: what it says how long a token lives. Nothing here ends by itself.
        issued: the tokens that it has handed out.
        refused: how many requests it has refused.
    """

    def __init__(self, authority: Authority, tokens: Sequence[str]) -> None:
        self.lifetime_s = LONG_S
        self.issued: list[str] = []
        self.refused = 0
        self._tokens = iter(tokens)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.certificate, authority.key)
        # The handshake belongs to the thread of the request, not to the one that accepts.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="token endpoint", daemon=True
        )

    @property
    def url(self) -> str:
        """Where tokens are."""
        return f"https://127.0.0.1:{self._server.server_address[1]}/token"

    def answer(self, authorization: str, form: Mapping[str, Sequence[str]]) -> tuple[int, dict[str, Any]]:
        """Return the status and the content of the answer to a request."""
        with self._lock:
            if form.get("grant_type") != ["client_credentials"]:
                self.refused += 1
                return 400, {"error": "unsupported_grant_type"}
            if _credentials(authorization) != (CLIENT_ID, CLIENT_SECRET):
                self.refused += 1
                return 401, {"error": "invalid_client"}
            token = next(self._tokens)
            self.issued.append(token)
            return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime_s}

    def __enter__(self) -> TokenEndpoint:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                status, content = endpoint.answer(self.headers.get("Authorization", ""), form)
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing: what is asked is counted."""

        return Handler


def _credentials(authorization: str) -> tuple[str, ...]:
    kind, _, encoded = authorization.partition(" ")
    if kind != "Basic":
        return ()
    return tuple(unquote_plus(part) for part in base64.b64decode(encoded).decode().split(":", 1))


@attrs.frozen
class SecureCluster:
    """A cluster behind TLS, the endpoint that issues tokens for it, and the ways into it, by name."""

    engine: EngineProcess
    endpoint: TokenEndpoint
    authority: Authority
    ways: Mapping[str, Way]


@contextmanager
def secure_cluster(**options: Any) -> Iterator[SecureCluster]:
    """Start a cluster behind TLS and its token endpoint. Meanwhile this process trusts no other authority.

    Args:
        options: further options of the engine.
    """
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as environment:
        authority = Authority(Path(directory))
        environment.setenv("SSL_CERT_FILE", authority.root)
        environment.delenv("SSL_CERT_DIR", raising=False)
        options |= {"certificate": authority.certificate, "key": authority.key}
        with (
            EngineProcess(**{**ENGINE, "tokens": (ACCESS_TOKEN, *_POOL), **options}) as engine,
            TokenEndpoint(authority, _POOL) as endpoint,
        ):
            yield SecureCluster(engine, endpoint, authority, _ways(authority, endpoint))


# -- the ways

OAUTH_WAYS = (
    "oauth",
    "oauth-v2",
    "oauth-client",
    "oauth-client-v2",
    "aio-oauth",
    "aio-oauth-v2",
    "aio-oauth-client",
    "aio-oauth-client-v2",
)
"""Names of the ways into a secure cluster."""

_NO_SESSION = "a token travels with each request"
_LACKS = {
    "session": _NO_SESSION,
    "warm": _NO_SESSION,
    "retry": "the connector repeats an execute only where it has a session",
}
_AIO_LACKS = _LACKS | {
    "catalogs": "the connector's asyncio connection has no call for it",
    "let_go": "the connector's asyncio connection keeps its cursors",
}
_OLD_PYTHON = (
    None if sys.version_info >= (3, 11) else "the connector's asyncio API and its V2 batches need Python 3.11"
)


def _ways(authority: Authority, endpoint: TokenEndpoint) -> Mapping[str, Way]:
    by_token = {"access_token": ACCESS_TOKEN}
    by_client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "token_url": endpoint.url}
    ways = []
    for name in OAUTH_WAYS:
        own = {
            "username": None,
            "password": None,
            "secure": True,
            "ssl_cert": authority.root,
            "enable_result_batch_v2": name.endswith("-v2"),
            **(by_client if "client" in name else by_token),
        }
        absent = None if name in ("oauth", "oauth-client") else _OLD_PYTHON
        opens, lacks = (_aio, _AIO_LACKS) if name.startswith("aio") else (_sync, _LACKS)
        ways.append(Way(name, functools.partial(opens, own), lacks, absent))
    return {way.name: way for way in ways}


def _sync(own: Mapping[str, Any], engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    e6data.install(settings)
    return _DriverConnection(e6data_grpc.connect(**_given(engine, changes, **own)), directly)


def _aio(own: Mapping[str, Any], engine: EngineProcess, settings: Settings, changes: Any) -> AnyConnection:
    from e6data_python_connector import aio

    e6data.install(settings)
    return _DriverConnection(on_loop(aio.connect, **_given(engine, changes, **own)), on_loop)

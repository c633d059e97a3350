"""The commands `bluegreen status` and `bluegreen watch`: what processes know, or what a store says, on a terminal."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import attrs
import click
from rich.console import Console
from rich.live import Live

from bluegreen.config.settings import without_credentials
from bluegreen.errors import BluegreenError
from bluegreen.types import Scope
from bluegreen_adapters.observe.health.peers import ask_all
from bluegreen_adapters.observe.status.render import plain, render_status
from bluegreen_adapters.stores import open_store

F = TypeVar("F", bound=Callable[..., Any])

WAIT_S: Final = 2.0
"""How long a process may take to answer."""

_LIMIT: Final = 1 << 24


class Unreachable(Exception):
    """A source has not answered, or with something else; its text says which, and what."""


Processes = tuple[list[dict[str, Any]], list[str]]
"""What `status` returns of each process, and who has not answered."""

Source = Callable[[], Processes]
"""Asks one process or several, or raises `Unreachable`."""


def _asking(url: str, strategy: str | None) -> Source:
    parts = urlsplit(url if "://" in url else f"http://{url}")
    path = parts.path.rstrip("/")
    path = path if path.endswith("/status") else f"{path}/status"
    whole = f"{parts.scheme}://{parts.netloc}{path}" + (f"?strategy={quote(strategy)}" if strategy else "")

    def ask() -> Processes:
        try:
            with urlopen(whole, timeout=WAIT_S) as answer:
                found: Any = json.loads(answer.read(_LIMIT))
        except (URLError, OSError) as error:
            raise Unreachable(f"{whole}: {getattr(error, 'reason', error)}") from None
        except ValueError:
            raise Unreachable(f"{whole}: what it answers is no JSON") from None
        if not _is_status(found):
            raise Unreachable(f"{whole}: what it answers is no status")
        others, silent = found.pop("others", []), found.pop("silent", [])
        return [found, *others], list(map(str, silent))

    return ask


def _gathering(folder: str, strategy: str | None) -> Source:
    def gather() -> Processes:
        told = ask_all(folder, "status", strategy or "", wait_s=WAIT_S)
        if not told.answers and not told.silent:
            raise Unreachable(f"{folder}: no process listens there")
        if not all(map(_is_status, told.answers)):
            raise Unreachable(f"{folder}: what a process answers is no status")
        return told.answers, told.silent

    return gather


def _is_folder(url: str) -> bool:
    try:
        return Path(url).is_dir()
    except OSError:  # too long for a path
        return False


def _is_status(found: Any) -> bool:
    """Whether it has the shape of what `status` returns, as far as it is looked at."""
    try:
        return (
            all(
                isinstance(one[part], kind)
                for one in found["scopes"]
                for part, kind in (("tickets", list), ("open", dict), ("checks", dict))
            )
            and all(isinstance(ticket, dict) for one in found["scopes"] for ticket in one["tickets"])
            and all(map(_is_status, found.get("others", ())))
            and isinstance(found.get("silent", []), list)
        )
    except (TypeError, KeyError, AttributeError):
        return False


def _reading(url: str, scope: Scope) -> Source:
    store = open_store(url)

    def read() -> Processes:
        try:
            record = store.read(scope)
        except BluegreenError as error:
            raise Unreachable(without_credentials(str(error))) from None
        told = {"scope": str(scope), **attrs.asdict(record, filter=lambda field, _: field.name != "at")}
        records = [{**told, "at": record.at.wall_s}]
        return [{"store": without_credentials(url), "scopes": [], "records": records}], []

    return read


def _options(command: F) -> F:
    for add in (
        click.option("--scope", help="With --store: the scope, as it is written: host:port/cluster."),
        click.option("--store", help="Read the record of a scope in this store, for example lmdb:///run/bluegreen."),
        click.option("--strategy", type=click.Choice(["blue", "green"]), help="Only queries that are open there."),
        click.argument("urls", nargs=-1, metavar="[URL|FOLDER]..."),
    ):  # fmt: skip
        command = add(command)
    return command


def _sources(urls: Iterable[str], strategy: str | None, store: str | None, scope: str | None) -> list[Source]:
    found: list[Source] = []
    for url in urls:
        if _is_folder(url):
            found.append(_gathering(url, strategy))
        elif "://" in url and urlsplit(url).scheme not in ("http", "https"):
            raise click.BadParameter(f"{url!r}; accepted: http, https, a host and port alone, or a folder")
        else:
            found.append(_asking(url, strategy))
    if (store is None) != (scope is None):
        raise click.UsageError("--store and --scope belong together")
    if store is not None and scope is not None:
        target, _, cluster = scope.partition("/")
        try:
            found.append(_reading(store, Scope(target, cluster)))
        except BluegreenError as error:
            raise click.BadParameter(without_credentials(str(error)), param_hint="--store") from None
    if not found:
        raise click.UsageError(
            "nothing to ask; give the URL of a process's pages, a folder of peers, or --store and --scope"
        )
    return found


@click.command("status")
@_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")
def status(
    urls: tuple[str, ...], *, strategy: str | None, store: str | None, scope: str | None, as_json: bool
) -> None:
    """Show what processes know: the state of each scope, and who holds a ticket, on what, since when.

    A URL is where a process serves its pages, http://127.0.0.1:8080 for example, or the folder that processes of this
    host share as peers. Exit status 0: all have answered, and are healthy; 1: one is not; 2: one has not answered.
    """
    found, troubles = _ask_processes(_sources(urls, strategy, store, scope))
    if as_json:
        click.echo(json.dumps({"processes": found, "unreachable": troubles}, indent=2))
    elif sys.stdout.isatty():
        console = Console()
        console.print(render_status(found, troubles, console.width))
    else:
        click.echo(plain(found, troubles))
    sick = any(not one.get("healthy", True) for process in found for one in process["scopes"])
    sys.exit(2 if troubles else 1 if sick else 0)


@click.command("watch")
@_options
@click.option(
    "--every", "every_s", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds."
)
@click.option(
    "--count", type=click.IntRange(1), help="How often to look; without it, until it is interrupted."
)
def watch(
    urls: tuple[str, ...], *, strategy: str | None, store: str | None, scope: str | None, every_s: float,
    count: int | None,
) -> None:  # fmt: skip
    """Show what `status` shows, again and again, in place.

    Where the output is no terminal, a line is written for each scope whenever something but its age has changed.
    """
    sources = _sources(urls, strategy, store, scope)
    looks = range(count) if count is not None else iter(int, 1)
    try:
        if sys.stdout.isatty():
            _live(sources, looks, every_s)
        else:
            _lines(sources, looks, every_s)
    except KeyboardInterrupt:
        sys.exit(130)


def _live(sources: list[Source], looks: Iterable[int], every_s: float) -> None:
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        for number, _ in enumerate(looks):
            if number:
                time.sleep(every_s)
            live.update(render_status(*_ask_processes(sources), console.width), refresh=True)


def _lines(sources: list[Source], looks: Iterable[int], every_s: float) -> None:
    before = ""
    for number, _ in enumerate(looks):
        if number:
            time.sleep(every_s)
        text = plain(*_ask_processes(sources), ages=False)
        if text != before:
            click.echo(f"{datetime.now().astimezone():%H:%M:%S}\n{text}")
            before = text


def _ask_processes(sources: list[Source]) -> Processes:
    found, troubles = list[dict[str, Any]](), list[str]()
    for source in sources:
        try:
            processes, silent = source()
        except Unreachable as error:
            troubles.append(str(error))
        else:
            found += processes
            troubles += silent
    return found, troubles

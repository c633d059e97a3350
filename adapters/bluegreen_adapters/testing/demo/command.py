"""The command `demo`."""

from __future__ import annotations

import sys
from functools import partial

import attrs
import click

from bluegreen.errors import BluegreenError
from bluegreen_adapters.testing.demo.schedule import SWITCHES, schedule

MISSING = 'the demo needs the e6data connector, which is not installed: pip install "bluegreen[e6data]"'
"""What is said where the connector is missing."""


def unavailable() -> str | None:
    """Return why the demo cannot run here, in one line, or none if it can."""
    try:
        from bluegreen_adapters import e6data

        e6data.install()
        e6data.uninstall()
    except ImportError:
        return MISSING
    except BluegreenError as error:
        return str(error)
    return None


@click.command()
@click.option(
    "--switches",
    type=click.IntRange(1, 200),
    default=SWITCHES,
    show_default=True,
    help=f"Switches to play; fewer than {SWITCHES} are too few for exit status 0.",
)
@click.option(
    "--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="Threads that send queries."
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Where switches and statements come from."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, and nothing else.")
@click.option("--log", type=click.Path(dir_okay=False), help="File for what bluegreen logs.")
@click.option(
    "--journal",
    type=click.Path(dir_okay=False),
    help="File to which each step of the machine is added: `bluegreen verify log` checks it, and the page of "
    "`bluegreen diagram page strategy` plays it.",
)
def demo(switches: int, threads: int, seed: int, as_json: bool, log: str | None, journal: str | None) -> None:
    """Drive the unmodified e6data connector through blue/green switches, without and with bluegreen.

    Both get the same switches at the same times, and the same statements. Exit status 0: with bluegreen
    nothing was lost that must survive, nothing was wrong, executed twice or misrouted, while the stock
    connector failed.
    """
    reason = unavailable()
    if reason is not None:
        raise click.ClickException(reason)
    from rich.console import Console

    from bluegreen_adapters.testing.demo import report
    from bluegreen_adapters.testing.demo.runner import run
    from bluegreen_adapters.testing.demo.stats import figures, findings

    console = Console(stderr=as_json)
    plan = schedule(switches, seed)
    load = f"{switches} switches under the load of {threads} threads"
    console.print(f"{load}, without bluegreen and with it; seed {seed}", highlight=False)
    try:
        with report.LiveProgress(console, switches) as progress:
            told = partial(progress.show, report.STOCK)
            # Only ours needs enough queries for a verdict: on a slow machine it goes on until it has them.
            bare = attrs.evolve(plan, least_queries=0)
            stock = figures(run(bare, installed=False, threads=threads, seed=seed, told=told))
            told = partial(progress.show, report.OURS)
            ours = figures(
                run(plan, installed=True, threads=threads, seed=seed, told=told, log=log, steps=journal)
            )
    except BluegreenError as error:
        raise click.ClickException(str(error)) from error
    said = findings(stock, ours)
    if as_json:
        click.echo(report.as_json(stock, ours, said, threads=threads, seed=seed))
    else:
        report.show(console, stock, ours, said)
    sys.exit(1 if said else 0)

"""The command `soak`."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Final

import click

from bluegreen.errors import BluegreenError
from bluegreen_adapters.testing.demo.command import unavailable
from bluegreen_adapters.testing.demo.schedule import schedule

PERIOD_S: Final = 1.9
"""Seconds from one switch to the next: 315 in ten minutes."""

LEAD_S: Final = 2.0
"""Seconds before the first switch."""

PROBES: Final = 4
PROBE_EVERY_S: Final = 0.08
"""Threads that probe, and the pace of each: the processor must not be what queries wait for."""


@click.command()
@click.option(
    "--minutes",
    type=click.FloatRange(0.05, 24 * 60),
    default=10.0,
    show_default=True,
    envvar="SOAK_MINUTES",
    help="How long it takes.",
)
@click.option(
    "--threads", type=click.IntRange(1, 64), default=16, show_default=True, help="Queries at a time."
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Where switches and statements come from."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, and nothing else.")
@click.option("--log", type=click.Path(dir_okay=False), help="File for what bluegreen logs.")
def soak(minutes: float, threads: int, seed: int, as_json: bool, log: str | None) -> None:
    """Drive the covered e6data connector through switches for a long time.

    So many queries are always in flight; further threads probe how long a look-up takes. Exit status 0: nothing
    was lost that must survive, nothing was wrong, executed twice or misrouted, nothing is left at the end, and no
    switch made queries wait longer than it may.
    """
    reason = unavailable()
    if reason is not None:
        raise click.ClickException(reason)
    from rich.console import Console

    from bluegreen_adapters.testing.demo.report import LiveProgress
    from bluegreen_adapters.testing.demo.runner import run
    from bluegreen_adapters.testing.soak import report
    from bluegreen_adapters.testing.soak.assessment import assess

    console = Console(stderr=as_json)
    plan = schedule(
        max(1, round(minutes * 60 / PERIOD_S)), seed, lead_s=LEAD_S, period_s=PERIOD_S, least_queries=0
    )
    try:
        with LiveProgress(console, len(plan.switches)) as progress:
            done = run(
                plan,
                installed=True,
                threads=threads,
                seed=seed,
                told=partial(progress.show, "soak"),
                log=log,
                mix="long",
                probes=PROBES,
                probe_every_s=PROBE_EVERY_S,
                vitals_every_s=max(0.1, min(1.0, minutes * 60 / 100)),
            )
    except BluegreenError as error:
        raise click.ClickException(str(error)) from error
    result = assess(done)
    if as_json:
        click.echo(json.dumps({**result.to_json(), "threads": threads, "seed": seed}, indent=2))
    else:
        report.show(console, result)
    sys.exit(1 if result.findings() else 0)

"""The two sides of a comparison, by the names that a command line gives them: tables of now, of files, of revisions.

>>> found = side("query")
>>> found.table.name, found.graph.complete
('query', True)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs

from bluegreen.diagram.diff.behavioural import UNKNOWN, Behaviour, compare, compare_cases
from bluegreen.diagram.diff.git_revision import commit_of, table_at
from bluegreen.diagram.diff.state_graph import (
    STATES,
    Graph,
    NotExplored,
    graph_of,
    starts_of,
    table_and_beside,
)
from bluegreen.diagram.diff.structural import Change, diff
from bluegreen.diagram.table_loader import SHIPPED, table_named
from bluegreen.table.rows import Declaration
from bluegreen.verify.export.formats import read_json

ACCEPTED: Final = (
    f"accepted: {', '.join(SHIPPED)}, MODULE:NAME, a file that `verify export json` has written, "
    "a revision of git"
)


@attrs.frozen(eq=False)
class Side:
    """One side.

    Args:
        name: what it is called.
        table: its rows.
        graph: what it does; none if that is not known.
        why: why it is not.
    """

    name: str
    table: Declaration
    graph: Graph | None = None
    why: str = ""


@attrs.frozen(eq=False)
class Compared:
    """Two sides, what differs in their rows, and how they behave.

    Args:
        old, new: what they are called.
        tables: both.
        changes: of their rows, and of whatever else is declared.
        behaviour: of the machines.
    """

    old: str
    new: str
    tables: tuple[Declaration, Declaration]
    changes: tuple[Change, ...]
    behaviour: Behaviour

    @property
    def same(self) -> bool:
        """Whether nothing differs, neither in the rows nor, as far as it was compared, in what they do."""
        return not self.changes and self.behaviour.shown is None


def side(
    name: str,
    *,
    table: str = "strategy",
    paths: Sequence[str] = (),
    repository: Path | None = None,
    states: int = STATES,
) -> Side:
    """Return what a name stands for: a short name, `module:NAME`, a file, or else a revision.

    Args:
        name: of one side.
        table: of a revision: `module:NAME`, or a short name.
        paths: of a revision: where its modules are, from the top of the repository.
        repository: a directory in it; the working directory by default.
        states: how many pairs of state and context are looked at, at most.

    Raises:
        ValueError: it stands for nothing; says why, and what is accepted.
    """
    here = repository or Path.cwd()
    if name not in SHIPPED and not Path(name).is_file():
        commit = commit_of(name, here)
        if commit is not None:
            found, graph, why = table_at(commit, table, here, paths, states)
            return Side(name, found, graph, why)
        if ":" not in name:
            raise ValueError(f"{name!r} is no table, file or revision; {ACCEPTED}")
    if Path(name).is_file() and name not in SHIPPED:
        return _of_file(Path(name))
    table_named(name)  # refuses what is none, and imports it
    made, beside = table_and_beside(name)
    try:
        return Side(name, made, graph_of(made, starts_of(made, beside), states))
    except NotExplored as error:
        return Side(name, made, None, str(error))


def _of_file(path: Path) -> Side:
    try:
        table = read_json(path.read_text(encoding="utf-8"), checked=False)
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no exported table: {error!r}; {ACCEPTED}") from error
    return Side(str(path), table, None, "a file has no code")


def compared(old: Side, new: Side) -> Compared:
    """Compare two sides: by what they do if both run and get the same events, else by the cases of their facts."""
    whys = tuple(f"{one.name} was not run: {one.why}" for one in (old, new) if one.graph is None)
    behaviour: Behaviour | None = None
    if old.graph is not None and new.graph is not None:
        behaviour = compare(old.graph, new.graph)
        whys = behaviour.notes
    if behaviour is None or behaviour.verdict == UNKNOWN:
        behaviour = compare_cases(old.table, new.table)
        behaviour = attrs.evolve(behaviour, notes=(*whys, *behaviour.notes))
    return Compared(old.name, new.name, (old.table, new.table), diff(old.table, new.table), behaviour)

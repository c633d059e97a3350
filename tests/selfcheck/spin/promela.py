"""The composition as a model for SPIN, which is a second opinion: another search, other properties, other people.

What a table does is written as numbers, from `step`. How machines and queries are put together, and what must
hold, is written here in Promela and shares nothing with the explorer. Each process stands at one place for ever, and
each of its moves is one step, so that SPIN stores exactly the states of the composition.

    >>> text = promela(Composition.of(queries=1))
    >>> "ltl L1" in text and "active proctype query_0()" in text
    True

Source: spec, section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from bluegreen.machines.query import EndTicket, Replay
from bluegreen.machines.strategy.effects import IssueTicket
from bluegreen.machines.strategy.events import (
    CacheInvalidated,
    ConnectionOpened,
    DrainTimedOut,
    RollbackRequested,
)
from bluegreen.table.table import Table
from bluegreen.types import Strategy
from selfcheck.model.composition import ALONE_AT, ANSWERS, ENDS, UNRUN, Composition, Input, Numbered, may_run

MODEL: Final = "composition.pml"
"""Name of the file of the model."""

TABLES: Final = "tables.h"
"""Name of the file that the model includes."""

FORMULAS: Final = ("L1", "L2")
"""What holds under weak fairness of queries and detection, whatever others do or leave: a transition ends, and so
does a detection."""

NONE: Final = 0
_CODES: Final = {None: NONE, Strategy.BLUE: 1, Strategy.GREEN: 2}
_SAFE: Final = (ConnectionOpened, CacheInvalidated, DrainTimedOut)


def promela(composition: Composition) -> str:
    """Return the model. SPIN checks I1, I3 to I8, I11 and I13 as assertions, and L1 and L2 as formulas."""
    return "\n".join([*_head(composition), *_processes(composition), *_formulas(), ""])


def _head(composition: Composition) -> Iterator[str]:
    machine = composition.strategy
    yield "/* Generated from the tables. The strategy machine and its queries, under the most general environment. */"
    yield from (
        f"#define {name.upper()} {number}" for number, name in enumerate(_names(composition.table), 1)
    )
    yield "#define NONE 0\n#define BLUE 1\n#define GREEN 2"
    yield f'c_decl {{ \\#include "{TABLES}" }}'
    queries = composition.queries
    state, first = machine.states[0]
    yield f"short machine = 0; byte st = {state.upper()}, untried = {_untried(first)};"
    yield f"byte serving = {_CODES[first.active]}, pending = {_CODES[first.pending]}, open_blue, open_green;"
    yield f"short query[{queries}]; byte on[{queries}]; bool there[{queries}]; bool ran[{queries}];"
    yield "hidden byte was_st, was_serving, was_untried, was_route;"
    counted = {
        name: " + ".join(f"(on[{slot}] == {name})" for slot in range(queries)) for name in ("BLUE", "GREEN")
    }
    yield f"""
inline look() {{
  c_code {{
    now.st = STATE[now.machine]; now.serving = SERVING[now.machine]; now.pending = PENDING_ON[now.machine];
    now.untried = UNTRIED[now.machine];
    now.open_blue = OPEN_BLUE[now.machine]; now.open_green = OPEN_GREEN[now.machine];
    reach(CONTROL);
  }};
}}
inline remember() {{
  was_st = st; was_serving = serving; was_untried = untried; was_route = (pending != NONE -> pending : serving)
}}
inline check(safe) {{
  /* I1 */
  assert(st != STABLE || (serving != NONE && pending == NONE));
  assert(st != PENDINGTRANSITION || (serving != NONE && pending != NONE && serving != pending));
  assert(st != FAILED || pending == NONE);
  assert(st != DETECTING || untried != 0);
  /* I4 */
  assert(serving == was_serving || was_st == DETECTING || safe);
  /* I5 */
  assert(open_blue == {counted["BLUE"]} && open_green == {counted["GREEN"]});
  /* I8: a strategy that this detection has heard from is not tried again */
  assert(was_st != DETECTING || st != DETECTING || (untried & (3 - was_untried)) == 0)
}}"""


def tables(composition: Composition) -> str:
    """Return the header that the model includes: what each event does in each state, as numbers."""
    machine, query = composition.strategy, composition.query
    lines = [
        "/* Generated: the moves of the machines, by the numbers of their states and of what they are given. */",
        f"#define INPUTS {len(machine.inputs)}\n#define EVENTS {len(query.inputs)}",
        *_arrays(composition),
        "#define AT(table, input) table[now.machine * INPUTS + (input)]",
        "#define OF(table, slot, event) table[now.query[slot] * EVENTS + (event)]",
        "#define STARTS (AT(TO, 0) >= 0)",
        *(
            f"#define STARTS_ALONE_{code} (AT(TO, {_alone(code)}) >= 0"
            f" && (PENDING_ON[now.machine] == {NONE} || SERVING[now.machine] != {code}))"
            for code in _CODES.values()
            if code != NONE
        ),
        *_conditions(composition),
        _REACHED,
        "",
    ]
    return "\n".join(lines)


def _conditions(composition: Composition) -> Iterator[str]:
    """Yield what SPIN asks: names without arguments, since it takes a call in an expression for a side effect."""
    for number in range(len(composition.strategy.inputs)):
        yield f"#define MOVES_{number} (AT(TO, {number}) >= 0 && AT(TO, {number}) != now.machine)"
    for slot in range(composition.queries):
        yield f"#define WRITES_{slot} (!Q_READS[now.query[{slot}]] && Q_UNRUN[now.query[{slot}]])"
        for number in range(len(composition.query.inputs)):
            target, at = f"OF(Q_TO, {slot}, {number})", f"{slot}_{number}"
            yield f"#define CHANGES_{at} ({target} >= 0 && {target} != now.query[{slot}])"
            yield f"#define ENDS_{at} (OF(Q_ENDS, {slot}, {number}) >= 0)"
            yield f"#define AGAIN_{at} OF(Q_AGAIN, {slot}, {number})"
    names = [_names(composition.table), ["nobody", *_names(composition.query_table)]]
    for array, said in zip(("NAMES", "Q_NAMES"), names, strict=True):
        yield f"static const char *{array}[] = {{ {', '.join(map(_quoted, said))} }};"
    yield f"#define KINDS {len(names[1])}"
    yield "#define KIND(slot) (now.there[slot] ? Q_STATE[now.query[slot]] : 0)"
    yield f"#define SLOTS {composition.queries}"
    yield f"static unsigned char REACHED[{len(names[0]) * len(names[1]) ** composition.queries}];"
    yield f"#define CONTROL ({_nested(composition.queries)})"


def _nested(queries: int) -> str:
    text = "now.st - 1"
    for slot in range(queries):
        text = f"({text}) * KINDS + KIND({slot})"
    return text


def _quoted(word: str) -> str:
    return f'"{word}"'


_REACHED: Final = """\
static void reach(int control) {
  int slot, kinds[SLOTS];
  if (REACHED[control]) return;
  REACHED[control] = 1;
  for (slot = SLOTS - 1; slot >= 0; slot--) { kinds[slot] = control % KINDS; control /= KINDS; }
  printf("reached %s", NAMES[control]);
  for (slot = 0; slot < SLOTS; slot++) printf(" %s", Q_NAMES[kinds[slot]]);
  printf("\\n");
}"""


def _names(table: Table[Any, Any, Any]) -> list[str]:
    return [state.name for state in table.states]


def _arrays(composition: Composition) -> Iterator[str]:
    machine, query = composition.strategy, composition.query
    names = _names(composition.table)
    contexts = [context for _, context in machine.states]
    yield _array("short", "TO", _targets(machine))
    yield _array("unsigned char", "STATE", (names.index(state) + 1 for state, _ in machine.states))
    yield _array("unsigned char", "SERVING", (_CODES[context.active] for context in contexts))
    yield _array("unsigned char", "PENDING_ON", (_CODES[context.pending] for context in contexts))
    yield _array("unsigned char", "UNTRIED", map(_untried, contexts))
    yield _array("unsigned char", "OPEN_BLUE", (context.open_blue for context in contexts))
    yield _array("unsigned char", "OPEN_GREEN", (context.open_green for context in contexts))
    yield _array("unsigned char", "ROUTE", (_routed(row[0]) for row in machine.moves))
    yield _array("short", "Q_TO", _targets(query))
    moves = [move for row in query.moves for move in row]
    yield _array("short", "Q_ENDS", (_ends(move.effects) if move else -1 for move in moves))
    yield _array(
        "unsigned char",
        "Q_AGAIN",
        (bool(move and any(isinstance(one, Replay) for one in move.effects)) for move in moves),
    )
    kinds = _names(composition.query_table)
    yield _array("unsigned char", "Q_STATE", (kinds.index(state) + 1 for state, _ in query.states))
    yield _array("unsigned char", "Q_READS", (context.reads for _, context in query.states))
    yield _array("unsigned char", "Q_UNRUN", (state in UNRUN for state, _ in query.states))


def _untried(context: Any) -> int:
    return sum(_CODES[strategy] for strategy in context.untried)


def _array(kind: str, name: str, values: Iterable[int]) -> str:
    numbers = [int(value) for value in values]
    lines = (", ".join(map(str, numbers[at : at + 24])) for at in range(0, len(numbers), 24))
    return f"static const {kind} {name}[] = {{\n  " + ",\n  ".join(lines) + "\n};"


def _targets(machine: Numbered) -> Iterator[int]:
    for row in machine.moves:
        yield from (-1 if move is None else move.target for move in row)


def _routed(move: Any) -> int:
    issued = [effect for effect in move.effects if isinstance(effect, IssueTicket)] if move else []
    return _CODES[issued[0].strategy] if issued else NONE


def _ends(effects: tuple[Any, ...]) -> int:
    """Return the input of the strategy machine that ends a ticket on blue this way; that on green is the next."""
    ended = [type(effect.event) for effect in effects if isinstance(effect, EndTicket)]
    return 1 + len(Strategy) * ENDS.index(ended[0]) if ended else -1


def _processes(composition: Composition) -> Iterator[str]:
    said = [
        (number, given)
        for number, given in enumerate(composition.strategy.inputs)
        if given.mover != "queries"
    ]
    answers = [(number, given) for number, given in said if isinstance(given.event, ANSWERS)]
    timers = [(number, given) for number, given in said if given.mover == "timers"]
    others = [(number, given) for number, given in said if given.mover == "environment"]
    yield from _process("detection", (_said(*one, "st == DETECTING && ") for one in answers))
    yield from _process("timers", (_IDLE, *(_said(*one, "") for one in timers)))
    yield from _process(
        "environment",
        (
            _IDLE,
            *(
                _said(number, given, "st != DETECTING && " if isinstance(given.event, ANSWERS) else "")
                for number, given in others
            ),
        ),
    )
    for slot in range(composition.queries):
        yield from _process(f"query_{slot}", _of_query(composition, slot))


_IDLE: Final = "  :: d_step { st != 0 -> skip } /* it may do nothing, for ever: nothing must depend on it */"


def _process(name: str, options: Iterable[str]) -> Iterator[str]:
    yield f"active proctype {name}() {{\n  do"
    yield from options
    yield "  od\n}"


def _said(number: int, given: Input, condition: str) -> str:
    idle = given.label.endswith("_stale") or "_of_one_" in given.label  # I6, I13
    stale = " assert(false);" if idle else ""
    safe = "true" if isinstance(given.event, _SAFE) else "false"
    back = (
        " assert(was_st != PENDINGTRANSITION || (st == STABLE && serving == was_serving));"
        if isinstance(given.event, RollbackRequested)
        else ""
    )
    return (
        f"  :: d_step {{ {condition}c_expr {{ MOVES_{number} }} -> /* {given.label} */{stale}"
        f" remember(); c_code {{ now.machine = AT(TO, {number}); }}; look();{back} check({safe}) }}"
    )


def _of_query(composition: Composition, slot: int) -> Iterator[str]:
    shared = (
        " remember(); assert(st == STABLE || st == PENDINGTRANSITION);"
        f" c_code {{ now.on[{slot}] = ROUTE[now.machine]; now.machine = AT(TO, 0); }};"
        f" assert(on[{slot}] == was_route); /* I3 */ look(); check(false) }}"
    )
    waits = f"there[{slot}] && on[{slot}] == NONE"
    gone = f"query[{slot}] = 0; there[{slot}] = false; ran[{slot}] = false"
    ways = [("", "c_expr { STARTS }", shared)]
    ways += [
        (f"_alone_{one}", f"c_expr {{ STARTS_ALONE_{code} }}", _alone_on(slot, code))
        for one, code in _CODES.items()
        if code != NONE
    ]
    for where, accepted, start in ways:
        for number, word in enumerate(("write", "read")):
            yield (
                f"  :: d_step {{ !there[{slot}] && {accepted} -> /* start_{word}{where} */"
                f" query[{slot}] = {number}; there[{slot}] = true;{start}"
            )
        yield f"  :: d_step {{ {waits} && {accepted} -> /* begin_anew{where} */{start}"
    yield f"  :: d_step {{ {waits} -> /* give_up */ {gone} }}"
    for number, given in enumerate(composition.query.inputs):
        yield from _event(slot, number, given, gone)


def _alone_on(slot: int, code: int) -> str:
    """Return how a query begins alone: nothing changes but the ticket that is counted (I13)."""
    return (
        f" remember(); c_code {{ now.on[{slot}] = {code}; now.machine = AT(TO, {_alone(code)}); }}; look();"
        " assert(st == was_st && serving == was_serving && untried == was_untried"
        " && was_route == (pending != NONE -> pending : serving)); check(false) }"
    )


def _alone(code: int) -> int:
    return ALONE_AT + code - 1


def _event(slot: int, number: int, given: Input, gone: str) -> Iterator[str]:
    writes = f"c_expr {{ WRITES_{slot} }}"
    run = f"\n      if :: {writes} -> assert(!ran[{slot}]); ran[{slot}] = true /* I11 */ :: else -> skip fi;"
    yield (
        f"  :: d_step {{ on[{slot}] != NONE && c_expr {{ CHANGES_{slot}_{number} }} -> /* {given.label} */"
        f" remember();{run if may_run(given.event) else ''}\n"
        f"      if :: c_expr {{ ENDS_{slot}_{number} }} ->\n"
        f"           c_code {{ now.machine = AT(TO, OF(Q_ENDS, {slot}, {number}) + now.on[{slot}] - 1); }};"
        f" on[{slot}] = NONE;\n"
        f"           if :: c_expr {{ AGAIN_{slot}_{number} }} ->"
        f" c_code {{ now.query[{slot}] = OF(Q_TO, {slot}, {number}); }}; skip :: else -> {gone} fi\n"
        f"         :: else -> c_code {{ now.query[{slot}] = OF(Q_TO, {slot}, {number}); }}; skip\n"
        f"      fi;\n"
        f"      look(); check(true) }}"
    )


def _formulas() -> Iterator[str]:
    yield "/* Under weak fairness of queries and detection: a transition ends, and so does a detection. */"
    yield "ltl L1 { [] ((st == PENDINGTRANSITION) -> <> (st != PENDINGTRANSITION)) }"
    yield "ltl L2 { [] ((st == DETECTING) -> <> (st != DETECTING)) }"

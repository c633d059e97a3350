"""Every rule has its row in `RULES.md`, and what a row names is there: code that makes it so, tests that prove it."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

import attrs
import pytest

ROOT: Final = Path(__file__).parents[2]
TABLE: Final = ROOT / "fsm" / "bluegreen" / "RULES.md"
pytestmark = pytest.mark.skipif(
    not TABLE.exists(), reason="the sources are not here: this is an installed copy"
)

RULES: Final = {
    "Core Business Requirements: 1. Zero Downtime Guarantee": (
        "Zero Downtime Guarantee",
        "Graceful Transitions",
        "Seamless Switching",
        "No Query Loss",
        "Transparent Operation",
        "Rule 1: Never interrupt running queries",
        "Rule 2: Apply strategy changes at safe points",
        "Rule 3: Maintain service availability",
    ),
    "Core Business Requirements: 2. Automatic Strategy Detection": (
        "Automatic Strategy Detection",
        "Proactive Detection",
        "Reactive Adaptation",
        "Fallback Mechanisms",
        "Cache strategy to minimize overhead",
        "cached_strategy_valid",
        "cache_expired",
        "456_error_received",
        "authentication_success",
        "authentication_failure",
        "both_strategies_fail",
    ),
    "Core Business Requirements: 3. Data Consistency Guarantees": (
        "Data Consistency Guarantees",
        "Query Isolation",
        "Atomic Transitions",
        "Consistency Checks",
        "Rollback Capability",
        "query_strategy_isolation",
        "atomic_strategy_updates",
        "cross_query_consistency",
    ),
    "Business Rules Engine: 1. Strategy Selection Rules": (
        "Strategy Selection Rules",
        "Query-Specific Strategy",
        "Pending Strategy",
        "Active Strategy",
        "Detected Strategy",
    ),
    "Business Rules Engine: 2. Transition Timing Rules": (
        "Transition Timing Rules",
        "query_completion",
        "query_cancellation",
        "connection_establishment",
        "cache_invalidation",
        "defer_transition",
    ),
    "Business Rules Engine: 3. Error Recovery Rules": (
        "Error Recovery Rules",
        "Retry with Current Strategy",
        "Clear Cache and Retry",
        "Detect New Strategy",
        "Fallback to Default",
        "Escalate Error",
        "transient_error",
        "456_error",
        "authentication_error",
        "detection_failure",
    ),
    "Resource Management Logic: 1. Memory Management": (
        "Memory Management",
        "Bounded Cache",
        "Query Mapping Cleanup",
        "Shared Memory",
        "Memory Leak Prevention",
        "cache_size_limit",
        "query_mapping_limit",
        "shared_memory_limit",
    ),
    "Resource Management Logic: 2. Performance Optimization": (
        "Performance Optimization",
        "Fast Path",
        "Slow Path",
        "Batch Operations",
        "Lock Optimization",
        "cache_hit_optimization",
        "lock_contention_minimization",
        "detection_overhead_reduction",
    ),
    "Operational Business Rules: 1. Monitoring and Alerting": (
        "Monitoring and Alerting",
        "Strategy Transitions",
        "Error Rates",
        "Performance Metrics",
        "strategy_transition_logging",
        "error_rate_monitoring",
        "performance_monitoring",
        "Health Checks",
        "health_check_monitoring",
    ),
    "Operational Business Rules: 2. Configuration Management": (
        "Configuration Management",
        "Cache TTL",
        "Retry Limits",
        "Detection Timeout",
        "Logging Levels",
        "cache_ttl",
        "retry_attempts",
        "detection_timeout",
        "logging_level",
    ),
    "Business Logic Validation: 1. Strategy Validation Rules": (
        "Strategy Validation Rules",
        "strategy_format",
        "strategy_consistency",
        "strategy_availability",
    ),
    "Business Logic Validation: 2. State Validation Rules": (
        "State Validation Rules",
        "cache_consistency",
        "query_mapping_integrity",
        "transition_state_validity",
    ),
    "Business Impact Analysis: 1. Performance Impact": (
        "Performance Impact",
        "Connection Overhead",
        "Query Overhead",
        "Memory Footprint",
        "CPU Usage",
        "connection_overhead",
        "query_overhead",
        "memory_overhead",
    ),
    "Business Impact Analysis: 2. Reliability Impact": (
        "Reliability Impact",
        "Error Handling",
        "Fault Tolerance",
        "Consistency Guarantees",
        "Recovery Time",
        "error_recovery",
        "fault_tolerance",
        "consistency_guarantees",
    ),
    "Compliance and Governance: 1. Audit Requirements": (
        "Audit Requirements",
        "strategy_change_audit",
        "error_audit",
        "performance_audit",
    ),
    "Compliance and Governance: 2. Security Considerations": (
        "Security Considerations",
        "authentication_security",
        "data_protection",
        "access_control",
    ),
}
"""The rules, by section; several of them may share a row."""


@attrs.frozen
class Rule:
    """One row: the rules that it is about, and its other cells."""

    section: str
    names: tuple[str, ...]
    holds: str
    where: tuple[str, ...]
    proofs: tuple[str, ...]

    def __str__(self) -> str:
        return self.names[0]


def rows() -> Iterator[Rule]:
    if not TABLE.exists():  # pytest collects the rows before it looks at the mark above
        return
    section = ""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith(("| ---", "| rule |")):
            name, holds, where, proofs = (cell.strip() for cell in line.strip("|").split("|"))
            yield Rule(section, _each(name), holds, _each(where), _each(proofs))


def _each(cell: str) -> tuple[str, ...]:
    return tuple(one.strip().strip("`") for one in cell.split("<br>") if one.strip())


ROWS: Final = tuple(rows())
each_row = pytest.mark.parametrize("row", ROWS, ids=str)


@lru_cache
def written_in(path: str) -> frozenset[str]:
    """Return the names of the tests that a file has, those of its classes with the class before them."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    classes = [(f"{one.name}::", one.body) for one in tree.body if isinstance(one, ast.ClassDef)]
    return frozenset(
        before + one.name
        for before, body in (("", tree.body), *classes)
        for one in body
        if isinstance(one, functions) and one.name.startswith("test_")
    )


def test_each_rule_has_one_row_in_its_section_and_nothing_else_has() -> None:
    written = {
        section: sorted(name for row in ROWS if row.section == section for name in row.names)
        for section in RULES
    }
    assert written == {section: sorted(names) for section, names in RULES.items()}
    assert {row.section for row in ROWS} == set(RULES)


@each_row
def test_no_cell_of_a_row_is_empty(row: Rule) -> None:
    assert row.names
    assert row.holds
    assert row.where
    assert 1 <= len(row.proofs) <= 3


@each_row
def test_what_a_row_names_in_the_code_is_there(row: Rule) -> None:
    for name in row.where:
        assert name.startswith(("bluegreen.", "bluegreen_adapters."))
        pkgutil.resolve_name(name)


@each_row
def test_each_test_that_a_row_names_is_one_that_can_be_run(row: Rule) -> None:
    for proof in row.proofs:
        path, name = re.fullmatch(r"(tests/\w+/test_\w+\.py)::([\w:]+)", proof).groups()  # type: ignore[union-attr]
        assert name in written_in(path), proof


def test_the_list_of_documentation_leads_to_the_rules() -> None:
    assert f"({TABLE.relative_to(ROOT)})" in (ROOT / "README.md").read_text(encoding="utf-8")

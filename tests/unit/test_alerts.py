"""The alerts and the dashboard use the metrics that there are, and Prometheus can read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import yaml

from bluegreen_adapters.observe.metrics.definitions import INSTRUMENTS
from support.promtool import asks_promtool, promtool

SHIPPED: Final = files("bluegreen_adapters.observe.metrics")
DASHBOARD: Final = json.loads((SHIPPED / "dashboard.json").read_text(encoding="utf-8"))
RULES: Final = yaml.safe_load((SHIPPED / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
UNITS: Final = ("bool_yes_no", "ops", "percentunit", "s", "short")
TESTS: Final = Path(__file__).with_name("alerts_test.yml")


@attrs.frozen
class Expression:
    """One query: where it stands, and the labels that are shown of what it gives."""

    where: str
    text: str
    shown: tuple[str, ...]


def series() -> dict[str, set[str]]:
    """Return the labels of each series as Prometheus names it."""
    found: dict[str, set[str]] = {}
    for one in INSTRUMENTS:
        labels = set(one.labels)
        if one.kind == "histogram":
            found |= {
                f"{one.name}_bucket": {*labels, "le"},
                f"{one.name}_sum": labels,
                f"{one.name}_count": labels,
            }
        else:
            found[f"{one.name}_total" if one.kind == "counter" else one.name] = labels
    return found


def expressions() -> Iterator[Expression]:
    for panel in PANELS:
        for target in panel["targets"]:
            shown = tuple(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            yield Expression(panel["title"], target["expr"], shown)
    for rule in RULES:
        said = " ".join(rule["annotations"].values())
        yield Expression(rule["alert"], rule["expr"], tuple(re.findall(r"\$labels\.(\w+)", said)))


SERIES: Final = series()
EXPRESSIONS: Final = tuple(expressions())
each_expression = pytest.mark.parametrize("one", EXPRESSIONS, ids=lambda one: one.where)


@each_expression
def test_a_query_names_only_metrics_that_there_are_with_the_labels_that_they_have(one: Expression) -> None:
    used = re.findall(r"\b(bluegreen_\w+)(?:\{([^}]*)\})?", one.text)
    assert used
    for name, selector in used:
        assert set(re.findall(r"(\w+)\s*[=!]", selector)) <= SERIES[name], name
    grouped = [re.findall(r"\w+", group) for group in re.findall(r"\bby \(([^)]*)\)", one.text)]
    for name, _ in used:
        assert all(set(group) <= SERIES[name] for group in grouped), name
    kept = set(grouped[0]) if grouped else set.intersection(*(SERIES[name] for name, _ in used))
    assert set(one.shown) <= kept


def test_the_check_of_queries_knows_every_metric_and_each_is_on_the_dashboard() -> None:
    on_panels = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    missing = [one.name for one in INSTRUMENTS if not re.search(rf"\b{one.name}(_\w+)?\b", on_panels)]
    assert missing == []


def test_each_panel_has_a_title_of_its_own_a_unit_and_says_what_it_shows() -> None:
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles) == len([title for title in titles if title])
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_neither_names_a_host_and_each_query_asks_the_data_source_that_was_chosen() -> None:
    for name in ("dashboard.json", "alerts.yml"):
        assert "://" not in (SHIPPED / name).read_text(encoding="utf-8")
    sources: list[Any] = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert {one["uid"] for one in sources} == {"${datasource}"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_what_has_happened_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 80
    assert rule["annotations"]["description"].endswith(".")


def test_the_thresholds_are_those_of_the_rules() -> None:
    limits = {rule["alert"]: rule["expr"].rsplit(maxsplit=2)[1:] for rule in RULES}
    assert limits["BluegreenWrongStrategy"] == [">", "0.05"]
    assert limits["BluegreenSlowDetection"] == limits["BluegreenSlowTransition"] == [">", "0.1"]


@asks_promtool
def test_prometheus_reads_the_alerts() -> None:
    assert f"SUCCESS: {len(RULES)} rules found" in promtool("check", "rules", str(SHIPPED / "alerts.yml"))


@asks_promtool
def test_the_alerts_are_raised_when_they_should_be_and_not_otherwise(tmp_path: Path) -> None:
    cases = yaml.safe_load(TESTS.read_text(encoding="utf-8"))
    cases["rule_files"] = [
        str(SHIPPED / "alerts.yml")
    ]  # of the package that is tested: it may be an installed one
    named = {rule["alert"] for rule in RULES}
    assert {name for name in named if name in TESTS.read_text(encoding="utf-8")} == named
    written = tmp_path / "alerts_test.yml"
    written.write_text(yaml.safe_dump(cases), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", written)


@asks_promtool
def test_prometheus_reads_each_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {
            "record": f"panel:{number}",
            "expr": one.text.replace("$__rate_interval", "5m").replace("$scope", ".*"),
        }
        for number, one in enumerate(EXPRESSIONS)
    ]
    written = tmp_path / "rules.yml"
    written.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", written)

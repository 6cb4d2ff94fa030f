"""Dashboard and rules ask for metrics that exist, in PromQL that Prometheus takes."""

import functools
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tests.deploy.chart import CHART, ROOT, cases, of_kind
from tests.deploy.prometheus import busy_gateway, documented, running_prometheus, series, tool, work
from tools.chart.dashboard import dashboard

RULES = CHART / "rules" / "saccade.yaml"
RULE_TESTS = Path(__file__).with_name("rule_tests.yaml")
# Put there by Prometheus and its operator when they read a pod's metrics.
OF_THE_TARGET = {"instance", "job", "namespace", "pod", "exported_instance"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found = json.loads(dashboard())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


@functools.cache
def expressions() -> dict[str, str]:
    """Where it stands to the query, Grafana's variables filled in."""
    found = {rule.get("record") or rule["alert"]: rule["expr"] for rule in rules()}
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "5m").replace("$namespace", ".*")
            found[f"{panel['title']} {target['refId']}"] = query
    for trigger in of_kind("ScaledObject", cases()["everything"])[0]["spec"]["triggers"]:
        found[f"KEDA {trigger['name']}"] = trigger["metadata"]["query"]
    return found


@functools.cache
def known_series() -> dict[str, set[str]]:
    return series(busy_gateway())


def selectors(node: Any) -> Iterator[Any]:
    """All vector selectors of a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (child := getattr(node, name, None)) is not None:
            yield from selectors(child)
    args = getattr(node, "args", None)
    for child in args if isinstance(args, list) else []:
        yield from selectors(child)


@pytest.mark.parametrize("place", expressions())
def test_queries_ask_for_metrics_and_labels_that_exist(place: str) -> None:
    known = known_series()
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    found = list(selectors(promql_parser.parse(expressions()[place])))
    assert found
    for selector in found:
        assert selector.name in known.keys() | recorded
        if selector.name in known:
            asked = {matcher.name for matcher in selector.matchers.matchers}
            assert asked <= known[selector.name] | OF_THE_TARGET


def test_a_query_for_a_metric_that_is_not_there_would_be_found() -> None:
    query = 'sum(rate(saccade_nothing{a="b"}[5m])) / sum(saccade_requests_running)'
    names = {selector.name for selector in selectors(promql_parser.parse(query))}
    assert names == {"saccade_nothing", "saccade_requests_running"}


def test_slo_bounds_are_bounds_of_the_histogram() -> None:
    # Without such a bucket, the query would be empty for ever.
    bounds = {
        sample.labels["le"]
        for family in busy_gateway().registry.collect()
        for sample in family.samples
        if sample.name == "saccade_time_to_first_token_seconds_bucket"
    }
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert values["gateway"]["keda"]["ttftSloSeconds"] in bounds
    assert "1.0" in bounds


def test_alerts_have_a_severity_and_say_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 8
    for alert in alerts:
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert alert["annotations"].keys() == {"summary", "description"}


def test_the_dashboard_is_up_to_date_and_its_panels_do_not_overlap() -> None:
    text = (CHART / "dashboards" / "saccade.json").read_text(encoding="utf-8")
    assert text == dashboard(), "run `make chart`"
    places = [panel["gridPos"] for panel in json.loads(text)["panels"]]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)


def test_every_metric_is_in_the_table_of_the_documentation() -> None:
    table = set(documented((ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")))
    families = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in busy_gateway().registry.collect()
    }
    assert table == families


def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    promtool = tool("promtool")
    for words in (("check", "rules", RULES), ("test", "rules", RULE_TESTS)):
        done = subprocess.run(
            [promtool, *words], cwd=RULE_TESTS.parent, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_real_prometheus_has_something_to_show_in_every_panel(tmp_path: Path) -> None:
    metrics = busy_gateway()
    shown = {
        place: query.replace("[5m]", "[15s]")
        for place, query in expressions().items()
        if not place.startswith(("Saccade", "KEDA"))
    }
    with running_prometheus(tmp_path, metrics, RULES) as query:
        deadline_s = time.monotonic() + 120
        empty = set(shown)
        while empty and time.monotonic() < deadline_s:
            work(metrics)
            empty = {place for place in empty if not query(shown[place])}
            time.sleep(0.5)
    assert not empty

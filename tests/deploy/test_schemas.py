"""Every object that the chart renders fits Kubernetes and the operators, unknown fields refused."""

import helm_python
import pytest
import yaml

from tests.deploy.chart import CHART, KUBERNETES, cases, manifests, of_kind, render, values_of
from tests.deploy.schemas import SchemaError, check


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("name", cases())
def test_every_object_fits_the_schema_of_its_kind(name: str, kubernetes: str) -> None:
    for manifest in manifests(cases()[name], kubernetes=kubernetes):
        check(manifest, kubernetes)


def test_the_cases_render_every_template() -> None:
    rendered = {path for values in cases().values() for path in render(values)}
    files = {
        str(path.relative_to(CHART / "templates"))
        for path in (CHART / "templates").rglob("*")
        if path.suffix in {".yaml", ".txt"}
    }
    assert rendered == files


def test_a_typo_in_a_field_of_kubernetes_is_found() -> None:
    budget = of_kind("PodDisruptionBudget", values_of("cpu"))[0]
    budget["spec"]["selectors"] = budget["spec"].pop("selector")
    with pytest.raises(SchemaError, match="selectors"):
        check(budget, "1.33")


def test_a_typo_deep_in_a_field_of_kuberay_is_found() -> None:
    cluster = of_kind("RayCluster", values_of("eight-gpus"))[0]
    container = cluster["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]
    container["rediness"] = {}
    with pytest.raises(SchemaError, match="rediness"):
        check(cluster, "1.33")


def test_no_two_objects_share_kind_and_name() -> None:
    for values in cases().values():
        names = [(one["kind"], one["metadata"]["name"]) for one in manifests(values)]
        assert len(set(names)) == len(names)


def test_the_oldest_kubernetes_that_is_tested_is_the_oldest_that_is_allowed() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={KUBERNETES[0]}.0-0"


def test_helm_finds_nothing_to_remark() -> None:
    result = helm_python.lint(str(CHART), cases()["everything"], strict=True)
    remarks = {message["error"] for message in result["messages"]}
    assert remarks == {"icon is recommended"}

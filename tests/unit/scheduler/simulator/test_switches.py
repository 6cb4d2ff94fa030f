"""Each addition to the paper has a policy without it, and a row in the docs."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from saccade.scheduler.policy import Policy
from saccade.scheduler.simulator.policies import SWITCHED_NAMES, policy_named
from saccade.scheduler.simulator.policies.elasticmm import ElasticMM
from saccade.scheduler.simulator.policies.switches import SWITCHES

DOCS = Path(__file__).parents[4] / "docs" / "scheduling.md"
OF_SEVERAL = {"literal", "no-stability"}


def flat(policy: Policy) -> dict[str, object]:
    parts = asdict(policy)
    return {
        f"{part}.{name}": value
        for part, fields in parts.items()
        if isinstance(fields, dict)
        for name, value in fields.items()
    } | {"groups": parts["groups"]}


def made(name: str) -> ElasticMM:
    policy = policy_named(name)
    assert isinstance(policy, ElasticMM)
    return policy


@pytest.mark.parametrize("name", SWITCHED_NAMES)
def test_a_switch_changes_one_thing(name: str) -> None:
    plain, switched = flat(Policy()), flat(made(name).settings)
    changed = {key for key in plain if plain[key] != switched[key]}
    if name.removeprefix("elasticmm-") in OF_SEVERAL:
        assert len(changed) > 5
    elif name == "elasticmm-decode-at-64":
        # The price of decode is the cost model's.
        assert not changed
    else:
        assert len(changed) == 1


def test_no_two_policies_are_switched_alike() -> None:
    switched = [(flat(made(name).settings), SWITCHES[name[10:]].full_step_ratio)
                for name in SWITCHED_NAMES]  # fmt: skip
    assert all(one not in switched[:number] for number, one in enumerate(switched))


def test_the_docs_name_every_switch_and_no_other() -> None:
    text = DOCS.read_text(encoding="utf-8")
    tables = re.findall(r"\| ablation \|\n(?:\|.*\n)+", text)
    named = {name for table in tables for name in re.findall(r"`([a-z0-9-]+)` \|$", table, re.M)}
    assert named <= SWITCHES.keys()
    assert all(f"`{name}`" in text for name in SWITCHES)

"""Custom Ray resources of instance groups, and what a Ray of our own must offer for them."""

import pytest
from pydantic import ValidationError

from saccade.serving.cluster.launch import custom_resources
from saccade.serving.config.instances import InstanceGroup


def test_a_local_ray_offers_what_all_instances_together_reserve() -> None:
    encode = InstanceGroup(roles=["encode"], replicas=3, resources={"encode": 1, "fast_disk": 0.5})
    llm = InstanceGroup(roles=["prefill", "decode"], replicas=2, resources={"fast_disk": 0.25})
    assert custom_resources([encode, llm]) == {"encode": 3.0, "fast_disk": 2.0}


def test_groups_without_custom_resources_ask_for_none() -> None:
    assert custom_resources([InstanceGroup(roles=["encode"])]) == {}


def test_an_amount_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        InstanceGroup(roles=["encode"], resources={"encode": 0})

import math

import pytest

from saccade.scheduler.policy import (
    ONE_POOL,
    TEXT_GROUP,
    FairnessPolicy,
    GroupSpec,
    IsolationPolicy,
    Policy,
    UnknownModalityError,
)


def test_each_modality_belongs_to_a_group() -> None:
    groups = [Policy().group_of(one).name for one in ("text", "image", "video")]
    assert groups == ["text", "multimodal", "multimodal"]
    assert ONE_POOL.group_of("text") is ONE_POOL.group_of("video")
    with pytest.raises(UnknownModalityError, match="'smell'"):
        Policy().group_of("smell")


def test_isolation_goes_from_nothing_to_infinity() -> None:
    penalties = [IsolationPolicy(level, 2.0).penalty_s for level in (0.0, 0.5, 0.75, 1.0)]
    assert penalties == [0.0, 2.0, 6.0, math.inf]
    with pytest.raises(ValueError, match=r"1\.5 is not between 0 and 1"):
        IsolationPolicy(1.5)


def test_groups_need_names_of_their_own_a_stage_and_an_instance() -> None:
    with pytest.raises(ValueError, match="names of their own"):
        Policy(groups=(TEXT_GROUP, TEXT_GROUP))
    with pytest.raises(ValueError, match="names of their own"):
        Policy(groups=())
    with pytest.raises(ValueError, match="'empty' needs a stage"):
        GroupSpec("empty", frozenset({"text"}), ())
    with pytest.raises(ValueError, match="at least one instance"):
        GroupSpec("none", frozenset({"text"}), min_instances=0)


def test_higher_classes_weigh_more() -> None:
    policy = FairnessPolicy()
    assert policy.weight("interactive") > policy.weight("standard") > policy.weight("batch") > 0

import itertools

from hypothesis import given
from hypothesis import strategies as st

from saccade.scheduler.cluster import Role
from saccade.scheduler.roles import initial_roles

ROLES: tuple[Role, ...] = ("encode", "prefill", "decode")

SETS = [frozenset(roles) for size in (1, 2, 3) for roles in itertools.combinations(ROLES, size)]
residents = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(SETS), max_size=6)


def of(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


def holders(assigned: dict[str, frozenset[Role]], role: Role) -> list[str]:
    return sorted(name for name, roles in assigned.items() if role in roles)


@given(residents)
def test_every_stage_that_some_instance_is_resident_for_is_served(
    resident: dict[str, frozenset[Role]],
) -> None:
    served = frozenset[Role]().union(*initial_roles(resident).values())
    assert served == frozenset[Role]().union(*resident.values())


@given(residents)
def test_no_instance_serves_what_it_is_not_resident_for(
    resident: dict[str, frozenset[Role]],
) -> None:
    assigned = initial_roles(resident)
    assert assigned.keys() == resident.keys()
    assert all(assigned[name] <= resident[name] for name in resident)


@given(residents)
def test_no_instance_is_left_idle(resident: dict[str, frozenset[Role]]) -> None:
    assert all(initial_roles(resident).values())


@given(residents)
def test_the_order_of_the_instances_does_not_matter(
    resident: dict[str, frozenset[Role]],
) -> None:
    backwards = dict(reversed(resident.items()))
    assert initial_roles(backwards) == initial_roles(resident)


@given(residents)
def test_at_most_one_instance_both_prefills_and_decodes(
    resident: dict[str, frozenset[Role]],
) -> None:
    both = [roles for roles in initial_roles(resident).values() if of("prefill", "decode") <= roles]
    assert len(both) <= 1


def test_the_shape_of_the_local_configuration_gets_one_role_each() -> None:
    resident = {
        "encode-0": of("encode"),
        "llm-0": of("prefill", "decode"),
        "llm-1": of("prefill", "decode"),
    }
    assert initial_roles(resident) == {
        "encode-0": of("encode"),
        "llm-0": of("prefill"),
        "llm-1": of("decode"),
    }


def test_a_lone_instance_keeps_both_roles() -> None:
    assert initial_roles({"llm-0": of("prefill", "decode")}) == {"llm-0": of("prefill", "decode")}


def test_of_three_versatile_instances_two_decode() -> None:
    assigned = initial_roles({f"llm-{i}": of("prefill", "decode") for i in range(3)})
    assert holders(assigned, "prefill") == ["llm-0"]
    assert holders(assigned, "decode") == ["llm-1", "llm-2"]


def test_a_lone_versatile_instance_takes_the_role_that_nobody_else_has() -> None:
    both = of("prefill", "decode")
    assert initial_roles({"a": both, "p": of("prefill")})["a"] == of("decode")
    assert initial_roles({"a": both, "d": of("decode")})["a"] == of("prefill")


def test_a_lone_versatile_instance_beside_specialists_of_both_kinds_keeps_both() -> None:
    resident = {"a": of("prefill", "decode"), "p": of("prefill"), "d": of("decode")}
    assert initial_roles(resident) == resident


def test_the_role_of_encoding_is_kept_beside_an_llm_role() -> None:
    assigned = initial_roles({name: of(*ROLES) for name in ("a", "b")})
    assert assigned == {"a": of("encode", "prefill"), "b": of("encode", "decode")}

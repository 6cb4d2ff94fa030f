"""What a running server shows at /metrics: its own numbers, and those of its engines."""

from collections.abc import Iterable

import httpx2
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.e2e.server import Server, until
from tests.integration.pictures import data_url, drawn

pytestmark = pytest.mark.slow

MODEL = "saccade-tiny"


def samples(server: Server) -> list[Sample]:
    text = httpx2.get(f"{server.url}/metrics", timeout=30).text
    return [one for family in text_string_to_metric_families(text) for one in family.samples]


def value(found: Iterable[Sample], name: str, **labels: str) -> float:
    """Of the one sample with this name and, among others, these labels; 0 without one."""
    values = [
        one.value for one in found if one.name == name and labels.items() <= one.labels.items()
    ]
    assert len(values) <= 1, values
    return values[0] if values else 0.0


def test_latencies_are_counted_by_modality(server: Server, client: openai.OpenAI) -> None:
    before = samples(server)
    picture = {"type": "image_url", "image_url": {"url": data_url(drawn(71))}}
    for content in ("hello", [picture, {"type": "text", "text": "What colour is the circle?"}]):
        messages = [{"role": "user", "content": content}]
        stream = client.chat.completions.create(
            model=MODEL,
            messages=messages,  # type: ignore[arg-type]
            max_tokens=5,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        assert list(stream)
    after = samples(server)
    for name, modality, more in (
        ("saccade_time_to_first_token_seconds_count", "text", 1),
        ("saccade_inter_token_latency_seconds_count", "text", 4),
        ("saccade_request_time_per_output_token_seconds_count", "image", 1),
        ("saccade_e2e_request_latency_seconds_count", "image", 1),
    ):
        labels = {"modality": modality, "group": "all"}
        grown = value(after, name, **labels) - value(before, name, **labels)
        assert grown == more, name


def test_the_engines_metrics_are_passed_through_with_their_instances_names(
    server: Server, client: openai.OpenAI
) -> None:
    def generated() -> float:
        return sum(
            one.value for one in samples(server) if one.name == "vllm:generation_tokens_total"
        )

    before = generated()
    client.completions.create(model=MODEL, prompt="hello", max_tokens=3)
    until(lambda: generated() > before, 20, lambda: generated() - before)
    running = [one for one in samples(server) if one.name == "vllm:num_requests_running"]
    assert {one.labels["instance"] for one in running} == {"llm-0", "llm-1"}
    assert {one.labels["model_name"] for one in running} == {MODEL}
    assert not [one.name for one in samples(server) if one.name.endswith("_created")]


def test_roles_of_all_instances_are_shown(server: Server) -> None:
    found = {
        (one.labels["instance"], one.labels["role"]): one.value
        for one in samples(server)
        if one.name == "saccade_instance_roles"
    }
    assert found.keys() == {
        ("encode-0", "encode"),
        *((f"llm-{number}", role) for number in (0, 1) for role in ("prefill", "decode")),
    }
    # One of the two prefills and the other decodes.
    assert sorted(found.values()) == [0, 0, 1, 1, 1]

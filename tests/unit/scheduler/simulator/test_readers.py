"""Readers on samples of their own, and on the published files where these are."""

import gzip
import json
import os
from itertools import pairwise
from pathlib import Path

import pytest

from saccade.scheduler.admission import Admission
from saccade.scheduler.cluster import ROLES, InstanceState
from saccade.scheduler.index import PlacementIndex
from saccade.scheduler.journal import call_log, placement_log
from saccade.scheduler.placement import place
from saccade.scheduler.policy import ONE_POOL, AdmissionPolicy, Budget
from saccade.scheduler.records import Call
from saccade.scheduler.requests import RequestShape, VisualItem
from saccade.scheduler.simulator.errors import TraceError
from saccade.scheduler.simulator.workloads.base import TraceRequest
from saccade.scheduler.simulator.workloads.readers import FORMATS, format_of, open_trace
from saccade.scheduler.simulator.workloads.registry import recorded
from tests.unit.scheduler.worlds import COST


def published(name: str) -> Path:
    """A published file; the test is skipped where it is not."""
    given = os.environ.get("SACCADE_TRACES")
    folders = [Path(given)] if given else [up / "shared/traces" for up in Path(__file__).parents]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{name} is not here; SACCADE_TRACES names the folder of published traces")


def read(
    tmp_path: Path, name: str, text: str, format_name: str | None = None
) -> list[TraceRequest]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return list(open_trace(path, format_name or format_of(path)).requests(0))


MOONCAKE = (
    '{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]}\n'
    "\n"
    '{"timestamp": 1500, "input_length": 600, "output_length": 7}\n'
)
BURSTGPT = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,,1.2,ChatGPT,472,18,490,Conversation log\n"
    "45,8,2.0,GPT-4,1087,0,1087,API log\n"
    "118,8,2.0,GPT-4,417,276,693,API log\n"
)
AZURE_LLM = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:15:46.6805900,374,44\n"
    "2023-11-16 18:15:50.9951690,396,109\n"
)
AZURE_LMM = (
    "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
    "2024-10-15 00:00:00.100000+00:00,0,770,491\n"
    "2024-10-15 00:00:01.350000+00:00,1,949,126\n"
    "2024-10-15 00:00:02,16,4564,137\n"
    "2024-10-15 00:00:03,9,300,1\n"
)
OWN = (
    '{"arrival_s": 1.5, "text_tokens": 80, "image_tokens": [1369, 64], "output_tokens": 120, '
    '"image_keys": ["a", "b"], "tenant": "shop", "ttft_s": 0.2}\n'
    '{"arrival_s": 2, "text_tokens": 10, "output_tokens": 1}\n'
)
LOADTEST = (
    '{"type": "run", "command": "saccade loadtest"}\n'
    '{"type": "request", "scheduled_ns": 2000000000, "num_images": 2, "num_pixels": 802816, '
    '"input_tokens": 1074, "visual_tokens": 1024, "output_tokens": 30}\n'
    '{"type": "request", "scheduled_ns": 500000000, "num_images": 1, "num_pixels": 200704, '
    '"wanted_input_tokens": 40, "wanted_output_tokens": 20, "output_tokens": null}\n'
    '{"type": "request", "scheduled_ns": 600000000, "num_images": 0, "input_tokens": 9}\n'
)


def test_a_run_of_the_load_tester_is_replayed_as_it_was_due(tmp_path: Path) -> None:
    assert read(tmp_path, "requests.jsonl", LOADTEST) == [
        TraceRequest(0.5, 40, 20, (256,)),
        TraceRequest(2.0, 50, 30, (512, 512)),
    ]


def test_a_log_of_decisions_is_a_trace_of_who_asked(tmp_path: Path) -> None:
    admission_journal: list[Call] = []
    admission = Admission(AdmissionPolicy(any_tenant=Budget(requests=1)), admission_journal)
    picture = RequestShape("a", "image", 80, (VisualItem("v", 1369),), output_tokens=120)
    text = RequestShape("b", text_tokens=10, tenant="shop", arrival_s=7.0)
    for shape, now_s in ((text, 2.0), (picture, 1.5), (picture, 3.0)):
        admission.decide(shape, 0.0, 0.1, now_s)
    first, second = read(
        tmp_path, "log.jsonl", "\n".join(call_log(admission.policy, admission_journal))
    )
    assert (first.arrival_s, first.text_tokens, first.output_tokens) == (1.5, 80, 120)
    assert (first.image_tokens, len(first.image_keys)) == ((1369,), 1)
    assert (second.arrival_s, second.image_tokens, second.tenant) == (2.0, (), "shop")

    journal: list[Call] = []
    index = PlacementIndex(
        ONE_POOL, COST, [InstanceState("one", frozenset(ROLES), frozenset(ROLES))], journal
    )
    for shape in (text, picture):
        place(index, shape)
    lines = "\n".join(placement_log(ONE_POOL, COST, journal))
    assert [one.arrival_s for one in read(tmp_path, "places.jsonl", lines)] == [0.0, 7.0]


def test_mooncake_blocks_and_milliseconds(tmp_path: Path) -> None:
    first, second = read(tmp_path, "trace.jsonl", MOONCAKE)
    assert (first.arrival_s, first.text_tokens, first.output_tokens) == (0.0, 1100, 5)
    assert (first.prefix_keys, first.prefix_block_tokens) == ((0, 1, 2), 512)
    assert (second.arrival_s, second.prefix_keys) == (1.5, ())


def test_burstgpt_passes_over_requests_that_failed(tmp_path: Path) -> None:
    requests = read(tmp_path, "burst.csv", BURSTGPT)
    assert [(one.arrival_s, one.text_tokens, one.output_tokens) for one in requests] == [
        (5.0, 472, 18),
        (118.0, 417, 276),
    ]
    assert [one.tenant for one in requests] == ["ChatGPT", "GPT-4"]


def test_burstgpt_of_the_first_release_has_fewer_columns(tmp_path: Path) -> None:
    text = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,GPT-4,1,2,3,x\n"
    assert read(tmp_path, "burst.csv", text)[0].output_tokens == 2


def test_azure_times_have_seven_decimals(tmp_path: Path) -> None:
    first, second = read(tmp_path, "azure.csv", AZURE_LLM)
    assert second.arrival_s - first.arrival_s == pytest.approx(4.314579, abs=1e-6)
    assert (second.modality, second.text_tokens, second.output_tokens) == ("text", 396, 109)


def test_azure_pictures_are_tiles_within_the_context(tmp_path: Path) -> None:
    text, one, many, short = read(tmp_path, "lmm.csv", AZURE_LMM)
    assert (text.modality, text.text_tokens) == ("text", 770)
    assert (one.image_tokens, one.text_tokens) == ((256,), 693)
    assert (many.image_tokens, many.input_tokens) == ((256,) * 16, 4564)
    assert (short.modality, short.input_tokens) == ("image", 300)
    assert one.arrival_s - text.arrival_s == pytest.approx(1.25)


def test_our_own_record_keeps_pictures_and_tenants(tmp_path: Path) -> None:
    first, second = read(tmp_path, "own.jsonl", OWN)
    assert (first.image_tokens, first.tenant) == ((1369, 64), "shop")
    assert len(set(first.image_keys)) == 2
    assert second == TraceRequest(2.0, 10, 1)


@pytest.mark.parametrize(
    ("name", "text", "format_name"),
    [
        ("a.jsonl", MOONCAKE, "mooncake"),
        ("a.csv", BURSTGPT, "burstgpt"),
        ("a.csv", AZURE_LLM, "azure-llm"),
        ("a.csv", AZURE_LMM, "azure-lmm"),
        ("a.jsonl", OWN, "saccade"),
        ("a.jsonl", LOADTEST, "loadtest"),
    ],
)
def test_a_format_is_recognised_packed_or_not(
    tmp_path: Path, name: str, text: str, format_name: str
) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text("\ufeff" + text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))
    assert format_of(plain) == format_of(packed) == format_name
    assert format_name in FORMATS
    assert list(recorded(plain).requests(0)) == list(recorded(packed).requests(0))


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        (MOONCAKE + "{", "trace:4", "is not JSON"),
        ('{"timestamp": 1, "input_length": 3}\n', "trace:1", "output_length is missing"),
        ('{"timestamp": "x", "input_length": 3, "output_length": 1}\n', "trace:1", "no number"),
        (MOONCAKE + '{"timestamp": 3, "input_length": 1, "output_length": 1}', "trace:4", "sort"),
        ('{"timestamp": 1, "input_length": -3, "output_length": 1}\n', "trace:1", "whole number"),
        ('{"timestamp": 1, "input_length": 3, "output_length": 1, "hash_ids": 7}\n', "trace:1",
         "list"),
        ('{"timestamp": 1e999, "input_length": 3, "output_length": 1}\n', "trace:1", "finite"),
        (AZURE_LLM + "soon,1,2\n", "trace:4", "a date such as"),
        (AZURE_LLM + "2023-11-16 18:15:51,,2\n", "trace:4", "contexttokens is missing"),
        (AZURE_LLM + "2023-11-16 18:15:51\n", "trace:4", "contexttokens is missing"),
        (BURSTGPT + "200,1,1,m,ten,2,3,x\n", "trace:5", "no number"),
        ("Timestamp,Request tokens\n1,2\n", "trace:1", "lacks response tokens"),
        ("a,b\n1,2\n", "trace:1", "--format"),
        (OWN + '{"arrival_s": 3, "text_tokens": 1, "output_tokens": 1, "image_tokens": [0]}',
         "trace:3", "above 0"),
        ("", "trace:1", "--format"),
        ('{"policy": {}}\n{"now_s": 1}\n', "trace:2", "no call of a log"),
        ('{"policy": {}}\n{"call": "place", "arguments": [{}]}\n', "trace:2", "names no request"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, place: str, reason: str
) -> None:
    with pytest.raises(TraceError) as caught:
        read(tmp_path, "trace", text)
    assert place in str(caught.value)
    assert reason in str(caught.value)


def test_files_that_cannot_be_read_are_errors_too(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(AZURE_LLM.encode())[:-12])
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"TIMESTAMP\xff\xfe")
    for path in (broken, binary, tmp_path / "missing.csv"):
        with pytest.raises(TraceError, match=path.name):
            list(recorded(path).requests(0))
    with pytest.raises(TraceError, match="one of mooncake"):
        open_trace(binary, "parquet")


# ServeGen ----------------------------------------------------------------------------------------

SIZES = {
    "text_tokens": "{100: 0.5, 300: 0.5}",
    "image_tokens": "{640: 1.0}",
    "image_count": "{0: 0.25, 2: 0.75}",
    "output_tokens": "{50: 1.0}",
    "audio_tokens": "{0: 1.0}",
}


def servegen(folder: Path, windows: str, sizes: object = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "chunk-0-trace.csv").write_text(windows, encoding="utf-8")
    (folder / "chunk-0-dataset.json").write_text(
        json.dumps({"0": SIZES} if sizes is None else sizes), encoding="utf-8"
    )
    return folder


def test_servegen_clients_have_their_rate_and_sizes(tmp_path: Path) -> None:
    folder = servegen(
        tmp_path / "set", "0,20,0.5,Gamma,4.0,0.0125\n600,0,0,,0,0\n1200,10,1.2,Weibull,0.8,0.09\n"
    )
    assert format_of(folder) == "servegen"
    requests = list(recorded(folder).requests(1))
    first = [one for one in requests if one.arrival_s < 600]
    last = [one for one in requests if one.arrival_s >= 1200]
    assert len(first) == pytest.approx(12_000, rel=0.03)
    assert len(last) == pytest.approx(6_000, rel=0.06)
    assert len(first) + len(last) == len(requests)
    assert {one.image_tokens for one in requests} == {(), (640, 640)}
    assert sum(one.modality == "image" for one in requests) / len(requests) == pytest.approx(
        0.75, abs=0.02
    )
    gaps = [b.arrival_s - a.arrival_s for a, b in pairwise(first)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    assert variance**0.5 / mean == pytest.approx(0.5, rel=0.05)


def test_servegen_language_sets_say_input_tokens_and_have_no_pictures(tmp_path: Path) -> None:
    sizes = {"0": {"input_tokens": {"12": 1.0}, "output_tokens": "{3: 2.0}", "reason_ratio": "{}"}}
    (first, *_) = recorded(servegen(tmp_path / "set", "0,1,1,,,\n", sizes)).requests(0)
    assert (first.text_tokens, first.output_tokens, first.modality) == (12, 3, "text")


@pytest.mark.parametrize(
    ("windows", "sizes", "reason"),
    [
        ("0,fast,1,,,\n", None, "trace.csv:1: rate is 'fast'"),
        ("0,1,1,Cauchy,1,1\n", None, "trace.csv:1: the pattern 'cauchy' is not known"),
        ("0,1,1,Gamma,0,1\n", None, "trace.csv:1: a shape of 0 is not possible"),
        ("600,1,1,,,\n0,1,1,,,\n", None, "trace.csv:1: the next window starts at 0 s"),
        ("0,1,1,,,\n", {"0": {"text_tokens": "{1: 1}"}}, "lacks output_tokens"),
        ("0,1,1,,,\n", {"0": SIZES | {"text_tokens": "many"}}, "is no distribution"),
        ("0,1,1,,,\n", {"soon": SIZES}, "is no number of seconds"),
        ("0,1,1,,,\n", [], "holds no object"),
    ],
)
def test_servegen_faults_are_named(
    tmp_path: Path, windows: str, sizes: object, reason: str
) -> None:
    with pytest.raises(TraceError) as caught:
        list(recorded(servegen(tmp_path / "set", windows, sizes)).requests(0))
    assert reason in str(caught.value)


# Published files ---------------------------------------------------------------------------------


def test_the_published_mooncake_conversation_trace() -> None:
    requests = list(recorded(published("mooncake_conversation.jsonl")).requests(0))
    assert len(requests) == 12_031
    assert sum(one.text_tokens for one in requests) / len(requests) == pytest.approx(12_035, abs=1)
    assert sum(one.output_tokens for one in requests) / len(requests) == pytest.approx(343, abs=1)


def test_the_published_azure_conversation_trace() -> None:
    requests = list(recorded(published("azure_llm_2023_conv.csv")).requests(0))
    assert len(requests) == 19_366
    assert {one.modality for one in requests} == {"text"}


@pytest.mark.slow
def test_the_published_servegen_pictures_have_their_published_summary() -> None:
    requests = list(recorded(published("servegen_mm-image")).requests(0))
    assert len(requests) == pytest.approx(818_610, rel=0.02)
    pictures = sum(len(one.image_tokens) for one in requests)
    assert pictures / len(requests) == pytest.approx(1.6, abs=0.05)
    assert sum(one.output_tokens for one in requests) / len(requests) == pytest.approx(
        130, rel=0.02
    )
    assert sum(one.text_tokens for one in requests) / len(requests) == pytest.approx(572, rel=0.02)


def test_a_trace_is_replayed_faster_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(
        "".join(
            json.dumps({"arrival_s": 100 + second, "text_tokens": 1, "output_tokens": 1}) + "\n"
            for second in range(60)
        )
    )
    requests = list(recorded(path, speed=4.0, limit_s=5.0).requests(0))
    assert [one.arrival_s for one in requests] == [number / 4 for number in range(21)]
    assert len(list(recorded(path, limit_requests=7).requests(0))) == 7

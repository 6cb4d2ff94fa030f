"""Replaying published recordings, on small samples of their formats."""

import gzip
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.workloads.session import Picture, Session
from saccade.loadtest.workloads.spec import TraceSpec
from saccade.loadtest.workloads.text import ApproximateText
from saccade.loadtest.workloads.traces.load import trace_sessions
from saccade.loadtest.workloads.traces.servegen import read_client, read_servegen

MOONCAKE = [
    {"timestamp": 3000, "input_length": 1100, "output_length": 52, "hash_ids": [0, 1, 2]},
    {"timestamp": 3000, "input_length": 1030, "output_length": 20, "hash_ids": [0, 1, 5]},
    {"timestamp": 4500, "input_length": 300, "output_length": 7, "hash_ids": [9]},
]
AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2229670,879,55
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 00:00:00.517335+00:00,2399,6
"""
AZURE_LMM = """TIMESTAMP,NumImages,ContextTokens,GeneratedTokens
2024-10-15 00:00:00.5,0,770,491
2024-10-15 00:00:01.5,1,949,126
2024-10-15 00:00:02.0,16,4564,137
"""
BURSTGPT = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,s,1,ChatGPT,472,18,490,Conversation log\n"
    "45,s,1,ChatGPT,1087,0,1087,Conversation log\n"
    "118,s,1,GPT-4,417,276,693,API log\n"
)


def sessions(path: Path, format_: str, content: str, **more: Any) -> list[Session]:
    path.write_text(content)
    spec = TraceSpec.model_validate({"format": format_, "path": path, **more})
    return list(trace_sessions(spec, ApproximateText(), seed=1))


def facts(found: list[Session]) -> list[tuple[float, int | None, int]]:
    """Time, words of the prompt, and tokens of the answer."""
    for session in found:
        assert session.turns[0].text_tokens == len(session.turns[0].text.split())
    return [(round(s.at_s or 0, 4), s.turns[0].text_tokens, s.turns[0].max_tokens) for s in found]


def test_mooncake(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, MOONCAKE))
    found = sessions(tmp_path / "t.jsonl", "mooncake", lines)
    assert facts(found) == [(0, 1100, 52), (0, 1030, 20), (1.5, 300, 7)]
    first, second, third = (s.turns[0].text.split() for s in found)
    # Two blocks of 512 are shared, as in the recording; nothing after them is.
    assert first[:1024] == second[:1024]
    assert first[1024:1030] != second[1024:1030]
    assert third[:300] != first[:300]


def test_lengths_can_be_scaled_and_cut_for_short_contexts(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, MOONCAKE))
    path = tmp_path / "t.jsonl"
    found = sessions(path, "mooncake", lines, length_scale=0.1, max_text_tokens=105)
    assert facts(found) == [(0, 105, 5), (0, 103, 2), (1.5, 30, 1)]
    first, second = (s.turns[0].text.split() for s in found[:2])
    assert first[:102] == second[:102]


def test_azure_llm_of_both_years(tmp_path: Path) -> None:
    found = sessions(tmp_path / "a.csv", "azure-llm", AZURE_2023)
    assert facts(found) == [(0, 374, 44), (4.3146, 396, 109), (4.5424, 879, 55)]
    found = sessions(tmp_path / "b.csv", "azure-llm", AZURE_2024)
    assert facts(found) == [(0, 2162, 5), (0.5074, 2399, 6)]


def test_azure_lmm_has_pictures(tmp_path: Path) -> None:
    found = sessions(tmp_path / "a.csv", "azure-lmm", AZURE_LMM, max_pictures=4)
    assert facts(found) == [(0, 770, 491), (1, 949, 126), (1.5, 4564, 137)]
    assert [len(s.turns[0].media) for s in found] == [0, 1, 4]


def test_burstgpt_leaves_failed_requests_out(tmp_path: Path) -> None:
    found = sessions(tmp_path / "b.csv", "burstgpt", BURSTGPT)
    assert facts(found) == [(0, 472, 18), (113, 417, 276)]


def test_a_recording_can_be_entered_later(tmp_path: Path) -> None:
    found = sessions(tmp_path / "a.csv", "azure-llm", AZURE_2023, begin_s=4)
    assert facts(found) == [(0.3146, 396, 109), (0.5424, 879, 55)]


def test_compressed_recordings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write(AZURE_LMM)
    spec = TraceSpec(format="azure-lmm", path=path)
    assert len(list(trace_sessions(spec, ApproximateText(), seed=1))) == 3


@pytest.mark.parametrize(
    ("format_", "content", "problem"),
    [
        ("mooncake", '{"timestamp": 0}', "line 1: there is no field 'input_length'"),
        ("mooncake", "{}\n{", "line 1"),
        ("azure-llm", "TIMESTAMP,Tokens\n2024-05-10 00:00:00,1\n", "line 2.*ContextTokens"),
        ("azure-llm", "TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,1,1\n", "line 2"),
        ("burstgpt", BURSTGPT.replace("472", "many"), "line 2.*many"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_line(
    tmp_path: Path, format_: str, content: str, problem: str
) -> None:
    with pytest.raises(InputFileError, match=problem):
        sessions(tmp_path / "t", format_, content)


def write_servegen(folder: Path, number: int, rows: list[str], dataset: dict[str, Any]) -> None:
    (folder / f"chunk-{number}-trace.csv").write_text("\n".join(rows) + "\n")
    (folder / f"chunk-{number}-dataset.json").write_text(json.dumps(dataset))


def spans(text: str, image: str = "{540: 1.0}", count: str = "{1: 1.0}") -> dict[str, str]:
    rest = {"audio_tokens": "{0: 1.0}", "output_tokens": "{100: 1.0}"}
    return {"text_tokens": text, "image_tokens": image, "image_count": count, **rest}


@pytest.fixture
def servegen(tmp_path: Path) -> Path:
    rows = ["0,2.0,1.0,Gamma,1.0,0.5", "600,0,0,,0,0", "1200,4.0,0.5,Weibull,2.1,0.2"]
    dataset = {"0": spans("{10: 0.25, 20: 0.75}"), "1200": spans("{30: 1.0}", count="{0: 1.0}")}
    write_servegen(tmp_path, 0, rows, dataset)
    write_servegen(tmp_path, 1, ["0,1.0,1.0,Gamma,1.0,1.0"], {"0": spans("{7: 1.0}")})
    return tmp_path


def test_servegen_clients_keep_their_rates_and_distributions(servegen: Path) -> None:
    rows = list(read_servegen(servegen, seed=0))
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(rows))
    windows = Counter((int(row.at_s // 600), row.text_tokens == 7) for row in rows)
    assert windows[0, False] == pytest.approx(1200, rel=0.1)
    assert windows[1, False] == 0
    assert windows[2, False] == pytest.approx(2400, rel=0.1)
    assert windows[0, True] == pytest.approx(600, rel=0.15)
    early = [r.text_tokens for r in rows if r.at_s < 600 and r.text_tokens != 7]
    assert set(early) == {10, 20}
    assert early.count(20) / len(early) == pytest.approx(0.75, abs=0.04)
    assert {r.picture_tokens for r in rows if r.at_s < 600} == {(540,)}
    assert {(r.text_tokens, r.picture_tokens) for r in rows if r.at_s > 1200} == {(30, ())}


def test_servegen_gaps_are_as_bursty_as_recorded(servegen: Path) -> None:
    rows = [row.at_s for row in read_servegen(servegen, seed=0) if row.at_s >= 1200]
    gaps = np.diff(rows)
    # Coefficient of variation of a Weibull distribution with shape 2.1.
    assert gaps.std() / gaps.mean() == pytest.approx(0.5, abs=0.03)


def test_servegen_pictures_have_the_size_of_their_tokens(servegen: Path) -> None:
    spec = TraceSpec(format="servegen", path=servegen)
    session = next(iter(trace_sessions(spec, ApproximateText(), seed=0)))
    (picture,) = session.turns[0].media
    assert isinstance(picture, Picture)
    assert picture.num_pixels == pytest.approx(540 * 28 * 28, rel=0.01)


def test_servegen_windows_before_the_beginning_are_skipped(servegen: Path) -> None:
    rows = list(read_servegen(servegen, seed=0, begin_s=1200))
    assert min(row.at_s for row in rows) >= 1200


def test_a_folder_or_client_that_is_not_servegen_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="is it one of ServeGen"):
        list(read_servegen(tmp_path, seed=0))
    write_servegen(tmp_path, 0, ["0,fast"], {"0": spans("{1: 1.0}")})
    with pytest.raises(InputFileError, match="not a ServeGen trace"):
        read_client(tmp_path / "chunk-0-trace.csv")
    write_servegen(tmp_path, 0, ["0,1.0,1.0,Gamma,1.0,1.0"], {"0": spans("oops(")})
    with pytest.raises(InputFileError, match="not a ServeGen dataset"):
        read_client(tmp_path / "chunk-0-trace.csv")

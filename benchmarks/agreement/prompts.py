"""One set of requests, written for both tools."""

import itertools
import json
from pathlib import Path
from typing import Any

from saccade.loadtest.plan import Plan
from saccade.loadtest.workloads.load import sessions
from saccade.loadtest.workloads.pictures import data_url
from saccade.loadtest.workloads.session import Session
from saccade.loadtest.workloads.text import text_source


def write_prompts(plan: Plan, number: int, ours: Path, theirs: Path) -> None:
    """The first requests of a plan's workload: as a workload of ours, and as vLLM's `custom_image`
    data set, which takes texts without pictures too."""
    drawn = list(itertools.islice(sessions(plan, text_source(plan.tokenizer)), number))
    contents = [_content(session) for session in drawn]
    _write(
        ours,
        [
            {
                "messages": [{"role": "user", "content": content}],
                "output_tokens": session.turns[0].max_tokens,
            }
            for session, content in zip(drawn, contents, strict=True)
        ],
    )
    _write(theirs, [{"content": content} for content in contents])


def _content(session: Session) -> list[dict[str, Any]]:
    (turn,) = session.turns
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": data_url(one)}} for one in turn.media
    ]
    return [*parts, {"type": "text", "text": turn.text}]


def _write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))

"""What a reader sees. The pages are parsed, not compared with stored ones: fonts differ."""

import io
import re
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from saccade.loadtest.errors import InputFileError
from saccade.loadtest.jsonl import REQUESTS, SUMMARY, write_run, write_summary
from saccade.loadtest.metrics.summary import summarise
from saccade.loadtest.modes import compare, search, sweep
from saccade.loadtest.modes.bisection import SearchSettings
from saccade.loadtest.modes.compare import Side
from saccade.loadtest.plan import Plan
from saccade.loadtest.records import ErrorKind, Modality, RunRecord, Status
from saccade.loadtest.report import units
from saccade.loadtest.report.console import (
    print_compare,
    print_run,
    print_search,
    print_sweep,
    search_answer,
)
from saccade.loadtest.report.html import write_html
from saccade.loadtest.report.png import write_png
from saccade.loadtest.report.render import render
from saccade.loadtest.report.run_plots import in_flight, timeline
from saccade.loadtest.report.theme import COLOURS, DARK, LIGHT, PAGE
from saccade.loadtest.slo import parse_slo
from saccade.loadtest.statistics import Interval
from tests.unit.loadtest.some_runs import a_plan, queue_run, request, run_of

SLO = parse_slo("ttft=500ms,image.ttft=1s")


def on_paper(plan: Plan) -> RunRecord:
    rate = plan.offered_rate or 1.0
    return queue_run(rate, seed=plan.seed, duration_s=30, label=plan.label, error_ratio=0.05)


class Page(HTMLParser):
    """The text of a page, its elements, and whatever it would fetch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.text = ""
        self.elements: list[str] = []
        self.fetched: list[str] = []
        self.identifiers: list[str] = []
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.identifiers.append(value)
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.fetched.append(value)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(params=["run", "sweep", "search", "compare"])
def result_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    plan = a_plan(2, slo=SLO)
    match request.param:
        case "run":
            record = on_paper(plan)
            write_run(tmp_path / REQUESTS, record)
            write_summary(tmp_path / SUMMARY, summarise(record, SLO))
        case "sweep":
            sweep.sweep(plan, "rate", [1, 4], on_paper, folder=tmp_path)
        case "search":
            settings = SearchSettings(share=0.7, tolerance=0.5)
            search.search(plan, settings, on_paper, folder=tmp_path)
        case "compare":
            sides = Side(label="one", url="http://a"), Side(label="two", url="http://b")
            compare.compare(plan, sides, on_paper, num_pairs=2, folder=tmp_path)
    return tmp_path


def test_a_report_is_one_file_that_fetches_nothing_and_follows_the_colour_scheme(
    result_folder: Path,
) -> None:
    [path] = render(result_folder)
    page = Page(path)
    assert page.fetched == []
    assert "script" not in page.elements
    assert "@import" not in page.source
    assert "url(http" not in page.source
    assert page.elements.count("svg") >= 2
    assert page.elements.count("table") >= 1
    assert "prefers-color-scheme: dark" in page.source
    # Every colour of a plot is one of the page's, so that none is lost on the other background.
    drawn = "".join(re.findall(r"<svg.*?</svg>", page.source, re.DOTALL))
    assert re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawn) == []
    assert set(re.findall(r"var\(--(\w+)\)", drawn)) <= set(COLOURS)
    assert len(set(page.identifiers)) == len(page.identifiers)


def test_pngs_are_written_for_every_plot(result_folder: Path) -> None:
    report, *pictures = render(result_folder, png=True)
    assert len(pictures) == Page(report).elements.count("svg")
    for picture in pictures:
        header = picture.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", header[16:24])
        assert width > 800
        assert height > 300


def test_a_report_shows_the_numbers_of_the_summary(tmp_path: Path) -> None:
    record = on_paper(a_plan(3))
    summary = summarise(record, SLO)
    write_html(tmp_path / "report.html", [(summary, record)], "A title")
    page = Page(tmp_path / "report.html")
    for modality in (Modality.TEXT, Modality.IMAGE):
        found = summary.groups[modality].latencies["ttft"].p90
        assert units.seconds(found.value) in page.text
        assert units.bounds(found, "s") in page.text
    assert units.percent(summary.all.goodput.attainment.value) in page.text  # type: ignore[union-attr]
    assert "A title" in page.text


def test_names_from_outside_are_text_and_not_markup(tmp_path: Path) -> None:
    record = queue_run(1, duration_s=20, label="<script>alert(1)</script>")
    write_html(tmp_path / "x.html", [(summarise(record), record)], f"{record.label}")
    page = Page(tmp_path / "x.html")
    assert "script" not in page.elements
    assert "<script>alert(1)</script>" in page.text


def test_another_slo_may_judge_a_kept_run(tmp_path: Path) -> None:
    record = on_paper(a_plan(1))
    write_run(tmp_path / REQUESTS, record)
    write_summary(tmp_path / SUMMARY, summarise(record, SLO))
    [path] = render(tmp_path, slo=parse_slo("ttft=1us"))
    assert "ttft=1us" in Page(path).text
    assert "0.0%" in Page(path).text


def test_a_search_is_not_judged_by_another_slo(tmp_path: Path) -> None:
    settings = SearchSettings(share=0.7, tolerance=0.5, max_probes=1)
    search.search(a_plan(2, slo=SLO), settings, on_paper, folder=tmp_path)
    with pytest.raises(InputFileError, match="search again"):
        render(tmp_path, slo=parse_slo("ttft=1s"))


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputFileError, match="holds no result; give the --output of"):
        render(tmp_path)


EMPTY = run_of()
FAILED = run_of(
    request(ttft_s=None, status=Status.ERROR, error_kind=ErrorKind.CONNECT), interrupted=True
)
ONE = run_of(request(num_chunks=1), rate=None)


@pytest.mark.parametrize("record", [EMPTY, FAILED, ONE], ids=["empty", "failed", "one"])
def test_runs_with_next_to_nothing_in_them_are_reported(record: RunRecord, tmp_path: Path) -> None:
    summary = summarise(record, SLO)
    write_html(tmp_path / "report.html", [(summary, record)], "t")
    assert write_png(tmp_path, [(summary, record)])
    print_run(summary, Console(file=io.StringIO()))


def test_an_untrustworthy_client_is_said_first(tmp_path: Path) -> None:
    record = run_of(request(), loop_lag_p99_s=0.5)
    write_html(tmp_path / "report.html", [(summarise(record), record)], "t")
    page = Page(tmp_path / "report.html")
    assert "event loop woke" in page.text
    assert page.text.index("event loop woke") < page.text.index("Latency")


def test_in_flight_counts_who_waits_and_who_is_answered() -> None:
    run = run_of(
        request(sent_s=0, ttft_s=2, gap_s=1, num_chunks=3),  # waits 0-2, is answered 2-4
        request(sent_s=1, ttft_s=2, gap_s=1, num_chunks=2),  # waits 1-3, is answered 3-4
    )
    waiting, answering = in_flight(run, np.array([0.5, 1.5, 2.5, 3.5, 5.0]))
    assert waiting.tolist() == [1, 2, 1, 0, 0]
    assert answering.tolist() == [0, 0, 1, 2, 0]


@pytest.mark.parametrize("theme", [LIGHT, DARK, PAGE], ids=lambda theme: theme.name)
def test_a_timeline_has_its_three_panels_in_every_theme(theme: object) -> None:
    figure = timeline(queue_run(2, duration_s=20), theme)  # type: ignore[arg-type]
    assert len(figure.axes) == 3


def test_the_terminal_shows_every_mode() -> None:
    console = Console(file=io.StringIO(), width=160)
    plan = a_plan(2, slo=SLO)
    print_run(summarise(on_paper(plan), SLO), console)
    swept, _ = sweep.sweep(plan, "rate", [1, 4], on_paper)
    print_sweep(swept.model_copy(update={"missing": (9.0,)}), console)
    found, _ = search.search(plan, SearchSettings(share=0.7, tolerance=0.5), on_paper)
    print_search(found, console)
    sides = Side(label="one", url="http://a"), Side(label="two", url="http://b")
    compared, _ = compare.compare(plan, sides, on_paper, num_pairs=2)
    print_compare(compared, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in (
        "TTFT p90",
        "SLO ttft=500ms,image.ttft=1s",
        "rejected",
        "Not measured: 9",
        search_answer(found),
        "two / one",
        "no difference shown",
        "Fewer than 3 pairs",
    ):
        assert expected in text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (units.seconds(0.01234), "12.3 ms"),
        (units.seconds(0.9999), "1.00 s"),
        (units.seconds(0.00005), "50.0 µs"),
        (units.seconds(None), "–"),
        (units.percent(0.995), "99.50%"),
        (units.percent(1.0), "100.0%"),
        (units.count(12345), "12,345"),
        (units.bounds(Interval(value=0.2, low=0.1, high=0.3), "s"), "100 – 300 ms"),
        (units.bounds(Interval(value=0.2, low=0.1, high=3), "s"), "100 ms – 3.00 s"),
        (units.bounds(Interval(value=0.2, low=0.1), "s"), "100 ms – …"),
        (units.bounds(Interval(value=0.2), "s"), ""),
    ],
)
def test_numbers_are_written_for_people(written: str, expected: str) -> None:
    assert written == expected

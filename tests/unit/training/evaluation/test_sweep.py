import json
from pathlib import Path

from saccade.encoders.pruning.flops import Decoder
from saccade.training.evaluation import sweep
from saccade.training.evaluation.scores import Accuracy
from saccade.training.evaluation.sweep import Point

DECODER = Decoder(192, 512, 6)
POINTS = [
    Point("none", 1.0, 144.0, Accuracy(80, 100)),
    Point("uniform", 0.25, 36.0, Accuracy(60, 100)),
    Point("uniform", 0.11, 16.0, Accuracy(20, 100)),
]


def test_the_table_relates_each_point_to_the_unpruned_model() -> None:
    lines = sweep.as_markdown(POINTS, DECODER).splitlines()
    assert lines[2].startswith("| none | 100 % | 144.0 | 80.0 % | 71.1 to 86.7 | 100.0 % |")
    assert lines[3].startswith("| uniform | 25 % | 36.0 | 60.0 % | 50.2 to 69.1 | 75.0 % |")
    assert "| 25.0 % |" in lines[4]


def test_without_a_right_answer_there_is_nothing_to_relate_to() -> None:
    points = [Point("none", 1.0, 144.0, Accuracy(0, 10)), Point("random", 0.5, 72, Accuracy(1, 10))]
    assert "| 10.0 % | 1.8 to 40.4 |  |" in sweep.as_markdown(points, DECODER)


def test_the_page_says_what_was_evaluated_and_shows_the_plot() -> None:
    page = sweep.as_page(POINTS, DECODER, {"number_format": "float32"}, "plot.png")
    assert page.startswith("# Accuracy against visual tokens kept")
    assert "- number format: float32" in page
    assert "](plot.png)" in page
    assert "| uniform | 25 %" in page
    assert "![" not in sweep.as_page(POINTS, DECODER, {}, None)


def test_json_has_the_counts() -> None:
    report = json.loads(sweep.as_json(POINTS, {"checkpoint": "x"}))
    assert report["checkpoint"] == "x"
    assert [(one["method"], one["right"], one["asked"]) for one in report["points"]] == [
        ("none", 80, 100), ("uniform", 60, 100), ("uniform", 20, 100),
    ]  # fmt: skip


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    sweep.draw(POINTS, "title", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")

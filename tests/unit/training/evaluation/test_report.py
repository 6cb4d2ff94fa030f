"""An evaluation as it is read."""

import io
import json
from pathlib import Path

from PIL import Image
from rich.console import Console

from saccade.training.data import Question
from saccade.training.evaluation import report
from saccade.training.evaluation.items import Item
from saccade.training.evaluation.scores import judge, table

ASKED = [Item(Question("colour", "What colour is the ring?", "red"), 0, i) for i in range(4)]
VERDICTS = judge(ASKED, ["red", "red", "red", "blue"], ["red", "no", "no", "no"])


def test_the_table_gives_accuracy_interval_and_blind_accuracy() -> None:
    console = Console(file=io.StringIO(), width=100)
    console.print(report.as_table(table(VERDICTS), "a server"))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    line = next(line for line in lines if "colour" in line)
    for part in ("4", "75.0 %", "30.1 % to 95.4 %", "25.0 %"):
        assert part in line


def test_the_json_holds_numbers_and_every_answer() -> None:
    found = json.loads(report.as_json(table(VERDICTS), VERDICTS, {"subject": "a server"}))
    assert found["subject"] == "a server"
    assert found["lines"][0] == {
        "name": "colour",
        "right": 3,
        "asked": 4,
        "accuracy": 0.75,
        "interval": [0.3006, 0.9544],
        "blind": {"right": 1, "asked": 4, "accuracy": 0.25, "interval": [0.0456, 0.6994]},
    }
    assert [a["right"] for a in found["answers"]] == [True, True, True, False]
    assert found["answers"][3]["answer"] == "blue"


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    report.draw(table(VERDICTS), "a server", tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size[0] > 500

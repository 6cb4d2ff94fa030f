"""The commands about pictures and accuracy: what they write, and what they refuse."""

from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from saccade.serving.cli.main import app


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, result.output


def test_a_preview_is_the_same_for_the_same_seed_and_differs_for_another(tmp_path: Path) -> None:
    files = []
    for name, seed in (("one", "1"), ("same", "1"), ("other", "2")):
        files.append(tmp_path / f"{name}.png")
        code, output = _run(
            "dataset", "preview", "--stills", "3", "--clips", "1", "--seed", seed,
            "-o", str(files[-1]),
        )  # fmt: skip
        assert code == 0
        assert "3 pictures and 1 clips" in output
    one, same, other = (path.read_bytes() for path in files)
    assert one == same
    assert one != other
    with Image.open(files[0]) as sheet:
        assert sheet.width > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dataset", "preview", "--split", "test"), "--split test: train or held-out"),
        (("dataset", "preview", "--stills", "0", "--clips", "0"), "nothing to show"),
        (("eval", "--kinds", "colour,tone"), "there is no kind 'tone'; the kinds are colour,"),
        (("eval", "--dtype", "float8"), "--dtype float8: float32 or bfloat16"),
        (("eval", "--plot", "no-such-folder/plot.png"), "there is no folder no-such-folder"),
        (("eval", "--pruning", "all"), "--pruning needs --checkpoint"),
        (("eval", "--relevance", "both"), "--relevance both: auto, aligned or language"),
        (
            ("eval", "--checkpoint", "x", "--pruning", "best"),
            "there is no method 'best'",
        ),
        (("eval", "--checkpoint", "x", "--pruning", "all", "--keep", "2"), "at most 1"),
        (("eval", "--checkpoint", "x", "--pruning", "all", "--keep", "some"), "such as 0.5,0.25"),
    ],
)
def test_a_wrong_option_is_explained(
    arguments: tuple[str, ...], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, output = _run(*arguments)
    assert code == 2
    assert message in output + capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("eval", "--url", "http://127.0.0.1:9", "--per-kind", "1"), "no server answers at"),
        (("train", "stage", "no-such.yaml", "--run", "run"), "cannot read no-such.yaml"),
        (("train", "export", "no-such-run", "model"), "cannot read no-such-run/model.safetensors"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_stack_trace(
    arguments: tuple[str, ...],
    message: str,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = _run(*arguments)
    output += capfd.readouterr().err
    assert code == 1
    assert message in output
    assert "Traceback" not in output

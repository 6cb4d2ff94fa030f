from pathlib import Path

import pytest

from saccade.serving.cluster.environment import why_ray_failed
from saccade.serving.cluster.launch import StartError, start_ray
from tests.unit.some_settings import some_settings


def test_the_reason_comes_with_the_place_of_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    logs = tmp_path / "ray" / "session_latest" / "logs"
    assert f"It has written no logs to {logs}" in why_ray_failed(RuntimeError("no head"))

    logs.mkdir(parents=True)
    text = why_ray_failed(RuntimeError("no head"))
    assert "Ray could not start on this machine." in text
    assert "RuntimeError: no head" in text
    assert f"Look into its logs, gcs_server.out and raylet.err first: {logs}" in text


def test_a_ray_that_does_not_start_is_a_start_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its sockets have paths of at most 107 characters.
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 100)))
    with pytest.raises(StartError, match="Ray could not start") as caught:
        start_ray(some_settings())
    assert "OSError: " in str(caught.value)

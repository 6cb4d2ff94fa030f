from pathlib import Path

import pytest

from saccade.training.checkpoint import create_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small checkpoint with random weights."""
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny"
    create_checkpoint(directory, seed=0)
    return directory

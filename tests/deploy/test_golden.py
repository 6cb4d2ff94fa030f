"""What each values file renders, object by object, so that a change of it is seen in review.

`make chart` writes the files anew.
"""

import sys
from pathlib import Path

import pytest

from tests.deploy.chart import PROFILES, render, values_of

GOLDEN = Path(__file__).parent / "golden"


def rendered(profile: str) -> str:
    parts = render(values_of(profile)).items()
    return "".join(f"# {path}\n{_tidy(text)}\n" for path, text in parts if path != "NOTES.txt")


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@pytest.mark.parametrize("profile", PROFILES)
def test_a_values_file_renders_what_it_did(profile: str) -> None:
    assert rendered(profile) == (GOLDEN / f"{profile}.yaml").read_text(encoding="utf-8"), (
        "if this change is meant, run `make chart` and look at the difference"
    )


if __name__ == "__main__":
    for name in PROFILES:
        (GOLDEN / f"{name}.yaml").write_text(rendered(name), encoding="utf-8")
        sys.stdout.write(f"wrote {name}.yaml\n")

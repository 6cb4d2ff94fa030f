"""What is imported is declared, and what is declared is locked."""

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements(extras: Iterable[str] = (), groups: Iterable[str] = ()) -> dict[str, Requirement]:
    """The core's and those of the named extras and groups, by canonical name.

    An extra that names others of ours, as in `saccade[serve]`, stands for them too.
    """
    project = PYPROJECT["project"]
    texts = list(project["dependencies"])
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    for group in groups:
        texts += PYPROJECT["dependency-groups"][group]
    parsed = [Requirement(text) for text in texts]
    own = {extra for one in parsed if one.name == "saccade" for extra in one.extras}
    named = {canonicalize_name(one.name): one for one in parsed if one.name != "saccade"}
    return named | (requirements(own) if own else {})


def imported_names(path: Path) -> set[str]:
    """First parts of the names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"saccade", "tests", "tools"}


def undeclared_imports(folders: Iterable[str], declared: Iterable[str]) -> set[str]:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert files
    providers = importlib.metadata.packages_distributions()
    return {
        name
        for path in files
        for name in imported_names(path)
        if {canonicalize_name(one) for one in providers.get(name, [])}.isdisjoint(declared)
    }


def test_packages_import_what_their_extras_declare() -> None:
    folders = ("encoders", "kernels", "loadtest", "scheduler", "serving", "training")
    # Triton comes with vLLM on GPUs; nothing imports it on a CPU but tests, with its interpreter.
    assert undeclared_imports(folders, requirements(["cpu"])) == {"triton"}


def test_tests_import_what_the_dev_group_adds() -> None:
    declared = requirements(["cpu"], ["dev"])
    assert undeclared_imports(["tests"], declared) == set()


def lock_lines() -> list[str]:
    lines = (ROOT / "cpu.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.lstrip().startswith("#")]


def test_the_lock_fits_what_is_declared() -> None:
    pins = dict(line.split("==") for line in lock_lines())
    unfit = {
        name: (str(one.specifier), pins.get(name))
        for name, one in requirements(["cpu"], ["dev"]).items()
        if name not in pins or pins[name] not in one.specifier
    }
    assert unfit == {}


def test_the_lock_is_for_a_cpu_and_names_no_place() -> None:
    wrong = re.compile(r"nvidia|torchaudio|torchcodec|\+cpu|://|^-")
    assert [line for line in lock_lines() if wrong.search(line)] == []

"""The packages stand at the repository's root and are imported as saccade.<name>, through links."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import saccade

ROOT = Path(__file__).parents[2]
PACKAGES = ("encoders", "kernels", "loadtest", "scheduler", "serving", "training")
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")


def run_python(code: str, *args: str, cwd: Path = ROOT) -> str:
    """What a fresh interpreter prints that runs `code` with `cwd` first on sys.path."""
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def source_files() -> list[Path]:
    """Of the packages, relative to the root, without what the build generates."""
    found = (path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found if not GENERATED.search(path.name))


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(("saccade", *(parts[:-1] if parts[-1] == "__init__" else parts)))


@pytest.mark.parametrize("name", PACKAGES)
def test_links_are_relative_and_point_to_the_folders_at_the_root(name: str) -> None:
    assert (ROOT / "saccade" / name).readlink() == Path("..", name)
    assert (ROOT / name).is_dir()


def test_the_import_package_holds_links_and_nothing_else() -> None:
    found = {path.name for path in (ROOT / "saccade").iterdir()} - {"__pycache__"}
    assert found == {"__init__.py", "py.typed", *PACKAGES}


def test_kernels_is_no_regular_package() -> None:
    # The next test is the reason: it would hide Hugging Face's `kernels` from transformers.
    assert not (ROOT / "kernels" / "__init__.py").exists()


def test_a_foreign_package_named_kernels_wins_over_our_folder(tmp_path: Path) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").touch()
    code = "import sys; sys.path.append(sys.argv[1]); import kernels; print(kernels.__file__)"
    assert run_python(code, str(tmp_path)).strip() == str(tmp_path / "kernels" / "__init__.py")


@pytest.mark.slow
def test_importing_every_module_loads_none_under_a_bare_name() -> None:
    modules = [module_name(path) for path in source_files() if path.stem != "__main__"]
    # Ours may be there as an empty namespace: transformers looks for `kernels`, and lets go of it.
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "for name, module in sys.modules.items():\n"
        "    if name.partition('.')[0] in sys.argv[1].split(','):\n"
        "        print(name, getattr(module, '__file__', None) or '')"
    )
    loaded = run_python(code, ",".join(PACKAGES), *modules).split()
    assert loaded in ([], ["kernels"])


def test_every_folder_of_tests_is_a_package() -> None:
    # A lone __init__.py, in tests/unit/scheduler say, would make pytest import `scheduler`.
    folders = {path.parent for path in (ROOT / "tests").rglob("*.py")}
    assert {folder for folder in folders if not (folder / "__init__.py").exists()} == set()


def test_the_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("saccade") == saccade.__version__


def test_packages_import_each_other_only_as_agreed() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_wheel_holds_every_package_and_the_generated_code(tmp_path: Path) -> None:
    copy = tmp_path / "saccade"
    copy.mkdir()
    for name in (*PACKAGES, "saccade"):
        ignore = shutil.ignore_patterns("__pycache__", "*_pb2*")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--quiet", "--wheel-dir", tmp_path, copy], check=True)

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("saccade/")}
    stem = "saccade/serving/transport/instance"
    data = {
        f"saccade/{path.relative_to(ROOT)}"
        for name in PACKAGES
        for suffix in ("jinja", "proto", "yaml")
        for path in (ROOT / name).rglob(f"*.{suffix}")
    }
    assert packed == {
        "saccade/__init__.py",
        "saccade/py.typed",
        *(f"saccade/{path}" for path in source_files()),
        *data,
        *(f"{stem}{suffix}" for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")),
    }


@pytest.mark.parametrize(
    "command",
    ["--version", "config check --config configs/local.yaml", "chat --help", "models --json"],
)
def test_commands_that_need_no_engine_run_without_its_packages(command: str) -> None:
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(sys.argv.pop(1).split(','))\n"
        "from saccade.serving.cli.main import main\n"
        "main()"
    )
    missing = ["fastapi", "grpc", "msgspec", "numpy", "PIL", "ray", "torch", "transformers", "vllm"]
    assert run_python(code, ",".join(missing), *command.split())

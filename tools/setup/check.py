"""Check that what `make setup` installed can be loaded, and say what to do where it cannot."""

import os
import sys


def main() -> int:
    os.environ["VLLM_LOGGING_LEVEL"] = "ERROR"
    try:
        import torch
    except (ImportError, OSError) as error:
        print(
            f"PyTorch does not load: {error}\n"
            "cpu.lock needs a CPU build of it, and pip found another one. Point PIP_FIND_LINKS or "
            "PIP_EXTRA_INDEX_URL to a place with CPU builds, remove .venv, and run `make setup`.",
            file=sys.stderr,
        )
        return 1
    import torchvision.transforms.v2
    import vllm
    from vllm.platforms import current_platform

    print(
        f"      PyTorch {torch.__version__}, torchvision {torchvision.__version__}, "
        f"vLLM {vllm.__version__} on {current_platform.device_type}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Environment of a process that is going to import vLLM; has to be set before that."""

import os


def prepare_environment(*, threads: int | None = None) -> None:
    """Set what vLLM reads from the environment, where the operator has not set it already.

    Without `VLLM_ENABLE_V1_MULTIPROCESSING=0` the executor runs in yet another process whose
    reader spins for a second after every message; on a CPU that is a core burnt per instance.
    """
    defaults = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    # vLLM's app would ask for this key on top of ours.
    os.environ.pop("VLLM_API_KEY", None)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)

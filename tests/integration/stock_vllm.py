"""Stock vLLM, in a process of its own, as `python -m tests.integration.stock_vllm FOLDER`.

Reads conversations as JSON from standard input. Writes what vLLM made of them into the folder's
answers.json, and what its vision tower was given and gave into tower.npz.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def ask_stock_vllm(
    checkpoint: Path, conversations: Sequence[list[dict[str, Any]]], *, max_tokens: int, out: Path
) -> dict[str, Any]:
    """`answers` (prompt_token_ids, token_ids), `content_format`, `image_processor`."""
    job = {
        "checkpoint": str(checkpoint),
        "conversations": list(conversations),
        "max_tokens": max_tokens,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.stock_vllm", str(out)],
        input=json.dumps(job),
        text=True,
        capture_output=True,
        check=False,
        env={**os.environ, **ENVIRONMENT},
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: dict[str, Any] = json.loads((out / "answers.json").read_text())
    return answers


def main(out: Path) -> None:
    from vllm import LLM, SamplingParams
    from vllm.renderers.hf import _detect_content_format
    from vllm.transformers_utils.processor import cached_processor_from_config

    job = json.load(sys.stdin)
    llm = LLM(
        job["checkpoint"],
        dtype="float32",
        block_size=32,
        max_model_len=2048,
        enforce_eager=True,
        limit_mm_per_prompt={"image": 4},
    )
    seen: list[tuple[Any, Any]] = []
    llm.apply_model(lambda model: _listen(model, seen))
    sampling = SamplingParams(temperature=0, max_tokens=job["max_tokens"])
    # One after the other: what is computed in one batch is not computed in quite the same way.
    outputs = [llm.chat(c, sampling, use_tqdm=False)[0] for c in job["conversations"]]
    np.savez(
        out / "tower.npz",
        pixels=np.concatenate([pixels.numpy() for pixels, _ in seen]),
        tokens=np.concatenate([tokens.numpy() for _, tokens in seen]),
    )
    tokenizer: Any = llm.get_tokenizer()
    processor = cached_processor_from_config(llm.llm_engine.vllm_config.model_config)
    answers = {
        "answers": [
            {
                "prompt_token_ids": output.prompt_token_ids,
                "token_ids": list(output.outputs[0].token_ids),
            }
            for output in outputs
        ],
        "content_format": _detect_content_format(tokenizer.chat_template, default="string"),
        "image_processor": type(processor.image_processor).__name__,
    }
    (out / "answers.json").write_text(json.dumps(answers))


def _listen(model: Any, seen: list[tuple[Any, Any]]) -> None:
    encode = model._process_image_input

    def listening(image_input: Any) -> Any:
        tokens = encode(image_input)
        seen.append((image_input["pixel_values"].clone(), tokens.clone()))
        return tokens

    model._process_image_input = listening


if __name__ == "__main__":
    main(Path(sys.argv[1]))

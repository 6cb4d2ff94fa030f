"""vLLM in a process of its own, as `python -m tests.integration.family_vllm stock|ours OUT`.

Reads {"checkpoints": [folder], "cases": {folder's name: [[part]]}} from standard input; a part is a
word or a description of a picture or clip. `stock` is vLLM without any plug-in, given pixels;
`ours` is vLLM with ours, given what our encoder makes, through the renderer of the gateway and the
engine input of an instance. Writes tokens and log-probabilities of the greedy answers into OUT.
"""

import gc
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.integration.pictures import drawn

Case = list[dict[str, Any]]
MAX_TOKENS = 16
NUM_LOGPROBS = 5


def picture(seed: int, width: int, height: int, **more: Any) -> dict[str, Any]:
    """`keep_every`: of its visual tokens, one of so many is kept."""
    return {"type": "image", "seed": seed, "size": [width, height], **more}


def clip(
    seed: int, width: int, height: int, num_frames: int, fps: float, **more: Any
) -> dict[str, Any]:
    size = [width, height]
    return {"type": "video", "seed": seed, "size": size, "frames": num_frames, "fps": fps, **more}


def words(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def answers(
    mode: str, checkpoints: list[Path], cases: dict[str, list[Case]], out: Path
) -> dict[str, list[dict[str, Any]]]:
    """By checkpoint, one {prompt_token_ids, token_ids, logprobs} for each case."""
    environment = {
        **os.environ,
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
        # Compiling a few helpers takes longer than all of the answers.
        "TORCHDYNAMO_DISABLE": "1",
        **({"VLLM_PLUGINS": ""} if mode == "stock" else {}),
    }
    job = {"checkpoints": [str(one) for one in checkpoints], "cases": cases}
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.family_vllm", mode, str(out)],
        input=json.dumps(job), text=True, capture_output=True, check=False,
        env=environment, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, list[dict[str, Any]]] = json.loads(out.read_text())
    return result


def main(mode: str, out: Path, job: dict[str, Any]) -> None:
    result = {}
    for checkpoint in map(Path, job["checkpoints"]):
        run = _stock if mode == "stock" else _ours
        result[checkpoint.name] = run(checkpoint, job["cases"][checkpoint.name])
        gc.collect()
    out.write_text(json.dumps(result))


def _stock(checkpoint: Path, cases: list[Case]) -> list[dict[str, Any]]:
    from vllm import LLM

    llm = LLM(str(checkpoint), limit_mm_per_prompt={"image": 4, "video": 2}, **_arguments())
    tokenizer: Any = llm.get_tokenizer()
    return [_answer(llm, _with_pixels(tokenizer, case, checkpoint)) for case in cases]


def _with_pixels(tokenizer: Any, case: Case, checkpoint: Path) -> dict[str, Any]:
    message = {"role": "user", "content": case}
    prompt = tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
    data: dict[str, list[Any]] = {}
    for part in case:
        if part["type"] == "image":
            data.setdefault("image", []).append(drawn(part["seed"], tuple(part["size"])))
        if part["type"] == "video":
            frames = np.stack([np.asarray(frame) for frame in frames_of(part)])
            num, fps = part["frames"], part["fps"]
            metadata = {
                "fps": fps,
                "duration": num / fps,
                "total_num_frames": num,
                "frames_indices": list(range(num)),
                "video_backend": "opencv",
                "do_sample_frames": False,
            }
            item = (frames, metadata) if "qwen" in checkpoint.name else frames
            data.setdefault("video", []).append(item)
    return {"prompt": prompt, "multi_modal_data": data}


def frames_of(part: dict[str, Any]) -> list[Any]:
    return [drawn(part["seed"] + index, tuple(part["size"])) for index in range(part["frames"])]


def _ours(checkpoint: Path, cases: list[Case]) -> list[dict[str, Any]]:
    from vllm import LLM
    from vllm.renderers import renderer_from_config

    from saccade.encoders.registry import ENCODERS
    from saccade.serving.engine.app import gateway_config
    from saccade.serving.engine.args import with_positions
    from saccade.serving.engine.handed import Receiver, engine_input
    from tests.unit.some_settings import some_settings

    model = {"path": checkpoint, "dtype": "float32", "max_model_len": 2048}
    settings = some_settings(model=model, instances=_instances(checkpoint))
    renderer = renderer_from_config(gateway_config(settings))
    family = ENCODERS.family(checkpoint)
    encoder = ENCODERS.load_encoder(checkpoint) if family.support.pictures else None
    llm = LLM(
        str(checkpoint),
        enable_mm_embeds=True,
        limit_mm_per_prompt={"image": 0, "video": 0},
        hf_overrides=with_positions if checkpoint.name.endswith("keep_positions") else {},
        **_arguments(),
    )
    receiver = Receiver.of(family, llm.llm_engine.model_config)
    result = []
    for case in cases:
        visual_tokens = encoded(encoder, case)
        prompt = rendered(renderer, checkpoint, case, visual_tokens)
        result.append(_answer(llm, engine_input(prompt, visual_tokens, receiver)))
    renderer.shutdown()
    return result


def _instances(checkpoint: Path) -> dict[str, Any]:
    from saccade.encoders.registry import ENCODERS

    encode = {"encode": {"roles": ["encode"]}}
    has_tower = ENCODERS.family(checkpoint).support.pictures
    return {"llm": {"roles": ["prefill", "decode"]}, **(encode if has_tower else {})}


def encoded(encoder: Any, case: Case) -> list[Any]:
    """What an encode instance makes of a case, in one batch."""
    prepared = [
        encoder.preprocess(drawn(part["seed"], tuple(part["size"])))
        if part["type"] == "image"
        else encoder.preprocess_clip(frames_of(part), part["fps"])
        for part in case
        if part["type"] != "text"
    ]
    if not prepared:
        return []
    kept_every = [part.get("keep_every", 1) for part in case if part["type"] != "text"]
    return [
        tokens.kept(torch.arange(0, len(tokens.embeddings), every)) if every > 1 else tokens
        for tokens, every in zip(encoder.encode(prepared), kept_every, strict=True)
    ]


def rendered(renderer: Any, checkpoint: Path, case: Case, visual_tokens: list[Any]) -> Any:
    """What the gateway makes of a case: token ids, and where visual tokens go."""
    from vllm.renderers import ChatParams

    from saccade.encoders.registry import ENCODERS
    from saccade.serving.engine.client import places_in
    from saccade.serving.engine.placeholder import Placeholders
    from saccade.serving.engine.spans import settled, visual_span
    from saccade.serving.transport.instance_pb2 import Prompt

    placeholders = Placeholders(ENCODERS.family(checkpoint))
    parts = [_part(placeholders, part) for part in case]
    params = ChatParams(chat_template_kwargs={"add_generation_prompt": True})
    _, [prompt] = renderer.render_chat([[{"role": "user", "content": parts}]], params)
    ranges = {kind: iter(found) for kind, found in prompt.get("mm_placeholders", {}).items()}
    reserved = [places_in(next(ranges[part["type"]])) for part in case if part["type"] != "text"]
    counts = [tokens.step_counts or (len(tokens.embeddings),) for tokens in visual_tokens]
    token_ids, places = settled(prompt["prompt_token_ids"], reserved, counts)
    spans = [visual_span(found, f"{checkpoint.name}{case}{found}") for found in places]
    return Prompt(token_ids=token_ids, visual_spans=spans)


def _part(placeholders: Any, part: dict[str, Any]) -> dict[str, Any]:
    stamps_s: tuple[float, ...] = ()
    if part["type"] == "image":
        count = placeholders.picture(*part["size"]).num_tokens
    elif part["type"] == "video":
        fps = part["fps"]
        count = placeholders.clip(*part["size"], part["frames"], fps).num_tokens
        stamps_s = placeholders.stamps_s([index / fps for index in range(part["frames"])])
    else:
        return part
    num_places = len(stamps_s) or 1
    reserved = math.ceil(math.ceil(count / part.get("keep_every", 1)) / num_places)
    result: dict[str, Any] = placeholders.part(part["type"], [reserved] * num_places, stamps_s)
    return result


def _arguments() -> dict[str, Any]:
    return {
        "dtype": "float32",
        "block_size": 32,
        "max_model_len": 2048,
        "enforce_eager": True,
        "mm_processor_cache_gb": 0,
        "kv_cache_memory_bytes": 64 * 2**20,
        "max_num_batched_tokens": 8192,
        "max_num_seqs": 4,
    }


def _answer(llm: Any, prompt: Any) -> dict[str, Any]:
    from vllm import SamplingParams

    sampling = SamplingParams(
        temperature=0, max_tokens=MAX_TOKENS, logprobs=NUM_LOGPROBS, ignore_eos=True
    )
    # One after the other: what is computed in one batch is not computed in quite the same way.
    if "mm_kwargs" in prompt:
        # `generate` would take the token ids of an engine input, and nothing else.
        llm.llm_engine.add_request(f"{id(prompt)}", prompt, sampling)
        outputs: list[Any] = []
        while llm.llm_engine.has_unfinished_requests():
            outputs += llm.llm_engine.step()
        [output] = [one for one in outputs if one.finished]
    else:
        [output] = llm.generate([prompt], sampling, use_tqdm=False)
    [answer] = output.outputs
    return {
        "prompt_token_ids": list(output.prompt_token_ids),
        "token_ids": list(answer.token_ids),
        "logprobs": [
            {token: entry.logprob for token, entry in step.items()} for step in answer.logprobs
        ],
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin))

"""A model of a few thousand parameters and stages of a few steps."""

from pathlib import Path

import yaml

from saccade.training.architecture import (
    Architecture,
    LanguageSizes,
    TextTowerSizes,
    VisionSizes,
)

MINIATURE = Architecture(
    vision=VisionSizes(image_size=96, hidden_size=16, num_layers=5, num_heads=2, mlp_size=32),
    language=LanguageSizes(
        hidden_size=24, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=12, mlp_size=32
    ),
    text_tower=TextTowerSizes(hidden_size=20, num_layers=1, num_heads=2, mlp_size=32),
)
TEACHER = {"stage": "teacher", "seed": 5}
CONTRASTIVE = {"stage": "contrastive", "seed": 5, "grow_every": 1}
REFINEMENT = {"stage": "refinement", "seed": 5}
ROUNDS = {"different_batches": 2, "matrix_learning_rate": 0.02}
"""The same batches come again, and two optimisers train."""
INSTRUCTION = {
    "stage": "instruction",
    "seed": 5,
    "kinds": ["colour", "count", "description"],
    "questions_per_picture": 3,
    "conversation_ratio": 0.4,
    "pictures_last_ratio": 0.3,
    "mixture": {"clip": 0.3, "chat": 0.2},
    "clip_frames": [2, 3],
}


def write_stage(path: Path, stage: dict[str, object], steps: int = 6) -> Path:
    schedule = {"steps": steps, "batch_size": 4, "learning_rate": 0.01}
    if stage is CONTRASTIVE:
        schedule |= ROUNDS
    reports = {"log_every": 1, "save_every": 2, "evaluate_every": 100, "evaluation_examples": 8}
    path.write_text(
        yaml.safe_dump(
            {**stage, "schedule": schedule, "reports": reports, "threads": 1, "data_workers": 0}
        )
    )
    return path

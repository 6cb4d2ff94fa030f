"""What a stage's YAML file may say."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from saccade.training.data import MOST_OBJECTS

Kind = Literal[
    "colour", "shape", "count", "existence", "position", "comparison", "size", "label",
    "side", "half", "beside", "description",
]  # fmt: skip
Kinds = Annotated[tuple[Kind, ...], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class RecipeError(Exception):
    """A stage's file, or a run's folder, cannot be used; the message says why."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Schedule(_Section):
    """Linear warm-up and a cosine decay."""

    steps: PositiveInt
    batch_size: PositiveInt
    different_batches: PositiveInt | None = None
    """After so many the same ones come again."""
    learning_rate: Annotated[float, Field(gt=0)]
    """AdamW's."""
    matrix_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Muon's, which then trains the matrices inside layers."""
    projector_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """AdamW's for the projector, if it is another one: a tower's features are so long that small
    steps go far."""
    warmup_ratio: Share = 0.03
    final_ratio: Share = 0.05
    """Of the learning rate, at the last step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    beta2: Share = 0.98
    clip_norm: Annotated[float, Field(gt=0)] = 1.0


class Reports(_Section):
    log_every: PositiveInt = 20
    save_every: PositiveInt = 500
    evaluate_every: PositiveInt = 500
    evaluation_examples: PositiveInt = 160


class _Stage(_Section):
    seed: NonNegativeInt
    schedule: Schedule
    reports: Reports = Reports()
    threads: PositiveInt = 2
    data_workers: NonNegativeInt = 1


class TeacherStage(_Stage):
    """A convolutional network learns to read patches."""

    stage: Literal["teacher"]


class _TowersStage(_Stage):
    caption_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the contrastive loss between pictures and captions."""
    patch_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the losses of the heads that read single patches; they are thrown away afterwards."""
    place_weight: Annotated[float, Field(ge=0)] = 0.0
    """Of the loss of the head that reads from a patch where in the picture its object is."""
    region_weight: Annotated[float, Field(ge=0)] = 0.5
    """Of the contrastive loss between an object's patches and its name."""


class ContrastiveStage(_TowersStage):
    """The tower imitates the teacher, and learns with a text tower what captions mean."""

    stage: Literal["contrastive"]
    imitation_weight: Annotated[float, Field(ge=0)] = 1.0
    """Of the distance to what the teacher makes of a patch."""
    grow_every: NonNegativeInt = 0
    """Steps after which another layer of the tower joins. The tower begins with as many as imitate
    the teacher's first two depths, and only imitates until all depths are there; 0: all at once."""


class RefinementStage(_TowersStage):
    """Both towers go on without the teacher; the language model stays as it is."""

    stage: Literal["refinement"]


class Mixture(_Section):
    """What a batch is made of, in shares of its examples."""

    still: Share = 1.0
    clip: Share = 0.0
    chat: Share = 0.0


class Lesson(_Section):
    """What is asked about stills."""

    kinds: Kinds
    """A kind that is named twice is asked twice as often."""
    most_objects: Annotated[int, Field(ge=1, le=MOST_OBJECTS)] = MOST_OBJECTS
    """In a picture."""


class FirstLesson(Lesson):
    """What is asked for so many steps, before the rest."""

    steps: PositiveInt


class LanguageStage(_Stage, Lesson):
    """Next-token loss on the answers."""

    stage: Literal["alignment", "instruction"]
    lessons: tuple[FirstLesson, ...] = ()
    """One after the other, before what the stage itself says of kinds and objects."""
    place_strength: Annotated[float, Field(gt=0)] | None = None
    """If given, the first two numbers of each visual token say from the first step on where its
    object is, and so many times stronger than the others say what they say."""
    questions_per_picture: PositiveInt = 12
    conversation_ratio: Share = 0.3
    """Of pictures, whose questions are turns of one conversation. The others' questions do not see
    one another: each is answered as if it were the only one."""
    pictures_last_ratio: Share = 0.0
    """Of pictures, of whose questions two are asked before the picture, one by one."""
    questions_per_clip: PositiveInt = 8
    mixture: Mixture = Mixture()
    clip_frames: tuple[PositiveInt, ...] = (8,)
    """Numbers of frames, one of which is drawn for each clip."""

    def lesson_at(self, step: int) -> Lesson:
        for lesson in self.lessons:
            step -= lesson.steps
            if step < 0:
                return lesson
        return self


Stage = TeacherStage | ContrastiveStage | RefinementStage | LanguageStage


class _File(BaseModel):
    stage: Annotated[Stage, Field(discriminator="stage")]


def load_stage(path: Path) -> Stage:
    """Raises `RecipeError` with the place in the file and what is wrong there."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot read {path}: {error}") from error
    try:
        return _File.model_validate({"stage": data}).stage
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'][2:])) or 'stage'}: {e['msg']}" for e in error.errors()
        ]
        raise RecipeError("\n".join([f"{path} is not a stage of training:", *lines])) from error

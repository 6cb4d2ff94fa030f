"""The last two stages: the projector and the language model, from answers.

Alignment in LLaVA's sense trains a projector into a language model that exists. Here there is none
yet, so that stage teaches both at once to find things in pictures; instruction teaches the rest.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from saccade.training.data import (
    STILL_KINDS,
    Example,
    Question,
    Split,
    clip,
    still,
    text_only,
)
from saccade.training.recipe.device import on_device
from saccade.training.recipe.initial import begin_projector, carry_place
from saccade.training.recipe.model import TinyModel
from saccade.training.recipe.pictures import IGNORED, PatchTargets, squeezed
from saccade.training.recipe.sequences import Composer, Row, Sequences, some_system_prompt
from saccade.training.recipe.settings import LanguageStage

TEXT_FIRST_RATIO = 0.6
"""Of conversations, which put the text before the picture, as OpenAI's own examples do."""

PICTURES_TO_BEGIN_WITH = 256

QUESTIONS_BEFORE_PICTURES = 2
"""With the picture twice, a row is as long as the others; a clip is asked about once."""


@dataclass(frozen=True)
class LanguageBatch:
    pictures: Tensor  # [P, 3, S, S] of uint8, in the order of the placeholders
    sequences: Sequences


class LanguageTask:
    def __init__(self, model: TinyModel, settings: LanguageStage) -> None:
        self.model = model
        self.settings = settings
        self._composer = Composer(model.architecture)
        vision = model.architecture.vision
        self._side, self._patches_side = vision.image_size, vision.image_size // vision.patch_size

    def modules(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def trained(self) -> Iterable[nn.Parameter]:
        yield from self.model.projector.parameters()
        yield from self.model.language.parameters()

    def begin(self) -> None:
        settings, device = self.settings, self.model.device
        if settings.stage != "alignment" and settings.place_strength is None:
            return
        examples = [
            still(Split.TRAIN, settings.seed, -1 - number, settings.kinds)
            for number in range(PICTURES_TO_BEGIN_WITH)
        ]
        pictures = torch.stack([squeezed(e.pictures[0], self._side) for e in examples]).to(device)
        if settings.stage == "alignment":  # else it has been trained
            begin_projector(self.model, pictures)
        if settings.place_strength is not None:
            place = PatchTargets.of(examples, self._patches_side).place.to(device)
            carry_place(self.model, pictures, place, settings.place_strength)

    def batch(self, number: int) -> LanguageBatch:
        settings, size = self.settings, self.settings.schedule.batch_size
        rng = Random(f"{settings.seed}/{number}")
        if rng.random() < settings.mixture.clip:
            # A clip costs as much as its number of frames in stills.
            frames = rng.choice(settings.clip_frames)
            count = max(1, round(size * 2 / frames))
            first = number * size
            examples = [
                clip(
                    Split.TRAIN,
                    settings.seed,
                    first + i,
                    num_frames=frames,
                    num_questions=settings.questions_per_clip,
                )
                for i in range(count)
            ]
            return self._batch(examples, [self._row(rng, e) for e in examples])
        chats = sum(rng.random() < settings.mixture.chat for _ in range(size))
        lesson = settings.lesson_at(number)
        examples = [
            still(
                Split.TRAIN,
                settings.seed,
                number * size + i,
                lesson.kinds,
                settings.questions_per_picture,
                most_objects=lesson.most_objects,
            )
            for i in range(size - chats)
        ]
        examples += [
            text_only(Split.TRAIN, settings.seed, number * size + i, settings.questions_per_picture)
            for i in range(chats)
        ]
        return self._batch(examples, [self._row(rng, e) for e in examples])

    def loss(self, batch: LanguageBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        logits, labels = self.answers(batch)
        weights = answer_weights(batch.sequences)
        each = cross_entropy(logits, labels, reduction="none")
        return (each * weights).sum() / weights.sum(), {}

    def answers(self, batch: LanguageBatch) -> tuple[Tensor, Tensor]:
        """Logits of every token that is to be said, [N, vocabulary], and what it should be."""
        sequences = batch.sequences
        embedded = self.model.language.get_input_embeddings()(sequences.ids)
        if len(batch.pictures):
            with torch.no_grad():
                features = self.model.features(batch.pictures)
            shown = (sequences.ids == self.model.architecture.tokens.image)[..., None]
            embedded = embedded.masked_scatter(shown, self.model.projector(features))
        hidden = self.model.language.model(
            inputs_embeds=embedded,
            attention_mask=sequences.mask(),
            position_ids=sequences.positions,
            use_cache=False,
        ).last_hidden_state
        said = sequences.labels != IGNORED
        return self.model.language.lm_head(hidden[said]), sequences.labels[said]

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Shares of held-out questions answered exactly, by kind, greedily: an answer is right
        if every token of it is the likeliest after the right ones before."""
        examples = [
            still(Split.HELD_OUT, 0, i, STILL_KINDS, 6, all_of=True)
            for i in range(self.settings.reports.evaluation_examples)
        ]
        if self.settings.mixture.clip:
            examples += [
                clip(Split.HELD_OUT, 0, i)
                for i in range(self.settings.reports.evaluation_examples // 2)
            ]
        hits: dict[str, list[bool]] = defaultdict(list)
        for start in range(0, len(examples), 16):
            some = examples[start : start + 16]
            rows = [self._composer.branches(len(e.pictures), e.questions) for e in some]
            for question, right in self._verdicts(some, rows):
                hits[question.kind].append(right)
            stills = [e for e in some if len(e.pictures) == 1]
            rows = [self._composer.pictures_last(1, e.questions[:1]) for e in stills]
            hits["stills, picture last"] += [right for _, right in self._verdicts(stills, rows)]
        scores = {kind: sum(found) / len(found) for kind, found in hits.items()}
        by_kind = [scores[kind] for kind in STILL_KINDS]
        scores["all stills"] = sum(by_kind) / len(by_kind)
        return scores

    def _verdicts(
        self, examples: Sequence[Example], rows: Sequence[Row]
    ) -> Iterator[tuple[Question, bool]]:
        if not examples:
            return
        batch = on_device(self._batch(examples, rows), self.model.device)
        for example, by_question in zip(examples, self.rights(batch), strict=True):
            for index, right in sorted(by_question.items()):
                yield example.questions[index], right

    def rights(self, batch: LanguageBatch) -> list[dict[int, bool]]:
        """For each row, by question: are all tokens of its answer the likeliest ones?"""
        logits, labels = self.answers(batch)
        hit = (logits.argmax(-1) == labels).tolist()
        said = (batch.sequences.labels != IGNORED).nonzero().tolist()
        rights: list[dict[int, bool]] = [{} for _ in batch.sequences.ids]
        for (row, place), right in zip(said, hit, strict=True):
            question = int(batch.sequences.questions[row, place])
            rights[row][question] = rights[row].get(question, True) and right
        return rights

    def _row(self, rng: Random, example: Example) -> Row:
        system, count = some_system_prompt(rng), len(example.pictures)
        questions: Sequence[Question] = example.questions
        layout = rng.random() - self.settings.pictures_last_ratio
        if layout < 0:
            few = questions[: QUESTIONS_BEFORE_PICTURES if count < 2 else 1]
            return self._composer.pictures_last(count, few, system)
        if layout < self.settings.conversation_ratio:
            text_first = rng.random() < TEXT_FIRST_RATIO
            return self._composer.conversation(count, questions, system, text_first=text_first)
        return self._composer.branches(count, questions, system)

    def _batch(self, examples: Sequence[Example], rows: Sequence[Row]) -> LanguageBatch:
        pictures = [
            squeezed(picture, self._side)
            for example, row in zip(examples, rows, strict=True)
            for _ in range(row.times_shown)
            for picture in example.pictures
        ]
        nothing = torch.zeros((0, 3, self._side, self._side), dtype=torch.uint8)
        return LanguageBatch(
            pictures=torch.stack(pictures) if pictures else nothing,
            sequences=self._composer.sequences(rows),
        )


def answer_weights(sequences: Sequences) -> Tensor:
    """Of every token that is to be said, [N]: an answer of n tokens weighs √n in all, so that one
    description does not drown a dozen answers of a word."""
    said = sequences.labels != IGNORED
    rows = said.nonzero()[:, 0]
    answers = rows * (int(sequences.questions.max()) + 1) + sequences.questions[said]
    _, of_answer, lengths = torch.unique(answers, return_inverse=True, return_counts=True)
    weights: Tensor = lengths[of_answer].float().rsqrt()
    return weights

"""Questions and answers as token sequences, exactly as the chat template lays them out.

A picture costs 144 tokens and a question about a dozen, so several questions share a picture. As
turns of one conversation a later question would see the answers to the earlier ones, and the model
would learn to copy; so mostly the questions are *branches*: each sees the picture and itself, and
counts its positions on from the picture, as if it were the only one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from saccade.training.architecture import Architecture
from saccade.training.data import Question
from saccade.training.recipe.pictures import IGNORED
from saccade.training.tokenizer import END, build_tokenizer

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "Answer with one word.",
    "You answer questions about pictures.",
)
PADDING = -1
"""Branch of padding: seen by nothing."""


@dataclass
class Row:
    """One sequence. `question[i]` tells which question's answer token i belongs to, or -1."""

    ids: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    questions: list[int] = field(default_factory=list)
    times_shown: int = 1
    """How often the same pictures stand in it."""

    def add(self, ids: Sequence[int], branch: int, position: int) -> int:
        """Tokens that are read, not said. Returns the position after them."""
        self.ids += ids
        self.branches += [branch] * len(ids)
        self.positions += range(position, position + len(ids))
        self.labels += [IGNORED] * len(ids)
        self.questions += [-1] * len(ids)
        return position + len(ids)

    def say(self, ids: Sequence[int], branch: int, position: int, question: int) -> int:
        """Tokens that the model is to say."""
        start = len(self.ids)
        after = self.add(ids, branch, position)
        self.labels[start:] = ids
        self.questions[start:] = [question] * len(ids)
        return after


@dataclass(frozen=True)
class Sequences:
    """Rows of one length. Every tensor is [B, T]."""

    ids: Tensor
    branches: Tensor
    positions: Tensor
    labels: Tensor
    """Of the next token."""
    questions: Tensor

    def mask(self) -> Tensor:
        """[B, 1, T, T], true where a token (row) sees another (column)."""
        length = self.ids.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=self.ids.device).tril()
        asks, answers = self.branches[:, :, None], self.branches[:, None, :]
        itself = torch.eye(length, dtype=torch.bool, device=self.ids.device)
        return ((earlier & ((answers == 0) | (answers == asks))) | itself)[:, None]


class Composer:
    """Lays out examples."""

    def __init__(self, architecture: Architecture) -> None:
        self._tokenizer: Tokenizer = build_tokenizer(architecture)
        self._tokens = architecture.tokens
        self._picture = [architecture.tokens.image] * architecture.vision.num_patches
        self._user, self._system, self._assistant, self._end = (
            self._id(token) for token in ("<|user|>", "<|system|>", "<|assistant|>", END)
        )

    def branches(
        self, num_pictures: int, questions: Sequence[Question], system: str | None = None
    ) -> Row:
        """Every question by itself, after the pictures."""
        row = Row()
        shared = self._opening(row, system, 0)
        shared = row.add([self._user, *self._picture * num_pictures], 0, shared)
        for index, question in enumerate(questions):
            position = row.add(self._asked(question), 1 + index, shared)
            row.say(self._answered(question), 1 + index, position, index)
        return row

    def conversation(
        self,
        num_pictures: int,
        questions: Sequence[Question],
        system: str | None = None,
        *,
        text_first: bool = False,
    ) -> Row:
        """The questions as turns; the pictures before or after the text of the first."""
        row = Row()
        position = self._opening(row, system, 0)
        pictures = self._picture * num_pictures
        for index, question in enumerate(questions):
            *text, end, assistant = self._asked(question)
            shown = pictures if index == 0 else []
            parts = [*text, *shown] if text_first else [*shown, *text]
            position = row.add([self._user, *parts, end, assistant], 0, position)
            position = row.say(self._answered(question), 0, position, index)
        return row

    def pictures_last(
        self, num_pictures: int, questions: Sequence[Question], system: str | None = None
    ) -> Row:
        """Every question in a conversation of its own, before the pictures. The pictures see what
        is before them, so they cannot be shared, and one question costs as much as ten."""
        row = Row(times_shown=len(questions))
        for index, question in enumerate(questions):
            branch = 1 + index
            *text, end, assistant = self._asked(question)
            asked = [self._user, *text, *self._picture * num_pictures, end, assistant]
            position = row.add(asked, branch, self._opening(row, system, branch))
            row.say(self._answered(question), branch, position, index)
        return row

    def sequences(self, rows: Sequence[Row]) -> Sequences:
        longest = max(len(row.ids) for row in rows)

        def padded(values: Sequence[list[int]], fill: int) -> Tensor:
            return torch.tensor([v + [fill] * (longest - len(v)) for v in values])

        labels = padded([row.labels for row in rows], IGNORED)
        questions = padded([row.questions for row in rows], -1)
        return Sequences(
            ids=padded([row.ids for row in rows], self._tokens.pad),
            branches=padded([row.branches for row in rows], PADDING),
            positions=padded([row.positions for row in rows], 0),
            labels=labels.roll(-1, dims=1).index_fill(1, torch.tensor([longest - 1]), IGNORED),
            questions=questions.roll(-1, dims=1).index_fill(1, torch.tensor([longest - 1]), -1),
        )

    def _opening(self, row: Row, system: str | None, branch: int) -> int:
        position = row.add([self._tokens.bos], branch, 0)
        if system is None:
            return position
        return row.add([self._system, *self._encode(system), self._end], branch, position)

    def _asked(self, question: Question) -> list[int]:
        return [*self._encode(question.text), self._end, self._assistant]

    def _answered(self, question: Question) -> list[int]:
        return [*self._encode(question.answer), self._end]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        assert found is not None, token
        return found


def some_system_prompt(rng: Random) -> str | None:
    return rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.12 else None

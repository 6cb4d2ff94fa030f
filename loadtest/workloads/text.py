"""Prompts of a wanted number of tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from saccade.loadtest.errors import InputFileError, PlanError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Common words that are one token each, with their leading space, in most tokenizers.
_WORDS = """
about after again all also always and any are around ask back because before best better both
bring but call can change city close come could day different do does down each early end even
ever every face fact family far few find first follow food for form found four from give go good
great group grow hand hard has have he head help her here high him his home house how idea if
important in into it its just keep kind know large last late learn leave left less let letter life
light like line list little live long look made main make man many may mean men might money more
morning most move much must my name near need never new next night no not now number of off often
old on once one only open or other our out over own page paper part people place plan play point
problem public put question read real right room run said same say school second see seem sentence
set she should show side small so some sound stand start state still stop story study such system
take talk tell than that the their them then there these they thing think this those thought three
through time to today together too took tree try turn two under until up us use very want was water
way we well went were what when where which while white who why will with word work world would
write year you young your
"""
WORDS: Sequence[str] = _WORDS.split()


class TextSource(Protocol):
    """Makes text, and counts it if it can."""

    def make(self, num_tokens: int, rng: np.random.Generator) -> str:
        """About, or exactly, this many tokens; different texts for different states of `rng`."""

    def count(self, text: str) -> int | None:
        """Tokens of a text, without any that the tokenizer adds; None if it cannot say."""


class ApproximateText:
    """Without a tokenizer: a word for a token."""

    def make(self, num_tokens: int, rng: np.random.Generator) -> str:
        return " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=num_tokens))

    def count(self, text: str) -> int | None:
        return None


class ExactText:
    """With the model's tokenizer: exact, counted on the text alone, without the chat template."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer

    def count(self, text: str) -> int:
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def make(self, num_tokens: int, rng: np.random.Generator) -> str:
        """Words, cut at the token that would be too many, and filled up again.

        Raises:
            PlanError: the tokenizer joins whatever is added (which none seen so far does).
        """
        text = " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=num_tokens))
        while (missing := num_tokens - self.count(text)) != 0:
            text = self._cut(text, num_tokens) if missing < 0 else self._longer(text, missing, rng)
        return text

    def _cut(self, text: str, num_tokens: int) -> str:
        """The longest beginning that has at most `num_tokens`."""
        ends = [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]
        keep = num_tokens
        while keep and self.count(text[: ends[keep - 1]]) > num_tokens:
            keep -= 1
        return text[: ends[keep - 1]] if keep else ""

    def _longer(self, text: str, missing: int, rng: np.random.Generator) -> str:
        before = self.count(text)
        words = [WORDS[i] for i in rng.integers(len(WORDS), size=8 * len(WORDS))]
        for word in [*words, *"aeiou.,;!?0123456789"]:
            for piece in (f" {word}", word):
                if 0 < self.count(text + piece) - before <= missing:
                    return text + piece
        raise PlanError(
            f"The tokenizer cannot make a text of exactly {before + missing} tokens; "
            "leave --tokenizer out for approximate lengths."
        )


def text_source(tokenizer: Path | None) -> TextSource:
    """Exact if a tokenizer is given: a tokenizer.json, or the folder of a checkpoint.

    Raises:
        InputFileError: there is no tokenizer in that place.
    """
    if tokenizer is None:
        return ApproximateText()
    path = tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer
    from tokenizers import Tokenizer

    if not path.is_file():
        raise InputFileError(path, "no such file; give a tokenizer.json or a checkpoint's folder")
    try:
        return ExactText(Tokenizer.from_file(str(path)))
    except Exception as error:  # tokenizers raises Exception itself
        raise InputFileError(path, f"not a tokenizer ({error})") from None

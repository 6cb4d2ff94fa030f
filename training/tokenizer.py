"""The tokenizer: byte-level BPE whose merges are learned here, from `vocabulary`, in a moment.

The learning is our own few lines, not a library's trainer: the same words must give the same ids
under every version of every library, since a trained checkpoint depends on them. Any text at all
can be encoded (what no merge covers falls apart into bytes) and decoded back exactly.

Numbers are split into digits, and capitals stand alone unless they begin a word: "K7B" is always
the tokens of K, 7 and B.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

from saccade.training.architecture import Architecture
from saccade.training.vocabulary import weighted_words

PAD = "<|pad|>"
BOS = "<|bos|>"
IMAGE = "<image>"
END = "<|end|>"
CONTROL_TOKENS = (PAD, BOS, IMAGE, END, "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
"""Never shown in decoded text. The order gives the ids."""

MARKUP_TOKENS = ("<tool_call>", "</tool_call>", "<tools>", "</tools>")
"""One token each, but part of the text: a parser of tool calls has to see them."""

FIRST_WORD_ID = len(CONTROL_TOKENS) + len(MARKUP_TOKENS) + 256
"""The control and markup tokens come first, then one token for each byte, then the merges."""

WORD_PATTERN = r" ?\p{Lu}?[\p{Ll}\p{Lm}\p{Lo}]+| ?\p{L}| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

Pair = tuple[str, str]


def build_tokenizer(architecture: Architecture) -> Tokenizer:
    """The language model's tokenizer: a text begins with BOS."""
    special = [*CONTROL_TOKENS, *MARKUP_TOKENS]
    merges, pieces = learn_merges(weighted_words(), architecture.vocab_size - len(special))
    tokenizer = Tokenizer(
        models.BPE(vocab={piece: i for i, piece in enumerate(special + pieces)}, merges=merges)
    )
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS]
    )
    tokenizer.add_tokens(
        [AddedToken(token, special=False, normalized=False) for token in MARKUP_TOKENS]
    )
    return _framed(tokenizer, BOS, "$A")


def text_tower_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokens for the CLIP text tower, which reads a text off at the END that closes it."""
    return _framed(Tokenizer.from_str(tokenizer.to_str()), BOS, "$A", END)


def _framed(tokenizer: Tokenizer, *pieces: str) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(pieces),
        pair=" ".join([*pieces, "$B"]),
        special_tokens=[(token, CONTROL_TOKENS.index(token)) for token in pieces if token != "$A"],
    )
    return tokenizer


def learn_merges(weights: Mapping[str, int], num_pieces: int) -> tuple[list[Pair], list[str]]:
    """Byte-pair encoding: join the heaviest pair, again and again; ties go to the smaller pair.

    Returns the merges in order, and the pieces: the 256 bytes, then what the merges make.
    Raises `ValueError` if the words run out of pairs before there are `num_pieces` of them.
    """
    splitter = _pre_tokenizer()
    words = [
        ([*spelling], weight)
        for form, weight in sorted(weights.items())
        for spelling, _ in splitter.pre_tokenize_str(form)
    ]
    totals: Counter[Pair] = Counter()
    holders: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, (symbols, weight) in enumerate(words):
        _count(totals, holders, symbols, weight, index)
    merges: list[Pair] = []
    pieces = dict.fromkeys(sorted(pre_tokenizers.ByteLevel.alphabet()))
    while len(pieces) < num_pieces:
        if not totals:
            raise ValueError(f"the words give {len(pieces)} pieces, {num_pieces} are needed")
        heaviest = max(totals.values())
        best = min(pair for pair, total in totals.items() if total == heaviest)
        merges.append(best)
        pieces["".join(best)] = None
        for index in sorted(holders.pop(best)):
            symbols, weight = words[index]
            _count(totals, holders, symbols, -weight, index)
            symbols[:] = _join(symbols, best)
            _count(totals, holders, symbols, weight, index)
    return merges, list(pieces)


def _pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _count(
    totals: Counter[Pair],
    holders: defaultdict[Pair, set[int]],
    symbols: list[str],
    weight: int,
    index: int,
) -> None:
    for pair in itertools.pairwise(symbols):
        totals[pair] += weight
        if weight > 0:
            holders[pair].add(index)
        elif totals[pair] == 0:
            del totals[pair]


def _join(symbols: list[str], pair: Pair) -> list[str]:
    joined: list[str] = []
    for symbol in symbols:
        # A symbol that has just been joined is longer than the pair's left half.
        if joined and (joined[-1], symbol) == pair:
            joined[-1] += symbol
        else:
            joined.append(symbol)
    return joined

"""A neural model of words inside the beam search, asked where words end.

When a word of a prefix is complete, log P(word | words before it) is asked, once, for all such
words of a frame and of all beams together.  A history, the complete words of a prefix as the model
sees them, has a state as long as a prefix of the beam goes on from it; what the model reads is a
word for each history after which a word has ended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from asr.decode.beam_arrays import Beam, Records
from asr.decode.fusion import WORDS, Fusion
from asr.decode.lexicon_trie import ROOT
from asr.decode.neural_fusion import Asking, NeuralStates
from asr.decode.spelling import Spelling
from asr.errors import LanguageModelError
from asr.text import Tokens
from lm.automaton import compiled
from lm.backoff import Ints
from lm.contexts import Contexts
from lm.neural import END
from lm.neural_model import NeuralLanguageModel
from lm.word_shares import WordShares

__all__ = ["NeuralWords"]

# Spelled words whose tokens are remembered at most.
_MAX_REMEMBERED = 1_000_000

# Of a spelled word; a longer one is unknown.
_MAX_TOKENS = 64


class NeuralWords:
    """A neural model of words.

    Args:
        model: In eval mode.
        shares: What it says of the words of the lexicon.
        tokenizer: That of the acoustic model.
        spelling: How its tokens spell words.

    Raises:
        LanguageModelError: The tokenizer does not mark where words end.
    """

    units = WORDS

    def __init__(
        self,
        model: NeuralLanguageModel,
        shares: WordShares,
        tokenizer: Tokens,
        spelling: Spelling,
    ) -> None:
        if not tokenizer.marks_words:
            raise LanguageModelError(
                "the neural language model is one of words, but the tokenizer does not mark where "
                "words end; use a model of the tokenizer's tokens (--units tokenizer)"
            )
        self._model, self._shares, self._spelling = model, shares, spelling
        self._found: dict[bytes, tuple[int, float]] = {}

    def states(self, fusion: Fusion, n_beams: int, width: int) -> NeuralStates:
        """Return room for the states of beams."""
        return _WordStates(Contexts(self._model), self, fusion)

    def find(self, tokens: Ints) -> tuple[int, float]:
        """See `WordShares.find`, for a word as the tokenizer's tokens spell it."""
        key = tokens.tobytes()
        found = self._found.get(key)
        if found is None:
            if len(self._found) == _MAX_REMEMBERED:
                self._found.clear()
            found = self._shares.find(self._spelling.word(tokens.tolist()))
            self._found[key] = found
        return found


@dataclass
class _Histories:
    """The word sequences of one utterance, a tree; number 0 is the empty one.

    Attributes:
        parents: The sequence without its last word.
        tokens: That word, a token of the model.
        rows: Where its state is, -1 where it is not; 0 of the empty sequence for all utterances.
        children: The number of a sequence with one word more.
        alive: Those with a row of their own.
    """

    parents: list[int] = field(default_factory=lambda: [-1])
    tokens: list[int] = field(default_factory=lambda: [END])
    rows: list[int] = field(default_factory=lambda: [0])
    children: dict[tuple[int, int], int] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)

    def child(self, history: int, token: int) -> int:
        """The number of a sequence with one word more."""
        number = self.children.setdefault((history, token), len(self.parents))
        if number == len(self.parents):
            self.parents.append(history)
            self.tokens.append(token)
            self.rows.append(-1)
        return number

    def release(self, used: Iterable[int]) -> list[int]:
        """The rows of sequences that none of those in use goes on from, which lose them."""
        kept = set()
        for history in used:
            while self.rows[history] < 0:
                history = self.parents[history]
            kept.add(history)
        gone = self.alive - kept
        self.alive &= kept
        rows = [self.rows[history] for history in gone]
        for history in gone:
            self.rows[history] = -1
        return rows


@dataclass(frozen=True)
class _Question:
    """log P(word | history), and log P(end | history and word) where the word is the last one.

    Attributes:
        beam: The beam.
        slot: Where its prefix is.
        tree: Its utterance's histories.
        history: Number of the words before.
        token: The word as the model's token; None where only the end is asked.
        share: Logarithm of the word's share in that token.
        after: Number of the history with the word.
        is_last: Whether the end is asked, too.
    """

    beam: Beam
    slot: int
    tree: _Histories
    history: int
    token: int | None
    share: float
    after: int
    is_last: bool


class _WordStates:
    """The states of a model of words for several beams."""

    def __init__(self, contexts: Contexts, words: NeuralWords, fusion: Fusion) -> None:
        self._contexts, self._words, self._fusion = contexts, words, fusion
        self._trees: dict[int, _Histories] = {}

    def start(self, number: int) -> None:
        """Begin an utterance in a beam."""
        if number in self._trees:
            self._contexts.release(self._trees[number].release([0]))
        self._trees[number] = _Histories()

    def answer(self, asking: Sequence[Asking]) -> list[int]:
        """Fill in what the words that may end add."""
        parts = [self._questions(each) for each in asking]
        questions = [question for part in parts for question in part]
        n_read = dict.fromkeys(map(id, self._trees.values()), 0)
        wanted = [(question.tree, question.history) for question in questions]
        wanted += [(q.tree, q.after) for q in questions if q.is_last and q.token is not None]
        for tree in self._read(wanted):
            n_read[id(tree)] += 1
        self._fill_in(questions)
        return [n_read[id(self._trees[each.number])] for each in asking]

    def _questions(self, asking: Asking) -> list[_Question]:
        number, prefixes, beam, ended = asking
        tree = self._trees[number]
        active = beam.lists["active"][: beam.status["n_active"][0]]
        used = np.unique(prefixes["history"][beam.slots["prefix"][active]]).tolist()
        self._contexts.release(tree.release(used))
        needed = beam.lists["needed"][: beam.status["n_needed"][0]]
        if ended and not len(needed):
            # No word may end: all are left out, see `read_nbest`.
            return [
                _Question(beam, slot, tree, history, None, 0.0, history, True)
                for slot, history in zip(
                    active.tolist(), prefixes["history"][beam.slots["prefix"][active]].tolist(),
                    strict=True,
                )
            ]  # fmt: skip
        rows = beam.slots["prefix"][needed]
        spelled = np.zeros((len(needed), _MAX_TOKENS), np.int32)
        lengths = np.zeros(len(needed), np.int32)
        _spell_last_words(prefixes, rows, self._fusion.tokens, spelled, lengths)
        histories = prefixes["history"][rows].tolist()
        questions = []
        for place, (slot, history) in enumerate(zip(needed.tolist(), histories, strict=True)):
            if beam.slots[slot]["node"] == ROOT:
                questions.append(_Question(beam, slot, tree, history, None, 0.0, history, ended))
                continue
            token, share = self._words.find(spelled[place, : lengths[place]])
            after = tree.child(history, token)
            questions.append(_Question(beam, slot, tree, history, token, share, after, ended))
        return questions

    def _read(self, wanted: Sequence[tuple[_Histories, int]]) -> list[_Histories]:
        """Make the states of histories that have none; returns the tree of each word read."""
        missing: dict[tuple[int, int], _Histories] = {}
        for tree, history in wanted:
            while tree.rows[history] < 0 and (id(tree), history) not in missing:
                missing[id(tree), history] = tree
                history = tree.parents[history]
        read = list(missing.values())
        while missing:
            ready = [
                (tree, history)
                for (_, history), tree in missing.items()
                if tree.rows[tree.parents[history]] >= 0
            ]
            rows = self._contexts.read(
                [tree.rows[tree.parents[history]] for tree, history in ready],
                [tree.tokens[history] for tree, history in ready],
            )
            for (tree, history), row in zip(ready, rows, strict=True):
                tree.rows[history] = row
                tree.alive.add(history)
                del missing[id(tree), history]
        return read

    def _fill_in(self, questions: Sequence[_Question]) -> None:
        rows, tokens = [], []
        for question in questions:
            if question.token is not None:
                rows.append(question.tree.rows[question.history])
                tokens.append(question.token)
            if question.is_last:
                rows.append(question.tree.rows[question.after])
                tokens.append(END)
        answers = iter(self._contexts.log_probs(rows, tokens).tolist() if rows else ())
        for question in questions:
            log_prob = 0.0 if question.token is None else next(answers) + question.share
            if question.is_last:
                log_prob += next(answers)
            slot = question.beam.slots[question.slot]
            slot["neural_known"] = 1
            slot["word_neural"] = log_prob
            slot["word_history"] = question.after
            slot["word_gain"] += self._fusion.gamma * log_prob
            slot["start_bound"] += self._fusion.gamma * log_prob


@compiled
def _spell_last_words(
    prefixes: Records, rows: Ints, tokens: Records, spelled: Ints, lengths: Ints
) -> None:
    """The tokens of the word that each of some prefixes ends with.

    Args:
        prefixes: All prefixes.
        rows: (N,) those asked about.
        tokens: See `make_tokens`.
        spelled: (N, L) filled in from the left; of a longer word its last L tokens.
        lengths: (N,) filled in.
    """
    n_most = spelled.shape[1]
    for index in range(len(rows)):
        row = rows[index]
        length = 0
        while row > 0 and length < n_most:
            token = prefixes[row]["token"]
            if tokens[token]["has_text"]:
                spelled[index, n_most - 1 - length] = token
                length += 1
            if tokens[token]["starts"]:
                break
            row = prefixes[row]["parent"]
        for position in range(length):
            spelled[index, position] = spelled[index, n_most - length + position]
        lengths[index] = length

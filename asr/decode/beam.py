"""CTC beam search with language models and hotwords."""

import logging
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from asr.decode.align import best_alignments
from asr.decode.beam_arrays import (
    Beam,
    Limits,
    Records,
    grow_prefixes,
    make_beam,
    make_candidates,
    make_prefixes,
)
from asr.decode.confidence import word_confidences
from asr.decode.engine import DONE, MORE_PREFIXES, search, start
from asr.decode.hypothesis import Hypothesis, Word
from asr.decode.nbest import NBest, read_nbest
from asr.decode.scoring import Weights, make_scoring
from asr.errors import AsrError, ConfigError
from asr.text import Tokenizer
from lm.backoff import Floats
from lm.table import NgramTable

__all__ = ["BeamHypothesis", "BeamOptions", "BeamSearch"]

_logger = logging.getLogger(__name__)

# Compiled code from the cache is there sooner.
_SECONDS_BEFORE_NOTICE = 3.0

_FIRST_PREFIXES = 1 << 14


@dataclass(frozen=True)
class BeamOptions:
    """What the beam search maximises, and what it leaves out to be fast.

        score(y) = log p_ctc(y | x) + alpha * log p_ngram(y) + gamma * log p_neural(y)
                   + beta * |y| + unknown_score * unknown words + hotword bonuses

    |y| counts words, or tokens where the tokenizer marks no words.  Natural logarithms.

    Attributes:
        alpha: Weight of the n-gram model, at least 0.
        beta: Score of each word.
        gamma: Weight of the neural model, at least 0.
        unknown_score: Score of each word outside the lexicon; None allows no such words.
        width: Prefixes kept from frame to frame.
        score_threshold: Prefixes that lie further below the best are dropped; inf for none.
        token_threshold: Tokens whose log-probability in a frame is lower begin no new prefix
            there; -inf for none.
        top_tokens: Nor do tokens beyond so many of a frame; 0 for no limit.
        blank_threshold: Frames whose blank is more probable than that are taken as nothing but
            blank; 1 for none.
        n_best: Hypotheses wanted of each utterance.
        posterior_scale: Scores are multiplied by it where confidences are computed.
    """

    alpha: float = 0.5
    beta: float = 1.0
    gamma: float = 0.0
    unknown_score: float | None = None
    width: int = 50
    score_threshold: float = 15.0
    token_threshold: float = -10.0
    top_tokens: int = 0
    blank_threshold: float = 0.9999
    n_best: int = 1
    posterior_scale: float = 1.0

    def __post_init__(self) -> None:
        ranges = {
            "alpha": 0 <= self.alpha < math.inf,
            "beta": math.isfinite(self.beta),
            "gamma": 0 <= self.gamma < math.inf,
            "unknown_score": self.unknown_score is None or math.isfinite(self.unknown_score),
            "width": self.width >= 1,
            "score_threshold": self.score_threshold >= 0,
            "token_threshold": self.token_threshold <= 0,
            "top_tokens": self.top_tokens >= 0,
            "blank_threshold": 0 < self.blank_threshold <= 1,
            "n_best": self.n_best >= 1,
            "posterior_scale": 0 < self.posterior_scale < math.inf,
        }
        for name, fits in ranges.items():
            if not fits:
                raise ConfigError(
                    f"{name} = {getattr(self, name)} is out of range; see asr.decode.BeamOptions"
                )

    @property
    def weights(self) -> Weights:
        """What weighs the parts of the score."""
        return Weights(self.alpha, self.beta, self.gamma, self.unknown_score)

    @property
    def limits(self) -> Limits:
        """What the compiled search leaves out."""
        blank = math.log(self.blank_threshold) if self.blank_threshold < 1 else math.inf
        return Limits(
            self.width,
            float(self.score_threshold),
            float(self.token_threshold),
            self.top_tokens,
            blank,
        )


@dataclass(frozen=True)
class BeamHypothesis(Hypothesis):
    """A hypothesis of the beam search; a word's confidence is its share of the n-best's mass.

    Attributes:
        acoustic: log p_ctc(y | x), as far as the beam has added up alignments.
        ngram: log p_ngram(y), not weighted.
        neural: log p_neural(y), not weighted.
        bonus: Scores of words, unknown words and hotwords.
    """

    acoustic: float
    ngram: float
    neural: float
    bonus: float


class _Workspace:
    """The arrays that one utterance at a time is decoded in."""

    def __init__(self, width: int, n_tokens: int, *, neural: bool) -> None:
        self.beam: Beam = make_beam(width, n_tokens, neural=neural)
        self.prefixes: Records = make_prefixes(_FIRST_PREFIXES + width)
        self.candidates: Records = make_candidates(width)


class BeamSearch:
    """Finds the transcripts that acoustic model, language models and hotwords like best.

    Prefixes are summed over their alignments, and language models are asked once per prefix.
    Utterances of a batch are decoded in parallel threads, each with the same result as alone.

    Args:
        tokenizer: That of the acoustic model.
        options: Weights and limits.
        table: An n-gram model of words or of the tokenizer's tokens.
        words: The lexicon; without it the words of a word model.
        hotwords: Phrases and what each occurrence adds to the score.
        lexicon_file: Where to keep the lexicon's tables for the next time.

    Raises:
        LanguageModelError: If the units of a language model do not fit the tokenizer.
        ConfigError: If an option is out of range or a hotword cannot be spelled.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        options: BeamOptions | None = None,
        *,
        table: NgramTable | None = None,
        words: Sequence[str] | None = None,
        hotwords: Mapping[str, float] | None = None,
        lexicon_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self._scoring = make_scoring(
            tokenizer, table=table, words=words, hotwords=hotwords, lexicon_file=lexicon_file
        )
        self._set_options(options or BeamOptions())

    def with_options(self, options: BeamOptions) -> "BeamSearch":
        """The same models with other weights and limits."""
        other = object.__new__(BeamSearch)
        other.tokenizer, other._scoring = self.tokenizer, self._scoring
        other._set_options(options)
        return other

    def _set_options(self, options: BeamOptions) -> None:
        self.options = options
        self._fusion = self._scoring.fusion(options.weights)
        self._workspaces: list[_Workspace] = []

    def decode(
        self,
        log_probs: Tensor,
        lengths: Tensor,
        frame_seconds: float,
        *,
        durations: Sequence[float] | None = None,
    ) -> list[list[BeamHypothesis]]:
        """Decode a batch.

        Args:
            log_probs: (B, T, V), natural logarithms; symbol 0 is the blank.
            lengths: (B,) int64, frames.
            frame_seconds: Seconds from one frame to the next: hop times subsampling factor.
            durations: Seconds of each utterance; word times stop there.

        Returns:
            For each utterance its n-best hypotheses, best first, each with another text.  A lexicon
            that allows nothing of what was said leaves one empty hypothesis with score -inf.

        Raises:
            AsrError: If the log-probabilities of a valid frame are NaN.
        """
        found = self.search(log_probs, lengths)
        limits = durations if durations is not None else [math.inf] * len(found)
        ...

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[NBest]:
        """Find the best token sequences of a batch, as arrays; see `decode`."""
        rows = log_probs.detach().float().cpu().numpy()
        jobs = []
        for index, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            frames = np.ascontiguousarray(row[:length])
            if np.isnan(frames).any():
                raise AsrError(
                    f"the model's output for utterance {index} of the batch is NaN: its weights "
                    "are damaged or the precision too low; check the model, or use float32"
                )
            jobs.append(frames)
        with _notice_of_compilation():
            if len(jobs) == 1:
                return [self._search_one(jobs[0])]
            n_threads = max(1, min(len(jobs), os.cpu_count() or 1))
            with ThreadPoolExecutor(n_threads, "beam") as executor:
                return list(executor.map(self._search_one, jobs))

    def _search_one(self, frames: Floats) -> NBest:
        try:
            space = self._workspaces.pop()
        except IndexError:
            space = _Workspace(self.options.width, frames.shape[1], neural=False)
        limits = self.options.limits
        start(self._fusion, space.prefixes, space.beam)
        arguments = (space.beam, space.candidates, limits, frames)
        while search(self._fusion, space.prefixes, *arguments) == MORE_PREFIXES:
            space.prefixes = grow_prefixes(space.prefixes)
        found = read_nbest(self._fusion, space.prefixes, space.beam, self.options.width)
        self._workspaces.append(space)
        return found

"""CTC beam search with language models and hotwords."""

import copy
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from asr.decode.align import best_alignments
from asr.decode.beam_arrays import Limits
from asr.decode.calibration import UNCALIBRATED, Calibration, calibrated
from asr.decode.confidence import LEAST_MASS, posteriors, word_confidences
from asr.decode.driver import Driver
from asr.decode.fusion import NO_MODEL
from asr.decode.hypothesis import Hypothesis, Word
from asr.decode.nbest import NBest, Wanted
from asr.decode.prior import without_prior
from asr.decode.pronunciations import PronouncedWords
from asr.decode.scoring import Weights, make_scoring, searched_tokens
from asr.decode.word_keys import WordKeys
from asr.errors import AsrError, ConfigError
from asr.lexicon import Lexicon
from asr.text import Tokenizer
from lm.backoff import Ints
from lm.neural_model import NeuralLanguageModel
from lm.table import NgramTable
from lm.word_shares import WordShares

__all__ = ["BeamHypothesis", "BeamOptions", "BeamSearch"]


# Hypotheses that share the probability mass, for confidences.
_N_POSTERIOR = 100


@dataclass(frozen=True)
class BeamOptions:
    """What the beam search maximises, and what it leaves out to be fast.

        score(y) = log p_ctc(y | x) + alpha * log p_ngram(y) + gamma * log p_neural(y)
                   + beta * |y| + unknown_score * unknown words + hotword bonuses

    |y| counts words, or tokens where the tokenizer marks no words.  Natural logarithms.  p_ctc is
    what the acoustic model says with prior_scale of the tokens' prior taken off; see
    `asr.decode.prior.without_prior`.

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
        merge: Whether of prefixes from which the models go on alike only the best stays in the
            beam; the others come back in the n-best, as much worse as they were then.  A neural
            model is taken to go on alike where the n-gram model does.  Only with an n-gram model
            that has weight: without, all would go on alike.
        n_best: Hypotheses wanted of each utterance.
        prior_scale: How much of the prior is taken off, at least 0.
        prior: Mean probability of each of the model's tokens; needed where some is taken off.
        posterior_scale: Scores are multiplied by it where confidences are computed.
        calibration: What turns a word's share of the n-best's mass into its confidence.
    """

    alpha: float = 0.5
    beta: float = 1.0
    gamma: float = 0.0
    unknown_score: float | None = None
    width: int = 50
    score_threshold: float = 15.0
    token_threshold: float = -15.0
    top_tokens: int = 0
    blank_threshold: float = 0.9999
    merge: bool = True
    n_best: int = 1
    prior_scale: float = 0.0
    prior: tuple[float, ...] = ()
    posterior_scale: float = 1.0
    calibration: Calibration = UNCALIBRATED

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
            "prior_scale": 0 <= self.prior_scale < math.inf,
            "prior": all(0 < value <= 1 for value in self.prior),
            "posterior_scale": 0 < self.posterior_scale < math.inf,
            "calibration": 0 <= self.calibration.slope < math.inf,
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
            self.merge,
        )


@dataclass(frozen=True)
class BeamHypothesis(Hypothesis):
    """A hypothesis of the beam search; a word's confidence comes from its share of the n-best.

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


@dataclass(frozen=True)
class _Text:
    """A text of the n-best: its place there, tokens, words with their ranges, confidences."""

    index: int
    tokens: list[int]
    words: list[tuple[str, int, int]]
    confidences: Sequence[float]


class _Clock(NamedTuple):
    """From frames to seconds."""

    frame_seconds: float
    duration: float

    def start(self, frame: int) -> float:
        return float(frame) * self.frame_seconds

    def end(self, frame: int) -> float:
        return min(float(frame + 1) * self.frame_seconds, self.duration)


class BeamSearch:
    """Finds the transcripts that acoustic model, language models and hotwords like best.

    Prefixes are summed over their alignments, and language models are asked once per prefix.
    Utterances of a batch are decoded in parallel threads, each with the same result as alone.

    Args:
        tokenizer: That of the acoustic model.
        options: Weights and limits.
        table: An n-gram model of words or of the tokenizer's tokens.
        words: The lexicon; without it the words of a word model.
        hotwords: Phrases and what each occurrence adds to the score; a lexicon gets those of
            their words that it lacks.
        neural: A neural language model of the tokenizer's tokens, or of words.
        lexicon_file: Where to keep the lexicon's tables for the next time.
        pronunciations: Of the words, for a tokenizer of phones with word ends; without them those
            of the tokenizer.

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
        neural: NeuralLanguageModel | None = None,
        lexicon_file: str | os.PathLike[str] | None = None,
        pronunciations: Lexicon | None = None,
    ) -> None:
        self._n_tokens = tokenizer.n_tokens
        self.tokenizer = searched_tokens(
            tokenizer,
            table=table,
            words=words,
            hotwords=hotwords,
            lexicon_file=lexicon_file,
            pronunciations=pronunciations,
        )
        self._scoring = make_scoring(
            self.tokenizer, table=table, words=words, hotwords=hotwords, lexicon_file=lexicon_file
        )
        self._neural = None if neural is None else self._scoring.neural(neural, self.tokenizer)
        if isinstance(self.tokenizer, PronouncedWords):
            self._word_keys = self.tokenizer.keys
        else:
            self._word_keys = WordKeys(self._scoring.spelling)
        self._set_options(options or BeamOptions())

    def word_shares(self, model: NeuralLanguageModel) -> WordShares:
        """What a neural model of words says of the lexicon's words, for rescoring as in the beam.

        Raises:
            LanguageModelError: It is not one of words.
        """
        return self._scoring.shares(model)

    def with_options(self, options: BeamOptions) -> "BeamSearch":
        """The same models with other weights and limits."""
        other = copy.copy(self)
        other._set_options(options)
        return other

    def _set_options(self, options: BeamOptions) -> None:
        if options.prior_scale and len(options.prior) != self._n_tokens:
            raise ConfigError(
                f"prior_scale = {options.prior_scale:g} needs the prior of the model's "
                f"{self._n_tokens} tokens, and there are {len(options.prior)} values; "
                "`asr tune` measures it, prior_scale = 0 needs none"
            )
        if options.unknown_score is not None and isinstance(self.tokenizer, PronouncedWords):
            raise ConfigError(
                f"unknown_score = {options.unknown_score}: a model of phones cannot write words "
                "that no dictionary pronounces; leave it out, and add words to the dictionary"
            )
        self.options = options
        units = NO_MODEL if self._neural is None else self._neural.units
        fusion = self._scoring.fusion(options.weights, units)
        may_merge = fusion.ngram_units != NO_MODEL and options.alpha > 0
        limits = options.limits._replace(merge=options.merge and may_merge)
        n_most = max(options.n_best, _N_POSTERIOR) if limits.merge else 0
        # What is further below the best has no mass.
        spread = -math.log(LEAST_MASS) / options.posterior_scale
        wanted = Wanted(n_most, options.n_best, spread)
        self._driver = Driver(fusion, limits, self._neural, wanted)

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
        scales = [self.options.posterior_scale]
        return self.decode_scaled(log_probs, lengths, frame_seconds, scales, durations=durations)[0]

    def decode_scaled(
        self,
        log_probs: Tensor,
        lengths: Tensor,
        frame_seconds: float,
        scales: Sequence[float],
        *,
        durations: Sequence[float] | None = None,
    ) -> list[list[list[BeamHypothesis]]]:
        """Decode a batch once, with the confidences that each of several scales gives.

        Args:
            log_probs, lengths, frame_seconds, durations: See `decode`.
            scales: Each in the place of `BeamOptions.posterior_scale`.

        Returns:
            For each scale what `decode` returns.
        """
        log_probs = self._searched(log_probs)
        # The least keeps the most hypotheses.
        found = self._scaled(min(scales))._run(log_probs, lengths)
        limits = durations if durations is not None else [math.inf] * len(found)
        return [
            self._scaled(scale)._hypotheses(found, log_probs, lengths, frame_seconds, limits)
            for scale in scales
        ]

    def _scaled(self, posterior_scale: float) -> "BeamSearch":
        if posterior_scale == self.options.posterior_scale:
            return self
        return self.with_options(replace(self.options, posterior_scale=posterior_scale))

    def _hypotheses(
        self,
        found: list[NBest],
        log_probs: Tensor,
        lengths: Tensor,
        frame_seconds: float,
        limits: Sequence[float],
    ) -> list[list[BeamHypothesis]]:
        texts = [self._distinct_texts(n_best) for n_best in found]
        rows = [row for row, utterance in enumerate(texts) for _ in utterance]
        tokens = [text.tokens for utterance in texts for text in utterance]
        if rows != list(range(len(found))):
            log_probs, lengths = log_probs[rows], lengths[rows]
        paths, _ = best_alignments(log_probs, lengths, tokens)
        path = iter(paths)
        hypotheses = []
        for n_best, utterance, limit in zip(found, texts, limits, strict=True):
            clock = _Clock(frame_seconds, limit)
            hypotheses.append(
                [self._hypothesis(n_best, text, clock, next(path)) for text in utterance]
                or [BeamHypothesis("", (), (), -math.inf, -math.inf, 0.0, 0.0, 0.0)]
            )
        return hypotheses

    def _distinct_texts(self, found: NBest) -> list["_Text"]:
        """The best token sequence of each text, with the confidences of its words."""
        masses = posteriors(found.scores, self.options.posterior_scale).tolist()
        words = self._word_keys(found.tokens, found.starts)
        n_wanted = self.options.n_best
        best: dict[bytes, int] = {}
        shares: dict[bytes, float] = {}
        for index, mass in enumerate(masses):
            if mass > LEAST_MASS or len(best) < n_wanted:
                text = words[index].tobytes()
                best.setdefault(text, index)
                shares[text] = shares.get(text, 0.0) + mass
        distinct = [words[index] for index in best.values()]
        confidences = word_confidences(distinct, list(shares.values()), n_wanted)
        wanted = zip(list(best.values())[:n_wanted], confidences, strict=True)
        return [self._text(found, index, values) for index, values in wanted]

    def _text(self, found: NBest, index: int, confidences: Sequence[float]) -> "_Text":
        tokens = found.tokens[found.starts[index] : found.starts[index + 1]].tolist()
        return _Text(index, tokens, self.tokenizer.split_words(tokens), confidences)

    def _hypothesis(
        self, found: NBest, text: "_Text", clock: "_Clock", path: Ints
    ) -> BeamHypothesis:
        # The path holds each token once and in order, as one run of frames.
        spoken = np.flatnonzero(path >= 0)
        first = spoken[np.searchsorted(path[spoken], np.arange(len(text.tokens)))]
        last = spoken[np.searchsorted(path[spoken], np.arange(len(text.tokens)), "right") - 1]
        confidences = calibrated(text.confidences, self.options.calibration)
        words = tuple(
            Word(word, clock.start(first[begin]), clock.end(last[end - 1]), confidence)
            for (word, begin, end), confidence in zip(text.words, confidences, strict=True)
        )
        index = text.index
        return BeamHypothesis(
            text=self.tokenizer.decode(text.tokens),
            tokens=self._model_tokens(text.tokens),
            words=words,
            score=float(found.scores[index]),
            acoustic=float(found.acoustic[index]),
            ngram=float(found.ngram[index]),
            neural=float(found.neural[index]),
            bonus=float(found.bonus[index]),
        )

    def search(self, log_probs: Tensor, lengths: Tensor) -> list[NBest]:
        """Find the best token sequences of a batch, as arrays; see `decode`.

        Their tokens are those of `self.tokenizer`.
        """
        return self._run(self._searched(log_probs), lengths)

    def _searched(self, log_probs: Tensor) -> Tensor:
        """Return the log-probabilities of the tokens that are searched."""
        n_tokens = self._n_tokens
        if log_probs.ndim != 3 or log_probs.shape[2] != n_tokens:
            raise AsrError(
                f"log-probabilities of shape {tuple(log_probs.shape)}: (B, T, {n_tokens}) is "
                "needed, as many as the tokenizer has tokens; use model and tokenizer of one folder"
            )
        log_probs = log_probs.detach().float().cpu()
        if self.options.prior_scale:
            log_probs = without_prior(log_probs, self.options.prior, self.options.prior_scale)
        if isinstance(self.tokenizer, PronouncedWords):
            log_probs = self.tokenizer.expand(log_probs)
        return log_probs

    def _run(self, log_probs: Tensor, lengths: Tensor) -> list[NBest]:
        rows = log_probs.numpy()
        utterances = []
        for index, (row, length) in enumerate(zip(rows, lengths.tolist(), strict=True)):
            frames = np.ascontiguousarray(row[:length])
            if np.isnan(frames).any():
                raise AsrError(
                    f"the model's output for utterance {index} of the batch is NaN: its weights "
                    "are damaged or the precision too low; check the model, or use float32"
                )
            utterances.append(frames)
        return self._driver.run(utterances)

    def _model_tokens(self, tokens: list[int]) -> tuple[int, ...]:
        if isinstance(self.tokenizer, PronouncedWords):
            tokens = self.tokenizer.columns[tokens].tolist()
        return tuple(tokens)

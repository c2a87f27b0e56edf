"""Beam search as a recogniser uses it: models from files, long recordings, n-best rescoring."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.config import DecodingConfig
from asr.decode.beam import BeamHypothesis, BeamOptions, BeamSearch
from asr.decode.calibration import Calibration
from asr.decode.segments import join_n_best, part_at_pauses
from asr.errors import ConfigError
from asr.lexicon import has_stress, read_lexicon
from asr.text import PhoneTokenizer, Tokenizer, normalize, writes_upper_case
from lm.corpus import read_words
from lm.kenlm_model import KenlmModel
from lm.language_model import load_language_model
from lm.neural_model import NeuralLanguageModel
from lm.rescoring import score_sequences
from lm.table import NgramTable
from lm.units import WordUnits

__all__ = ["Decoder", "Rescorers", "build_decoder", "read_hotwords"]

_logger = logging.getLogger(__name__)

# Hypotheses that a neural model reads when it rescores.
_N_RESCORED = 100
_SEGMENT_SECONDS = 30.0


class Rescorers(NamedTuple):
    """Language models that reorder n-best lists.

    Args:
        kenlm: a KenLM binary, weighted by alpha.
        neural: a neural model of any units, weighted by gamma.
    """

    kenlm: KenlmModel | None = None
    neural: NeuralLanguageModel | None = None


_NO_RESCORERS = Rescorers()


class Decoder:
    """Turns log-probabilities of recordings of any length into hypotheses.

    Recordings longer than a segment are parted at pauses; each segment is a sentence for the
    language models.

    Args:
        search: the beam search.
        frame_seconds: from one frame to the next.
        rescorers: language models that reorder the n-best by
            score(y) + alpha * log p_kenlm(y) + gamma * log p_neural(y).
        n_best: hypotheses wanted of each recording.
        segment_seconds: length of a segment at most.
    """

    def __init__(
        self,
        search: BeamSearch,
        frame_seconds: float,
        *,
        rescorers: Rescorers = _NO_RESCORERS,
        n_best: int = 1,
        segment_seconds: float = _SEGMENT_SECONDS,
    ) -> None:
        wanted = max(n_best, _N_RESCORED if any(rescorers) else 1)
        self.search = search.with_options(replace(search.options, n_best=wanted))
        self.frame_seconds = frame_seconds
        self.rescorers = rescorers
        self.n_best = n_best
        self._max_frames = max(2, round(segment_seconds / frame_seconds))

    def with_options(self, options: BeamOptions) -> "Decoder":
        """The same models with other weights and limits, and `options.n_best` hypotheses."""
        return Decoder(
            self.search.with_options(options),
            self.frame_seconds,
            rescorers=self.rescorers,
            n_best=options.n_best,
            segment_seconds=self._max_frames * self.frame_seconds,
        )

    def decode(
        self, recordings: Sequence[Tensor], durations: Sequence[float]
    ) -> list[list[BeamHypothesis]]:
        """Decode recordings.

        Args:
            recordings: log-probabilities of each, (T, V).
            durations: of each, in seconds; word times stop there.

        Returns:
            the hypotheses of each, best first.

        Raises:
            AsrError: the log-probabilities are NaN.
        """
        scales = [self.search.options.posterior_scale]
        return self.decode_scaled(recordings, durations, scales)[0]

    def decode_scaled(
        self, recordings: Sequence[Tensor], durations: Sequence[float], scales: Sequence[float]
    ) -> list[list[list[BeamHypothesis]]]:
        """Decode recordings once, with the confidences that each of several scales gives.

        Args:
            recordings, durations: see `decode`.
            scales: each in the place of `BeamOptions.posterior_scale`.

        Returns:
            for each scale what `decode` returns.
        """
        places = [part_at_pauses(frames, self._max_frames) for frames in recordings]
        pieces: list[Tensor] = []
        limits: list[float] = []
        for frames, segments, duration in zip(recordings, places, durations, strict=True):
            for start, end in segments:
                pieces.append(frames[start:end])
                limits.append(duration - start * self.frame_seconds)
        return [
            self._joined(found, places) for found in self._decode_pieces(pieces, limits, scales)
        ]

    def _joined(
        self, found: list[list[BeamHypothesis]], places: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[BeamHypothesis]]:
        pieces = iter(found)
        return [
            join_n_best(
                [next(pieces) for _ in segments],
                [start * self.frame_seconds for start, _ in segments],
                self.n_best,
            )
            for segments in places
        ]

    def _decode_pieces(
        self, pieces: list[Tensor], limits: list[float], scales: Sequence[float]
    ) -> list[list[list[BeamHypothesis]]]:
        if not pieces:
            return [[] for _ in scales]
        lengths = torch.tensor([len(piece) for piece in pieces])
        padded = pad_sequence(pieces, batch_first=True)
        each = self.search.decode_scaled(
            padded, lengths, self.frame_seconds, scales, durations=limits
        )
        return [self._rescored(found) if any(self.rescorers) else found for found in each]

    def _rescored(self, found: list[list[BeamHypothesis]]) -> list[list[BeamHypothesis]]:
        kenlm, neural = self.rescorers
        flat = [hypothesis for each in found for hypothesis in each]
        ngram_scores = [hypothesis.ngram for hypothesis in flat]
        neural_scores = [hypothesis.neural for hypothesis in flat]
        options = self.search.options
        if kenlm:
            ngram_scores = [kenlm.score(hypothesis.text.split()) for hypothesis in flat]
        if neural:
            neural_scores = self._neural_scores(neural, [hypothesis.text for hypothesis in flat])
        scored = [
            replace(
                hypothesis,
                ngram=ngram,
                neural=neural_score,
                score=hypothesis.score
                + (options.alpha * ngram if kenlm else 0.0)
                + (options.gamma * neural_score if neural else 0.0),
            )
            for hypothesis, ngram, neural_score in zip(
                flat, ngram_scores, neural_scores, strict=True
            )
        ]
        rest = iter(scored)
        return [sorted((next(rest) for _ in each), key=lambda y: -y.score) for each in found]

    def _neural_scores(self, neural: NeuralLanguageModel, texts: Sequence[str]) -> list[float]:
        """Return log p_neural of texts, of words outside a model of words as in the beam."""
        if not isinstance(neural.units, WordUnits):
            tokens = [neural.units.encode(text) for text in texts]
            log_probs: list[float] = score_sequences(neural, tokens).log_probs.tolist()
            return log_probs
        shares = self.search.word_shares(neural)
        found = [shares.encode(text.split()) for text in texts]
        scores = score_sequences(neural, [tokens for tokens, _ in found]).log_probs
        return [score + share for score, (_, share) in zip(scores.tolist(), found, strict=True)]


def build_decoder(
    config: DecodingConfig,
    tokenizer: Tokenizer,
    frame_seconds: float,
    *,
    n_best: int = 1,
) -> Decoder:
    """Load the models that a configuration names.

    Args:
        config: files, weights and limits.
        tokenizer: that of the acoustic model.
        frame_seconds: from one frame to the next.
        n_best: hypotheses wanted of each recording.

    Raises:
        LanguageModelError: a model that cannot be read or whose units do not fit the tokenizer.
        ConfigError: a lexicon or list of hotwords that cannot be read.
    """
    ngram = load_language_model(config.lm) if config.lm else None
    table = ngram if isinstance(ngram, NgramTable) else None
    kenlm = ngram if isinstance(ngram, KenlmModel) else None
    if kenlm:
        _logger.warning(
            "%s: a KenLM binary cannot guide the beam search, only reorder what it finds without; "
            "the ARPA file that it was made from does better",
            config.lm,
        )
    neural = NeuralLanguageModel.load(config.neural) if config.neural else None
    words = pronunciations = None
    if config.lexicon and isinstance(tokenizer, PhoneTokenizer):
        stress = has_stress(tokenizer.symbols)
        pronunciations = read_lexicon(config.lexicon, stress=stress)
    elif config.lexicon:
        words = read_words(Path(config.lexicon))
    hotwords = (
        read_hotwords(
            Path(config.hotwords), config.hotword_bonus, upper=writes_upper_case(tokenizer)
        )
        if config.hotwords
        else None
    )
    options = BeamOptions(
        alpha=config.alpha,
        beta=config.beta,
        gamma=config.gamma if neural else 0.0,
        unknown_score=config.unknown_score,
        width=config.beam,
        score_threshold=config.score_threshold,
        token_threshold=config.token_threshold,
        blank_threshold=config.blank_threshold,
        prior_scale=config.prior_scale,
        prior=tuple(config.prior),
        posterior_scale=config.posterior_scale,
        calibration=Calibration(config.confidence_slope, config.confidence_offset),
    )
    # Models of characters and of phones share a file of words, each with its own tables.
    suffix = ".phones.lexicon" if isinstance(tokenizer, PhoneTokenizer) else ".lexicon"
    search = BeamSearch(
        tokenizer,
        options,
        table=table,
        words=words,
        hotwords=hotwords,
        neural=None if config.rescore else neural,
        lexicon_file=Path(config.lm).with_suffix(suffix) if table else None,
        pronunciations=pronunciations,
    )
    rescorers = Rescorers(kenlm, neural if config.rescore else None)
    return Decoder(search, frame_seconds, rescorers=rescorers, n_best=n_best)


def read_hotwords(path: Path, bonus: float, *, upper: bool) -> dict[str, float]:
    """Read phrases, one a line, each with a bonus of its own behind a tab or with `bonus`.

    Args:
        path: a text file in UTF-8; empty lines and those that start with # say nothing.
        bonus: of phrases without one, a natural logarithm.
        upper: bring phrases to the form of `asr.text.normalize`.

    Raises:
        ConfigError: the file cannot be read, or a bonus is no number of at least 0.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: the hotwords cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8; hotwords are needed") from None
    hotwords = {}
    for number, line in enumerate(lines, start=1):
        phrase, tab, raw = line.partition("\t")
        phrase = " ".join(phrase.split())
        if not phrase or phrase.startswith("#"):
            continue
        try:
            value = float(raw) if tab else bonus
        except ValueError:
            value = -1.0
        if not 0 <= value < float("inf"):
            raise ConfigError(
                f"{path}, line {number}: the bonus {raw.strip()!r} is no number of at least 0; "
                "write PHRASE, or PHRASE, a tab and a number as 5"
            )
        hotwords[normalize(phrase) if upper else phrase] = value
    if not hotwords:
        raise ConfigError(f"{path}: no hotword in it; write one phrase a line")
    return hotwords

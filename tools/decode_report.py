"""What tools/bench_decode.py measured: one score for all decoders, tables and curves."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from asr.metrics import compare, score
from asr.text import Tokenizer
from lm.table import NgramTable

__all__ = ["PEER_BEAM", "CommonScorer", "Match", "Record", "Report", "Row", "Utterances"]

PEER_BEAM = 100
LEAST_DEFICIT = 1e-3
LEAST_COMPARED = 5


class CommonScorer:
    """The score that every decoder looks for, exact, of any text.

        log p_ctc(y | x) + alpha * log p_lm(y </s>) + beta * words + unknown_score * unknown words

    Args:
        tokenizer: Of the emissions; token 0 is the blank.
        table: The word n-gram model, whose words are the lexicon.
        unknown_score: Beside alpha * log P(<unk>), of each word that is not in the lexicon.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        table: NgramTable,
        *,
        alpha: float,
        beta: float,
        unknown_score: float = -math.inf,
    ) -> None:
        self._tokenizer, self._table = tokenizer, table
        self._alpha, self._beta, self._unknown_score = alpha, beta, unknown_score
        self._lexicon = frozenset(table.vocabulary[3:])

    def unknown(self, text: str) -> int:
        """How many words are not in the lexicon."""
        return sum(word not in self._lexicon for word in text.split())

    def __call__(self, log_probs: Tensor, text: str) -> float:
        """Score a text; log_probs (T, V) are natural logarithms."""
        words, n_unknown = text.split(), self.unknown(text)
        total = self.log_p_ctc(log_probs, " ".join(words))
        total += self._alpha * self._table.score(words) + self._beta * len(words)
        return total + (self._unknown_score * n_unknown if n_unknown else 0.0)

    def log_p_ctc(self, log_probs: Tensor, text: str) -> float:
        """The sum over all alignments, by the forward algorithm in double precision."""
        tokens = self._tokenizer.encode(text)
        log_probs = log_probs.double()
        if not tokens:
            return float(log_probs[:, 0].sum())
        lengths = torch.tensor([len(log_probs)]), torch.tensor([len(tokens)])
        targets = torch.tensor([tokens])
        loss = functional.ctc_loss(log_probs[:, None], targets, *lengths, reduction="none")
        return -float(loss)


@dataclass(frozen=True)
class Utterances:
    """A set of emissions: log-probabilities (T, V), texts, seconds and speakers."""

    log_probs: list[Tensor]
    texts: list[str]
    durations: list[float]
    speakers: list[str | None]


@dataclass(frozen=True)
class Record:
    """What one decoder with one setting made of the first utterances of a set in one run."""

    emissions: str
    regime: str
    variant: str
    decoder: str
    beam: int
    run: int
    texts: list[str]
    seconds: list[float]

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What repeated runs share."""
        return self.emissions, self.regime, self.variant, self.beam


@dataclass(frozen=True)
class Row:
    """One line of the large table; CPU times of the first run, spread over the runs."""

    emissions: str
    regime: str
    variant: str
    beam: int
    n_utterances: int
    wer: float
    mean_score: float
    below_best: float
    per_second: float
    spread: float
    times_real_time: float
    ms_per_second: float


@dataclass(frozen=True)
class Match:
    """How much faster ours is where its mean score is at least the peer's at beam 100."""

    emissions: str
    regime: str
    peer: str
    peer_score: float
    peer_wer: float
    ours: str
    width: int
    reached: bool
    our_score: float
    our_wer: float
    ratios: list[float]
    wer_difference: float
    wer_interval: tuple[float, float] | None
    n_utterances: int

    @property
    def ratio(self) -> float:
        """Of the times, the median of the runs."""
        return statistics.median(self.ratios)


class Report:
    """Statistics of records."""

    def __init__(
        self, sets: dict[str, Utterances], records: Iterable[Record], scorer: CommonScorer
    ) -> None:
        self._sets, self._scorer = sets, scorer
        self._records: dict[tuple[str, str, str, int], list[Record]] = {}
        for record in records:
            self._records.setdefault(record.key, []).append(record)
        self._known: dict[tuple[str, int, str], float] = {}
        self._scores = {key: self._score(runs[0]) for key, runs in self._records.items()}
        self._best = self._best_scores()

    def _score(self, record: Record) -> list[float]:
        """The score of each utterance; temperatures share no emissions, so each set has its own."""
        scores = []
        for index, text in enumerate(record.texts):
            key = record.emissions, index, text
            if key not in self._known:
                log_probs = self._sets[record.emissions].log_probs[index]
                self._known[key] = self._scorer(log_probs, text)
            scores.append(self._known[key])
        return scores

    def _best_scores(self) -> dict[tuple[str, int, bool], float]:
        """The best score that any decoder found, with known words only, and with all."""
        best: dict[tuple[str, int, bool], float] = {}
        for (emissions, index, text), value in self._known.items():
            for is_open in (False, True)[self._scorer.unknown(text) > 0 :]:
                key = emissions, index, is_open
                best[key] = max(value, best.get(key, -math.inf))
        return best

    def _wer(self, record: Record, n: int) -> float:
        references = self._sets[record.emissions].texts[:n]
        return score(references, record.texts[:n], n_bootstrap=0).wer

    def rows(self) -> list[Row]:
        """One row for each decoder and setting."""
        rows = []
        for key, runs in self._records.items():
            record, scores = runs[0], self._scores[key]
            n = len(scores)
            is_open = "open" in record.variant or self._unknown_words(record)
            best = [self._best[record.emissions, index, is_open] for index in range(n)]
            n_common = min(len(run.seconds) for run in runs)
            times = [sum(run.seconds[:n_common]) for run in runs]
            seconds = sum(self._sets[record.emissions].durations[:n])
            real_time = seconds / sum(record.seconds)
            rows.append(
                Row(
                    *key,
                    n_utterances=n,
                    wer=self._wer(record, n),
                    mean_score=statistics.mean(scores),
                    below_best=statistics.mean(b - s for b, s in zip(best, scores, strict=True)),
                    per_second=n / sum(record.seconds),
                    spread=max(times) / min(times) - 1,
                    times_real_time=real_time,
                    ms_per_second=1000 / real_time,
                )
            )
        return rows

    def _unknown_words(self, record: Record) -> bool:
        return any(self._scorer.unknown(text) for text in record.texts)

    def matches(self) -> list[Match]:
        """Ours against each peer at beam 100."""
        found = []
        for key, runs in self._records.items():
            if runs[0].decoder == "ours" or runs[0].beam != PEER_BEAM:
                continue
            is_open = runs[0].decoder == "pyctcdecode" and runs[0].regime == "defaults"
            for with_times in (True, False):
                candidates = [
                    other
                    for other, (first, *_) in self._records.items()
                    if other[:2] == key[:2]
                    and first.decoder == "ours"
                    and len(first.texts) >= len(runs[0].texts)
                    and ("text only" in first.variant) != with_times
                    and (is_open or "open" not in first.variant)
                ]
                if candidates:
                    found.append(self._match(key, candidates))
        return found

    def _match(
        self,
        peer: tuple[str, str, str, int],
        candidates: Sequence[tuple[str, str, str, int]],
    ) -> Match:
        theirs = self._records[peer]

        def cost(key: tuple[str, str, str, int]) -> float:
            return 1 / statistics.median(self._ratios(theirs, self._records[key]))

        def mean(key: tuple[str, str, str, int], n: int) -> float:
            return statistics.mean(self._scores[key][:n])

        n = min(len(self._scores[key]) for key in (peer, *candidates))
        enough = [key for key in candidates if mean(key, n) >= mean(peer, n) - 1e-9]
        ours = min(enough, key=cost) if enough else max(candidates, key=lambda key: mean(key, n))
        record, peer_record = self._records[ours][0], theirs[0]
        utterances = self._sets[peer[0]]
        comparison = compare(
            utterances.texts[:n],
            peer_record.texts[:n],
            record.texts[:n],
            speakers=utterances.speakers[:n],
        )
        return Match(
            *peer[:3],
            peer_score=mean(peer, n),
            peer_wer=comparison.wer_a,
            ours=record.variant,
            width=record.beam,
            reached=bool(enough),
            our_score=mean(ours, n),
            our_wer=comparison.wer_b,
            ratios=self._ratios(theirs, self._records[ours]),
            wer_difference=comparison.difference,
            wer_interval=comparison.interval,
            n_utterances=n,
        )

    @staticmethod
    def _ratios(theirs: Sequence[Record], ours: Sequence[Record]) -> list[float]:
        """Their time by ours in each run, over the utterances that both did in it."""
        ratios = []
        for a, b in zip(theirs, ours, strict=False):
            n = min(len(a.seconds), len(b.seconds))
            ratios.append(sum(a.seconds[:n]) / sum(b.seconds[:n]))
        return ratios

    def markdown(self) -> str:
        """Both tables."""
        lines = [
            "| emissions | pruning | peer | ours | reached | x faster (runs) | score peer -> ours |"
            " WER peer -> ours | difference, interval | utterances |",
            "|" + "---|" * 10,
        ]
        for m in self.matches():
            interval = (
                "-" if m.wer_interval is None else "{:+.2%} to {:+.2%}".format(*m.wer_interval)
            )
            lines.append(
                f"| {m.emissions} | {m.regime} | {m.peer} | {m.ours}, {m.width} | "
                f"{'yes' if m.reached else 'NO'} | {m.ratio:.1f} "
                f"({min(m.ratios):.1f} to {max(m.ratios):.1f}) | {m.peer_score:.3f} -> "
                f"{m.our_score:.3f} | {m.peer_wer:.2%} -> {m.our_wer:.2%} | "
                f"{m.wer_difference:+.2%} ({interval}) | {m.n_utterances} |"
            )
        lines += [
            "",
            "| emissions | pruning | decoder | beam | utterances | WER | mean score | below best |"
            " utterances/s | spread | x real time |",
            "|" + "---|" * 11,
        ]
        order = list(dict.fromkeys((row.emissions, row.regime) for row in self.rows()))
        for row in sorted(
            self.rows(),
            key=lambda row: (order.index((row.emissions, row.regime)), row.variant, row.beam),
        ):
            lines.append(
                f"| {row.emissions} | {row.regime} | {row.variant} | {row.beam} | "
                f"{row.n_utterances} | {row.wer:.2%} | {row.mean_score:.3f} | "
                f"{row.below_best:.3f} | {row.per_second:.1f} | {row.spread:.0%} | "
                f"{row.times_real_time:.0f} |"
            )
        return "\n".join(lines)

    def summary(self) -> str:
        """The first table, for a README; without peers that got too little time to compare."""
        lines = [
            "| emissions | pruning | peer, beam 100 | ours, beam | times faster (runs) | "
            "WER of the peer -> ours | score of the peer -> ours | utterances |",
            "|" + "---|" * 8,
        ]
        for m in self.matches():
            if m.n_utterances < min(LEAST_COMPARED, len(self._sets[m.emissions].log_probs)):
                continue
            below = "" if m.reached else " (lower)"
            lines.append(
                f"| {m.emissions} | {m.regime} | {m.peer} | {m.ours}, {m.width} | {m.ratio:.1f} "
                f"({min(m.ratios):.1f} to {max(m.ratios):.1f}) | {m.peer_wer:.1%} -> "
                f"{m.our_wer:.1%} | {m.peer_score:.2f} -> {m.our_score:.2f}{below} | "
                f"{m.n_utterances} |"
            )
        return "\n".join(lines)

    def large(self, beam: int) -> str:
        """The decoders with one wide beam."""
        lines = [
            f"| beam {beam} | utterances | WER | mean score | x real time |",
            "|" + "---|" * 5,
        ]
        lines += [
            f"| {row.emissions}, {row.regime}, {row.variant} | {row.n_utterances} | "
            f"{row.wer:.1%} | {row.mean_score:.2f} | {row.times_real_time:.1f} |"
            for row in self.rows()
            if row.beam == beam
        ]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Both tables, for JSON."""
        matches = [{**asdict(match), "ratio": match.ratio} for match in self.matches()]
        return {"matches": matches, "rows": [asdict(row) for row in self.rows()]}

    def draw(self, path: Path) -> None:
        """Curves: the score that is missed, over the CPU time of a second of audio."""
        from matplotlib.figure import Figure

        rows = self.rows()
        sets = list(dict.fromkeys(row.emissions for row in rows))
        regimes = list(dict.fromkeys(row.regime for row in rows))
        figure = Figure((4.5 * len(regimes), 3.2 * len(sets)), layout="constrained")
        axes = figure.subplots(len(sets), len(regimes), squeeze=False)
        variants = list(dict.fromkeys(row.variant for row in rows))
        for line, emissions in zip(axes, sets, strict=True):
            for axis, regime in zip(line, regimes, strict=True):
                for number, variant in enumerate(variants):
                    points = [
                        (row.ms_per_second, max(row.below_best, LEAST_DEFICIT))
                        for row in sorted(rows, key=lambda row: row.beam)
                        if (row.emissions, row.regime, row.variant) == (emissions, regime, variant)
                    ]
                    if points:
                        x, y = zip(*points, strict=True)
                        axis.plot(x, y, "o-", color=f"C{number}", label=variant, markersize=3)
                axis.set(xscale="log", yscale="log", title=f"{emissions}, {regime}")
                axis.set(xlabel="CPU ms for a second of audio", ylabel="mean score below best")
                axis.legend(fontsize=6)
        figure.savefig(path, dpi=75)

"""A model on the utterances of a manifest: references, hypotheses and how long it took."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import AsrError
from asr.formats import write_text
from asr.manifest import Utterance
from asr.metrics import Score, correct_words, normalized_cross_entropy, score
from asr.text import Tokenizer, normalize, writes_upper_case
from asr.transcribe import Transcriber

__all__ = [
    "Evaluation",
    "evaluate",
    "join",
    "scored_references",
    "write_hypotheses",
]


@dataclass(frozen=True)
class Evaluation:
    """What came out of a manifest; the tuples belong together.

    Attributes:
        utterances: those that could be read.
        references: what was said, as it is scored.
        hypotheses: what the model recognised, as it is scored.
        errors: what is wrong with each utterance that could not be read.
        audio_seconds: of the utterances.
        seconds: that reading and recognising them took.
        confidences: of the words of each hypothesis; () where there are none.
    """

    utterances: tuple[Utterance, ...]
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]
    errors: tuple[AsrError, ...]
    audio_seconds: float
    seconds: float
    confidences: tuple[tuple[float, ...], ...] = ()

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of computing per second of audio."""
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0

    @property
    def confidence_nce(self) -> float:
        """How much the confidences tell of errors; see `asr.metrics.normalized_cross_entropy`."""
        correct: list[bool] = []
        confidences: list[float] = []
        for reference, hypothesis, values in zip(
            self.references, self.hypotheses, self.confidences, strict=False
        ):
            marks = correct_words(reference, hypothesis)
            # Normalising may part words and join them.
            if len(marks) == len(values):
                correct += marks
                confidences += values
        return normalized_cross_entropy(confidences, correct)

    def score(self, *, n_bootstrap: int = 1000, seed: int = 0) -> Score:
        """Count the errors; see `asr.metrics.score`.

        Raises:
            TextError: there is no utterance to score.
        """
        return score(
            self.references,
            self.hypotheses,
            ids=[utterance.id for utterance in self.utterances],
            speakers=[utterance.speaker for utterance in self.utterances],
            n_bootstrap=n_bootstrap,
            seed=seed,
        )


def evaluate(
    transcriber: Transcriber,
    utterances: Sequence[Utterance],
    *,
    normalized: bool | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Recognise the utterances of a manifest.

    Where the tokenizer marks no words (phones), references are decoded from their own tokens,
    so that both sides are sequences of its units, and "words" are units.

    Args:
        transcriber: the model.
        utterances: what to recognise, with what was said.
        normalized: bring references and hypotheses to the form of `asr.text.normalize`; None
            does so with references where the model writes upper case only.
        on_progress: called with seconds of audio whenever so much more has been done.

    Raises:
        TextError: a reference that cannot be written in the tokenizer's units.
    """
    texts = scored_references(utterances, transcriber.recognizer.tokenizer, normalized=normalized)
    start = time.perf_counter()
    recognized: dict[int, str] = {}
    confidences: dict[int, tuple[float, ...]] = {}
    errors: dict[int, AsrError] = {}
    audio_seconds = 0.0
    for index, result in transcriber.transcribe_each(
        utterances, case="model", on_progress=on_progress
    ):
        if isinstance(result, AsrError):
            errors[index] = result
        else:
            recognized[index] = normalize(result.text) if normalized else result.text
            confidences[index] = tuple(word.confidence for word in result.words)
            audio_seconds += result.duration
    kept = sorted(recognized)
    return Evaluation(
        utterances=tuple(utterances[index] for index in kept),
        references=tuple(texts[index] for index in kept),
        hypotheses=tuple(recognized[index] for index in kept),
        confidences=tuple(confidences[index] for index in kept),
        errors=tuple(errors[index] for index in sorted(errors)),
        audio_seconds=audio_seconds,
        seconds=time.perf_counter() - start,
    )


def scored_references(
    utterances: Sequence[Utterance], tokenizer: Tokenizer, *, normalized: bool | None = None
) -> list[str]:
    """Return what was said as it is scored; see `evaluate`."""
    texts = [utterance.text for utterance in utterances]
    if normalized or (normalized is None and writes_upper_case(tokenizer)):
        texts = [normalize(text) for text in texts]
    if not tokenizer.marks_words:
        texts = [tokenizer.decode(tokenizer.encode(text)) for text in texts]
    return texts


def join(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation of several manifests as that of one."""
    return Evaluation(
        utterances=tuple(each for part in evaluations for each in part.utterances),
        references=tuple(each for part in evaluations for each in part.references),
        hypotheses=tuple(each for part in evaluations for each in part.hypotheses),
        confidences=tuple(each for part in evaluations for each in part.confidences),
        errors=tuple(each for part in evaluations for each in part.errors),
        audio_seconds=sum(part.audio_seconds for part in evaluations),
        seconds=sum(part.seconds for part in evaluations),
    )


def write_hypotheses(path: Path, evaluation: Evaluation) -> None:
    """Write JSON lines: the manifest's keys, `text` as scored and `pred_text`.

    `asr score` reads the file as hypotheses, and as references.

    Raises:
        ConfigError: the file cannot be written.
    """
    lines = []
    for utterance, reference, hypothesis in zip(
        evaluation.utterances, evaluation.references, evaluation.hypotheses, strict=True
    ):
        fields: dict[str, str | float] = {
            "audio_filepath": utterance.audio_filepath.as_posix(),
            "duration": utterance.duration,
            "text": reference,
            "pred_text": hypothesis,
        }
        if utterance.speaker is not None:
            fields["speaker"] = utterance.speaker
        if utterance.offset:
            fields["offset"] = utterance.offset
        lines.append(json.dumps(fields, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))

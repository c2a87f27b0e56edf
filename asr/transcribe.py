"""From recordings to transcripts: any number of them, of any length, in bounded memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import torch
from torch import Tensor

from asr.audio import SAMPLE_RATE
from asr.config import DecodingConfig, load_decoding
from asr.decode.greedy import greedy
from asr.decode.hypothesis import Hypothesis, Word
from asr.errors import AsrError, ConfigError
from asr.listener import Listener
from asr.model_folders import DECODING_FILE, find_decoding, find_model
from asr.models.recognizer import Recognizer
from asr.recording import Audio, Recording
from asr.text import PhoneTokenizer
from asr.world import select_device

if TYPE_CHECKING:
    from asr.decode.decoder import Decoder
    from asr.decode.nearest_words import NearestWords

__all__ = ["Case", "Transcriber", "Transcript", "load"]

Case = Literal["lower", "upper", "model"]
"""How text is written; "model" leaves it as the model writes it."""

# Recordings that are decoded together: a neural language model answers all of them at once.
_N_DECODED_TOGETHER = 32


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording.

    Attributes:
        text: all of it.
        words: its words in order, none starting before the one before it ends; times in
            seconds from the start of the recording.
        duration: of the recording, in seconds.
        alternatives: what else it may have been, this transcript first, where several
            hypotheses were asked for.
    """

    text: str
    words: tuple[Word, ...]
    duration: float
    alternatives: tuple[Hypothesis, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)


def load(
    name: str | os.PathLike[str] = "default",
    device: str = "auto",
    *,
    batch_seconds: float | None = None,
    decoding: DecodingConfig | str = "model",
    n_best: int = 1,
    n_views: int | None = None,
) -> "Transcriber":
    """Load a model for transcribing.

    Args:
        name: "default" for the model in the package, or a model folder.
        device: "auto" (CUDA, else CPU), "cpu", "cuda", "cuda:N" or "mps".
        batch_seconds: see `Transcriber`.
        decoding: "model" for what the model folder's decoding.toml says (greedy where there is
            none), "greedy", the name of another decoding of the model or a file (see
            `asr.model_folders.find_decoding`), or a configuration.
        n_best: hypotheses of each recording in `Transcript.alternatives`; needs a beam search.
        n_views: times that each recording is heard, see `asr.views.Views`; by default as often as
            the decoding says, where it is greedy as the model folder's decoding.toml says, else
            once.

    Raises:
        AsrError: there is no such model or device.
    """
    chosen = select_device(device)
    folder = find_model(name if isinstance(name, str) else Path(name))
    recognizer = Recognizer.load(folder, chosen)
    own = None
    if decoding in ("model", "greedy") and (folder / DECODING_FILE).exists():
        own = load_decoding(folder / DECODING_FILE)
    if decoding == "model" and own:
        decoding = own
    elif isinstance(decoding, str) and decoding not in ("model", "greedy"):
        decoding = load_decoding(find_decoding(folder, decoding))
    decoder = None
    views = own.views if own else 1
    if isinstance(decoding, DecodingConfig):
        # Here, because the compiled search takes a while to import.
        from asr.decode.decoder import build_decoder

        decoder = build_decoder(
            decoding,
            recognizer.tokenizer,
            recognizer.frame_seconds,
            n_best=n_best,
        )
        views = decoding.views
    return Transcriber(
        recognizer,
        batch_seconds=batch_seconds,
        decoder=decoder,
        n_views=views if n_views is None else n_views,
    )


class Transcriber:
    """A recogniser at work.

    Args:
        recognizer: the model, in eval mode.
        batch_seconds: audio in a batch, with padding; by default 160 on a CPU, else 640.
        chunk_seconds: what is kept of each chunk of a recording that is longer than a chunk.
        context_seconds: what each chunk hears on either side beyond that.
        decoder: a beam search; without one decoding is greedy.
        n_views: times that each recording is heard; see `asr.views.Views`.

    Raises:
        ConfigError: one of them is out of range.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        batch_seconds: float | None = None,
        chunk_seconds: float = 30.0,
        context_seconds: float = 4.0,
        decoder: "Decoder | None" = None,
        n_views: int = 1,
    ) -> None:
        self.recognizer = recognizer
        self.decoder = decoder
        self.listener = Listener(
            recognizer,
            batch_seconds=batch_seconds,
            chunk_seconds=chunk_seconds,
            context_seconds=context_seconds,
            n_views=n_views,
        )

    @overload  # a str is a sequence of str, but the first signature takes it
    def transcribe(  # type: ignore[overload-overlap]
        self, audio: Audio, *, sample_rate: int = SAMPLE_RATE, case: Case = "lower"
    ) -> Transcript: ...
    @overload
    def transcribe(
        self, audio: Sequence[Audio], *, sample_rate: int = SAMPLE_RATE, case: Case = "lower"
    ) -> list[Transcript]: ...
    def transcribe(
        self,
        audio: Audio | Sequence[Audio],
        *,
        sample_rate: int = SAMPLE_RATE,
        case: Case = "lower",
    ) -> Transcript | list[Transcript]:
        """Transcribe a recording, or a list or tuple of them in batches.

        Args:
            audio: path, file object, samples (N,) as a numpy array or tensor (floats in
                [-1, 1], or 16- or 32-bit integers), or an utterance of a manifest; or a list
                of these.
            sample_rate: of samples, in Hz; files know their own.
            case: "lower", "upper", or "model" for what the model writes.

        Raises:
            AudioError: a recording cannot be read; `transcribe_each` goes on with the rest.
        """
        several = isinstance(audio, list | tuple)
        sources: Sequence[Audio] = audio if several else [audio]  # type: ignore[list-item,assignment]
        transcripts: dict[int, Transcript] = {}
        for index, result in self.transcribe_each(sources, sample_rate=sample_rate, case=case):
            if isinstance(result, AsrError):
                raise result
            transcripts[index] = result
        if not several:
            return transcripts[0]
        return [transcripts[index] for index in range(len(transcripts))]

    def transcribe_each(
        self,
        sources: Iterable[Audio],
        *,
        sample_rate: int = SAMPLE_RATE,
        case: Case = "lower",
        on_progress: Callable[[float], None] | None = None,
    ) -> Iterator[tuple[int, Transcript | AsrError]]:
        """Transcribe recordings and hand each one out when it is done.

        Args:
            sources: see `transcribe`; they are asked for as they are needed.
            sample_rate: of samples, in Hz.
            case: see `transcribe`.
            on_progress: called with seconds of audio whenever so much more has been done.

        Yields:
            the number of the recording, from 0, and its transcript, or what is wrong with
            it; not always in the order of the numbers.
        """
        if case not in get_args(Case):
            raise ConfigError(f"case {case!r}; take one of {', '.join(get_args(Case))}")
        heard = self.listener.listen(sources, sample_rate, on_progress or (lambda seconds: None))
        decoded = self._decode_beam(heard) if self.decoder else self._decode_greedy(heard)
        for recording, result in decoded:
            if isinstance(result, AsrError):
                yield recording.index, result
            else:
                yield recording.index, _transcript(result, recording.duration, case)

    def log_probs(self, audio: Audio, *, sample_rate: int = SAMPLE_RATE) -> Tensor:
        """Return the log-probabilities of a recording, (T', V) on the CPU.

        Args:
            audio: see `transcribe`.
            sample_rate: of samples, in Hz.

        Raises:
            AudioError: the recording cannot be read.
        """
        (recording,) = self.listener.listen([audio], sample_rate, lambda seconds: None)
        if recording.error:
            raise recording.error
        return recording.log_probs

    def _decode_greedy(
        self, recordings: Iterable[Recording]
    ) -> Iterator[tuple[Recording, Sequence[Hypothesis] | AsrError]]:
        for recording in recordings:
            result: Sequence[Hypothesis] | AsrError
            try:
                result = recording.error or greedy(
                    recording.log_probs[None],
                    torch.tensor([len(recording.log_probs)]),
                    self.recognizer.tokenizer,
                    self.recognizer.frame_seconds,
                    durations=[recording.duration],
                    label_log_probs=self.recognizer.label_log_probs,
                    nearest=self._nearest_words,
                )
            except AsrError as error:
                result = error
            yield recording, result

    @cached_property
    def _nearest_words(self) -> "NearestWords | None":
        tokenizer = self.recognizer.tokenizer
        if not isinstance(tokenizer, PhoneTokenizer) or not tokenizer.marks_words:
            return None
        # Here, because the compiled search takes a while to import.
        from asr.decode.nearest_words import NearestWords

        return NearestWords(tokenizer)

    def _decode_beam(
        self, recordings: Iterable[Recording]
    ) -> Iterator[tuple[Recording, Sequence[Hypothesis] | AsrError]]:
        """Decode in one thread (which has helpers) while others listen to the next recordings."""
        waiting: list[Recording] = []
        with ThreadPoolExecutor(1, "decode") as executor:
            group: list[Recording] = []
            running: Future[list[Sequence[Hypothesis] | AsrError]] | None = None
            for recording in recordings:
                if recording.error:
                    yield recording, recording.error
                    continue
                waiting.append(recording)
                if running is None or running.done() or len(waiting) >= _N_DECODED_TOGETHER:
                    if running is not None:
                        yield from zip(group, running.result(), strict=True)
                    group, waiting = waiting, []
                    running = executor.submit(self._decode_group, group)
            if running is not None:
                yield from zip(group, running.result(), strict=True)
            yield from zip(waiting, self._decode_group(waiting), strict=True)

    def _decode_group(
        self, recordings: Sequence[Recording]
    ) -> list[Sequence[Hypothesis] | AsrError]:
        assert self.decoder is not None
        log_probs = [recording.log_probs for recording in recordings]
        durations = [recording.duration for recording in recordings]
        try:
            return list(self.decoder.decode(log_probs, durations))
        except AsrError as error:
            if len(recordings) == 1:
                return [error]
        # One of them is at fault; the others are still to be had.
        return [result for each in recordings for result in self._decode_group([each])]


def _transcript(hypotheses: Sequence[Hypothesis], duration: float, case: Case) -> Transcript:
    cased = tuple(
        replace(
            hypothesis,
            text=_cased(hypothesis.text, case),
            words=tuple(replace(word, text=_cased(word.text, case)) for word in hypothesis.words),
        )
        for hypothesis in hypotheses
    )
    best = cased[0]
    return Transcript(best.text, best.words, duration, cased if len(cased) > 1 else ())


def _cased(text: str, case: Case) -> str:
    if case == "model":
        return text
    return text.lower() if case == "lower" else text.upper()

"""Long recordings in chunks against utterances and against whole recordings, on real speech.

The utterances of each speaker of a set are joined to one file, and all of them to one more.

1. WER of the utterances, of the speakers' files, and of the one long file; whether times are in
   order and within the file; peak memory of `asr transcribe` on it.
2. With several contexts, how far the speakers' files in chunks are from the same files in one
   piece: log-probabilities, frames with another best symbol, words that differ, and how many of
   them near a seam.

    python tools/bench_long.py [--model MODEL] [--contexts 0,1,2,3,4,6] [--chunk-seconds 30]
"""

import argparse
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import torch

from asr.audio import SAMPLE_RATE
from asr.audio import load as load_audio
from asr.decode.greedy import greedy
from asr.decode.hypothesis import Word
from asr.manifest import Utterance
from asr.metrics import score
from asr.models.recognizer import Recognizer
from asr.prepare import from_librispeech
from asr.text import normalize
from asr.transcribe import Transcriber, Transcript, load

SET = "LibriSpeech/dev-clean-20spk"
NEAR_SECONDS = 1.0


@dataclass(frozen=True)
class Recording:
    """Utterances joined to one file."""

    path: Path
    text: str
    seconds: float


def join(utterances: Sequence[Utterance], path: Path) -> Recording:
    """Write the audio of utterances to one WAV file, sample after sample."""
    n_samples = 0
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for utterance in utterances:
            waveform = load_audio(utterance.audio_filepath)
            n_samples += len(waveform)
            file.write(waveform)
    text = " ".join(normalize(utterance.text) for utterance in utterances)
    return Recording(path, text, n_samples / SAMPLE_RATE)


def wer(name: str, references: Sequence[str], transcripts: Sequence[Transcript]) -> float:
    """Print and return the WER."""
    result = score(references, [each.text for each in transcripts], n_bootstrap=0)
    print(
        f"{name}: WER {result.wer:.2%} ({result.substitutions} substituted, {result.insertions} "
        f"inserted, {result.deletions} deleted of {result.n_words}), CER {result.cer:.2%}, "
        f"{sum(len(each.words) for each in transcripts)} words"
    )
    return result.wer


def times_are_right(transcript: Transcript, seconds: float) -> bool:
    """Whether words have times in order and within the recording."""
    times = [time for word in transcript.words for time in (word.start, word.end)]
    in_order = all(left <= right for left, right in itertools.pairwise(times))
    return in_order and times[0] >= 0 and times[-1] <= seconds + 1e-6


def peak_memory(arguments: Sequence[str]) -> tuple[float, float]:
    """Run a command; returns its peak memory in MB and its seconds."""
    start = time.perf_counter()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return peak / (1024 if sys.platform == "linux" else 1024**2), time.perf_counter() - start


def words_of(recognizer: Recognizer, log_probs: torch.Tensor) -> tuple[Word, ...]:
    """Decode (T', V)."""
    lengths = torch.tensor([len(log_probs)])
    tokenizer, frame_seconds = recognizer.tokenizer, recognizer.frame_seconds
    return greedy(log_probs[None], lengths, tokenizer, frame_seconds)[0].words


def seams(transcriber: Transcriber, path: Path) -> list[float]:
    """Where the parts of a recording meet, in seconds."""
    chunks = transcriber.listener.chunker.split([load_audio(path)])
    with torch.inference_mode():
        ends = itertools.accumulate(chunk.last - chunk.first for chunk in chunks)
        return [end * transcriber.recognizer.frame_seconds for end in ends][:-1]


def differing(whole: Sequence[Word], chunked: Sequence[Word]) -> tuple[list[float], int, int]:
    """Return when words differ, and how many were lost and how many came up."""
    output = jiwer.process_words(
        " ".join(word.text for word in whole), " ".join(word.text for word in chunked)
    )
    times: list[float] = []
    for part in output.alignments[0]:
        if part.type == "delete" or part.type == "substitute":
            times += [whole[n].start for n in range(part.ref_start_idx, part.ref_end_idx)]
        elif part.type == "insert":
            times += [chunked[n].start for n in range(part.hyp_start_idx, part.hyp_end_idx)]
    return times, output.deletions, output.insertions


def compare(
    recognizer: Recognizer, recordings: Sequence[Recording], chunk: float, contexts: list[float]
) -> None:
    """Print how far chunks are from one piece."""
    in_one_piece = Transcriber(recognizer, chunk_seconds=max(each.seconds for each in recordings))
    wholes = [in_one_piece.log_probs(each.path) for each in recordings]
    n_frames = sum(map(len, wholes))
    texts = [each.text for each in recordings]
    words = [words_of(recognizer, whole) for whole in wholes]
    hypotheses = [" ".join(word.text for word in each) for each in words]
    print(
        f"in one piece: WER {score(texts, hypotheses, n_bootstrap=0).wer:.2%}, "
        f"{n_frames} frames, {sum(map(len, words))} words"
    )
    for context in contexts:
        transcriber = Transcriber(recognizer, chunk_seconds=chunk, context_seconds=context)
        largest, n_other, times, n_lost, n_new, n_near, n_seams = 0.0, 0, 0, 0, 0, 0, 0
        near_frames = 0.0
        hypotheses = []
        for recording, whole, whole_words in zip(recordings, wholes, words, strict=True):
            log_probs = transcriber.log_probs(recording.path)
            apart = (log_probs - whole).abs().amax(dim=1)
            largest = max(largest, float(apart.max()))
            n_other += int((log_probs.argmax(1) != whole.argmax(1)).sum())
            chunked_words = words_of(recognizer, log_probs)
            hypotheses.append(" ".join(word.text for word in chunked_words))
            different, lost, new = differing(whole_words, chunked_words)
            places = np.array(seams(transcriber, recording.path))
            n_seams += len(places)
            for place in places:
                frame = round(place / recognizer.frame_seconds)
                near_frames = max(near_frames, float(apart[frame - 2 : frame + 2].mean()))
            times += len(different)
            n_lost, n_new = n_lost + lost, n_new + new
            n_near += sum(bool((abs(places - t) < NEAR_SECONDS).any()) for t in different)
        print(
            f"context {context:g} s: WER {score(texts, hypotheses, n_bootstrap=0).wer:.2%}; "
            f"largest difference of a log-probability {largest:.2g}, mean at the worst seam "
            f"{near_frames:.2g}; {n_other} frames ({n_other / n_frames:.3%}) with another best "
            f"symbol; {times} words differ ({n_lost} lost, {n_new} new), {n_near} of them within "
            f"{NEAR_SECONDS:g} s of one of {n_seams} seams"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="default")
    parser.add_argument("--folder", help=f"LibriSpeech layout (default: {SET} below ASR_DATA)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk-seconds", type=float, default=30.0)
    parser.add_argument("--contexts", default="0,1,2,3,4,6", help="seconds, with commas")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transcriber = load(arguments.model, "cpu")
    folder = Path(arguments.folder or Path(os.environ["ASR_DATA"]) / SET)
    utterances = from_librispeech(folder)
    speakers = sorted({str(utterance.speaker) for utterance in utterances})
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        recordings = [
            join([u for u in utterances if u.speaker == speaker], temporary / f"{speaker}.wav")
            for speaker in speakers
        ]
        long = join(utterances, temporary / "all.wav")

        audio = [utterance.audio_filepath for utterance in utterances]
        apart = transcriber.transcribe(audio, case="upper")
        references = [normalize(utterance.text) for utterance in utterances]
        first = wer(f"{len(utterances)} utterances", references, apart)
        joined = transcriber.transcribe([each.path for each in recordings], case="upper")
        texts = [each.text for each in recordings]
        second = wer(f"{len(recordings)} files of a speaker each", texts, joined)
        start = time.perf_counter()
        whole = transcriber.transcribe(long.path, case="upper")
        rate = long.seconds / (time.perf_counter() - start)
        third = wer(f"one file of {long.seconds / 60:.1f} min", [long.text], [whole])
        print(f"difference to the utterances: {second - first:+.2%}, {third - first:+.2%} points")
        right = times_are_right(whole, long.seconds) and all(
            times_are_right(transcript, recording.seconds)
            for transcript, recording in zip(joined, recordings, strict=True)
        )
        print(f"times in order and within the files: {'yes' if right else 'NO'}")
        command = [sys.executable, "-m", "asr", "transcribe", str(long.path), "--format", "srt"]
        options = ["--model", arguments.model, "--threads", str(arguments.threads)]
        megabytes, seconds = peak_memory([*command, *options])
        print(
            f"asr transcribe of {long.seconds / 60:.1f} min: peak memory {megabytes:.0f} MB, "
            f"{seconds:.1f} s with start-up; in Python {rate:.0f} x real time; "
            f"load average {os.getloadavg()[0]:.1f}"
        )
        contexts = [float(value) for value in arguments.contexts.split(",")]
        compare(transcriber.recognizer, recordings, arguments.chunk_seconds, contexts)


if __name__ == "__main__":
    main()

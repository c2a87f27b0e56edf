"""The beam search on real emissions of a shipped model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import asr
from asr import audio
from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.reference import prefix_beam_search
from asr.prepare import from_librispeech
from asr.text import Tokenizer
from lm.table import NgramTable
from tests.beam_search import Frames, check, run, sequences, unlimited, word_scorer
from tests.lm_models import small_model

_N_UTTERANCES = 25


@pytest.fixture(scope="module")
def utterances(asr_data: Path) -> tuple[Tokenizer, NgramTable, list[Frames]]:
    """Tokenizer, a model of all transcripts, emissions of the first seconds of some."""
    transcriber = asr.load("characters")
    everything = from_librispeech(asr_data / "LibriSpeech" / "dev-100spk")
    table = NgramTable.from_model(small_model([u.text.split() for u in everything], 3))
    chosen = everything[:: len(everything) // _N_UTTERANCES][:_N_UTTERANCES]
    emissions = [
        transcriber.log_probs(audio.load(u.audio_filepath, duration=6.0)).numpy() for u in chosen
    ]
    return transcriber.recognizer.tokenizer, table, emissions


@pytest.mark.parametrize("unknown_score", [None, -6.0])
def test_equal_to_the_readable_search(
    utterances: tuple[Tokenizer, NgramTable, list[Frames]], unknown_score: float | None
) -> None:
    tokenizer, table, emissions = utterances
    options = unlimited(16, alpha=0.6, beta=1.5, unknown_score=unknown_score)
    words = table.vocabulary[3:]
    scorer = word_scorer(table, tokenizer, words, options)
    search = BeamSearch(tokenizer, options, table=table)
    for frames in (emissions[0][:75], emissions[1][-75:]):
        expected = prefix_beam_search(frames.tolist(), [scorer], 16)
        check(run(search, frames), expected, options)


def test_what_the_defaults_leave_out_changes_next_to_nothing(
    utterances: tuple[Tokenizer, NgramTable, list[Frames]],
) -> None:
    tokenizer, table, emissions = utterances
    width = BeamOptions().width
    quick = BeamSearch(tokenizer, table=table)
    thorough = quick.with_options(replace(unlimited(width), merge=True))
    pairs = [(run(quick, frames), run(thorough, frames)) for frames in emissions]
    same = [sequences(a)[0] == sequences(b)[0] for a, b in pairs]
    deficits = [b.scores[0] - a.scores[0] for a, b in pairs]
    assert np.mean(same) >= 0.95
    assert np.mean(deficits) < 0.01
    # Merging leaves out what is no better: as wide a beam finds more.
    unmerged = quick.with_options(unlimited(width))
    gains = [
        a.scores[0] - run(unmerged, frames).scores[0]
        for (a, _), frames in zip(pairs, emissions, strict=True)
    ]
    assert np.mean(gains) > 0

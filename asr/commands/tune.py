"""`asr tune`: the weights of the beam search, found on a dev set."""

import argparse
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.commands.model_options import (
    add_decoding_options,
    add_model_options,
    load_recognizer,
    read_decoding,
)
from asr.commands.progress_bar import ProgressBar
from asr.errors import AsrError, ConfigError

if TYPE_CHECKING:
    from asr.manifest import Utterance
    from asr.transcribe import Transcriber
    from asr.tune import Emissions, Tuning

__all__ = ["HELP", "configure", "run"]

HELP = "find the weights of the beam search on a dev set"

_EPILOG = """\
The acoustic model runs once; then the beam search is repeated with the weights that its own n-best
lists say are best.  How much of the prior is taken off is tried first (--prior-scale
sets it).  --beam N searches with that beam, and tries narrower ones only: with a neural model wide
ones take most of the time.  Weights and beam are written to decoding.toml in the model's folder,
from where `asr transcribe` and `asr evaluate` take them, and tuning.png beside it shows the WER
over alpha and beta.  Word confidences are calibrated on the way.  Tune on a dev set, never on what
is reported.

  asr tune dev.jsonl --model exp --lm words.ngram
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = _EPILOG
    parser.add_argument("manifests", metavar="MANIFEST", nargs="+", help="the dev set")
    parser.add_argument(
        "--output", metavar="FOLDER", help="write there instead of the model's folder"
    )
    parser.add_argument(
        "--name", help="write decoding-NAME.toml, which --decoding NAME asks for (default: none)"
    )
    parser.add_argument(
        "--copy", action="store_true", help="copy the language model into that folder too"
    )
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="searches (default: 3)")
    add_model_options(parser)
    add_decoding_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Tune."""
    decoding = read_decoding(arguments)
    if decoding is None or not (decoding.lm or decoding.neural or decoding.lexicon):
        raise ConfigError("there is no language model to weigh; name one with --lm or --neural")
    if arguments.rounds < 1:
        raise ConfigError(f"--rounds {arguments.rounds}: 1 or more is needed")
    from asr.config import DECODING_FILES
    from asr.decode.decoder import build_decoder
    from asr.decode.prior import token_prior
    from asr.manifest import read_manifest
    from asr.model_folders import decoding_file, find_model
    from asr.toml_config import dump_toml
    from asr.tune import PRIOR_SCALES, Grid, calibrate, draw_surface, tune

    utterances = [each for path in arguments.manifests for each in read_manifest(path)]
    transcriber = load_recognizer(arguments, n_views=decoding.views)
    recognizer = transcriber.recognizer
    unscaled = decoding.model_copy(update={"prior_scale": 0.0})
    decoder = build_decoder(unscaled, recognizer.tokenizer, recognizer.frame_seconds)
    folder = Path(arguments.output) if arguments.output else find_model(arguments.model)
    emissions, n_failed = _listen(transcriber, utterances)
    prior = token_prior(emissions.log_probs)
    options = replace(decoder.search.options, prior=prior, prior_scale=decoding.prior_scale)
    decoder = decoder.with_options(options)
    grid = Grid(
        gamma=tuple(n / 10 for n in range(11)) if decoding.neural else (0.0,),
        prior_scale=PRIOR_SCALES if arguments.prior_scale is None else (arguments.prior_scale,),
    )
    if decoding.neural and not decoding.lm:
        grid = replace(grid, alpha=(decoding.alpha,))
    tuning = tune(
        decoder,
        emissions,
        grid,
        n_rounds=arguments.rounds,
        widest=arguments.beam,
        on_progress=lambda text: print(text, file=sys.stderr),
    )
    confidences = calibrate(decoder, emissions, tuning.options)
    weights = confidences.options
    files = {}
    for name in DECODING_FILES:
        if path := getattr(decoding, name):
            files[name] = _placed(Path(path), folder, copy=arguments.copy)
    saved = decoding.model_copy(
        update={
            "alpha": weights.alpha,
            "beta": weights.beta,
            "gamma": weights.gamma,
            "beam": weights.width,
            "views": transcriber.listener.views.n_views,
            "prior_scale": weights.prior_scale,
            "prior": list(prior) if weights.prior_scale else [],
            "posterior_scale": weights.posterior_scale,
            "confidence_slope": weights.calibration.slope,
            "confidence_offset": weights.calibration.offset,
            **files,
        }
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / decoding_file(arguments.name)
        file.write_text(dump_toml(saved), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); see --output") from None
    draw_surface(tuning, folder / f"{file.stem.replace('decoding', 'tuning')}.png")
    print(_report(tuning, file))
    print(
        f"  confidences: normalised cross entropy {confidences.before:.3f}, calibrated "
        f"{confidences.after:.3f}"
    )
    return AsrError.exit_code if n_failed else 0


def _listen(transcriber: "Transcriber", utterances: "list[Utterance]") -> "tuple[Emissions, int]":
    """Run the acoustic model; utterances that cannot be read are named and left out."""
    from asr.audio import SAMPLE_RATE
    from asr.evaluate import scored_references
    from asr.tune import Emissions

    references = scored_references(utterances, transcriber.recognizer.tokenizer)
    heard = {}
    n_failed = 0
    seconds = sum(utterance.duration for utterance in utterances)
    with ProgressBar(len(utterances), lambda: seconds) as bar:
        for recording in transcriber.listener.listen(utterances, SAMPLE_RATE, bar.advance):
            if recording.error:
                bar.write_error(recording.error)
                n_failed += 1
            else:
                heard[recording.index] = recording.log_probs, recording.duration
            bar.count()
    kept = sorted(heard)
    return Emissions(
        tuple(heard[index][0] for index in kept),
        tuple(heard[index][1] for index in kept),
        tuple(references[index] for index in kept),
    ), n_failed


def _placed(path: Path, folder: Path, *, copy: bool) -> str:
    """Return a file's path as decoding.toml names it: relative where it lies in the folder."""
    if copy and path.parent.resolve() != folder.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / path.name
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, target)
        path = target
    if path.resolve().is_relative_to(folder.resolve()):
        return os.path.relpath(path.resolve(), folder.resolve())
    return str(path.resolve())


def _report(tuning: "Tuning", path: Path) -> str:
    options = tuning.options
    return (
        f"{path}: alpha {options.alpha:g}, beta {options.beta:g}, gamma {options.gamma:g}, beam "
        f"{options.width}, prior scale {options.prior_scale:g}: WER {tuning.wer:.2%}\n"
        + "\n".join(
            f"  beam {width:4}: WER {wer:.2%} in {seconds:.1f} s"
            for width, wer, seconds in tuning.widths
        )
    )

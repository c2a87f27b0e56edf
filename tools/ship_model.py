"""Make a model of the package from an experiment: rounded weights, figures, model card.

    python tools/ship_model.py exp/small characters --training "2 CPU cores, 2 h" \
        --corpus "LibriSpeech train-clean-5|CC BY 4.0|https://www.openslr.org/31" \
        --decoder exp/small/decoder \
        --figures "dev-clean-20spk | greedy=exp/small/dev-clean-20spk.json" ...

The decoder is a folder that `asr tune --output` made, perhaps with a decoding of another name
(`--name`); language models of the same names lie in asr/models already (tools/ship_lm.py).  The
figures are files that `asr evaluate --json` wrote.  The card is written from them, so no number
in it is typed by hand.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from asr.checkpoint import atomic_folder, read_json
from asr.config import DECODING_FILES, DecodingConfig
from asr.errors import AsrError, ConfigError
from asr.learning_curve import draw_learning_curve
from asr.manifest import read_manifest
from asr.model_folders import DECODING_FILE, PACKAGED_MODELS, find_decodings, find_model
from asr.models.recognizer import Recognizer
from asr.readme_table import write_table
from asr.text import PhoneTokenizer, Tokenizer, load_tokenizer
from asr.toml_config import dump_toml, load_toml

CARD = """# The English model of the package

Reads English speech, {reads}, with a {n_layers}-layer bidirectional LSTM of
{hidden_size} units per direction trained with {loss}: {parameters:.1f} million parameters,
x{subsampling} subsampling, {n_mels} log-mel bands every {hop_ms:g} ms, {n_tokens} symbols
({symbols}).
Weights {precision}, {megabytes:.1f} MB.{decoder}

## Data
{hours:.2f} hours of speech, {utterances:,} utterances, {speakers} speakers:

| corpus | licence | source |
|---|---|---|
{corpora}

## Training
{training}; {epochs:.1f} epochs ({steps:,} updates), seed {seed}; `config.toml` beside this card is
the whole configuration.

![learning curve](learning_curve.png)

## Figures
Word and character error rate in percent, with the 95 % interval of a bootstrap over speakers:

{figures}

## Limits
It has heard few hours of a few speakers reading books aloud in quiet rooms, so it mishears other
accents, spontaneous speech, noise and distant microphones, and misspells rare words and names. It
writes no punctuation and no digits. Do not rely on it where an error can hurt somebody.
"""


PRECISIONS = {"half": "in half precision", "int8": "in 8 bits with a scale for each row"}

HEAD = "| test | decoding | words | WER | interval | CER |\n|---|---|---|---|---|---|\n"

DECODER = """

By default a beam search of width {beam} decodes (views of each recording: {views}), with a word
n-gram model (`{lm}`, {lm_megabytes:.1f} MB; weight alpha {alpha:g}, {beta:g} a word,
{prior_scale:g} of the prior of symbols taken off) counted from public-domain books of
Project Gutenberg; the weights were tuned on the two dev sets below. `--greedy` goes without."""


OTHER_DECODER = """ `--decoding {name}` adds a
neural model of words trained on the same books (`{neural}`, {megabytes:.1f} MB; width {beam}, alpha
{alpha:g}, gamma {gamma:g}, {beta:g} a word), tuned on them, too."""


def figure_row(name: str, score: dict[str, Any]) -> str:
    low, high = score["interval"]
    return (
        f"| {name} | {score['n_words']:,} | {100 * score['wer']:.1f} | "
        f"{100 * low:.1f} to {100 * high:.1f} | {100 * score['cer']:.1f} |"
    )


def table(figures: dict[str, dict[str, Any]]) -> str:
    return HEAD + "\n".join(figure_row(*item) for item in figures.items())


def describe_units(tokenizer: Tokenizer) -> dict[str, str]:
    """What the card says of them."""
    if not isinstance(tokenizer, PhoneTokenizer):
        return {"reads": "letter by letter", "symbols": "blank, space, apostrophe, A to Z"}
    reads = f"phone by phone and by a dictionary of {len(tokenizer.lexicon.words):,} words"
    if tokenizer.pronouncer:
        reads += " (`pronouncer/` knows how others are said, where texts are aligned or trained on)"
    return {
        "reads": reads,
        "symbols": "blank, phones, the end of a word",
    }


def named(decoding: DecodingConfig) -> dict[str, Any]:
    """Its values, with the names of files in place of paths."""
    files = {name: Path(getattr(decoding, name)).name for name in DECODING_FILES}
    return decoding.model_dump() | files


def ship_decoding(path: Path, folder: Path) -> DecodingConfig:
    """Write a decoding whose models lie beside the folder of the model."""
    decoding = load_toml(DecodingConfig, path)
    files = {
        name: Path(value).name for name in DECODING_FILES if (value := getattr(decoding, name))
    }
    for file in files.values():
        if not (PACKAGED_MODELS / file).exists():
            raise ConfigError(f"{path}: {file} is not in {PACKAGED_MODELS}; put it there first")
    shipped = decoding.model_copy(update={name: f"../{file}" for name, file in files.items()})
    (folder / path.name).write_text(dump_toml(shipped), encoding="utf-8")
    picture = path.with_name(f"{path.stem.replace('decoding', 'tuning')}.png")
    if picture.exists():
        shutil.copy(picture, folder)
    return shipped


def ship(arguments: argparse.Namespace) -> None:
    folder = find_model(arguments.experiment)
    recognizer = Recognizer.load(folder)
    figures = {}
    for item in arguments.figures:
        name, _, path = item.partition("=")
        score = read_json(Path(path))
        figures[name] = {k: v for k, v in score.items() if k not in ("manifests", "worst")}
    utterances = [u for path in recognizer.config.data.train for u in read_manifest(path)]
    corpora = [item.split("|") for item in arguments.corpus]
    if any(len(corpus) != 3 for corpus in corpora):
        raise ConfigError("--corpus needs 'name|licence|address'")
    metrics = read_json(folder / "metrics.json")
    model = recognizer.config.model
    kept = {k: v for k, v in metrics.items() if k in ("step", "epoch", "wer", "cer", "dev_loss")}
    config = recognizer.config.model_copy(
        update={
            # Paths of one machine mean nothing on another.
            "data": recognizer.config.data.model_copy(update={"train": [], "dev": []}),
            "tokenizer": type(recognizer.config.tokenizer)(),
            "augment": recognizer.config.augment.model_copy(update={"noise_folder": ""}),
            "model": model.model_copy(update={"intermediate_layers": []}),
        }
    )
    tokenizer = recognizer.tokenizer
    if arguments.tokenizer:
        tokenizer = load_tokenizer(arguments.tokenizer)
        if tokenizer.symbols != recognizer.tokenizer.symbols:
            raise ConfigError(f"{arguments.tokenizer}: other symbols than those of the experiment")
    shipped = Recognizer(config, tokenizer)
    shipped.label_log_probs = recognizer.label_log_probs
    shipped.load_state_dict(recognizer.state_dict(), strict=False)
    parameters = sum(p.numel() for p in shipped.network.parameters())
    output = PACKAGED_MODELS / arguments.name
    with atomic_folder(output) as writing:
        shipped.save(writing, {**kept, "figures": figures}, precision=arguments.precision)
        decoder = ""
        if arguments.decoder:
            decoding = ship_decoding(arguments.decoder / DECODING_FILE, writing)
            decoder = DECODER.format(
                lm_megabytes=(PACKAGED_MODELS / Path(decoding.lm).name).stat().st_size / 1e6,
                **named(decoding),
            )
            for name, path in find_decodings(arguments.decoder).items():
                other = ship_decoding(path, writing)
                neural = (PACKAGED_MODELS / Path(other.neural).name).iterdir()
                size = sum(file.stat().st_size for file in neural) / 1e6
                decoder += OTHER_DECODER.format(name=name, megabytes=size, **named(other))
        draw_learning_curve(
            Path(arguments.experiment) / "metrics.jsonl", writing / "learning_curve.png"
        )
        card = CARD.format(
            n_layers=model.n_layers,
            hidden_size=model.hidden_size,
            loss="CTC and CTC-CRF" if model.crf_weight else "CTC",
            parameters=parameters / 1e6,
            subsampling=model.subsampling,
            n_mels=config.features.n_mels,
            hop_ms=config.features.hop_ms,
            n_tokens=tokenizer.n_tokens,
            **describe_units(tokenizer),
            precision=PRECISIONS[arguments.precision],
            megabytes=(writing / "model.safetensors").stat().st_size / 1e6,
            hours=sum(u.duration for u in utterances) / 3600,
            utterances=len(utterances),
            speakers=len({u.speaker for u in utterances}),
            corpora="\n".join(f"| {' | '.join(corpus)} |" for corpus in corpora),
            training=arguments.training,
            epochs=metrics["epoch"],
            steps=metrics["step"],
            seed=config.seed,
            decoder=decoder,
            figures=table(figures),
        )
        (writing / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    if arguments.readme:
        write_table(arguments.readme, table(figures))
    print(json.dumps({"folder": str(output), "parameters": parameters}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", help="experiment folder of asr train")
    parser.add_argument("name", help="of the model in the package")
    parser.add_argument("--tokenizer", type=Path, help="folder of one with a larger lexicon")
    parser.add_argument("--training", required=True, help="device and time, for the card")
    parser.add_argument("--corpus", action="append", required=True, help="name|licence|address")
    parser.add_argument(
        "--precision", choices=tuple(PRECISIONS), default="half", help="of the weights (half)"
    )
    parser.add_argument("--readme", type=Path, help="write the figures there, too")
    parser.add_argument("--decoder", type=Path, help="folder that asr tune wrote")
    parser.add_argument("--figures", action="append", default=[], help="TEST | DECODING=FILE.json")
    try:
        ship(parser.parse_args())
    except AsrError as error:
        print(f"ship_model: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

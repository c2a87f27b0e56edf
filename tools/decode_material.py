"""What all decoders of tools/bench_decode.py get: emissions, lexicon and language model."""

import json
import lzma
import random
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import torch
from decode_report import Utterances

import asr
from asr.errors import AsrError
from asr.manifest import Utterance
from asr.prepare import from_librispeech
from asr.text import CharTokenizer, normalize
from lm.language_model import load_language_model
from lm.table import NgramTable

__all__ = ["Material"]

N_SHORT = 5

# Of the audio that (c) was made from: the text it is recognised as, and a usual frame shift.
PEAKY_TEXT = (
    "I HAVE A GOOD DEAL OF WILL YOU REMEMBER AND WHAT I HAVE SET MY MIND UPON NO DOUBT I SHALL "
    "SOME DAY ACHIEVE"
)
PEAKY_FRAME_SECONDS = 0.02


class Material:
    """What all decoders get, made once and kept in a folder."""

    def __init__(self, folder: Path, data: Path, alpha: float, beta: float) -> None:
        self._folder, self._data = folder, data
        folder.mkdir(parents=True, exist_ok=True)
        self.alpha, self.beta = alpha, beta
        self.tokenizer = CharTokenizer()
        self.sets = self._emissions()
        self.table = self._language_model()
        self.setup = folder / "setup.json"
        fields = {
            "words": str(folder / "words.txt"),
            "kenlm": str(self._kenlm()),
            "table": str(folder / "lm.ngram"),
            "lexicon": str(folder / "lexicon.trie"),
            "alpha": alpha,
            "beta": beta,
            "symbols": self.tokenizer.symbols,
            "frame_seconds": self._frame_seconds,
            "emissions": {name: str(folder / f"{name}.npz") for name in self.sets},
        }
        self.setup.write_text(json.dumps(fields), encoding="utf-8")

    def _language_model(self) -> NgramTable:
        arpa, path = self._folder / "lm.arpa", self._folder / "lm.ngram"
        if not arpa.exists():
            packed = self._data / "text/lm/3gram-gutenberg-189m.arpa.xz"
            with lzma.open(packed) as source, arpa.with_suffix(".part").open("wb") as target:
                shutil.copyfileobj(source, target)
            arpa.with_suffix(".part").rename(arpa)
        if not path.exists():
            table = load_language_model(arpa)
            assert isinstance(table, NgramTable)
            table.save(path)
        table = NgramTable.load(path)
        words = self._folder / "words.txt"
        words.write_text("\n".join(table.vocabulary[3:]), encoding="utf-8")
        return table

    def _kenlm(self) -> Path:
        arpa, binary = self._folder / "lm.arpa", self._folder / "lm.binary"
        program = shutil.which("build_binary") or Path.home() / ".local/bin/build_binary"
        if not binary.exists() and Path(program).exists():
            subprocess.run([program, arpa, binary], check=True, capture_output=True)
        return binary if binary.exists() else arpa

    def _emissions(self) -> dict[str, Utterances]:
        recognizer = (transcriber := asr.load("characters", "cpu")).recognizer
        if recognizer.tokenizer.symbols != self.tokenizer.symbols:
            raise AsrError(
                "the model 'characters' spells with others than CharTokenizer's; this bench needs "
                "those"
            )
        made_of = 0
        for tensor in recognizer.state_dict().values():
            made_of = zlib.crc32(tensor.numpy().tobytes(), made_of)
        path = self._folder / "emissions.json"
        fields = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if fields.get("made_of") != made_of:
            utterances = self._utterances()
            log_probs = [transcriber.log_probs(each) for each in utterances]
            self._save("a", log_probs)
            for temperature in (2, 3):
                flat = [torch.log_softmax(each / temperature, 1) for each in log_probs]
                self._save(f"b{temperature}", flat)
            self._save("c", [self._peaky()])
            fields = {
                "made_of": made_of,
                "texts": [normalize(each.text) for each in utterances],
                "durations": [each.duration for each in utterances],
                "speakers": [each.speaker for each in utterances],
                "frame_seconds": recognizer.frame_seconds,
            }
            path.write_text(json.dumps(fields), encoding="utf-8")
        self._frame_seconds = fields["frame_seconds"]
        spoken = fields["texts"], fields["durations"], fields["speakers"]
        sets = {name: Utterances(self._load(name), *spoken) for name in ("a", "b2", "b3")}
        peaky = self._load("c")
        seconds = len(peaky[0]) * PEAKY_FRAME_SECONDS
        return {**sets, "c": Utterances(peaky, [PEAKY_TEXT], [seconds], [None])}

    def _utterances(self) -> list[Utterance]:
        """All in any order, but short ones first, for decoders that get no further."""
        by_length = from_librispeech(self._data / "LibriSpeech/dev-100spk")
        by_length.sort(key=lambda utterance: utterance.duration)
        rest = by_length[N_SHORT:]
        random.Random(0).shuffle(rest)
        return by_length[:N_SHORT] + rest

    def _peaky(self) -> torch.Tensor:
        text = (self._data / "vectors/ctc_logits_371x29.json").read_text(encoding="utf-8")
        # Its symbols: space, a to z, apostrophe, blank.
        order = [28, 0, 27, *range(1, 27)]
        return torch.log_softmax(torch.tensor(json.loads(text), dtype=torch.float32)[:, order], 1)

    def _save(self, name: str, log_probs: list[torch.Tensor]) -> None:
        arrays = {f"{index:04d}": each.numpy() for index, each in enumerate(log_probs)}
        np.savez(self._folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]

    def _load(self, name: str) -> list[torch.Tensor]:
        with np.load(self._folder / f"{name}.npz") as arrays:
            return [torch.from_numpy(arrays[key]) for key in sorted(arrays.files)]

"""Our decoder and its peers behind one protocol, each in a process and environment of its own.

    PYTHON tools/decode_peers.py ours|flashlight|pyctcdecode SETUP.json

tools/bench_decode.py starts it, writes a request as JSON to each line of its input and reads an
answer from each line of its output.  Only the decoder's own packages and numpy are imported.
"""

import json
import math
import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_Emissions = npt.NDArray[np.float32]
_LN10 = math.log(10)
# Less than any log-probability, and still no trouble in sums.
_NEVER = -1e4


class Decoder(Protocol):
    """What finds the best text of an utterance."""

    def prepare(self, request: dict[str, Any], emissions: _Emissions) -> Any:
        """What `decode` gets; not timed."""

    def decode(self, prepared: Any) -> str:
        """The best text; timed."""


class Ours:
    """asr.decode, with word times and confidences."""

    def __init__(self, setup: dict[str, Any]) -> None:
        import torch

        from asr.decode.beam import BeamSearch
        from asr.text import CharTokenizer
        from lm.table import NgramTable

        torch.set_num_threads(1)
        self._tensor, self._no_gradients = torch.from_numpy, torch.inference_mode()
        self._frame_seconds = setup["frame_seconds"]
        self._search = BeamSearch(
            CharTokenizer(setup["symbols"][1:]),
            table=NgramTable.load(setup["table"]),
            lexicon_file=setup["lexicon"],
        )
        self._searches: dict[str, Any] = {}

    def prepare(self, request: dict[str, Any], emissions: _Emissions) -> Any:
        from asr.decode.beam import BeamOptions

        key = json.dumps(request["options"])
        if key not in self._searches:
            options = BeamOptions(**request["options"])
            self._searches[key] = self._search.with_options(options)
        log_probs = self._tensor(emissions)[None]
        lengths = self._tensor(np.array([len(emissions)]))
        return self._searches[key], request["times"], log_probs, lengths

    def decode(self, prepared: Any) -> str:
        search, with_times, log_probs, lengths = prepared
        with self._no_gradients:
            if with_times:
                return str(search.decode(log_probs, lengths, self._frame_seconds)[0][0].text)
            (found,) = search.search(log_probs, lengths)
            if not len(found.scores):
                return ""
            tokens = found.tokens[found.starts[0] : found.starts[1]].tolist()
            return str(search.tokenizer.decode(tokens))


class Flashlight:
    """flashlight-text's LexiconDecoder.

    Its words end in a space, so the last one would be lost where none is spoken: each utterance
    gets one more frame, in which blank and space are certain.
    """

    def __init__(self, setup: dict[str, Any]) -> None:
        flashlight = import_module("flashlight.lib.text.decoder")
        self._flashlight, self._setup = flashlight, setup
        words = Path(setup["words"]).read_text(encoding="utf-8").split("\n")
        dictionary = import_module("flashlight.lib.text.dictionary")
        self._words = dictionary.Dictionary([*words, "<unk>"])
        kenlm = import_module("flashlight.lib.text.decoder.kenlm")
        self._model = kenlm.KenLM(setup["kenlm"], self._words)
        ids = {symbol: index for index, symbol in enumerate(setup["symbols"])}
        self._trie = flashlight.Trie(len(ids), ids[" "])
        start = self._model.start(False)
        for index, word in enumerate(words):
            _, score = self._model.score(start, index)
            self._trie.insert([ids[character] for character in word + " "], index, score)
        self._trie.smear(flashlight.SmearingMode.MAX)
        self._space = ids[" "]

    def prepare(self, request: dict[str, Any], emissions: _Emissions) -> Any:
        end = np.full((1, emissions.shape[1]), _NEVER, np.float32)
        end[0, [0, self._space]] = 0
        # It knows no threshold for tokens but a number of them, and one for the score.
        likely = emissions >= request["token_threshold"]
        likely[:, 0] = True
        likely[np.arange(len(emissions)), emissions.argmax(1)] = True
        frames = np.concatenate([np.where(likely, emissions, np.float32(_NEVER)), end])
        options = self._flashlight.LexiconDecoderOptions(
            beam_size=request["beam"],
            beam_size_token=max(int(likely.sum(1).max()), 2),
            beam_threshold=min(request["score_threshold"], 1e9),
            lm_weight=self._setup["alpha"] * _LN10,
            word_score=self._setup["beta"],
            unk_score=-math.inf,
            sil_score=0.0,
            log_add=request["log_add"],
            criterion_type=self._flashlight.CriterionType.CTC,
        )
        unknown = self._words.get_index("<unk>")
        decoder = self._flashlight.LexiconDecoder(
            options, self._trie, self._model, self._space, 0, unknown, [], False
        )
        return decoder, np.ascontiguousarray(frames)

    def decode(self, prepared: Any) -> str:
        decoder, frames = prepared
        results = decoder.decode(frames.ctypes.data, *frames.shape)
        words = results[0].words if results else ()
        return " ".join(self._words.get_entry(index) for index in words if index >= 0)


class Pyctcdecode:
    """pyctcdecode's BeamSearchDecoderCTC."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self._decoder = import_module("pyctcdecode").build_ctcdecoder(
            ["", *setup["symbols"][1:]],
            setup["kenlm"],
            Path(setup["words"]).read_text(encoding="utf-8").split("\n"),
            alpha=setup["alpha"],
            beta=setup["beta"],
        )

    def prepare(self, request: dict[str, Any], emissions: _Emissions) -> Any:
        self._decoder.reset_params(unk_score_offset=float(request["unknown_offset"]))
        limits = {
            "beam_width": request["beam"],
            "beam_prune_logp": -min(request["score_threshold"], 1e9),
            "token_min_logp": max(request["token_threshold"], -1e9),
        }
        return emissions, limits, request["history"]

    def decode(self, prepared: Any) -> str:
        emissions, limits, may_merge_histories = prepared
        if may_merge_histories:
            return str(self._decoder.decode(emissions, **limits))
        return str(self._decoder.decode_beams(emissions, prune_history=False, **limits)[0][0])


DECODERS: dict[str, Any] = {"ours": Ours, "flashlight": Flashlight, "pyctcdecode": Pyctcdecode}


def peak_memory_mb() -> float:
    """The most memory that this process had; Linux adds the parent's to getrusage's number."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)


def answer(
    decoder: Decoder, request: dict[str, Any], sets: dict[str, list[_Emissions]]
) -> dict[str, Any]:
    """Decode the first utterances of a set, as many as the time allows, at least one."""
    texts: list[str] = []
    seconds: list[float] = []
    deadline = time.monotonic() + request["seconds"]
    for emissions in sets[request["set"]][: request["n_utterances"]]:
        prepared = decoder.prepare(request, emissions)
        start = time.process_time()
        found = [decoder.decode(prepared) for _ in range(request["repeats"])]
        seconds.append((time.process_time() - start) / len(found))
        texts.append(" ".join(found[0].split()))
        if time.monotonic() > deadline:
            break
    return {"texts": texts, "seconds": seconds, **usage()}


def usage() -> dict[str, float]:
    """CPU seconds and memory since the process began."""
    return {"cpu_seconds": time.process_time(), "memory_mb": peak_memory_mb()}


def main() -> None:
    name, setup_path = sys.argv[1:]
    setup = json.loads(Path(setup_path).read_text(encoding="utf-8"))
    decoder: Decoder = DECODERS[name](setup)
    sets: dict[str, list[_Emissions]] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["set"] not in sets:
            with np.load(setup["emissions"][request["set"]]) as arrays:
                sets[request["set"]] = [arrays[key] for key in arrays.files]
        print(json.dumps(answer(decoder, request, sets)), flush=True)


if __name__ == "__main__":
    main()

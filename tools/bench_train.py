"""The rate of `asr train` beside a bare loop of torch modules on resident tensors.

The bare loop has the same layers (two strided convolutions, nn.LSTM layers with layer
normalisation, linear, CTC, one intermediate head), the same batches already padded and
normalised in memory, AdamW and clipping, and nothing else: no reading, caching, masking,
SpecAugment, averaging, logging or checkpoints.  Both take turns in one process.

    python tools/bench_train.py [--config recipes/librispeech/conf/small.toml] [--seconds 240]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from asr.audio import SAMPLE_RATE, save_wav
from asr.config import Config, load_config
from asr.data import Batch, FeatureSource, SpeechBatches
from asr.manifest import Utterance, write_manifest
from asr.models.recognizer import Recognizer
from asr.text import CharTokenizer
from asr.train import train
from asr.training_log import Evaluation


class BareModel(nn.Module):
    """The layers of `CtcModel` as anyone would write them first."""

    def __init__(self, config: Config, n_features: int, n_tokens: int) -> None:
        super().__init__()
        model = config.model
        channels, width = model.subsampling_channels, n_features
        convolutions: list[nn.Module] = []
        for n_in in (1, channels):
            convolutions += [nn.Conv2d(n_in, channels, 3, 2, 1), nn.ReLU()]
            width = -(-width // 2)
        self.convolutions = nn.Sequential(*convolutions)
        self.projection = nn.Linear(channels * width, model.input_size)
        size = 2 * model.hidden_size
        self.layers = nn.ModuleList(
            nn.LSTM(n_in, model.hidden_size, batch_first=True, bidirectional=True)
            for n_in in [model.input_size] + [size] * (model.n_layers - 1)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in self.layers)
        self.dropout = nn.Dropout(model.dropout)
        self.heads = nn.ModuleDict(
            {
                str(n): nn.Linear(size, n_tokens)
                for n in [*model.intermediate_layers, model.n_layers]
            }
        )

    def forward(self, features: Tensor) -> list[Tensor]:
        x = self.convolutions(features.unsqueeze(1))
        x = self.projection(x.transpose(1, 2).flatten(2))
        outputs = []
        for number, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True), start=1):
            x = norm(layer(x)[0])
            if str(number) in self.heads:
                outputs.append(self.heads[str(number)](x).log_softmax(-1))
            x = self.dropout(x)
        return outputs


class Bare:
    """The bare loop."""

    def __init__(self, config: Config, batches: list[Batch]) -> None:
        self.model = BareModel(config, batches[0].features.shape[2], CharTokenizer().n_tokens)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.batches = batches

    def run(self) -> float:
        """Train on every batch once; returns audio seconds per second."""
        start = time.perf_counter()
        for batch in self.batches:
            lengths = (batch.feature_lengths + 3) // 4
            loss = torch.zeros(())
            for log_probs in self.model(batch.features):
                loss = loss + nn.functional.ctc_loss(
                    log_probs.transpose(0, 1), batch.tokens, lengths, batch.token_lengths
                )
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
            self.optimizer.step()
            self.optimizer.zero_grad()
        return sum(batch.seconds for batch in self.batches) / (time.perf_counter() - start)


class Stopwatch:
    """Takes the rate of the updates of one epoch from `fit`."""

    def __init__(self, skip: int) -> None:
        self.skip, self.rate, self.waiting = skip, 0.0, 0.0
        self._times: list[float] = []

    def progress(self, step: int, n_steps: int, values: Mapping[str, float]) -> None:
        if step >= self.skip:
            self._times.append(time.perf_counter())
            self.waiting = values["waiting"]

    def evaluation(self, evaluation: Evaluation) -> None:
        pass

    @property
    def elapsed(self) -> float:
        return self._times[-1] - self._times[0]


def make_corpus(folder: Path, seconds: float) -> list[Utterance]:
    """Write noise of the durations and text of the lengths that read speech has."""
    random = np.random.default_rng(0)
    letters = np.array(list("ETAOINSHRDLU "))
    utterances = []
    while seconds > 0:
        duration = float(random.uniform(4, 16))
        path = folder / f"{len(utterances)}.wav"
        save_wav(path, random.normal(0, 0.1, int(duration * SAMPLE_RATE)).astype(np.float32))
        text = " ".join("".join(random.choice(letters, int(14 * duration))).split())
        utterances.append(Utterance(path, duration, text))
        seconds -= duration
    return utterances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="recipes/librispeech/conf/small.toml")
    parser.add_argument("--seconds", type=float, default=480.0, help="audio per epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        utterances = make_corpus(folder, arguments.seconds)
        write_manifest(folder / "train.jsonl", utterances)
        write_manifest(folder / "dev.jsonl", utterances[:1])
        config = load_config(
            arguments.config,
            [
                f'data.train=["{folder}/train.jsonl"]',
                f'data.dev=["{folder}/dev.jsonl"]',
                "data.shortest_first=false",
                "augment.speeds=[1.0]",
                "training.epochs=2",
                "training.evaluate_every=1000000",
                "training.checkpoint_every=1000000",
                "training.device=cpu",
            ],
        )
        recognizer = Recognizer(config, CharTokenizer())
        source = FeatureSource(utterances, recognizer.extractor, cache="features")
        plan = SpeechBatches(
            source,
            CharTokenizer(),
            batch_seconds=config.data.batch_seconds,
            max_batch_size=config.data.max_batch_size,
        )
        resident = [
            replace(b, features=recognizer.normalizer(b.features, b.feature_lengths))
            for b in plan.epoch(1)
        ]
        seconds = sum(batch.seconds for batch in resident)
        n_batches = len(resident)
        bare = Bare(config, resident)
        bare.run()
        ours_rates, bare_rates, waiting = [], [], []
        for number in range(arguments.rounds):
            # The first epoch fills the cache; the second is timed.
            watch = Stopwatch(skip=n_batches)
            train(config, folder / f"exp{number}", reporter=watch)
            ours_rates.append(seconds / watch.elapsed)
            waiting.append(watch.waiting)
            bare_rates.append(bare.run())
            print(f"round {number + 1}: asr train {ours_rates[-1]:.0f}, bare {bare_rates[-1]:.0f}")
    ratios = [a / b for a, b in zip(ours_rates, bare_rates, strict=True)]
    print(
        f"audio seconds per second on {arguments.threads} threads, median of {arguments.rounds} "
        f"rounds of {n_batches} batches: asr train {statistics.median(ours_rates):.0f}, bare loop "
        f"{statistics.median(bare_rates):.0f}; ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} to {max(ratios):.2f}); waiting for data {max(waiting):.1%}"
    )


if __name__ == "__main__":
    main()

"""Training a recogniser: configuration -> data, model, `fit`, WER on the dev set."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr.augment import WaveformAugmenter
from asr.config import Config, DataConfig
from asr.data import Batch, FeatureSource, SpeechBatches, collate
from asr.decode.greedy import greedy
from asr.errors import ConfigError, TrainingError
from asr.filterbank import KALDI, mel_centres
from asr.fit import FitResult, FitSettings, fit, has_checkpoint
from asr.frequency_warp import FrequencyWarp
from asr.manifest import Utterance, read_manifest
from asr.metrics import score
from asr.models.ctc import CtcOutput, consistency_loss, ctc_loss
from asr.models.ctc_crf import LabelTrigram, log_partition
from asr.models.recognizer import Recognizer
from asr.spec_augment import SpecAugment
from asr.text import CharTokenizer, Tokenizer, frames_needed, load_tokenizer
from asr.toml_config import claim_folder
from asr.training_log import Reporter
from asr.world import World, start_world

__all__ = ["CtcTraining", "MakeTraining", "RecognizerTraining", "train"]

logger = logging.getLogger(__name__)

# What a run that goes on must not change.
_FIXED = (
    "seed",
    *(f"data.{name}" for name in DataConfig.model_fields if name not in ("workers", "prefetch")),
    *("features", "augment", "tokenizer", "model"),
)
N_FOR_STATISTICS = 500
"""Utterances from which the global mean and deviation of the features are estimated."""
MAX_CRF_SYMBOLS = 100
"""CTC-CRF keeps a weight for every two labels, utterance and frame."""


class RecognizerTraining(nn.Module, ABC):
    """What `train` trains: a recogniser with a loss, called as `module(batch)`.

    The call returns the loss summed over the batch's target tokens, in nats, ().

    Args:
        recognizer: what is trained, alone or with more beside it.
    """

    def __init__(self, recognizer: Recognizer) -> None:
        super().__init__()
        self.recognizer = recognizer

    @abstractmethod
    def measure(self, batch: Batch) -> tuple[Tensor, list[str]]:
        """Return the summed loss of a held-out batch, (), and the text found for each utterance."""

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        """Write everything that makes the model usable into a folder."""
        self.recognizer.save(folder, metrics)


MakeTraining = Callable[[Recognizer, SpecAugment | None], RecognizerTraining]
"""Gives a recogniser its loss; the masks are for training features, None for none."""


class CtcTraining(RecognizerTraining):
    """A recogniser with the CTC loss, or in part that of CTC-CRF.

    The loss of an utterance with labels l is

        (1 - w) * loss(output) + w * mean over heads of ctc(head)
        loss(output) = (1 - r) * ctc(output) + r * crf(output)
                     = ctc(output) + r * (log Z(output) - log p(l))

    and with consistency weight c it is the mean of that over two SpecAugment views a and b,
    plus c * consistency(a, b).

    Args:
        recognizer: what is trained.
        spec_augment: masks features; None for none.
        intermediate_weight: w, used when the network has intermediate heads.
        consistency_weight: c; 0 computes one view only.
        crf_weight: r, 0 to 1.
        trigram: p(l), needed where r is not 0.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        spec_augment: SpecAugment | None,
        *,
        intermediate_weight: float = 0.0,
        consistency_weight: float = 0.0,
        crf_weight: float = 0.0,
        trigram: LabelTrigram | None = None,
    ) -> None:
        super().__init__(recognizer)
        self.spec_augment = spec_augment
        self.intermediate_weight = intermediate_weight
        self.consistency_weight = consistency_weight
        self.crf_weight = crf_weight
        self.trigram = trigram

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss summed over the batch's target tokens, in nats, ()."""
        features = self.recognizer.normalizer(batch.features, batch.feature_lengths)
        if not self.consistency_weight:
            return self._loss(self._view(features, batch.feature_lengths), batch)
        # One pass over both views: half the calls of two passes.
        lengths = torch.cat([batch.feature_lengths] * 2)
        output = self._view(torch.cat([features, features]), lengths)
        n = len(batch.feature_lengths)
        first, second = _part(output, slice(0, n)), _part(output, slice(n, 2 * n))
        supervised = (self._loss(first, batch) + self._loss(second, batch)) / 2
        apart = consistency_loss(first.log_probs, second.log_probs, first.lengths)
        return supervised + self.consistency_weight * apart

    def measure(self, batch: Batch) -> tuple[Tensor, list[str]]:
        """Return the summed loss of the output, (), and the texts of the best paths."""
        output = self.recognizer.log_probs(batch.features, batch.feature_lengths)
        loss = self._output_loss(output, batch)
        decoded = greedy(
            output.log_probs,
            output.lengths,
            self.recognizer.tokenizer,
            self.recognizer.frame_seconds,
            label_log_probs=self.recognizer.label_log_probs,
        )
        return loss, [hypothesis.text for hypothesis in decoded]

    def _view(self, features: Tensor, lengths: Tensor) -> CtcOutput:
        if self.spec_augment is not None:
            features = self.spec_augment(features, lengths)
        output: CtcOutput = self.recognizer.network(features, lengths)
        return output

    def _loss(self, output: CtcOutput, batch: Batch) -> Tensor:
        loss = self._output_loss(output, batch)
        if not output.intermediate:
            return loss
        heads = torch.stack(
            [
                ctc_loss(log_probs, output.lengths, batch.tokens, batch.token_lengths)
                for log_probs in output.intermediate
            ]
        )
        return (1 - self.intermediate_weight) * loss + self.intermediate_weight * heads.mean()

    def _output_loss(self, output: CtcOutput, batch: Batch) -> Tensor:
        loss = ctc_loss(output.log_probs, output.lengths, batch.tokens, batch.token_lengths)
        if self.trigram is None:
            return loss
        log_z = log_partition(output.log_probs, output.lengths, self.trigram)
        others = log_z - self.trigram.log_prob(batch.tokens, batch.token_lengths)
        return loss + self.crf_weight * others.sum()


def _part(output: CtcOutput, which: slice) -> CtcOutput:
    heads = tuple(head[which] for head in output.intermediate)
    return CtcOutput(output.log_probs[which], output.lengths[which], heads)


class _RecognitionTask:
    """What `fit` trains and measures."""

    def __init__(
        self,
        module: RecognizerTraining,
        dev: Sequence[Utterance],
        source: FeatureSource,
        seconds: float,
    ) -> None:
        self._module = module
        self.source = source
        order = sorted(range(len(dev)), key=lambda i: dev[i].duration)
        size = max(1, int(seconds / max(u.duration for u in dev)))
        self.groups = [order[i : i + size] for i in range(0, len(order), size)]
        tokens = [module.recognizer.tokenizer.encode(u.text) for u in dev]
        self.dev, self.tokens = dev, tokens

    @property
    def module(self) -> nn.Module:
        return self._module

    def evaluate(self, world: World) -> dict[str, float]:
        loss, n_tokens = 0.0, 0.0
        references, hypotheses = [], []
        for group in self.groups[world.rank :: world.size]:
            batch = collate(
                [self.source.features(i) for i in group],
                [self.tokens[i] for i in group],
                ids=[self.dev[i].id for i in group],
                seconds=0.0,
            ).to(world.device)
            total, texts = self._module.measure(batch)
            loss, n_tokens = loss + float(total), n_tokens + batch.weight
            references += [self.dev[i].text for i in group]
            hypotheses += texts
        parts = world.gather((references, hypotheses))
        result = score(
            [text for part in parts for text in part[0]],
            [text for part in parts for text in part[1]],
            n_bootstrap=0,
        )
        loss = world.sum(loss) / world.sum(n_tokens)
        return {"wer": result.wer, "cer": result.cer, "dev_loss": loss}

    def save(self, folder: Path, metrics: Mapping[str, Any]) -> None:
        self._module.save(folder, metrics)


def train(
    config: Config,
    folder: Path,
    *,
    init_from: str | Path | None = None,
    new_layers: int = 0,
    make_training: MakeTraining | None = None,
    reporter: Reporter | None = None,
) -> FitResult:
    """Train a recogniser; the same call goes on after an interruption.

    Args:
        config: data, model and optimisation.
        folder: experiment folder; `folder/best` becomes the model.
        init_from: a model to start from ("default" or a folder).  Its [features] (but for a
            features.hop_ms that the configuration names) and its architecture (but for
            model.subsampling_blocks, likewise) replace the configuration's, and its units where
            [tokenizer] names no folder; where that names other units, the output layer starts anew.
        new_layers: recurrent layers to put on top of those of `init_from`, with an output layer
            of their own; the old output layer goes on as the intermediate head of its layer
            where model.intermediate_layers names that.
        make_training: gives the recogniser another loss; None for that of CTC.
        reporter: receives progress.

    Raises:
        AsrError: bad configuration, unusable data, a loss that is not finite.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    if config.training.threads:
        torch.set_num_threads(config.training.threads)
    if new_layers < 0 or (new_layers and not init_from):
        raise ConfigError(
            f"new layers: {new_layers}; give a number from 0, and the model to put them on "
            "with --init-from"
        )
    initial = Recognizer.load(init_from) if init_from else None
    if initial:
        config = _with_architecture(config, initial.config, new_layers)
    world = start_world(config.training.device)
    if world.rank == 0:
        claim_folder(folder, config, _FIXED)
    torch.manual_seed(config.seed)
    tokenizer = _tokenizer(config, initial)
    recognizer = Recognizer(config, tokenizer)
    if initial:
        _initialise(recognizer, initial)
    recognizer.to(world.device)
    utterances = _training_utterances(config, recognizer)
    dev = _read("data.dev", config.data.dev)
    source = FeatureSource(
        utterances,
        recognizer.extractor,
        augmenter=_augmenter(config),
        cache=config.data.cache,
    )
    if not initial and not has_checkpoint(folder):
        _estimate_statistics(recognizer, source, config.seed)
    data = config.data
    batches = SpeechBatches(
        source,
        tokenizer,
        batch_seconds=data.batch_seconds,
        max_batch_size=data.max_batch_size,
        speeds=config.augment.speeds,
        shortest_first=data.shortest_first,
        seed=config.seed,
        rank=world.rank,
        size=world.size,
        workers=data.workers,
        prefetch=data.prefetch,
    )
    hours = sum(u.duration for u in utterances) / 3600
    n_parameters = sum(p.numel() for p in recognizer.network.parameters())
    logger.info(
        "%d utterances (%.2f h), %d for dev, %d batches an epoch, %.2f million parameters, on %s",
        len(utterances), hours, len(dev), len(batches), n_parameters / 1e6, world.device,
    )  # fmt: skip
    cache = data.cache if data.cache in ("features", "device") else "none"
    dev_source = FeatureSource(dev, recognizer.extractor, cache=cache)
    if make_training is None:
        module: RecognizerTraining = _ctc_training(
            recognizer, _spec_augment(config), batches.tokens
        )
    else:
        module = make_training(recognizer, _spec_augment(config))
    task = _RecognitionTask(module, dev, dev_source, data.batch_seconds)
    # Of CTC-CRF the best paths say less than the loss what a search will find.
    with_crf = config.model.crf_weight and not make_training
    minimise = ("dev_loss", "wer") if with_crf else ("wer", "dev_loss")
    settings = FitSettings.of(
        config.training, seed=config.seed, prefix="recognizer.", minimise=minimise
    )
    return fit(task, batches, settings, folder, world=world, reporter=reporter)


def _ctc_training(
    recognizer: Recognizer, spec_augment: SpecAugment | None, tokens: Sequence[Sequence[int]]
) -> CtcTraining:
    model = recognizer.config.model
    trigram = None
    if model.crf_weight:
        n_symbols = len(recognizer.tokenizer.symbols)
        if n_symbols > MAX_CRF_SYMBOLS:
            raise ConfigError(
                f"model.crf_weight = {model.crf_weight:g} sums over every label trigram: it takes "
                f"at most {MAX_CRF_SYMBOLS} symbols, the tokenizer has {n_symbols}; use phones or "
                "characters, or crf_weight = 0"
            )
        trigram = LabelTrigram.estimate(tokens, n_symbols, recognizer.device)
        recognizer.label_log_probs = trigram.probabilities.log()
    return CtcTraining(
        recognizer,
        spec_augment,
        intermediate_weight=model.intermediate_weight,
        consistency_weight=model.consistency_weight,
        crf_weight=model.crf_weight,
        trigram=trigram,
    )


def _tokenizer(config: Config, initial: Recognizer | None) -> Tokenizer:
    if config.tokenizer.kind == "folder":
        return load_tokenizer(Path(config.tokenizer.folder))
    return initial.tokenizer if initial else CharTokenizer()


def _with_architecture(config: Config, initial: Config, new_layers: int) -> Config:
    kept = (
        "dropout", "intermediate_layers", "intermediate_weight", "consistency_weight", "crf_weight"
    )  # fmt: skip
    free = {name: getattr(config.model, name) for name in kept}
    free["n_layers"] = initial.model.n_layers + new_layers
    if "subsampling_blocks" in config.model.model_fields_set:
        free["subsampling_blocks"] = config.model.subsampling_blocks
    model = initial.model.model_copy(update=free)
    features, hop_ms = initial.features, config.features.hop_ms
    if "hop_ms" in config.features.model_fields_set and hop_ms != features.hop_ms:
        logger.info("features.hop_ms = %g, where the model had %g", hop_ms, features.hop_ms)
        features = features.model_copy(update={"hop_ms": hop_ms})
    return config.model_copy(update={"model": model, "features": features})


def _initialise(recognizer: Recognizer, initial: Recognizer) -> None:
    same_units = recognizer.tokenizer.symbols == initial.tokenizer.symbols
    if not same_units:
        logger.info("the tokenizer differs from the initial model's: new output layer")
    n_old, n_new = (r.config.model.n_layers for r in (initial, recognizer))
    output, old_output = "network.output.", f"network.heads.{n_old}."
    own = recognizer.state_dict()
    for name, value in initial.state_dict().items():
        if n_new > n_old and name.startswith(output):
            name = old_output + name.removeprefix(output)
        is_output = name.startswith((output, "network.heads."))
        if name in own and (same_units or not is_output):
            own[name].copy_(value)


def _read(name: str, manifests: Sequence[str]) -> list[Utterance]:
    if not manifests:
        raise ConfigError(f"{name} is empty: name at least one manifest (asr prepare makes them)")
    utterances = [u for path in manifests for u in read_manifest(path)]
    if not utterances:
        raise TrainingError(f"{', '.join(manifests)}: no utterance in it")
    return utterances


def _training_utterances(config: Config, recognizer: Recognizer) -> list[Utterance]:
    """Return what can be trained on, and name what cannot."""
    utterances = _read("data.train", config.data.train)
    low, high = config.data.min_seconds, config.data.max_seconds
    fit_length = [u for u in utterances if low <= u.duration <= high]
    kept: list[Utterance] = []
    impossible: list[Utterance] = []
    slowest = min(1.0, 1.0 / max(config.augment.speeds))
    seconds = recognizer.extractor.hop_seconds
    frames = torch.tensor([int(u.duration * slowest / seconds) - 2 for u in fit_length])
    available = recognizer.network.output_lengths(frames.clamp(min=0)).tolist()
    for utterance, n_frames in zip(fit_length, available, strict=True):
        tokens = recognizer.tokenizer.encode(utterance.text)
        possible = tokens and frames_needed(tokens) <= n_frames
        (kept if possible else impossible).append(utterance)
    if len(fit_length) < len(utterances):
        logger.warning(
            "%d of %d utterances are outside %g to %g s and are left out",
            len(utterances) - len(fit_length), len(utterances), low, high,
        )  # fmt: skip
    if impossible:
        names = ", ".join(u.id for u in impossible[:5])
        logger.warning(
            "%d utterances have no text or fewer frames than labels and are left out: %s%s",
            len(impossible), names, ", ..." if len(impossible) > 5 else "",
        )  # fmt: skip
    if not kept:
        raise TrainingError(
            f"none of {len(utterances)} utterances can be trained on (duration within {low:g} to "
            f"{high:g} s, text not empty, enough frames for it); see asr prepare --check"
        )
    return kept


def _estimate_statistics(recognizer: Recognizer, source: FeatureSource, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(source.utterances))[:N_FOR_STATISTICS]

    def pairs() -> Any:
        for index in order:
            features = source.features(int(index)).float().unsqueeze(0)
            yield features, torch.tensor([features.shape[1]], device=features.device)

    recognizer.normalizer.estimate(pairs())


def _augmenter(config: Config) -> WaveformAugmenter | None:
    augment = config.augment
    if not augment.changes_waveforms:
        return None
    return WaveformAugmenter(
        noise_folder=augment.noise_folder or None,
        noise_probability=augment.noise_probability,
        noise_snr_db=augment.noise_snr_db,
        reverberation_folder=augment.reverberation_folder or None,
        reverberation_probability=augment.reverberation_probability,
        gain_db=augment.gain_db,
        telephone_probability=augment.telephone_probability,
        seed=config.seed,
    )


def _spec_augment(config: Config) -> SpecAugment | None:
    augment = config.augment
    if not (augment.n_time_masks or augment.n_frequency_masks or augment.frequency_warp):
        return None
    centres = mel_centres(config.features.n_mels, KALDI)
    return SpecAugment(
        n_time_masks=augment.n_time_masks,
        time_mask_frames=augment.time_mask_frames,
        time_mask_fraction=augment.time_mask_fraction,
        n_frequency_masks=augment.n_frequency_masks,
        frequency_mask_bins=augment.frequency_mask_bins,
        frequency_warp=(
            FrequencyWarp(centres, augment.frequency_warp) if augment.frequency_warp else None
        ),
    )

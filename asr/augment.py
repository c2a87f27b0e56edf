"""Training audio made more varied: waveforms before, features after the front end.

Every change keeps the time of what is said (only `speed` scales it), so transcripts and
alignments stay right.
"""

import io
import logging
from collections.abc import Callable
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio import SAMPLE_RATE, find, inspect, load, resample
from asr.errors import ConfigError

__all__ = [
    "WaveformAugmenter",
    "active_power",
    "add_noise",
    "gain",
    "reverberate",
    "simulate_impulse_response",
    "speed",
    "telephone",
]

_logger = logging.getLogger(__name__)

Waveform = NDArray[np.float32]

_TELEPHONE_RATE = 8000
_PIECE_SECONDS = 30.0
_RT60_SECONDS = (0.1, 0.8)
_DIRECT_TO_REVERBERANT_DB = (-3.0, 12.0)


def speed(waveform: Waveform, factor: float) -> Waveform:
    """Play a waveform faster or slower; pitch and formants move with it.

    Args:
        waveform: (N,) at 16 kHz.
        factor: 1.1 is a tenth faster.
    Returns:
        (about N / factor,).

    Reference: Ko et al., "Audio augmentation for speech recognition" (Interspeech 2015).
    """
    if factor <= 0:
        raise ConfigError(f"speed factor is {factor:g}; it must be above 0")
    return resample(waveform, round(SAMPLE_RATE * factor), SAMPLE_RATE)


def gain(waveform: Waveform, decibels: float) -> Waveform:
    """Multiply a waveform by 10**(decibels / 20)."""
    return np.asarray(waveform * 10 ** (decibels / 20), dtype=np.float32)


def active_power(waveform: Waveform, range_db: float = 30.0) -> float:
    """Return the mean power of a waveform where something sounds.

    That is the mean over the blocks of 20 ms whose power is within `range_db` of the
    strongest block's, so pauses do not count; after the idea of ITU-T P.56.

    Args:
        waveform: (N,).
        range_db: distance in dB from the strongest block.
    Returns:
        Mean square; 0 for silence and for nothing.
    """
    block = SAMPLE_RATE // 50
    if len(waveform) == 0:
        return 0.0
    starts = np.arange(0, len(waveform), block)
    squares = np.square(waveform, dtype=np.float64)
    counts = np.diff(np.append(starts, len(waveform)))
    powers = np.add.reduceat(squares, starts) / counts
    active = powers >= powers.max() * 10 ** (-range_db / 10)
    return float(np.average(powers[active], weights=counts[active]))


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float, start: int = 0) -> Waveform:
    """Add noise, repeated or cut to the length of the waveform, at a signal-to-noise ratio.

        y = x + g v,    10 log10(active_power(x) / active_power(g v)) = snr_db

    The noise's power is that of the whole clip, so a quiet part of it stays quiet.  Silent
    speech or silent noise is left as it is.

    Args:
        waveform: (N,).
        noise: (M,).
        snr_db: ratio in dB.
        start: where in the noise to begin.
    Returns:
        (N,).
    """
    power, noise_power = active_power(waveform), active_power(noise)
    if power == 0 or noise_power == 0:
        return waveform.copy()
    factor = np.float32(np.sqrt(power / noise_power * 10 ** (-snr_db / 10)))
    positions = (start + np.arange(len(waveform))) % len(noise)
    return waveform + factor * noise[positions]


def reverberate(waveform: Waveform, impulse_response: Waveform) -> Waveform:
    """Play a waveform in a room: convolve it with the room's impulse response.

    The response's strongest sample, the direct sound, is taken as time 0, so words keep
    their times; the power stays what it was and the tail after the end is cut.

    Args:
        waveform: (N,).
        impulse_response: (M,), mono at 16 kHz.
    Returns:
        (N,).

    Reference: Ko et al., "A study on data augmentation of reverberant speech" (ICASSP 2017).
    """
    if len(waveform) == 0 or not np.any(impulse_response):
        return waveform.copy()
    direct = int(np.argmax(np.abs(impulse_response)))
    full = _convolve(waveform, impulse_response)
    reverberant = full[direct : direct + len(waveform)]
    power = np.mean(np.square(reverberant, dtype=np.float64))
    if power == 0:
        return waveform.copy()
    target = np.mean(np.square(waveform, dtype=np.float64))
    return np.asarray(reverberant * np.sqrt(target / power), dtype=np.float32)


def simulate_impulse_response(
    random: np.random.Generator, rt60: float, direct_to_reverberant_db: float
) -> Waveform:
    """Make up the impulse response of a room: a direct sound and decaying noise.

        h[0] = 1,   h[n] = g e[n] 10**(-3 n / (rt60 * 16000)) for n > 2.5 ms,   e ~ N(0, 1)

    Args:
        random: where e comes from.
        rt60: seconds until the sound has fallen by 60 dB.
        direct_to_reverberant_db: energy of h[0] over that of the rest.
    Returns:
        (about rt60 * 16000,).

    Reference: Polack, "La transmission de l'energie sonore dans les salles" (1988).
    """
    if rt60 <= 0:
        raise ConfigError(f"rt60 is {rt60:g} s; it must be above 0")
    n = np.arange(max(2, round(rt60 * SAMPLE_RATE)))
    tail = random.standard_normal(len(n)) * 10 ** (-3 * n / (rt60 * SAMPLE_RATE))
    # The first reflection has a longer way than the direct sound.
    tail[: min(len(n) - 1, SAMPLE_RATE // 400)] = 0.0
    tail *= np.sqrt(10 ** (-direct_to_reverberant_db / 10) / np.square(tail).sum())
    # Beside a weak direct sound a reflection may be the strongest; time 0 must not move.
    tail = np.clip(tail, -0.99, 0.99)
    tail[0] = 1.0
    return tail.astype(np.float32)


def telephone(waveform: Waveform) -> Waveform:
    """Send a waveform through a telephone line: 8 kHz, 300 to 3400 Hz, mu-law.

    Args:
        waveform: (N,) at 16 kHz.
    Returns:
        (N,) at 16 kHz, within [-1, 1] before the last resampling.

    Reference: ITU-T G.711 (mu-law), G.712 (the pass band).
    """
    if len(waveform) == 0:
        return waveform.copy()
    narrow = resample(waveform, SAMPLE_RATE, _TELEPHONE_RATE)
    band = _convolve(narrow, _telephone_filter())
    delay = len(_telephone_filter()) // 2
    # libsndfile looks the code up in a table: a sample outside must not reach it.
    limited = np.clip(band[delay : delay + len(narrow)], -1.0, 1.0)
    line = io.BytesIO()
    soundfile.write(line, limited, _TELEPHONE_RATE, format="WAV", subtype="ULAW")
    line.seek(0)
    received, _ = soundfile.read(line, dtype="float32")
    wide = resample(received, _TELEPHONE_RATE, SAMPLE_RATE)[: len(waveform)]
    padded: Waveform = np.pad(wide, (0, len(waveform) - len(wide)))
    return padded


def _convolve(waveform: Waveform, response: Waveform) -> Waveform:
    """Return the whole convolution, (N + M - 1,)."""
    # Most of a second to load, and few trainings need it.
    from scipy.signal import oaconvolve

    return np.asarray(oaconvolve(waveform, response))


@lru_cache(maxsize=1)
def _telephone_filter() -> Waveform:
    """Return a linear-phase band-pass of 129 points, so the delay is 64 samples."""
    from scipy import signal

    taps = signal.firwin(129, [300, 3400], pass_zero=False, fs=_TELEPHONE_RATE)
    return np.asarray(taps, dtype=np.float32)


class WaveformAugmenter:
    """Changes waveforms at random: a room, noise in it, the level, the telephone line.

    What happens to an utterance follows from (seed, epoch, index) alone, so neither the
    order nor the number of workers matters, and resumed training sees the same audio.

    Args:
        noise_folder: recordings of noise, any length.
        noise_probability: of noise being added.
        noise_snr_db: the range the signal-to-noise ratio is drawn from, in dB.
        reverberation_folder: impulse responses, mono; None for simulated ones with
            0.1 to 0.8 s of reverberation.
        reverberation_probability: of a room.
        gain_db: the level changes by -gain_db to gain_db; 0 leaves it.
        telephone_probability: of the telephone line.
        seed: another seed, another course.

    Raises:
        ConfigError: a probability or range that is none, or noise without a folder.
        AudioError: a folder without audio.
    """

    def __init__(
        self,
        *,
        noise_folder: str | PathLike[str] | None = None,
        noise_probability: float = 0.0,
        noise_snr_db: tuple[float, float] = (5.0, 20.0),
        reverberation_folder: str | PathLike[str] | None = None,
        reverberation_probability: float = 0.0,
        gain_db: float = 0.0,
        telephone_probability: float = 0.0,
        seed: int = 0,
    ) -> None:
        probabilities = {
            "noise_probability": noise_probability,
            "reverberation_probability": reverberation_probability,
            "telephone_probability": telephone_probability,
        }
        for name, value in probabilities.items():
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} is {value:g}; it must be in 0 to 1")
        if gain_db < 0:
            raise ConfigError(f"gain_db is {gain_db:g}; it must be 0 or above")
        if noise_snr_db[0] > noise_snr_db[1]:
            raise ConfigError(f"noise_snr_db is {noise_snr_db}; give the lower value first")
        if noise_probability and noise_folder is None:
            raise ConfigError(
                f"noise_probability is {noise_probability:g} without a noise_folder; name a "
                "folder with recordings of noise"
            )
        self.noise_probability = noise_probability
        self.noise_snr_db = noise_snr_db
        self.reverberation_probability = reverberation_probability
        self.gain_db = gain_db
        self.telephone_probability = telephone_probability
        self.seed = seed
        self._noises = _pieces(Path(noise_folder)) if noise_folder and noise_probability else []
        self._rooms = (
            find(reverberation_folder) if reverberation_folder and reverberation_probability else []
        )

    def __call__(self, waveform: Waveform, *, epoch: int, index: int) -> Waveform:
        """Return the changed waveform of an utterance in an epoch.

        Args:
            waveform: (N,) at 16 kHz; it is not written to.
            epoch: number of the epoch, from 0.
            index: number of the utterance, from 0.
        Returns:
            (N,), float32; may exceed [-1, 1].
        """
        # The 1 keeps the streams apart from those of other users of (seed, epoch): numpy
        # takes (a, b) and (a, b, 0) for the same.
        random = np.random.default_rng((self.seed, epoch, index, 1))
        # A stream for each change: switching one on or off leaves the others as they were.
        for change, stream in zip(self._changes(), random.spawn(4), strict=True):
            waveform = change(waveform, stream)
        return waveform

    def _changes(self) -> tuple[Callable[[Waveform, np.random.Generator], Waveform], ...]:
        return self._reverberate, self._add_noise, self._gain, self._telephone

    def _reverberate(self, waveform: Waveform, random: np.random.Generator) -> Waveform:
        if random.random() >= self.reverberation_probability:
            return waveform
        if self._rooms:
            room = _load_piece(self._rooms[random.integers(len(self._rooms))], 0.0)
        else:
            room = simulate_impulse_response(
                random,
                rt60=random.uniform(*_RT60_SECONDS),
                direct_to_reverberant_db=random.uniform(*_DIRECT_TO_REVERBERANT_DB),
            )
        return reverberate(waveform, room)

    def _add_noise(self, waveform: Waveform, random: np.random.Generator) -> Waveform:
        if random.random() >= self.noise_probability:
            return waveform
        noise = _load_piece(*self._noises[random.integers(len(self._noises))])
        start = int(random.integers(max(1, len(noise))))
        return add_noise(waveform, noise, random.uniform(*self.noise_snr_db), start)

    def _gain(self, waveform: Waveform, random: np.random.Generator) -> Waveform:
        if not self.gain_db:
            return waveform
        return gain(waveform, random.uniform(-self.gain_db, self.gain_db))

    def _telephone(self, waveform: Waveform, random: np.random.Generator) -> Waveform:
        if random.random() >= self.telephone_probability:
            return waveform
        return telephone(waveform)


def _pieces(folder: Path) -> list[tuple[Path, float]]:
    """List the recordings below a folder in pieces of 30 s, which bound the memory."""
    pieces = []
    for path in find(folder):
        duration = inspect(path).duration
        n_pieces = max(1, round(duration / _PIECE_SECONDS))
        pieces += [(path, _PIECE_SECONDS * i) for i in range(n_pieces)]
    _logger.info("%d pieces of noise in %s", len(pieces), folder)
    return pieces


@lru_cache(maxsize=256)
def _load_piece(path: Path, offset: float) -> Waveform:
    return load(path, offset=offset, duration=_PIECE_SECONDS)

"""One recording heard several times, each time a little different: the mean is heard better."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from asr.errors import ConfigError
from asr.filterbank import KALDI, mel_centres
from asr.frequency_warp import warp
from asr.models.recognizer import Recognizer

__all__ = ["MOST_VIEWS", "Views"]

# By what part of an output frame the recording begins later, and the factor that its frequencies
# are warped by.  The first is the recording as it is; any number of the first ones can be taken.
_VIEWS = ((0.0, 1.0), (0.5, 0.95), (0.25, 1.05), (0.75, 1.0))

MOST_VIEWS = len(_VIEWS)


class Views:
    """What the acoustic model makes of several views of the same recordings.

        log P(symbol | frame) = log softmax of the mean over views v of log P_v(symbol | frame)

    The model hears output frame t around feature frame t * factor; a view that begins half an
    output frame later puts the borders of the frames elsewhere, and one with warped frequencies
    is another speaker's, as in training (`asr.frequency_warp.FrequencyWarp`).  The views' errors
    are in part not the same.  Each costs as much as the first.

    Args:
        recognizer: the model, in eval mode; frequencies are warped where its features are
            log-mel without differences.
        n_views: 1 for the recordings as they are, to `MOST_VIEWS`.

    Raises:
        ConfigError: another number.

    Reference: Simonyan and Zisserman, "Very deep convolutional networks" (ICLR 2015), section
    3.2, average an image's crops and scales in the same way.
    """

    def __init__(self, recognizer: Recognizer, n_views: int) -> None:
        if not 1 <= n_views <= MOST_VIEWS:
            raise ConfigError(f"views: {n_views}; 1 to {MOST_VIEWS} are possible")
        self.network = recognizer.network
        self.n_views = n_views
        features = recognizer.config.features
        is_plain = features.kind == "logmel" and not features.deltas
        self.frequencies = mel_centres(features.n_mels, KALDI) if is_plain else None

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the log-probabilities of a batch, (B, T', V).

        Args:
            features: normalised features (B, T, F).
            lengths: valid frames (B,).
        """
        total: Tensor = self.network(features, lengths).log_probs
        if self.n_views == 1:
            return total
        for delay, factor in _VIEWS[1 : self.n_views]:
            n_later = round(delay * self.network.subsampling_factor)
            total = total + self._view(features, lengths, n_later, factor)[:, : total.shape[1]]
        return (total / self.n_views).log_softmax(dim=-1)

    def _view(self, features: Tensor, lengths: Tensor, n_later: int, factor: float) -> Tensor:
        """Return the log-probabilities of features that begin later and are warped."""
        if self.frequencies is not None and factor != 1.0:
            factors = torch.full((len(features),), factor, device=features.device)
            features = warp(features, self.frequencies, factors)
        # What is heard before the beginning is its first frame.
        later = pad(features.transpose(1, 2), (n_later, 0), mode="replicate").transpose(1, 2)
        log_probs: Tensor = self.network(later, lengths + n_later).log_probs
        return log_probs

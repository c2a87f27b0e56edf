"""Words of a dictionary for stretches of phones that are no word of it."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from asr.decode.beam import BeamOptions, BeamSearch
from asr.decode.hypothesis import Word
from asr.text import PhoneTokenizer

__all__ = ["NearestWords"]

# A word more must fit better by so much; of 3 to 10 all are as good.
_BETA = -5.0
_WIDTH = 64
_SCORE_THRESHOLD = 30.0


class NearestWords:
    """What phones that are no word were most likely meant to be.

    A best path often has a phone too few or too many, and the word is lost.  Its frames are
    searched for the words of the dictionary that they most likely are, mostly one:

        argmax over words y_1 ... y_n, n > 0:  log p_ctc(y | frames) - 5 n

    Args:
        tokenizer: that of the acoustic model, with word ends.
    """

    def __init__(self, tokenizer: PhoneTokenizer) -> None:
        self.tokenizer = tokenizer

    def find(self, stretches: Sequence[Tensor]) -> list[tuple[Word, ...]]:
        """Return the words of each stretch; none where the dictionary allows nothing.

        Args:
            stretches: log-probabilities (T, V), from behind one end of a word to the next.

        Returns:
            Words whose times are frames of their stretch.
        """
        if not stretches:
            return []
        lengths = torch.tensor([len(stretch) for stretch in stretches])
        padded = pad_sequence(list(stretches), batch_first=True)
        found = self._search.decode(padded, lengths, 1.0)
        return [next((one.words for one in n_best if one.words), ()) for n_best in found]

    @cached_property
    def _search(self) -> BeamSearch:
        options = BeamOptions(
            alpha=0.0,
            beta=_BETA,
            width=_WIDTH,
            score_threshold=_SCORE_THRESHOLD,
            n_best=2,  # no word at all can be the best
        )
        return BeamSearch(self.tokenizer, options)

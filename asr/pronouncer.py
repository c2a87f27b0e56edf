"""Phones for words that no dictionary has, from a network that has learned how words are said."""

import copy
import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import CheckpointError

if TYPE_CHECKING:
    from asr.translator import Translator

__all__ = ["Pronouncer"]


class Pronouncer:
    """Pronounces words by a `Translator` from letters to phones, as `recipes/g2p` trains it.

    The network is loaded when it is first needed, and each word is pronounced once.

    Args:
        folder: model or experiment folder of the network
        width: of the beam; 1 is greedy
        n_best: pronunciations of a word at most
        device: where to compute
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        width: int = 5,
        n_best: int = 1,
        device: str = "cpu",
    ) -> None:
        self._folder = Path(folder)
        self._width, self._n_best, self._device = width, n_best, device
        self._memory: dict[str, tuple[tuple[str, ...], ...]] = {}

    @property
    def phones(self) -> tuple[str, ...]:
        """Those that it uses.

        Raises:
            CheckpointError: see `pronunciations`
        """
        return self._network.target_symbols[1:]

    def pronunciations(self, words: Iterable[str]) -> dict[str, tuple[tuple[str, ...], ...]]:
        """The likeliest pronunciations of words, the best first.

        Args:
            words: in the letters of the network, which for English are capitals and the apostrophe

        Returns:
            one or more for each word; those with other characters, and those for which the
            network says nothing, are left out

        Raises:
            CheckpointError: the folder is missing, damaged or that of another network
        """
        wanted = list(dict.fromkeys(words))
        letters = frozenset(self._network.source_symbols)
        new = [w for w in wanted if w and w not in self._memory and letters.issuperset(w)]
        found = self._network.translate(new, width=self._width)
        for word, translations in zip(new, found, strict=True):
            said = [one.symbols for one in translations if one.symbols]
            self._memory[word] = tuple(said[: self._n_best])
        return {word: every for word in wanted if (every := self._memory.get(word))}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the network in half precision into a folder, which is made if need be.

        Raises:
            CheckpointError: see `pronunciations`
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        copy.deepcopy(self._network).half().save(Path(folder), {})

    @cached_property
    def _network(self) -> "Translator":
        # Here, because most texts have no such word, and torch takes a while to import.
        from asr.translator import Translator

        network = Translator.load(self._folder, self._device)
        if any(len(symbol) != 1 for symbol in network.source_symbols):
            raise CheckpointError(
                f"{self._folder}: reads {network.source_symbols[0]!r}, not letters; a network that "
                "recipes/g2p trained is needed"
            )
        return network

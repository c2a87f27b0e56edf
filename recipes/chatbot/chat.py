"""Talk with a model.

    python recipes/chatbot/chat.py MODEL TOKENIZER
    python recipes/chatbot/chat.py MODEL TOKENIZER --beam 5
    echo "Do you like jazz?" | python recipes/chatbot/chat.py MODEL TOKENIZER

MODEL is an experiment or model folder, TOKENIZER a folder that prepare.py wrote.  It answers each
line of standard input until that ends (Ctrl-D), and remembers nothing of the line before.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from asr.cli import run_program
from asr.errors import ConfigError
from asr.pieces import WordPieces
from asr.search import Sampling
from asr.translator import Translator
from asr.world import select_device

__all__ = ["Chatbot", "main"]


class Chatbot:
    """A model that replies.

    Args:
        translator: from turns to replies.
        pieces: of both.
        sampling: how probabilities are sharpened before a piece is drawn.
        beam: width of a beam that finds the likeliest reply; 0 to draw one.
        max_length: pieces of a reply at most.
        seed: of what is drawn.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        translator: Translator,
        pieces: WordPieces,
        *,
        sampling: Sampling,
        beam: int = 0,
        max_length: int = 40,
        seed: int = 0,
    ) -> None:
        if beam < 0 or max_length < 1:
            raise ConfigError(
                f"beam {beam}, length {max_length}: 0 or more and 1 or more are needed"
            )
        self.translator, self.pieces, self.sampling = translator, pieces, sampling
        self.beam, self.max_length = beam, max_length
        self.generator = torch.Generator().manual_seed(seed)

    def reply(self, turn: str) -> str:
        """Return a reply to a turn; an empty one where nothing of the turn is known."""
        source = self.pieces.encode(turn)
        if not source:
            return ""
        if self.beam:
            [found, *_] = self.translator.translate(
                [source], width=self.beam, length_exponent=1.0, max_length=self.max_length
            )[0]
        else:
            [found] = self.translator.sample(
                [source],
                sampling=self.sampling,
                generator=self.generator,
                max_length=self.max_length,
            )
        return self.pieces.decode(found.symbols)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line."""
    parser = argparse.ArgumentParser(description="Talk with a model.")
    parser.add_argument("model", type=Path, help="model or experiment folder")
    parser.add_argument("tokenizer", type=Path, help="folder of the word pieces")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1: safer (default 1)")
    parser.add_argument("--top-k", type=int, default=0, help="draw from so many (0: all)")
    parser.add_argument("--top-p", type=float, default=0.9, help="the nucleus (default: 0.9)")
    parser.add_argument("--beam", type=int, default=0, help="the likeliest reply by so wide a beam")
    parser.add_argument("--max-length", type=int, default=40, help="of a reply, in pieces")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    arguments = parser.parse_args(argv)
    return run_program("chat", lambda: _chat(arguments))


def _chat(arguments: argparse.Namespace) -> int:
    chatbot = Chatbot(
        Translator.load(arguments.model, select_device(arguments.device)),
        WordPieces.load(arguments.tokenizer),
        sampling=Sampling(arguments.temperature, arguments.top_k, arguments.top_p),
        beam=arguments.beam,
        max_length=arguments.max_length,
        seed=arguments.seed,
    )
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        print(prompt, end="", flush=True)
        turn = sys.stdin.readline()
        if not turn:
            print(end="\n" if prompt else "")
            return 0
        if turn.strip():
            print(chatbot.reply(turn) or "(no character of this is known)", flush=True)


if __name__ == "__main__":
    sys.exit(main())

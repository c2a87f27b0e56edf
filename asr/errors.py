"""The errors a user can cause, each told in one line.

Every message says what was got, what is needed and what to do.  The command line prints
it without a traceback and ends with the class's `exit_code`.
"""

__all__ = [
    "AsrError",
    "AudioError",
    "CheckpointError",
    "ConfigError",
    "DependencyError",
    "LanguageModelError",
    "ManifestError",
    "TextError",
    "TrainingError",
]


class AsrError(Exception):
    """Base of all errors that bad input, bad files or a bad set-up can cause."""

    exit_code = 2


class AudioError(AsrError):
    """Audio that cannot be read or used; the message names the file."""


class TextError(AsrError):
    """Text, a tokenizer or a lexicon that cannot be used."""


class ManifestError(AsrError):
    """A manifest or a corpus that cannot be read; the message names file and line."""


class ConfigError(AsrError):
    """A configuration or an option with a wrong name, type or value."""


class CheckpointError(AsrError):
    """A model folder or checkpoint that is missing, damaged or does not fit."""


class TrainingError(AsrError):
    """Training that cannot start or go on (data that cannot be learned, NaN, out of memory)."""


class LanguageModelError(AsrError):
    """A language model that is damaged or whose units do not fit the tokenizer."""


class DependencyError(AsrError):
    """A program or package that this call needs is not installed."""

"""Acoustic models by name, and the recogniser that one model folder holds."""

from asr.models.ctc import CtcModel

__all__ = ["MODELS", "CtcModel"]

MODELS = {"ctc": CtcModel}

"""Sequence modules for any model: they know tensors and lengths, not speech."""

__all__: list[str] = []

"""Sequence modules for any model: they know tensors and lengths, not speech."""

"""Language models, usable without speech."""

__all__: list[str] = []

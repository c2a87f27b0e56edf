"""From the acoustic model's log-probabilities to words with times and confidences."""

__all__: list[str] = []

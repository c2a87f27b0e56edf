"""One module for each command: `HELP`, `configure(parser)` and `run(arguments) -> exit code`."""

__all__: list[str] = []

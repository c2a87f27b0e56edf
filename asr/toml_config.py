"""Configurations of any model: TOML in, strict frozen dataclasses out, and back.

Single values are overridden with `section.name=value`, where the value is read as TOML.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from asr.errors import ConfigError

__all__ = ["Override", "Section", "claim_folder", "dump_toml", "load_toml", "parse_toml"]

Override = str | tuple[str, object]
"""`section.name=value`, or the name and the value."""


class Section(BaseModel):
    """A part of a configuration, or all of it: typed, frozen, without unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


S = TypeVar("S", bound=Section)


def parse_toml(kind: type[S], text: str, *, source: str, overrides: Iterable[Override] = ()) -> S:
    """Read a configuration from TOML text.

    Args:
        kind: what it is to be.
        text: the TOML document.
        source: its name in error messages.
        overrides: values that replace what the document says; a value that is not TOML is taken
            as a string.

    Raises:
        ConfigError: syntax errors, unknown names, wrong types or values out of range.
    """
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None
    for override in overrides:
        _override(tree, override)
    try:
        # By way of JSON, in which strict pydantic takes a list for a tuple, as TOML must.
        return kind.model_validate_json(json.dumps(tree, default=str))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_problem(error, kind)}") from None


def load_toml(kind: type[S], path: str | Path, overrides: Iterable[Override] = ()) -> S:
    """Read a configuration file.

    Args:
        kind: what it is to be.
        path: a TOML file.
        overrides: see `parse_toml`.

    Raises:
        ConfigError: the file cannot be read or is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8; a TOML file is needed") from None
    return parse_toml(kind, text, source=str(path), overrides=overrides)


def dump_toml(config: Section) -> str:
    """Write a configuration, values first and then its sections, as TOML.

    `parse_toml` reads it back to an equal one.
    """
    values = config.model_dump(mode="json")
    lines = [
        f"{key} = {_toml(value)}"
        for key, value in values.items()
        if value is not None and not _is_section(value)
    ]
    for name, section in values.items():
        if _is_section(section):
            lines += ["", f"[{name}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in section.items()]
    return "\n".join(lines) + "\n"


def claim_folder(folder: Path, config: Section, fixed: Iterable[str]) -> bool:
    """Write the config.toml of a run, or make sure that it goes on with the one that is there.

    Args:
        folder: of the run; made where it does not exist.
        config: of the run.
        fixed: sections and values that an earlier config.toml in the folder must agree on, as
            "model" or "training.batch_size"; others may change.

    Returns:
        Whether the folder is new.

    Raises:
        ConfigError: one of them differs.
    """
    path = folder / "config.toml"
    is_new = not path.exists()
    there = config if is_new else load_toml(type(config), path)
    for name in fixed:
        value = attrgetter(name)(config)
        if attrgetter(name)(there) != value:
            raise ConfigError(
                f"{folder}: holds a run with another "
                f"{f'[{name}]' if isinstance(value, Section) else name}; give a new folder, or the "
                "same configuration to go on with it"
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_toml(config), encoding="utf-8")
    return is_new


def _is_section(value: Any) -> bool:
    return isinstance(value, dict)


def _override(tree: dict[str, Any], override: Override) -> None:
    if isinstance(override, str):
        name, equals, raw = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: needs the form section.name=value")
        value = _read_value(raw.strip())
    else:
        name, value = override
    keys = name.strip().split(".")
    if not all(keys):
        raise ConfigError(f"--set {name}: needs the form section.name=value")
    section = tree
    for key in keys[:-1]:
        child = section.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {name}: {key} is a value, not a section")
        section = child
    section[keys[-1]] = value


def _read_value(raw: str) -> object:
    try:
        value: object = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw
    return value


def _first_problem(error: ValidationError, kind: type[Section]) -> str:
    problems = error.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown name{_suggestion(first['loc'], kind)}"
    elif where:
        message = f"{message[0].lower()}{message[1:]}, got {first['input']!r}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"


def _suggestion(location: tuple[int | str, ...], kind: type[Section]) -> str:
    section: Any = kind
    for part in location[:-1]:
        section = section.model_fields[str(part)].annotation
    close = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(section.model_fields)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # A JSON string is a valid TOML basic string; repr keeps floats exact.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)

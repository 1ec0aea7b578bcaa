"""The base of every verb's settings: strict, frozen, and helpful about a wrong key."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from bintally.errors import ConfigError, did_you_mean


class Config(BaseModel):
    """Settings of one verb. Build them with `of`, which turns pydantic's errors into ours."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())

    if_missing: ClassVar[str] = "Look at the path."
    """What to do where its file is missing."""

    @classmethod
    def of(cls, values: Mapping[str, Any], *, where: str = "") -> Self:
        """The settings `values` describe; `where` names their origin (a file) in errors.

        Raises:
            ConfigError: an unknown key (with the nearest known ones) or a value out of range.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(_explain(cls, error, where)) from None

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """The settings a TOML file describes.

        Raises:
            ConfigError: no such file, no TOML, an unknown key or a value out of range.
        """
        try:
            values = tomllib.loads(path.read_text())
        except FileNotFoundError:
            raise ConfigError(f"There is no {path}.", hint=cls.if_missing) from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} can't be read as TOML: {error}.", hint="Mend that line.") from None
        return cls.of(values, where=str(path))


def _explain(config: type[BaseModel], error: ValidationError, where: str) -> str:
    sentences = []
    for problem in error.errors(include_url=False):
        names = [str(part) for part in problem["loc"]]
        key = ".".join(names) or "the settings"
        if problem["type"] == "extra_forbidden":
            sentences.append(f"unknown key '{key}'. {did_you_mean(names[-1], _keys_at(config, names[:-1]))}")
        elif problem["type"] == "missing":
            sentences.append(f"'{key}' is missing.")
        elif problem["type"] == "value_error" and not names:  # of several settings together
            sentences.append(f"{problem['msg'].removeprefix('Value error, ')}.")
        else:
            sentences.append(f"'{key}': {problem['msg'].removeprefix('Value error, ')} (got {problem['input']!r}).")
    return f"{where}: {' '.join(sentences)}" if where else " ".join(sentences)


def _keys_at(config: type[BaseModel], names: list[str]) -> list[str]:
    """Field names of the section of `config` that `names` lead to; none where it is no section."""
    for name in names:
        if name.isdecimal():  # a place in a list of sections
            continue
        field = config.model_fields.get(name)
        section = field.annotation if field else None
        if get_origin(section) is tuple:
            section = get_args(section)[0]
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        config = section
    return list(config.model_fields)

"""Settings as the environment tells them: of a service anywhere, and of a SageMaker container."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from pydantic.fields import FieldInfo

from bintally.bundle import CARD
from bintally.errors import ConfigError, UsageError, did_you_mean

PREFIX: Final = "BINTALLY_SERVE_"

_OF_KUBERNETES: Final = re.compile(r"SERVICE_(HOST|PORT.*)=.*|PORT_\d+_.*|PORT=(tcp|udp|sctp)://.*", re.DOTALL)
"""For a Service called "bintally-serve", Kubernetes sets such variables in every container beside it."""


def told(environment: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """The fields that the environment tells, as texts; of lists, separated by commas, a tuple of them.

    Raises:
        ConfigError: a variable of ours that is no setting.
    """
    found = {}
    for variable, text in environment.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or text == "" or _OF_KUBERNETES.fullmatch(f"{name}={text}"):
            continue
        if name.lower() not in fields:
            raise ConfigError(
                f"{variable} is no setting.", hint=did_you_mean(variable, [variable_of(each) for each in fields])
            )
        found[name.lower()] = _value(text, fields[name.lower()])
    return found


def variable_of(field: str) -> str:
    """The variable that tells `field`."""
    return PREFIX + field.upper()


def _value(text: str, field: FieldInfo) -> Any:
    kinds: Collection[Any] = (field.annotation, *get_args(field.annotation))
    if get_origin(field.annotation) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return Path(text).expanduser() if Path in kinds else text  # no shell has done so, say in a file of variables


def sagemaker(environment: Mapping[str, str]) -> dict[str, Any]:
    """What a container of a SageMaker endpoint is to do where nobody says otherwise.

    https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-inference-code.html

    Raises:
        UsageError: what the endpoint unpacked holds no bundle, or several.
    """
    base = Path(environment.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    several = environment.get("SAGEMAKER_MULTI_MODEL", "").lower() == "true"
    return {
        "host": "0.0.0.0",  # noqa: S104 - a container's port is reached from outside, and IAM guards the endpoint
        "port": environment.get("SAGEMAKER_BIND_TO_PORT") or 8080,
        "require_keys": "never",
        "log_format": "json",
        "shutdown_s": 20.0,  # SIGKILL comes 30 s after SIGTERM
        **({"models": base / "models"} if several else _bundle_in(base / "model")),
    }


def _bundle_in(folder: Path) -> dict[str, Any]:
    """The bundle that model.tar.gz was: its files, or one folder with them; nothing at all: what we ship."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return {}
    found = [place.parent for place in (folder / CARD, *sorted(folder.glob(f"*/{CARD}"))) if place.is_file()]
    if len(found) != 1:
        raise UsageError(
            f"{folder} holds {len(found) or 'no'} bundle{'s' if len(found) > 1 else ''}.",
            hint="Make model.tar.gz of one bundle's files: `tar -C BUNDLE -czf model.tar.gz .`",
        )
    return {"bundle": found[0]}

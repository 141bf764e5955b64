"""Settings → plain values for a report or a manifest, without passwords."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from niffler.settings import ExtractionSettings, Settings, SystemSettings

CONFIG, SYSTEM = "config.json", "system.json"


def settings_told(settings: Settings) -> dict[str, dict[str, Any]]:
    """Every key of both files with its value in this run, as JSON knows it."""
    return {CONFIG: _keys(ExtractionSettings, settings), SYSTEM: _keys(SystemSettings, settings.system)}


def is_default(key: str, value: object) -> bool:
    """Whether a value told is that of a file which does not have the key."""
    for model in (ExtractionSettings, SystemSettings):
        for field in model.model_fields.values():
            if field.alias == key:
                default = field.get_default(call_default_factory=True, validated_data={})
                return default is not PydanticUndefined and _plain(default) == value
    return False


def _keys(model: type[BaseModel], settings: BaseModel) -> dict[str, Any]:
    return {str(field.alias): _plain(getattr(settings, name)) for name, field in model.model_fields.items()}


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_passwords(_plain(one)) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return (
        str(value.absolute())
        if isinstance(value, Path)
        else value
        if isinstance(value, (bool, int, float))
        else str(value)
    )


def _without_passwords(options: Any) -> Any:
    """Options of the tools, such as --key-store-pass, whose value is nobody's business."""
    shown: list[str] = []
    for option in options if isinstance(options, list) else []:
        name, separator, _ = str(option).partition("=")
        if shown and shown[-1].startswith("-") and shown[-1].endswith("pass"):
            shown.append("(not shown)")
        else:
            shown.append(f"{name}=(not shown)" if separator and name.endswith("pass") else str(option))
    return shown

"""JSON Schemas of system.json and config.json, made of the settings, so that editors complete and check the files."""

import json
from pathlib import Path

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from niffler.settings import ExtractionSettings, SystemSettings

FOLDER = Path(__file__).resolve().parent.parent / "schemas"
_MODELS: dict[str, type[BaseModel]] = {"system": SystemSettings, "config": ExtractionSettings}
# More editors know it than the later ones, of which nothing is needed.
_DIALECT = "http://json-schema.org/draft-07/schema#"


class _WithoutTitles(GenerateJsonSchema):
    """A key is its own title."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def schemas() -> dict[str, str]:
    """The schemas by the name of their file."""
    return {f"{name}.schema.json": _schema(f"{name}.json", model) for name, model in _MODELS.items()}


def write_schemas(folder: Path) -> None:
    """Write them anew."""
    for name, content in schemas().items():
        (folder / name).write_text(content, encoding="utf-8")


def _schema(title: str, model: type[BaseModel]) -> str:
    made = model.model_json_schema(by_alias=True, schema_generator=_WithoutTitles)
    keys = {"$schema": {"type": "string", "description": "the schema of this file, for editors"}, **made["properties"]}
    schema = {"$schema": _DIALECT, **made, "title": title, "properties": keys}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    write_schemas(FOLDER)

"""JSON Schemas of the documents that others write or read, made from the models that parse them.

`python -m control_plane.schemas` writes them beside this file, from where the package carries them, and their tables
for people to `docs/reference/documents.md`. What a model checks beyond its fields' types (paths that the topology lacks,
say) no schema tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from pydantic import TypeAdapter

from control_plane.domain.journal import Entry
from control_plane.domain.policy import Policy
from control_plane.domain.signals import Intent
from control_plane.domain.topology import Topology
from proxy.routing_config import RoutingConfig

FOLDER = Path(__file__).parent
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ABOUT = {
    "policy": "What Twinspan may do by itself: the parameter `/twinspan/LINK/policy`.",
    "topology": "What a link is made of: the parameter `/twinspan/LINK/topology`, written by the deployment.",
    "routing-config": "What proxies follow: the parameter `/twinspan/LINK/routing-config`, written by the workflow alone.",
    "intent": "What an operator asks for: the input of an execution of the remediation workflow.",
    "journal-entry": "One entry of the journal, as `twinspan journal export` writes it, without its hash.",
}


def schemas() -> dict[str, dict[str, Any]]:
    """Name of the document → its JSON Schema."""
    found = {
        "policy": Policy.model_json_schema(),
        "topology": Topology.model_json_schema(),
        "routing-config": msgspec.json.schema(RoutingConfig),
        "intent": Intent.model_json_schema(),
        "journal-entry": TypeAdapter(Entry).json_schema(),
    }
    return {
        name: {"$schema": DIALECT, "title": name, "description": ABOUT[name]}
        | {key: value for key, value in schema.items() if key not in ("title", "description")}
        for name, schema in found.items()
    }


def texts() -> dict[str, str]:
    """File name → its content."""
    return {
        f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas().items()
    }


def tables() -> str:
    """The schemas as Markdown: a section per document, a table per kind of object in it."""
    lines = [
        "# Documents",
        "",
        "Made from the models by `python -m control_plane.schemas`. The JSON Schemas are in the package, in",
        "`control_plane/schemas/`. Fields that are not listed are refused.",
        "",
    ]
    for name, schema in schemas().items():
        lines += [f"## {name}", "", str(schema["description"]), ""]
        for title, part in _objects(schema):
            if title is not None:
                lines += [f"### {name}: {title}", ""]
            lines += list(_table(part, schema.get("$defs", {})))
    return "\n".join(lines).rstrip() + "\n"


def _objects(schema: Mapping[str, Any]) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    definitions = schema.get("$defs", {})
    root = schema
    if "$ref" in schema:
        root = definitions[_referred(schema["$ref"])]
    yield None, root
    for title, part in definitions.items():
        if part is not root and part.get("properties"):
            yield title, part


def _table(part: Mapping[str, Any], defined: Mapping[str, Any]) -> Iterator[str]:
    yield "| field | type | default | bounds |"
    yield "|---|---|---|---|"
    required = set(part.get("required", ()))
    for name, field in part.get("properties", {}).items():
        default = "required" if name in required else _default(field)
        yield f"| `{name}` | {_type(field, defined)} | {default} | {_bounds(field)} |"
    yield ""


def _type(field: Mapping[str, Any], defined: Mapping[str, Any]) -> str:
    if "$ref" in field:
        name = _referred(field["$ref"])
        return _type(defined[name], defined) if "enum" in defined[name] else name
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return " or ".join(f"`{json.dumps(value)}`" for value in field["enum"])
    for word in ("anyOf", "oneOf", "allOf"):
        if word in field:
            return " or ".join(_type(one, defined) for one in field[word])
    if field.get("type") == "array":
        items = field.get("items") or (field.get("prefixItems") or [{}])[0]
        return f"list of {_type(items, defined)}"
    if field.get("type") == "object" and isinstance(field.get("additionalProperties"), Mapping):
        return f"object of {_type(field['additionalProperties'], defined)}"
    words = {"null": "none", "date-time": "time"}
    return words.get(
        str(field.get("format", field.get("type", "anything"))), str(field.get("type", "anything"))
    )


def _default(field: Mapping[str, Any]) -> str:
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`" if "default" in field else ""


def _bounds(field: Mapping[str, Any]) -> str:
    words = {
        "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
        "minLength": "at least {} characters", "maxLength": "at most {} characters",
        "minItems": "at least {}", "maxItems": "at most {}", "pattern": "`{}`",
    }  # fmt: skip
    parts = [field, *field.get("anyOf", ())]
    found = [text.format(part[key]) for part in parts for key, text in words.items() if key in part]
    return ", ".join(found).replace("|", "\\|")


def _referred(reference: str) -> str:
    return reference.rpartition("/")[2]

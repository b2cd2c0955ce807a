"""The HTTP reference, from the OpenAPI document that the server answers with. Pure."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")


def http_page(document: dict[str, Any]) -> str:
    """One Markdown page: each route, then each structure that a route takes or answers with."""
    schemas = document.get("components", {}).get("schemas", {})
    parts = ["# Routes and structures", ""]
    parts += [f"OpenAPI {document['openapi']}, version {document['info']['version']}.", ""]
    parts += ["## Routes", ""]
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                parts += route(method, path, item[method], item.get("parameters", []))
    parts += ["## Structures", ""]
    for name in sorted(schemas, key=str.lower):
        parts += structure(name, schemas[name])
    return "\n".join(parts).rstrip() + "\n"


def route(method: str, path: str, said: dict[str, Any], shared: list[dict[str, Any]]) -> list[str]:
    """Heading, what it does, parameters, body and answers of one operation."""
    lines = [f"### {method.upper()} {path}", ""]
    for text in (said.get("summary"), said.get("description")):
        if text:
            lines += [plain(text), ""]
    given = [*shared, *said.get("parameters", [])]
    if given:
        lines += ["| parameter | in | type | |", "| --- | --- | --- | --- |"]
        for one in given:
            needed = "required. " if one.get("required") else ""
            shape = one.get("schema", {})
            about = plain(one.get("description") or shape.get("description", ""))
            lines.append(f"| `{one['name']}` | {one['in']} | {kind(shape)} | {needed}{about} |")
        lines.append("")
    if body := said.get("requestBody"):
        lines += [f"Body: {', '.join(contents(body))}", ""]
    lines += ["| status | answer |", "| --- | --- |"]
    for status, answer in sorted(said.get("responses", {}).items()):
        shapes = ", ".join(contents(answer))
        about = said_of(status, answer)
        lines.append(f"| {status} | {'. '.join(text for text in (about, shapes) if text)} |")
    return [*lines, ""]


def said_of(status: str, answer: dict[str, Any]) -> str:
    """The description of an answer, without what every answer of that status is called."""
    text = answer.get("description", "")
    usual = HTTPStatus(int(status)).description if status.isdecimal() else ""
    return "" if text == usual else plain(text)


def contents(holder: dict[str, Any]) -> Iterator[str]:
    """Media type and shape of each content of a body or an answer."""
    for media, content in holder.get("content", {}).items():
        schema = content.get("schema")
        yield f"`{media}` {kind(schema)}" if schema else f"`{media}`"


def structure(name: str, schema: dict[str, Any]) -> list[str]:
    """A table of the fields of a structure, or the words of an enumeration."""
    lines = [f"### {name}", ""]
    if about := schema.get("description"):
        lines += [plain(about), ""]
    if words := schema.get("enum"):
        return [*lines, "One of: " + ", ".join(f"`{word}`" for word in words), ""]
    fields = schema.get("properties", {})
    if not fields:
        return [*lines, kind(schema), ""]
    needed = schema.get("required", [])
    lines += ["| field | type | |", "| --- | --- | --- |"]
    for field, shape in fields.items():
        always = "required. " if field in needed else ""
        default = f"Default: `{shape['default']!r}`. " if shape.get("default") not in (None, "") else ""
        lines.append(
            f"| `{field}` | {kind(shape)} | {always}{default}{plain(shape.get('description', ''))} |"
        )
    return [*lines, ""]


def kind(schema: dict[str, Any]) -> str:
    """A schema in a few words; a structure as a link."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for choice in ("oneOf", "anyOf", "allOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(kind(one) for one in schema[choice]))
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    named = schema.get("type", "anything")
    if isinstance(named, list):
        return " or ".join(kind({**schema, "type": one}) for one in named)
    if named == "array" and "prefixItems" in schema:
        return f"list of ({', '.join(kind(one) for one in schema['prefixItems'])})"
    if named == "array":
        return f"list of {kind(schema.get('items', {}))}"
    if named == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind(schema['additionalProperties'])}"
    form = schema.get("format")
    return f"{named} ({form})" if form else named


def plain(text: str) -> str:
    """One line of prose in which nothing is taken for a table or a link; code stays code."""
    flat = " ".join(text.replace("``", "`").split())
    for mark in ("|", "<", ">", "[", "]", "{", "}", "*"):
        flat = flat.replace(mark, f"\\{mark}")
    return flat

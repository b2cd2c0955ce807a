"""The interface's own description (OpenAPI 3.1), from the routes and the structures."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache
from typing import Any

import msgspec
from litestar.openapi import OpenAPIConfig
from msgspec import Struct

from .. import __version__
from ..wire.http.problems import PROBLEM_TYPE, Problem
from ..wire.lines import LINES
from .app import make_routes, routes
from .needs import Need

__all__ = ["document", "encoded_document"]

_REF = "#/components/schemas/{name}"
_ABOUT = {
    Need.NOBODY: "Needs no credential.",
    Need.READ: "Any credential.",
    Need.SUBMIT: "Needs the scope `submit` or `full`.",
    Need.CHANGE: "Needs the scope `full`.",
    Need.OWNER: "Only over the private server's own socket.",
}


@cache
def encoded_document() -> bytes:
    """The document as it is sent."""
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """The document as a plain table."""
    unused = dict.fromkeys(("dispatcher", "facts", "life", "uploads"))
    config = OpenAPIConfig(title="shorepower", version=__version__, use_handler_docstrings=True)
    app = make_routes(unused, config)
    told = msgspec.json.decode(msgspec.json.encode(app.openapi_schema.to_schema()))
    kinds: set[type] = {Problem, *LINES}  # what `--json` prints besides
    for route in routes():
        for path in route.paths:
            place = path.replace(":str}", "}")
            for method in route.http_methods:
                kinds |= _complete(told["paths"][place][method.lower()], route)
    told["components"]["schemas"].update(_schemas(kinds, told["components"]["schemas"]))
    told["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    told["security"] = [{}, {"token": []}]  # nothing on the Unix socket, a token on a port
    told.pop("servers", None)
    return told


def _complete(operation: dict[str, Any], route: Any) -> set[type]:
    """Add what handlers read or answer by themselves; the structures that this refers to."""
    opt = route.opt
    kinds = {
        kind for kind in (opt["body"], *opt["answers"].values(), *opt["also"].values()) if _is_struct(kind)
    }
    summary, _, more = operation.get("description", "").partition("\n")
    operation["summary"] = summary.strip()
    operation["description"] = " ".join([*more.split(), _ABOUT[opt["need"]]])
    operation["operationId"] = f"{route.fn.__module__.rpartition('.')[2]}.{route.fn.__name__}"
    if body := opt["body"]:
        media = "application/json" if _is_struct(body) else body
        required = not opt["may_lack_body"]
        operation["requestBody"] = {"required": required, "content": {media: _content(body)}}
    answers = operation["responses"]
    for status in [status for status in answers if status.startswith("4")]:
        del answers[status]
    if opt["answers"]:
        usual = answers[min(answers)]
        usual["content"] = {media: _content(kind) for media, kind in opt["answers"].items()}
    for status, kind in opt["also"].items():
        content = {"content": {"application/json": _content(kind)}} if kind else {}
        answers[str(status)] = {"description": _STATUS.get(status, ""), **content}
    answers["default"] = {"description": "A problem", "content": {PROBLEM_TYPE: _content(Problem)}}
    return kinds


_STATUS = {200: "The same job as before", 304: "Not changed"}


def _content(kind: Any) -> dict[str, Any]:
    return {"schema": {"$ref": _REF.format(name=kind.__name__)}} if _is_struct(kind) else {}


def _name(kind: type) -> str:
    return kind.__name__


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _schemas(kinds: set[type], known: dict[str, Any]) -> dict[str, Any]:
    """Every structure in msgspec's words, with the notes that stand under its fields in the source."""
    everything = {kind.__name__: kind for kind in _structs(Struct)}
    named = kinds | {everything[name] for name in known if name in everything}
    _, schemas = msgspec.json.schema_components(sorted(named, key=_name), ref_template=_REF)
    for name, schema in schemas.items():
        for field, note in _notes(everything[name]).items() if name in everything else ():
            if field in schema.get("properties", {}):
                schema["properties"][field].setdefault("description", note)
    return msgspec.json.decode(msgspec.json.encode(schemas))


def _structs(base: type) -> list[type]:
    """All structures of ours that are defined."""
    found = []
    for kind in base.__subclasses__():
        found += [kind, *_structs(kind)] if kind.__module__.startswith("shorepower.") else []
    return found


def _notes(kind: type) -> dict[str, str]:
    """Field → the string under it; empty where the source is not at hand."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    notes = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                notes[field.target.id] = inspect.cleandoc(text.value)
    return notes

"""The configuration reference, from the structs of the schema. Pure, but for reading their source."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


def config_page(document: type, variables: Mapping[str, str], project_keys: tuple[str, ...]) -> str:
    """One Markdown page: each table of the file with its keys, types, defaults and variables."""
    named = {key: variable for variable, key in variables.items()}
    parts = ["# Keys", ""]
    plain: list[str] = []
    for field in msgspec.inspect.type_info(document).fields:
        struct = struct_of(field.type)
        only = "" if field.encode_name in project_keys else " Not in a project's `shore.toml`."
        if struct is None:
            plain += entry(field.encode_name, field, notes(document), named, only)
            continue
        many = isinstance(field.type, msgspec.inspect.DictType)
        heading = f"{field.encode_name}.NAME" if many else field.encode_name
        about = inspect.getdoc(struct) or ""
        parts += [f"## [{heading}]", "", (prose(about.partition(": ")[2]) + only).strip(), ""]
        for key in msgspec.inspect.type_info(struct).fields:
            parts += entry(f"{field.encode_name}.{key.encode_name}", key, notes(struct), named, "")
    return "\n".join([*parts, "## Other keys", "", *plain]).rstrip() + "\n"


def struct_of(kind: Any) -> type | None:
    """The struct of a table, or of a table of tables."""
    if isinstance(kind, msgspec.inspect.DictType):
        kind = kind.value_type
    return kind.cls if isinstance(kind, msgspec.inspect.StructType) else None


def entry(
    path: str, field: Any, said: Mapping[str, str], named: Mapping[str, str], only: str
) -> Iterator[str]:
    """A key as a definition: what it means, what it is unless set, and the variable that sets it."""
    key = field.encode_name
    about = [prose(said.get(field.name, "")), only.strip()]
    if isinstance(field.default, (bool, int, float, str)) and field.default != "":
        about.append(f"Default: `{str(field.default).lower()}`.")
    if path in named:
        about.append(f"Environment: `{named[path]}`.")
    yield from (
        f"`{key}` ({words(field.type)})",
        f": {' '.join(text for text in about if text) or '—'}",
        "",
    )


def words(kind: Any) -> str:
    """A type as people write the value in TOML."""
    inspect_ = msgspec.inspect
    if isinstance(kind, inspect_.UnionType):
        known = [words(one) for one in kind.types if not isinstance(one, inspect_.NoneType)]
        return " or ".join(dict.fromkeys(known))
    if isinstance(kind, inspect_.VarTupleType):
        return f"list of {words(kind.item_type)}"
    if isinstance(kind, inspect_.DictType):
        return f"table of {words(kind.value_type)}"
    names = {
        inspect_.StrType: "text",
        inspect_.IntType: "number",
        inspect_.FloatType: "number",
        inspect_.BoolType: "true or false",
    }
    return names[type(kind)]


def notes(struct: type) -> dict[str, str]:
    """Field → the string that stands under it in the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[field.target.id] = inspect.cleandoc(text.value)
    return found


def prose(text: str) -> str:
    """One line; a note in the source's marks becomes one in Markdown's; a sentence ends with a stop."""
    flat = " ".join(text.replace("``", "`").split())
    if not flat:
        return ""
    return (flat[0].upper() + flat[1:]).rstrip(".") + "."

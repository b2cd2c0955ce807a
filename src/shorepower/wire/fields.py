"""What is wrong with a decoded document, everything at once, and what nobody knows in it. Pure.

msgspec says no at the first fault. This goes through a document a second time, only when it must.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from ..model.errors import Fault

__all__ = ["Unknown", "choices_of", "faults_in", "sentence", "unknown_in"]


class Unknown(Struct, frozen=True):
    """A key that no field has."""

    field: str
    """Where, dotted (``spec.resources.cpus``)."""
    key: str
    known: tuple[str, ...]
    """The keys that are known there."""


def faults_in(document: object, kind: Any, at: str = "") -> tuple[Fault, ...]:
    """Every value that does not fit, each with its field; empty when all fit."""
    return tuple(found for found in _visit(document, kind, at) if isinstance(found, Fault))


def unknown_in(document: object, kind: Any, at: str = "") -> tuple[Unknown, ...]:
    """Every key that no field of the type has."""
    return tuple(found for found in _visit(document, kind, at) if isinstance(found, Unknown))


def _visit(value: object, kind: Any, at: str) -> Iterator[Fault | Unknown]:
    inner = _inner(kind)
    if value is None and inner is not kind and type(None) in get_args(_bare(kind)):
        return
    if _is_record(inner) and isinstance(value, Mapping):
        yield from _visit_record(value, inner, at)
        return
    origin, words = get_origin(inner), get_args(inner)
    if origin in (tuple, list) and isinstance(value, list | tuple) and _uniform(origin, words):
        for index, item in enumerate(value):
            yield from _visit(item, words[0], f"{at}[{index}]")
    elif origin is dict and isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaf(key, words[0], f"{at}.{key}")
            yield from _visit(item, words[1], f"{at}.{key}" if at else str(key))
    else:
        yield from _leaf(value, kind, at)


def _visit_record(value: Mapping[Any, Any], kind: type[Struct], at: str) -> Iterator[Fault | Unknown]:
    fields = _fields_of(kind)
    for name, field in fields.items():
        place = f"{at}.{name}" if at else name
        if name in value:
            yield from _visit(value[name], field.type, place)
        elif field.required:
            yield Fault(place, "is required")
    for key in value:
        if key not in fields:
            yield Unknown(f"{at}.{key}" if at else str(key), str(key), tuple(fields))


@cache
def _fields_of(kind: type[Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """By name; msgspec works them out of the annotations anew at every call."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _leaf(value: object, kind: Any, at: str) -> Iterator[Fault]:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        if isinstance(value, str) and (choices := choices_of(kind)):
            from ..model.check import unknown

            what = re.sub(r"\[\d+\]$", "", at).rpartition(".")[2]
            yield Fault(at, unknown(what, value, choices))
        else:
            yield Fault(at, sentence(str(error)))
    except RecursionError:
        yield Fault(at, "is nested too deeply")


def choices_of(kind: Any) -> tuple[str, ...]:
    """The words that a type takes, also as a list of them or as null; empty when it is no enumeration."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(str(member.value) for member in kind)
    inner = [choices_of(word) for word in get_args(kind) if word is not type(None)]
    return inner[0] if len(inner) == 1 else ()


def _bare(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _inner(kind: Any) -> Any:
    """The one type of ``X | None``; any other union stands for itself."""
    bare = _bare(kind)
    if get_origin(bare) in (Union, types.UnionType):
        some = [one for one in get_args(bare) if one is not type(None)]
        return _bare(some[0]) if len(some) == 1 else bare
    return bare


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct) and not kind.__struct_config__.array_like


def _uniform(origin: Any, words: tuple[Any, ...]) -> bool:
    return origin is list or (len(words) == 2 and words[1] is Ellipsis)


_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "null": "null",
    "object": "a table",
    "array": "a list",
    "datetime": "a time (RFC 3339, with an offset)",
}


def sentence(text: str) -> str:
    """msgspec's words as people say them: ``expected a whole number, got text``."""
    plain = re.sub(r" - at `[^`]*`$", "", text)
    plain = re.sub(
        r"`([^`]*)`",
        lambda found: " or ".join(_WORDS.get(word, word) for word in found[1].split(" | ")),
        plain,
    )
    return plain[:1].lower() + plain[1:]

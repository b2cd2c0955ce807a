"""The small tree that every call's job is started in: the runner and cloudpickle, as sources and bytecode.

The bytecode saves the job from compiling. It is kept with the digests, so that all processes of this user
send the same tree: compiling twice need not give the same bytes.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import CodeType

import msgspec
from msgspec import Struct

from ...model.tree import TreeEntry, digest_of, encode_tree

__all__ = ["FOLDER", "SCRIPT", "RunnerTree", "runner_tree"]

FOLDER = ".shorepower"
SCRIPT = f"{FOLDER}/shore_call.py"
"""What the interpreter runs, relative to where the job starts."""

_RUNNER = ("shore_call.py", "shore_pool.py", "shore_runner.py")
_LEAN = (
    "instance",
    "_make_function",
    "_function_setstate",
    "_empty_cell_value",
    "_make_empty_cell",
    "_make_cell",
    "_builtin_type",
    "subimport",
)
"""What loading a function takes, as long as it holds no class of its own."""
_LEAN_HEAD = '"""The parts of cloudpickle that loading a function takes; its licence stands there."""\n\n'
_LEAN_NAMES = frozenset({"builtins", "sys", "types", *dir(builtins), "__builtins__"})
_MTIME_NS = 1_600_000_000 * 10**9
"""Of every file; the tree object holds it."""


class RunnerTree(Struct, frozen=True):
    """A tree, ready to be sent."""

    root: str
    blobs: dict[str, bytes]
    """Everything that ``root`` needs, itself too; a tree object after what is in it."""


@cache
def runner_tree(cache_dir: Path) -> RunnerTree:
    """The tree for jobs that run this Python's minor version."""
    sources = _sources()
    mark = hashlib.sha256(importlib.util.MAGIC_NUMBER)
    for name, data in sorted(sources.items()):
        mark.update(f"{name} {len(data)}\n".encode() + data)
    kept = cache_dir / "runner" / f"{sys.implementation.cache_tag}-{mark.hexdigest()[:16]}"
    try:
        return msgspec.msgpack.decode(kept.read_bytes(), type=RunnerTree)
    except (OSError, msgspec.DecodeError):
        made = _build({**sources, **_compiled(sources)})
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_name(f"{kept.name}.{os.getpid()}")
        beside.write_bytes(msgspec.msgpack.encode(made))
        beside.replace(kept)
    except OSError:
        pass  # it is built again by the next process
    return made


def _sources() -> dict[str, bytes]:
    import cloudpickle

    here = Path(__file__).parent / "travelling"
    found = {name: (here / name).read_bytes() for name in _RUNNER}
    package = Path(cloudpickle.__file__).parent
    for file in package.glob("*.py"):
        found[f"cloudpickle/{file.name}"] = file.read_bytes()
    found["shore_lean.py"] = lean_source(found["cloudpickle/cloudpickle.py"].decode()).encode()
    return found


def lean_source(text: str) -> str:
    """A module of those definitions of cloudpickle's source that need nothing else of it. One that came
    to need more is left out: the runner then takes the whole module."""
    defined = (ast.FunctionDef, ast.ClassDef)
    parts = [one for one in ast.parse(text).body if isinstance(one, defined) and one.name in _LEAN]
    count = -1
    while count != len(parts):
        count, known = len(parts), _LEAN_NAMES.union(node.name for node in parts)
        parts = [node for node in parts if _names_used(node) <= known]
    body = "\n\n".join(map(ast.unparse, parts))
    return f"{_LEAN_HEAD}import builtins\nimport sys\nimport types\n\n{body}\n"


def _names_used(node: ast.AST) -> set[str]:
    """Names that a definition takes from outside of it."""
    read = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    own = {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    return read - own - {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}


def _compiled(sources: Mapping[str, bytes]) -> dict[str, bytes]:
    """Bytecode that is taken without a look at its source's time."""
    made = {}
    for name, data in sources.items():
        if name == _RUNNER[0]:
            continue  # what an interpreter is told to run it always compiles
        folder, _, file = name.rpartition("/")
        code = compile(data, f"{FOLDER}/{name}", "exec", dont_inherit=True, optimize=0)
        made[f"{folder}/__pycache__/{file[:-3]}.{sys.implementation.cache_tag}.pyc".lstrip("/")] = _pyc(
            code, data
        )
    return made


def _pyc(code: CodeType, source: bytes) -> bytes:
    """Source: PEP 552: magic, flags (1: by hash, not checked), the hash, the code."""
    import marshal

    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return head + marshal.dumps(code)


def _build(files: Mapping[str, bytes]) -> RunnerTree:
    blobs: dict[str, bytes] = {}
    inner = _folder(files, blobs)
    root = encode_tree([_dir(FOLDER, inner, sum(map(len, files.values())))])
    blobs[digest_of(root)] = root
    return RunnerTree(digest_of(root), blobs)


def _folder(files: Mapping[str, bytes], blobs: dict[str, bytes]) -> str:
    """Add a folder and all below it; the digest of its tree object."""
    below: dict[str, dict[str, bytes]] = {}
    entries = []
    for name, data in files.items():
        first, slash, rest = name.partition("/")
        if slash:
            below.setdefault(first, {})[rest] = data
            continue
        digests = (digest_of(data),) if data else ()
        blobs.update(dict.fromkeys(digests, data))
        entries.append(
            TreeEntry(
                name=name.encode(),
                kind="file",
                mode=0o644,
                mtime_ns=_MTIME_NS,
                size_bytes=len(data),
                digests=digests,
            )
        )
    for name, inside in below.items():
        entries.append(_dir(name, _folder(inside, blobs), sum(map(len, inside.values()))))
    tree = encode_tree(entries)
    blobs[digest_of(tree)] = tree
    return digest_of(tree)


def _dir(name: str, digest: str, size: int) -> TreeEntry:
    return TreeEntry(
        name=name.encode(),
        kind="dir",
        mode=0o755,
        mtime_ns=_MTIME_NS,
        size_bytes=size,
        digests=(digest,),
    )

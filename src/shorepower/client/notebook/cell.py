"""What a cell becomes: one file that an interpreter runs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..python.errors import CannotSend
from ..python.modules import by_value

__all__ = ["MEDIA_TYPES", "python_archive"]

MEDIA_TYPES = {
    "python": "application/vnd.shorepower.python-cell+zip",
    "bash": "text/x-shellscript",
    "r": "text/x-r",
}
_EPOCH = (1980, 1, 1, 0, 0, 0)
_HERE = Path(__file__).parent


def python_archive(code: str, inputs: Mapping[str, Any], outputs: Sequence[str]) -> bytes:
    """A zip that Python runs: the cell with the variables it gets, and all that running it takes. Raises
    SyntaxError, CannotSend."""
    compile(code, "<cell>", "exec", dont_inherit=True)
    import cloudpickle

    runner = _HERE.parent / "python" / "travelling" / "shore_runner.py"
    members = {
        "__main__.py": (_HERE / "travelling" / "shore_cell.py").read_bytes(),
        "shore_runner.py": runner.read_bytes(),
        "cell.json": json.dumps({"code": code, "outputs": list(outputs)}).encode(),
        "inputs.pickle": _pickled(inputs),
    }
    for file in Path(cloudpickle.__file__).parent.glob("*.py"):
        members[f"cloudpickle/{file.name}"] = file.read_bytes()
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def _pickled(inputs: Mapping[str, Any]) -> bytes:
    import cloudpickle

    with by_value():
        try:
            return cloudpickle.dumps(dict(inputs), 5)
        except Exception as error:
            wrong = [name for name, value in inputs.items() if not _can_be_pickled(value)]
            kinds = ", ".join(f"{name} ({type(inputs[name]).__qualname__})" for name in wrong)
            raise CannotSend(f"what -i names cannot be sent: {kinds}: {error}") from error


def _can_be_pickled(value: object) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(value, 5)
    except Exception:
        return False
    return True

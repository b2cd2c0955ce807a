"""Environments as their builders leave them, without a package index."""

import sys
import venv
from pathlib import Path
from zipfile import ZipFile

__all__ = ["a_conda_prefix", "a_venv", "a_wheel", "install"]


def a_venv(folder: Path) -> Path:
    """A virtual environment without pip; returns its Python."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    return folder / "bin" / "python"


def install(environment: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> None:
    """A module of that name with its metadata, as an installer leaves them."""
    minor = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / minor / "site-packages"
    info = packages / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(_metadata(name, version, requires))
    (packages / f"{name}.py").write_text(f"VERSION = {version!r}\n")


def a_wheel(folder: Path, name: str, version: str = "1.0") -> Path:
    """A wheel of one module."""
    folder.mkdir(parents=True, exist_ok=True)
    file, info = folder / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    with ZipFile(file, "w") as wheel:
        wheel.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", _metadata(name, version, ()))
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")
    return file


def a_conda_prefix(folder: Path) -> Path:
    """An environment laid out as conda lays it out, around the Python of the tests; returns its Python."""
    (folder / "conda-meta").mkdir(parents=True)
    (folder / "conda-meta" / "history").write_text("==> 2026-01-01 00:00:00 <==\n")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.symlink_to(Path(sys.base_prefix, "bin", "python3"))
    return python


def _metadata(name: str, version: str, requires: tuple[str, ...]) -> str:
    lines = "".join(f"Requires-Dist: {one}\n" for one in requires)
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}"

"""shorepower: run analyses elsewhere and bring their results home.

::

    import shorepower

    with shorepower.Client() as client:
        job = client.run("train.R", "--fold", "3", cpus=4, memory="8G")
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_ROOMS = {
    "AsyncClient": "client.async_client",
    "CannotSend": "client.python.errors",
    "Client": "client.client",
    "Executor": "client.python.executor",
    "MapJob": "client.python.mapjob",
    "NoValue": "client.python.errors",
    "RemoteError": "client.python.errors",
    "WrongPython": "client.python.errors",
    "remote": "client.python.remote",
    "JobFailed": "client.errors",
    "JobHandle": "client.handle",
    "Options": "client.options",
    "ServerFault": "client.errors",
    "VersionMismatch": "client.errors",
    "JobQuery": "client.requests",
    "Job": "model.job",
    "JobSpec": "model.job",
    "Operation": "model.lifecycle",
    "Reason": "model.lifecycle",
    "State": "model.lifecycle",
    "Resources": "model.resources",
    "InvalidRequest": "model.errors",
    "NotAllowed": "model.errors",
    "NotFound": "model.errors",
    "ShorepowerError": "model.errors",
    "Unreachable": "model.errors",
}
"""Public name → its module; loaded when first used, so that importing the package costs nothing."""

__all__ = ["__version__", *sorted(_ROOMS)]


def __getattr__(name: str) -> object:
    room = _ROOMS.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext shorepower``: the magics ``%%shore`` and ``%shore``."""
    from importlib import import_module

    magics = import_module(f"{__name__}.client.notebook.magics")
    shell.register_magics(magics.ShoreMagics)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])

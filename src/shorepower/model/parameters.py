"""Which names the parameters of a sweep may have. Pure."""

from __future__ import annotations

import re

__all__ = ["parameter_fault"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What decides which programs and libraries a task finds, or whose it is: a sweep over these is a slip.
_TAKEN = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP"),
        *("IFS", "ENV", "BASH_ENV", "LANG", "TZ", "TERM", "HOSTNAME", "VIRTUAL_ENV", "JAVA_HOME"),
        *("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "R_HOME", "R_LIBS", "R_LIBS_USER", "R_LIBS_SITE"),
        *("R_PROFILE", "R_ENVIRON", "JULIA_LOAD_PATH", "JULIA_DEPOT_PATH", "JULIA_PROJECT", "CLASSPATH"),
        *("PERL5LIB", "NODE_PATH", "GOPATH", "CPATH", "MANPATH", "INFOPATH", "MODULEPATH"),
        "PKG_CONFIG_PATH",
    }
)
_TAKEN_PREFIXES = ("SHOREPOWER_", "SHORE_", "SLURM_", "SBATCH_", "LD_", "DYLD_", "CONDA_")


def parameter_fault(name: str) -> str:
    """Why a parameter cannot be called so, as a sentence; empty when it can.

    A parameter is an environment variable of its task, so it is spelled like one and replaces none that
    programs are found by.
    """
    if not _NAME.fullmatch(name):
        return f"{name!r} cannot name a parameter: write letters, digits and _, a letter first"
    if name in _TAKEN or name.startswith(_TAKEN_PREFIXES):
        return f"{name} cannot be a parameter: it would replace the variable {name} of each task"
    return ""

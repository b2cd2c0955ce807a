"""Which program runs a script: by suffix, by ``#!``, by what the user's session uses. Pure."""

from __future__ import annotations

__all__ = ["SUFFIXES", "suffix_table"]

SUFFIXES = {
    ".py": "Python",
    ".R": "Rscript",
    ".r": "Rscript",
    ".sh": "sh",
    ".jl": "Julia",
    ".ipynb": "Jupyter",
    ".qmd": "Quarto",
    ".Rmd": "R Markdown",
}
"""What each suffix means. Source: the contract, §4, Scripts by suffix."""


def suffix_table() -> str:
    """The known suffixes in one line, for an error."""
    return ", ".join(f"{suffix} ({runtime})" for suffix, runtime in SUFFIXES.items() if suffix != ".r")

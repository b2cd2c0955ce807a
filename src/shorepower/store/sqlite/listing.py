"""Lists of jobs, newest first: one statement for each form of a `JobQuery`.

A list is a union of branches. Each branch walks one index backwards from the page's cursor and stops
at the limit, so that a page costs the same however long the history is. Two exceptions are bounded by
other things than history: jobs that ended recently are sorted (a day's worth), and a query without an
owner has an index only for living states.
"""

# ruff: noqa: S608 - statements are made of texts of this package alone; every value is bound

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from ...model.lifecycle import ENDED, State
from ..contract import JobQuery
from .rows import Params, micros
from .statements import JOB_FROM, LIVING

__all__ = ["listing"]


class _Branch(Struct, frozen=True, kw_only=True):
    """One walk over one index."""

    index: str | None = None
    seeks: tuple[str, ...] = ()
    """Columns that the index is entered by. The others only filter: `+` keeps SQLite from choosing
    an index for them, which might mean sorting the whole history."""
    also: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    by_tag: bool = False


def listing(query: JobQuery) -> tuple[str, Params]:
    """The statement, with rows of `statements.JOB_COLUMNS`, and its parameters."""
    walks = " UNION ALL ".join(f"SELECT seq FROM ({_walk(query, branch)})" for branch in _branches(query))
    statement = f"""{JOB_FROM} WHERE j.seq IN (
      SELECT seq FROM ({walks}) ORDER BY seq DESC LIMIT :limit
    ) ORDER BY j.seq DESC"""
    return statement, _params(query)


def _branches(query: JobQuery) -> list[_Branch]:
    owner = ("owner",) if query.owner is not None else ()
    if query.active_or_after is not None:
        return _recent(query, owner)
    if query.tags and owner:
        return [_Branch(by_tag=True, states=query.states)]
    for column in ("name", "cluster"):
        if getattr(query, column) is not None and owner:
            return [_Branch(seeks=(*owner, column), index=f"jobs_owner_{column}", states=query.states)]
    if query.states and (owner or not ENDED.intersection(query.states)):
        return [_in_state(state, owner) for state in dict.fromkeys(query.states)]
    return [_Branch(seeks=owner, index="jobs_owner" if owner else None, states=query.states)]


def _recent(query: JobQuery, owner: tuple[str, ...]) -> list[_Branch]:
    """Living jobs state by state, and those that ended after the moment."""
    wanted = query.states or tuple(State)
    branches = [_in_state(state, owner) for state in dict.fromkeys(wanted) if state not in ENDED]
    ended = tuple(state for state in dict.fromkeys(wanted) if state in ENDED)
    if ended:
        branches.append(
            _Branch(
                index="jobs_owner_ended" if owner else "jobs_ended",
                seeks=owner,
                also=("j.ended_at > :ended_after",),
                states=ended,
            )
        )
    return branches


def _in_state(state: State, owner: tuple[str, ...]) -> _Branch:
    if owner:
        return _Branch(index="jobs_owner_state", seeks=(*owner, "state"), states=(state,))
    return _Branch(index="jobs_active", seeks=("state",), states=(state,), also=(LIVING,))


def _walk(query: JobQuery, branch: _Branch) -> str:
    terms = [*branch.also, *_terms(query, branch), *_bounds(query)]
    source = "jobs j" if branch.index is None else f"jobs j INDEXED BY {branch.index}"
    order = "j.seq"
    if branch.by_tag:
        source = "job_tags t INDEXED BY job_tags_found CROSS JOIN jobs j ON j.seq = t.job"
        terms += ["t.owner = :owner", "t.key = :key0", "t.value = :value0"]
        order = "t.job"
    where = f"WHERE {' AND '.join(terms)}" if terms else ""
    return f"SELECT j.seq AS seq FROM {source} {where} ORDER BY {order} DESC LIMIT :limit"


def _terms(query: JobQuery, branch: _Branch) -> Iterable[str]:
    for column in ("owner", "name", "cluster"):
        if getattr(query, column) is not None:
            yield f"{_plus(column, branch)}j.{column} = :{column}"
    if branch.states:
        words = ", ".join(f"'{state.value}'" for state in branch.states)
        yield f"{_plus('state', branch)}j.state IN ({words})"
    for number in range(1 if branch.by_tag else 0, len(query.tags)):
        yield (
            "EXISTS (SELECT 1 FROM job_tags w"
            f" WHERE w.job = j.seq AND w.key = :key{number} AND w.value = :value{number})"
        )


def _plus(column: str, branch: _Branch) -> str:
    return "" if column in branch.seeks else "+"


def _bounds(query: JobQuery) -> Sequence[str]:
    bounds = []
    if query.before is not None:
        bounds.append("j.seq < :before")
    if query.created_after is not None:
        bounds += [
            "+j.created_at > :created_after",
            "j.seq >= (SELECT seq FROM jobs INDEXED BY jobs_latest WHERE latest_at > :created_after"
            " ORDER BY latest_at, seq LIMIT 1)",
        ]
    return bounds


def _params(query: JobQuery) -> Params:
    params: Params = {"limit": max(query.limit, 0), "owner": query.owner, "name": query.name}
    params |= {"cluster": query.cluster, "before": query.before}
    if query.created_after is not None:
        params["created_after"] = micros(query.created_after)
    if query.active_or_after is not None:
        params["ended_after"] = micros(query.active_or_after)
    for number, (key, value) in enumerate(query.tags.items()):
        params |= {f"key{number}": key, f"value{number}": value}
    return params

"""The search of tune.py from a session: as a map of calls, and by scikit-learn's own search.

Needs shorepower beside scikit-learn: ``.venv/bin/python -m pip install shorepower``.
"""

import itertools
from pathlib import Path

import joblib
from sklearn.model_selection import GridSearchCV
from tune import machine, read, score, tell

import shorepower

COSTS, WIDTHS = (0.3, 1.0, 3.0, 10.0), (0.005, 0.02, 0.08)


def by_map(values, truth):
    """One job of twelve tasks; each call's value comes home as soon as it is there."""

    def one(combination):
        found = score(values, truth, *combination)
        tell({"cost": combination[0], "gamma": combination[1], **found})
        return found["auc"]

    combinations = list(itertools.product(COSTS, WIDTHS))
    with shorepower.Client() as client:
        job = client.with_options(name="search by map").map(one, combinations, chunksize=1)
        print(f"shore show {job.id} --table --sort -auc")
        return dict(zip(combinations, job, strict=True))


def by_joblib(values, truth):
    """scikit-learn's search, whose fits run as jobs."""
    from shorepower.joblib import register

    register()
    grid = {"svc__C": COSTS, "svc__gamma": WIDTHS}
    search = GridSearchCV(machine(), grid, scoring="roc_auc", cv=5, n_jobs=-1)
    with joblib.parallel_config(backend="shorepower"):
        search.fit(values, truth)
    return search


if __name__ == "__main__":
    values, truth = read(Path(__file__).parent / "data" / "wdbc.csv")
    found = by_map(values, truth)
    for (cost, width), auc in sorted(found.items(), key=lambda entry: -entry[1])[:3]:
        print(f"map:    cost {cost:>4}  gamma {width:>5}  auc {auc:.4f}")
    search = by_joblib(values, truth)
    print(f"joblib: {search.best_params_}  auc {search.best_score_:.4f}")

"""How good is one support-vector machine? ``COST`` and ``GAMMA`` come from the environment.

One task of a search: ``shore run --grid COST=0.3,1,3,10 --grid GAMMA=0.005,0.02,0.08 tune.py``.
"""

import csv
import json
import os
from pathlib import Path

import numpy as np
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

SEED = 20261120


def read(path):
    """The measurements, and whether each biopsy was malignant."""
    with Path(path).open(newline="") as file:
        _, *rows = csv.reader(file)
    values = np.array([[float(cell) for cell in row[1:]] for row in rows])
    return values, np.array([row[0] == "malignant" for row in rows], dtype=int)


def machine(cost=1.0, gamma=0.02):
    """The model, not fitted."""
    return make_pipeline(StandardScaler(), SVC(C=cost, gamma=gamma))


def score(values, truth, cost, gamma, repeats=4):
    """Mean and standard deviation of the area under the curve over repeated five-fold cross-validation."""
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=repeats, random_state=SEED)
    found = cross_val_score(machine(cost, gamma), values, truth, scoring="roc_auc", cv=folds)
    return {"auc": round(float(found.mean()), 5), "sd": round(float(found.std(ddof=1)), 5)}


def tell(numbers):
    """Where a launcher compares the tasks of a job, let it know."""
    if path := os.environ.get("SHOREPOWER_METRICS"):
        with Path(path).open("a") as file:
            file.write(json.dumps(numbers) + "\n")


if __name__ == "__main__":
    values, truth = read(Path(__file__).parent / "data" / "wdbc.csv")
    cost, gamma = float(os.environ["COST"]), float(os.environ["GAMMA"])
    found = score(values, truth, cost, gamma)
    tell(found)
    print(f"cost {cost:>4}  gamma {gamma:>6}  auc {found['auc']:.4f} ± {found['sd']:.4f}")

"""Which model tells malignant from benign biopsies best? A repeated cross-validated comparison.

Reads data/wdbc.csv; writes metrics.csv, folds.csv, model.joblib and roc.png to results/.
Run it as it is (``python compare.py``) or hand it to a launcher (``shore run compare.py``).
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

import joblib
import matplotlib

matplotlib.use("Agg")  # draws into a file, needs no display

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score, roc_curve
from sklearn.model_selection import RepeatedStratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

HERE = Path(__file__).resolve().parent
SEED = 20261120
MALIGNANT = "malignant"

MODELS = {
    "majority class": DummyClassifier(strategy="prior"),
    "nearest neighbours": make_pipeline(StandardScaler(), KNeighborsClassifier(n_neighbors=9)),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.5, max_iter=2000)),
    "support vectors": CalibratedClassifierCV(make_pipeline(StandardScaler(), SVC(C=3.0, gamma=0.02))),
    "random forest": RandomForestClassifier(n_estimators=200, random_state=SEED),
    "boosted trees": GradientBoostingClassifier(max_features="sqrt", subsample=0.8, random_state=SEED),
}


def read(path):
    """The names of the measurements, their values, and whether each biopsy was malignant."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    values = np.array([[float(cell) for cell in row[1:]] for row in rows])
    return header[1:], values, np.array([row[0] == MALIGNANT for row in rows], dtype=int)


def tell(variable, line):
    """Append a line to the file that a launcher named; say nothing where there is none."""
    if path := os.environ.get(variable):
        with Path(path).open("a") as file:
            file.write(line + "\n")


def compare(values, truth, folds):
    """One row for each model and fold, and each model's mean score for each biopsy."""
    rows, scores = [], {}
    for number, (name, model) in enumerate(MODELS.items()):
        total = np.zeros(len(truth))
        began = time.perf_counter()
        for fold, (train, test) in enumerate(folds.split(values, truth)):
            fitted = clone(model).fit(values[train], truth[train])
            believed = fitted.predict_proba(values[test])[:, 1]
            total[test] += believed / folds.n_repeats
            rows.append(
                {
                    "model": name,
                    "fold": fold + 1,
                    "auc": roc_auc_score(truth[test], believed),
                    "sensitivity": recall_score(truth[test], believed > 0.5),
                    "specificity": recall_score(truth[test], believed > 0.5, pos_label=0),
                    "brier": brier_score_loss(truth[test], believed),
                }
            )
            done = (number + (fold + 1) / folds.get_n_splits()) / len(MODELS)
            tell("SHOREPOWER_PROGRESS", f"{done:.3f} {name}, fold {fold + 1}")
        scores[name] = total
        auc = np.mean([row["auc"] for row in rows if row["model"] == name])
        print(f"{name:<20} auc {auc:.4f}   {time.perf_counter() - began:4.1f} s", flush=True)
        tell("SHOREPOWER_METRICS", json.dumps({"model": name, "auc": round(float(auc), 4)}))
    return rows, scores


def summarise(rows):
    """Mean and standard deviation over the folds of each model, best area under the curve first."""
    table = []
    for name in MODELS:
        mine = [row for row in rows if row["model"] == name]
        line = {"model": name}
        for measure in ("auc", "sensitivity", "specificity", "brier"):
            found = np.array([row[measure] for row in mine])
            line[measure] = f"{found.mean():.4f}"
            line[f"{measure}_sd"] = f"{found.std(ddof=1):.4f}"
        table.append(line)
    return sorted(table, key=lambda line: -float(line["auc"]))


def write(path, table):
    """A list of rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def draw(path, truth, scores, table):
    """The curve of each model, from scores that it gave to biopsies it had not seen."""
    figure, axes = plt.subplots(figsize=(7, 6), layout="constrained")
    for line in table:
        wrong, right, _ = roc_curve(truth, scores[line["model"]])
        axes.plot(wrong, right, label=f"{line['model']} ({line['auc']})")
    axes.set(
        xlim=(-0.01, 0.4),
        ylim=(0.7, 1.01),
        xlabel="benign taken for malignant",
        ylabel="malignant found",
        title="Out-of-fold ROC curves, 569 biopsies",
    )
    axes.legend(loc="lower right", title="model (area under the curve)")
    figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2, help="how often the five folds are drawn anew")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    options = parser.parse_args()

    names, values, truth = read(HERE / "data" / "wdbc.csv")
    print(f"{len(truth)} biopsies, {len(names)} measurements, {truth.sum()} malignant", flush=True)
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=options.repeats, random_state=SEED)
    rows, scores = compare(values, truth, folds)

    options.out.mkdir(parents=True, exist_ok=True)
    table = summarise(rows)
    write(options.out / "metrics.csv", table)
    write(options.out / "folds.csv", rows)
    best = table[0]["model"]
    fitted = clone(MODELS[best]).fit(values, truth)
    joblib.dump(
        {"model": fitted, "measurements": names, "trained_on": len(truth)}, options.out / "model.joblib"
    )
    draw(options.out / "roc.png", truth, scores, table)
    tell("SHOREPOWER_PROGRESS", "1.0 done")
    print(
        f"best: {best}, area under the curve {table[0]['auc']}; fitted to all {len(truth)} biopsies",
        flush=True,
    )


if __name__ == "__main__":
    main()

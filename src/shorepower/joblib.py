"""joblib over jobs: ``from shorepower.joblib import register; register()``, then ``backend="shorepower"``.

::

    with joblib.parallel_config(backend="shorepower", n_jobs=-1, cpus=1, memory="2G"):
        GridSearchCV(...).fit(X, y)
"""

from __future__ import annotations

from .client.engines.joblib import JobsBackend, register

__all__ = ["JobsBackend", "register"]

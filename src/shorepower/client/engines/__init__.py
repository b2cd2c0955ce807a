"""Other people's engines over our jobs: joblib and Dask. Each needs the library."""

"""Notebooks: magics of IPython, and jobs that are shown as they go."""

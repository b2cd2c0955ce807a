"""Functions called somewhere else: what a call needs on the client's side, and the runner that travels."""

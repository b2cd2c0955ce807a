"""The file helper: looks at paths as the user it runs as. Started by the helper after it has dropped root.

On stdin one JSON array of paths, on stdout one JSON object a path, in the order in which they answer. One
that never answers holds up one thread; whoever asked takes what came in time and ends this process.
"""

import json
import os
import stat
import sys
import threading

_THREADS = 8


def look(path: str) -> dict[str, object]:
    """What a path is, for this user."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return {"path": path, "exists": False}
    rights = {"readable": os.R_OK, "writable": os.W_OK, "executable": os.X_OK}
    told = {name: os.access(path, right) for name, right in rights.items()}
    return {"path": path, "exists": True, "is_directory": stat.S_ISDIR(mode), **told}


def main() -> None:
    """Answer what is asked on stdin."""
    left = iter(json.load(sys.stdin))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                path = next(left, None)
            if path is None:
                return
            line = json.dumps(look(path)) + "\n"
            with lock:
                sys.stdout.write(line)
                sys.stdout.flush()

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()

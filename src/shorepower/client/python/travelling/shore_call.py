"""What a call's job runs: begins the runner that lies beside this file, whatever the interpreter's path."""

import sys

sys.path.insert(0, __file__.rpartition("/")[0] or ".")
import shore_runner

sys.exit(shore_runner.main())

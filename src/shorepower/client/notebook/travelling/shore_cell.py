"""Runs a cell of a notebook as the main program of a job. It travels in an archive that Python runs, with
the runner of calls, cloudpickle, the cell (``cell.json``) and the variables that it gets
(``inputs.pickle``).
"""

import ast
import io
import json
import linecache
import os
import sys
import types

import shore_runner

NAME = "<cell>"


def main(get):
    told = json.loads(get("cell.json").decode())
    sys.path[0] = ""  # as in a notebook: the folder that it runs in
    log = shore_runner.Log(os.environ["SHOREPOWER_RESULT"])
    if log.done:
        return log.code(0)
    shore_runner.record_warnings(log, 0)
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    space = module.__dict__
    try:
        pickled = get("inputs.pickle")
        if b"cloudpickle" in pickled:
            shore_runner.cloudpickle()  # all of it, before parts of it are looked for
        space.update(shore_runner.unpickle(io.BytesIO(pickled)))
    except BaseException as error:
        return log.error(0, error, why="the variables that were passed in cannot be unpickled there")
    try:
        begin, last = parts(told["code"])
        exec(begin, space)
        if last is not None:
            exec(last, space)
        wanted = {name: named(space, name) for name in told["outputs"]}
    except SystemExit as error:
        if error.code not in (None, 0):
            return log.error(0, error, skip=1)
        wanted = {name: space[name] for name in told["outputs"] if name in space}
    except BaseException as error:
        return log.error(0, error, skip=1)
    try:  # always by value: a class of the cell is in no module that can be imported at home
        sections = shore_runner._dump(shore_runner.cloudpickle().Pickler, wanted)
    except BaseException as error:
        return log.error(0, error, why="the variables cannot be sent back")
    log.append(0, "value", sections)
    return 0


def parts(source):
    """(the statements, the expression at the end, whose value is printed); lines are those of the cell."""
    linecache.cache[NAME] = (len(source), None, source.splitlines(True), NAME)
    tree = ast.parse(source, NAME)
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        last = compile(ast.Interactive([tree.body.pop()]), NAME, "single")
    return compile(tree, NAME, "exec"), last


def named(space, name):
    if name not in space:
        raise NameError("the cell made no variable %r, which -o names" % name)
    return space[name]


if __name__ == "__main__":
    code = main(__loader__.get_data)
    sys.exit(code)

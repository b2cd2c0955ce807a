"""Cells as jobs, in a real kernel before a real server."""

from collections.abc import Iterator

import pytest

from support.kernel import Cell, Kernel, a_kernel
from support.place import Place, a_place

pytest.importorskip("ipykernel")
pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with a_place(tmp_path_factory.mktemp("home")) as made:
        made.write("own.py", "answer = 42\n")
        made.shore("ps")
        yield made


@pytest.fixture(scope="module")
def kernel(place: Place) -> Iterator[Kernel]:
    with a_kernel(place.env, place.project) as made:
        assert made.run("%load_ext shorepower").error == ""
        yield made


def last_html(cell: Cell) -> str:
    return cell.displays[-1]["data"]["text/html"]


def test_a_cell_runs_as_a_job_in_the_project(kernel: Kernel, place: Place) -> None:
    cell = kernel.run(
        "%%shore --cpus 1\n"
        "import os, sys, own\n"
        "print('answer', own.answer)\n"
        "print('aside', file=sys.stderr)\n"
        "open('made.txt', 'w').write('x') and None\n"
        "os.environ['SHOREPOWER_JOB_ID'] and 6 * 7"
    )

    assert (cell.error, cell.stdout, cell.stderr) == ("", "answer 42\n42\n", "aside\n")
    assert f"<b>cell-{cell.number}</b>" in last_html(cell)
    assert (place.project / "made.txt").read_text() == "x"
    assert "COMPLETED" in last_html(cell)
    assert "1 file came home" in last_html(cell)
    assert "COMPLETED" in cell.displays[-1]["data"]["text/plain"]
    assert len({shown["transient"]["display_id"] for shown in cell.displays}) == 1


def test_output_comes_while_the_cell_runs(kernel: Kernel, place: Place) -> None:
    go = place.home / "go"
    seen = []

    def meanwhile(text: str) -> None:
        seen.append(text)
        go.touch()

    cell = kernel.run(
        f"%%shore\nimport os, time\nprint('first', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\nprint('second')",
        meanwhile=meanwhile,
    )

    assert cell.error == ""
    assert seen[0] == "first\n"
    assert cell.stdout == "first\nsecond\n"


def test_variables_go_in_and_out(kernel: Kernel) -> None:
    kernel.run("class Box:\n    def __init__(self, n): self.n = n\nbox, factor = Box(20), 2")
    cell = kernel.run(
        "%%shore -i box,factor -i factor -o made,there --out said\n"
        "class Made:\n    def __init__(self, n): self.n = n\n"
        "made = Made(box.n * factor)\nimport os\nthere = os.getpid()\nprint('hidden')"
    )
    after = kernel.run("import os\nprint(made.n, there != os.getpid(), repr(said))")

    assert (cell.error, cell.stdout) == ("", ""), cell.stderr
    assert after.stdout == "40 True 'hidden\\n'\n"


def test_an_error_shows_the_cell_s_own_lines(kernel: Kernel) -> None:
    cell = kernel.run("%%shore -o x\nx = 1\nraise ValueError('bad luck')")
    after = kernel.run("print('x' in globals())")

    assert "line 2, in <module>\n    raise ValueError('bad luck')" in cell.stderr
    assert "shore_cell" not in cell.stderr
    assert cell.error.startswith("CellFailed: ")
    assert "File" not in cell.error
    assert "FAILED" in last_html(cell)
    assert after.stdout == "False\n"
    assert kernel.run("%%shore --no-raise-error\nraise SystemExit(3)").error == ""


def test_what_is_no_python_is_told_before_a_job_is_made(kernel: Kernel, place: Place) -> None:
    before = place.shore("ps", "--ids").stdout

    assert "SyntaxError" in kernel.run("%%shore\n!ls").error
    assert "no variable 'nowhere'" in kernel.run("%%shore -i nowhere\n1").error
    assert "cannot be sent: lock" in kernel.run(
        "import threading\nlock = threading.Lock()\nget_ipython().run_cell_magic('shore', '-i lock', '1')"
    ).error  # fmt: skip
    assert (
        "UsageError"
        in kernel.run("%%shore --bash -o x\ntrue").error + kernel.run("%%shore --bash -o x\ntrue").stderr
    )
    assert place.shore("ps", "--ids").stdout == before


def test_a_cell_of_bash(kernel: Kernel) -> None:
    cell = kernel.run(
        "%%shore --bash -e WHO=you --out said --err aside\necho hello $WHO; echo x >&2; read y; echo [$y]"
    )
    after = kernel.run("print(repr(said), repr(aside))")

    assert cell.error == ""
    assert after.stdout == "'hello you\\n[]\\n' 'x\\n'\n"


def test_markup_in_names_and_output_stays_text(kernel: Kernel) -> None:
    script = "<script>alert(1)</script>"
    kernel.run(
        f"%%shore --bg --job job --name '<img src=x>'\nprint({script!r} + chr(27) + '[31mred' + chr(7))"
    )
    kernel.run("job.wait()")
    cell = kernel.run("job")

    html, text = (last_html(cell), cell.displays[-1]["data"]["text/plain"])
    assert "<script" not in html
    assert "<img" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;red\N{REPLACEMENT CHARACTER}" in html
    assert "&lt;img src=x&gt;" in html
    assert "\x1b" not in html + text


def test_a_handle_goes_on_being_up_to_date(kernel: Kernel, place: Place) -> None:
    go = place.home / "further"
    cell = kernel.run(
        f"%%shore --bg --job job\nimport os, time\nprint('waiting', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(0.02)\nprint('done')"
    )
    (shown,) = {one["transient"]["display_id"] for one in cell.displays}
    running = kernel.until(shown, lambda html: "waiting" in html)
    go.touch()
    ended = kernel.until(shown, lambda html: "COMPLETED" in html)

    assert "RUNNING" in running
    assert "done" in ended


def test_futures_and_maps_are_shown_too(kernel: Kernel) -> None:
    kernel.run("import shorepower\nexecutor = shorepower.Executor()\nfuture = executor.submit(abs, -3)")
    kernel.run("future.result()\nmany = executor.client.map(abs, range(8), chunksize=2)\nlist(many)")
    kernel.run("executor.client.wait(future.job_id); executor.client.wait(many.id)")

    assert "COMPLETED" in last_html(kernel.run("future"))
    assert "4 of 4 tasks ended" in last_html(kernel.run("many"))
    assert kernel.run("executor.client.map(abs, [])").stdout == "<map of nothing: 0 of 0 items known>\n"


def test_an_interrupt_stops_the_job(kernel: Kernel, place: Place) -> None:
    cell = kernel.run(
        "%%shore --job job\nimport time\nprint('begun', flush=True)\ntime.sleep(600)",
        meanwhile=lambda text: kernel.manager.interrupt_kernel() if "begun" in text else None,
    )
    after = kernel.run("print(job.wait(60, check=False).state)")

    assert "is being stopped" in cell.error
    assert after.stdout == "CANCELED\n"


def test_a_line_is_said_to_the_command_line(kernel: Kernel) -> None:
    kernel.run("%%shore --name told\nprint(1)")

    assert "told" in kernel.run("%shore ps --all").stdout
    assert kernel.run("%shore logs @told\nprint(_exit_code)").stdout == "1\n0\n"
    cell = kernel.run("%shore show nosuchjob\nprint(_exit_code)")
    assert (cell.stdout, "nosuchjob" in cell.stderr) == ("123\n", True)


def test_outside_of_a_notebook_a_job_is_its_repr(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    from shorepower import Client

    with Client(environ=place.env) as client:
        handle = client.spawn(abs, -1)
        shown = repr(handle)
        handle._ipython_display_()
        handle.result()
    assert capsys.readouterr().out == f"{shown}\n"

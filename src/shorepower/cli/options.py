"""What may be said about a job on the command line, read with every fault at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..client.options import Options
    from ..model.errors import Fault

__all__ = ["JobCommand", "job_options", "no_option", "options_of", "resource_options"]

# Letters and names that people bring from elsewhere → what to say instead. Source: the contract, §4.
_FOREIGN = {
    "-N": "-N/--nodes: jobs over several nodes are not in this version of shorepower",
    "--nodes": "-N/--nodes: jobs over several nodes are not in this version of shorepower",
    "-n": "-n: sbatch's number of tasks is not known here; -c 4 asks for cpus",
    "--ntasks": "--ntasks: sbatch's number of tasks is not known here; -c 4 asks for cpus",
    "-i": "-i/--image: container images are not in this version of shorepower",
    "--image": "-i/--image: container images are not in this version of shorepower",
    "-C": "-C: constraints are not in this version of shorepower",
    "--constraint": "--constraint is not in this version of shorepower",
    "-q": "-q: qos is not in this version of shorepower; -p chooses a queue",
    "--qos": "--qos is not in this version of shorepower; -p chooses a queue",
    "--account": "--account is not in this version of shorepower",
    "-A": "-A/--account is not in this version of shorepower",
    "-d": "-d: write --after-ok ID, --after-any ID, --after ID (or --dependency afterok:ID)",
    "-D": "-D: write --workdir DIR (or --chdir DIR)",
    "--retries": "--retries is not in this version of shorepower; shore rerun ID runs a job again",
    "--grow-memory": "--grow-memory is not in this version of shorepower; shore rerun ID -m 16G",
    "--signal": "--signal is not in this version of shorepower; a time limit sends SIGTERM first",
    "--mount": "--mount: container images are not in this version of shorepower; --data links a path",
    "--notify": "--notify is not in this version of shorepower; shore wait ID waits for the end",
    "--slurm-arg": "--slurm-arg: Slurm is not in this version of shorepower",
    "--wrap": "--wrap: write the command after --, as in: shore run -- make all",
    "--output": "--output: output is kept anyway; shore logs ID prints it",
    "--error": "--error: output is kept anyway; shore logs ID prints it",
}


class JobCommand(click.Command):
    """A command whose options end at the first word of the job's own, or at ``--``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = {**kwargs.pop("context_settings", {}), "allow_interspersed_args": False}
        super().__init__(*args, context_settings=settings, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        wrong: list[str] = []
        while True:
            try:
                rest = super().parse_args(ctx, list(given))
                break
            except click.NoSuchOption as error:
                wrong.append(_FOREIGN.get(error.option_name) or no_option(error))
                given = _without(given, error.option_name)
            except click.UsageError as error:
                if not wrong:
                    raise
                raise click.UsageError("; ".join([*wrong, error.format_message()]), ctx) from None
        words = ctx.params.get("words", ())
        # Words are a suffix of what was given: what stands before them tells a command from a script.
        before = given[len(given) - len(words) - 1 : len(given) - len(words)]
        ctx.meta["shorepower.command"] = before == ["--"]
        ctx.meta["shorepower.wrong"] = wrong
        return rest


def no_option(error: click.NoSuchOption) -> str:
    """The sentence for an option that a command does not have."""
    from difflib import get_close_matches

    near = get_close_matches(error.option_name, error.possibilities or (), 1, cutoff=0.0)
    return f"no option {error.option_name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _without(given: list[str], option: str) -> list[str]:
    """Without the first use of an option that is not known, and what looks like its value."""
    at = next(at for at, word in enumerate(given) if word.startswith(option))
    after = at + 1
    is_alone = given[at] == option
    if (
        is_alone
        and after < len(given)
        and not (given[after].startswith("-") or Path(given[after]).exists())
    ):
        after += 1
    return given[:at] + given[after:]


def resource_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a job asks for."""
    for option in reversed(
        (
            click.option(
                "-c",
                "--cpus",
                "--cpus-per-task",
                "cpus",
                metavar="N",
                help="Cpus, parts allowed: 4, 0.5; auto: by what earlier runs used.",
            ),
            click.option(
                "-m",
                "--mem",
                "mem",
                metavar="SIZE",
                help="Memory: 8G, 512M; bare numbers are MiB; auto: by what earlier runs used.",
            ),
            click.option(
                "-t",
                "--time",
                "time",
                metavar="TIME",
                help="Time limit: 30 (minutes), 1:30 (minutes:seconds), 90s, 2h, 1-12:00:00.",
            ),
            click.option("-G", "--gpus", "gpus", metavar="[TYPE:]N", help="GPUs."),
            click.option("--gres", "gres", metavar="gpu[:TYPE][:N]", hidden=True),
            click.option(
                "-p", "--queue", "--partition", "queue", metavar="QUEUE", help="A queue of the cluster."
            ),
        )
    ):
        function = option(function)
    return function


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Everything that may be said about a new job."""
    for option in reversed(
        (
            click.option(
                "-M", "--on", "on", metavar="CLUSTER", help="Where it runs; 'local' is this machine."
            ),
            click.option(
                "-J", "--name", "--job-name", "name", metavar="NAME", help="What the job is called."
            ),
            click.option(
                "--within", "within", metavar="TIME", help="Give up if it has not started by then."
            ),
            click.option(
                "--after-ok",
                "after_ok",
                metavar="ID[,ID]",
                multiple=True,
                help="Start when these have completed.",
            ),
            click.option(
                "--after-any",
                "after_any",
                metavar="ID[,ID]",
                multiple=True,
                help="Start when these have ended, in whatever way.",
            ),
            click.option(
                "--after", "after", metavar="ID[,ID]", multiple=True, help="Start when these have started."
            ),
            click.option("--dependency", "dependency", metavar="afterok:ID", hidden=True),
            click.option(
                "--not-before",
                "--begin",
                "not_before",
                metavar="WHEN",
                help="Start not before: +2h, 14:30, 2026-12-01T14:30.",
            ),
            click.option(
                "-a",
                "--array",
                "array",
                metavar="INDICES",
                help="Many tasks: 0-99, 1-100:2, 1,5,9; 0-999%10 for ten at a time.",
            ),
            click.option(
                "--grid",
                "grid",
                metavar="NAME=V1,V2",
                multiple=True,
                help="A task for each combination of values.",
            ),
            click.option(
                "--array-file",
                "array_file",
                metavar="FILE|-",
                help="A task for each row: lines, .csv or .json; arguments, values or whole commands.",
            ),
            click.option("--max-parallel", "max_parallel", metavar="N", help="So many tasks at a time."),
            click.option(
                "-e",
                "--env",
                "env",
                metavar="K[=V]",
                multiple=True,
                help="Set a variable, or pass your own on.",
            ),
            click.option(
                "--env-file", "env_file", metavar="FILE", multiple=True, help="Variables, K=V a line."
            ),
            click.option(
                "--secret",
                "secret",
                metavar="NAME[=@FILE]",
                multiple=True,
                help="A secret variable: from your environment, a prompt, or a file.",
            ),
            click.option("--tag", "tag", metavar="K=V", multiple=True, help="A label, for shore ps --tag."),
            click.option(
                "--data",
                "data",
                metavar="PATH[=TARGET]",
                multiple=True,
                help="Data that is linked, never sent.",
            ),
            click.option(
                "--include", metavar="GLOB", multiple=True, help="Send this although it is ignored."
            ),
            click.option("--results", metavar="GLOB", multiple=True, help="Bring home only this."),
            click.option("--project", metavar="DIR", help="What is sent."),
            click.option(
                "--workdir", "--chdir", "workdir", metavar="DIR", help="Where it starts, in the project."
            ),
            click.option("--in-place", is_flag=True, help="Run in the folder itself: nothing is sent."),
            click.option("--stdin", metavar="FILE|-", help="Its standard input; empty otherwise."),
            click.option("--max-send", metavar="SIZE", help="Send up to this much (2G)."),
        )
    ):
        function = option(function)
    return resource_options(function)


def options_of(
    given: Mapping[str, Any], *, command: bool, wrong: Sequence[str] = ()
) -> tuple[Options, list[Fault]]:
    """What was typed, as options without what is wrong, and what is wrong."""
    from ..client.options import Options, parse_size
    from ..model.resources import parse_duration

    read = _Reader(given)
    for sentence in wrong:
        read.fault("", sentence)
    options = Options(
        on=given.get("on"),
        name=given.get("name"),
        env=read.variables(),
        env_files=tuple(Path(file) for file in given.get("env_file", ())),
        secrets=tuple(given.get("secret", ())),
        tags=read.tags(),
        data=tuple(given.get("data", ())),
        include=tuple(given.get("include", ())),
        results=tuple(given.get("results", ())),
        project=Path(given["project"]) if given.get("project") else None,
        workdir=given.get("workdir"),
        in_place=bool(given.get("in_place")),
        stdin=given.get("stdin"),
        max_send_bytes=read.amount("--max-send", "max_send", parse_size),
        within_s=read.amount("--within", "within", parse_duration),
        **read.order(),
        command=command,
        array=given.get("array"),
        grid=read.grid(),
        array_file=Path(given["array_file"]) if given.get("array_file") is not None else None,
        max_parallel=read.amount("--max-parallel", "max_parallel", _at_least_one),
        **read.resources(),
    )
    return options, read.faults


def _is_variable(text: str) -> bool:
    return "=" in text or re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) is not None


def resources_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Only what is asked for: fields of `Options`. Raises InvalidRequest with every fault."""
    from ..model.errors import InvalidRequest

    read = _Reader(given)
    fields = read.resources()
    if read.faults:
        raise InvalidRequest(read.faults)
    return fields


class _Reader:
    """Reads texts and gathers what is wrong with them."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self.faults: list[Fault] = []

    def amount(self, option: str, key: str, parse: Callable[[str], Any]) -> Any:
        text = self._given.get(key)
        if text is None or (text == "auto" and key in ("cpus", "mem")):
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.fault(option, str(error))
            return None

    def resources(self) -> dict[str, Any]:
        from ..model.resources import parse_cpus, parse_duration, parse_gpus, parse_memory

        gpus = self.amount("-G", "gpus", parse_gpus)
        gres = self._given.get("gres")
        if gres is not None and gpus is None:
            from ..client.sbatch import read_directives

            said = read_directives([f"#SBATCH --gres={gres}"])
            gpus = said.gpus
            for fault in said.faults:
                self.fault("--gres", fault.message.removeprefix("#SBATCH "))
        return {
            "auto": frozenset(
                what
                for what, key in (("cpus", "cpus"), ("memory", "mem"))
                if self._given.get(key) == "auto"
            ),
            "cpus": self.amount("-c", "cpus", parse_cpus),
            "memory_mib": self.amount("-m", "mem", _memory(parse_memory)),
            "wall_time_s": self.amount("-t", "time", parse_duration),
            "gpus": gpus,
            "queue": self._given.get("queue"),
        }

    def order(self) -> dict[str, Any]:
        """What it comes after and when it may start."""
        found = {key: self._jobs(key) for key in ("after", "after_ok", "after_any")}
        if self._given.get("dependency") is not None:
            from ..client.order import OPTION_OF, parse_dependency

            for wants, names in (self.amount("--dependency", "dependency", parse_dependency) or {}).items():
                found[OPTION_OF[wants][2:].replace("-", "_")] += names
        moment = None
        if self._given.get("not_before") is not None:
            from datetime import datetime

            from ..client.order import parse_moment

            now = datetime.now().astimezone()
            moment = self.amount("--not-before", "not_before", lambda text: parse_moment(text, now))
        return {**found, "not_before": moment}

    def _jobs(self, key: str) -> tuple[str, ...]:
        """The jobs that an option names; none, as of a variable that is not set, is a fault."""
        names: list[str] = []
        for text in self._given.get(key, ()):
            named = _names(text)
            if not named:
                self.fault(f"--{key.replace('_', '-')}", f"{text!r} names no job")
            names += named
        return tuple(names)

    def variables(self) -> tuple[str, ...]:
        for text in self._given.get("env", ()):
            if not _is_variable(text):
                self.fault(
                    "-e",
                    f"-e {text}: here -e K=V sets a variable of the job, as in docker; sbatch's -e FILE "
                    f"is not needed, as output is kept anyway: shore logs ID 2> {text}",
                )
        return tuple(text for text in self._given.get("env", ()) if _is_variable(text))

    def tags(self) -> dict[str, str]:
        found = {}
        for text in self._given.get("tag", ()):
            key, equals, value = text.partition("=")
            if not equals or not key:
                self.fault("--tag", f"--tag {text!r}: write --tag KEY=VALUE")
            found[key] = value
        return found

    def grid(self) -> dict[str, tuple[str, ...]]:
        if not self._given.get("grid"):
            return {}
        from ..client.arrays import read_grid

        grid, faults = read_grid(self._given["grid"])
        self.faults += faults
        return grid

    def fault(self, option: str, message: str) -> None:
        from ..model.errors import Fault

        told = message if message.startswith("-") or not option else f"{option}: {message}"
        self.faults.append(Fault(option, told))


def _names(text: str) -> list[str]:
    """Names of jobs; what follows a comma and begins with a digit goes on with tasks: ``ID_3-5,9``."""
    return [name for name in re.split(r",(?!\d)", text) if name]


def _at_least_one(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ValueError(f"{text!r} is no number of tasks; write 1 or more")
    return int(text)


def _memory(parse: Callable[[str], int]) -> Callable[[str], int]:
    def read(text: str) -> int:
        if re.match(r"(block|cyclic|arbitrary|plane)\b", text):
            raise ValueError(
                f"-m {text}: here -m 8G asks for memory; sbatch's -m {text} (how tasks are spread over "
                "nodes) has no meaning for one task and is left out"
            )
        return parse(text)

    return read

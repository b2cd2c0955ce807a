"""From what a user typed to a job that could be submitted: found, checked, nothing sent yet."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from ..model.check import check
from ..model.dependency import Dependency, Want
from ..model.errors import Fault, InvalidRequest, Unreachable
from ..model.job import JobSpec, Origin
from ..model.resources import Resources
from ..model.runtime import Session
from ..model.sizing import Need
from .asked import asked_for
from .environment import Environment, gather
from .interpreters import Chosen, Declaring, choose, choose_elsewhere, environment_of, read_script
from .names import shown
from .options import Options, parse_size
from .process import kept, own_umask
from .project import Data, FoundProject, Limits, ProjectView, find_project, look_over
from .sbatch import Directives, read_directives, saved_output
from .settings import Settings, load_settings
from .sizing import size
from .words import find_script, is_there, no_such_program, whole_commands

if TYPE_CHECKING:
    from ..model.cluster import ClusterInfo
    from .arrays import ArrayPlan
    from .client import Client

__all__ = ["Prepared", "prepare"]

STDIN_LIMIT_BYTES = 2 << 30


class Prepared(Struct, frozen=True, kw_only=True):
    """Everything known before the first byte is sent."""

    spec: JobSpec
    """Without the digests of what is still to be sent."""
    secrets: dict[str, str]
    settings: Settings
    found: FoundProject
    view: ProjectView | None = None
    """None in place: nothing is sent."""
    chosen: Chosen | None = None
    """None for a command."""
    stdin: BinaryIO | None = None
    """Open at its beginning."""
    array: ArrayPlan | None = None
    here: bool = True
    """The cluster sees this file system."""
    need: Need | None = None
    """What earlier runs used, where amounts were asked for."""
    enforces_memory: bool = True
    """The cluster ends a job that takes more memory than it asked for."""
    notes: tuple[str, ...] = ()
    """Sentences to show before the start."""


def prepare(
    client: Client,
    words: Sequence[str],
    options: Options,
    *,
    ask_secret: Callable[[str], str] | None = None,
    ask_ignored: Callable[[FoundProject], bool] | None = None,
    own_stdin: BinaryIO | None = None,
    faults: Sequence[Fault] = (),
) -> Prepared:
    """Find out what runs, with what, from where.

    ``ask_ignored`` is asked once for a project whose files go elsewhere, if nothing says whether what
    git ignores goes along. Raises InvalidRequest with every fault, ``faults`` that are known already
    among them, ProjectTooLarge, Unreachable.
    """
    return _Preparation(client, list(words), options, faults).run(ask_secret, ask_ignored, own_stdin)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise InvalidRequest("the folder you are in is not there any more; go to one that is") from None


class _Preparation:
    """The steps, and what each leaves for the next."""

    def __init__(self, client: Client, words: list[str], options: Options, faults: Sequence[Fault]) -> None:
        self.client, self.words, self.options = client, words, options
        self.cwd = options.cwd.absolute() if options.cwd else _current_folder()
        self.notes: list[str] = []
        self.faults = list(faults)

    def run(
        self,
        ask_secret: Callable[[str], str] | None,
        ask_ignored: Callable[[FoundProject], bool] | None,
        own_stdin: BinaryIO | None,
    ) -> Prepared:
        options = self.options
        self._find(own_stdin)
        self.cluster = options.on or self.settings.run.on or "local"
        known = self._clusters()
        info = known.get(self.cluster) if known else None
        self.nothing_to_run |= info is None
        self.here = info is None or self._sees_our_files(info)
        self._check_place()
        self.environment = self._gather(ask_secret)
        argv = self._argv()
        resources, faults = asked_for(options, self.directives, self.settings)
        self.faults += faults
        self.after = self._after() if known is not None else ()
        stdin = self._stdin(own_stdin)
        if known is not None:
            self.faults += check(self._spec(argv, resources, None), known)
        if self.faults or info is None:
            raise InvalidRequest(_each_once(self.faults))
        sizing = size(self.client, self._spec(argv, resources, None), options.auto, info)
        view = None if options.in_place else self._look_over(ask_ignored)
        spec = self._spec(argv, sizing.resources, view)
        self._look_there(spec)
        return Prepared(
            spec=spec,
            secrets=self.environment.secrets,
            settings=self.settings,
            found=self.found,
            view=view,
            chosen=self.chosen,
            stdin=stdin,
            array=self.array,
            here=self.here,
            need=sizing.need,
            enforces_memory=info.capabilities.enforces_memory,
            notes=(*self.notes, *sizing.notes, *self.found.notes, *(view.notes if view else ())),
        )

    def _find(self, own_stdin: BinaryIO | None) -> None:
        """The script, the project, the settings. What is wrong with one is a fault that hides no other."""
        self.script, self.directives, self.array = None, Directives(), None
        with self._noting():
            self.nothing_to_run = True
            self.words, self.options, self.commands = whole_commands(self.words, self.options)
            self.script = find_script(self.words, self.options, self.cwd)
            self.directives = self._read_script()
            self.nothing_to_run = False
        with self._noting():
            self.array = self._plan_array(own_stdin)
        self.found = self._find_project()
        self.settings = self.client.settings
        with self._noting():
            self.settings = load_settings(self.client.environ, project=self.found.root)
        self.saved = saved_output(self.directives, self.found.workdir)
        if unused := (*self.directives.unmapped, *self.saved.unused):
            self.notes.append(f"#SBATCH lines not used here: {', '.join(unused)}")

    def _plan_array(self, own_stdin: BinaryIO | None) -> ArrayPlan | None:
        options, said = self.options, self.directives.array
        asked = (options.array, options.array_file, options.max_parallel, said)
        if not options.grid and all(one is None for one in asked):
            return None
        from .arrays import plan_array

        plan = plan_array(options, said, cwd=self.cwd, own_stdin=own_stdin, nothing_to_run=self.commands)
        self.notes += plan.notes
        return plan

    def _find_project(self) -> FoundProject:
        options = self.options
        workdir = options.workdir or self.directives.workdir
        with self._noting():
            return find_project(self.cwd, script=self.script, named=options.project, workdir=workdir)
        return find_project(self.cwd, script=self.script)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Go on after an InvalidRequest; its faults are told with all others."""
        try:
            yield
        except InvalidRequest as wrong:
            self.faults += wrong.faults

    def _clusters(self) -> dict[str, ClusterInfo] | None:
        """By name; None when no server answers and enough is wrong without it."""
        allowed = self.settings.allowed_clusters
        if allowed and self.cluster not in allowed:
            where = f"{', '.join(allowed)} only (shore.toml), not {self.cluster}"
            self.faults.append(Fault("--on", f"this project goes to {where}"))
        try:
            return {info.name: info for info in self.client.clusters()}
        except Unreachable:
            if self.faults:
                return None
            raise

    def _sees_our_files(self, info: ClusterInfo) -> bool:
        if not info.capabilities.shared_files:
            return False
        if self.client.transport.address.socket:
            return True
        return self._probe()

    def _probe(self) -> bool:
        """Whether a file that is made here is seen where the jobs run."""
        probe = self.found.root / f".shore-probe-{os.urandom(8).hex()}"
        try:
            probe.touch(exist_ok=False)
        except OSError:
            return False
        try:
            look = self.client.look([str(probe)]).get(str(probe))
            return look is not None and look.exists
        finally:
            probe.unlink(missing_ok=True)

    def _read_script(self) -> Directives:
        if self.script is None:
            return Directives()
        self.known, head = read_script(self.script, self.words[0])
        said = read_directives(head)
        self.faults += said.faults
        return said

    def _check_place(self) -> None:
        """A script outside the project runs only where it is seen."""
        path = self.found.script
        if path.startswith("/") and not self.here:
            where = f"outside the project {self.found.root}, which alone is sent"
            self.faults.append(Fault("SCRIPT", f"{path} is {where}"))

    def _gather(self, ask_secret: Callable[[str], str] | None) -> Environment:
        if self.faults and ask_secret is not None:
            ask_secret = _nobody  # a person is not asked for what is of no use
        with self._noting():
            return gather(
                self.client.environ,
                here=self.here,
                pass_env=self.settings.run.pass_env,
                files=self.options.env_files,
                given=self.options.env,
                secrets=self.options.secrets,
                ask=ask_secret,
            )
        return Environment()

    def _argv(self) -> tuple[str, ...]:
        self.chosen: Chosen | None = None
        if self.nothing_to_run:
            return ("?",)  # why is told already
        env = self.environment.env
        if self.script is None:
            if self.here and not is_there(self.words[0], env, self.cwd):
                self.faults.append(no_such_program(self.words[0], self.cwd))
            return tuple(self.words)
        root, known = self.found.root, replace(self.known, path=self.found.script)
        venv = root / ".venv"
        session = Session(
            env=env,
            project_venv=str(venv) if venv.is_dir() else None,
            julia_project=(root / "Project.toml").is_file(),
            scripts=self.settings.scripts,
        )
        whole = root if self.found.only is None else None
        declaring = Declaring(file=self.script, root=whole, environ=self.client.environ)
        with self._noting():
            if self.here:
                self.chosen = choose(
                    known, session, self.settings.places.cache_dir, declaring, root / self.found.workdir
                )
                self.notes += self.chosen.notes
            else:
                self.chosen = choose_elsewhere(known, session)
            return self.chosen.way.argv(self.chosen.program, self.words[1:])
        return tuple(self.words)

    def _after(self) -> tuple[Dependency, ...]:
        """What it comes after: by flags if there are any, else by the script's ``#SBATCH`` lines."""
        options = self.options
        wanted = {Want.START: options.after, Want.OK: options.after_ok, Want.ANY: options.after_any}
        if not any(wanted.values()):
            wanted = self.directives.dependency
        if not any(wanted.values()):
            return ()
        from .order import comes_after

        found, faults = comes_after(self.client, wanted.items())
        self.faults += faults
        return found

    def _stdin(self, own_stdin: BinaryIO | None) -> BinaryIO | None:
        """What is named, open; the caller's own stdin is read to its end first, as it may be a pipe."""
        named = self.options.stdin
        if named is None or (named == "-" and self.faults):
            return None
        try:
            if named == "-":
                return kept(own_stdin)
            file = (self.cwd / named).open("rb")
        except OSError as error:
            self.faults.append(Fault("--stdin", f"--stdin {named} cannot be read: {error.strerror}"))
            return None
        if os.fstat(file.fileno()).st_size > STDIN_LIMIT_BYTES:
            self.faults.append(
                Fault("--stdin", f"--stdin {named} is over 2 GiB; name it with --data and read it there")
            )
        return file

    def _look_over(self, ask_ignored: Callable[[FoundProject], bool] | None) -> ProjectView:
        from .ledger import Ledger

        settings = self.settings
        send_ignored = settings.run.send_ignored
        if send_ignored is None and not self.here and ask_ignored is not None:
            send_ignored = ask_ignored(self.found)
        return look_over(
            self.found,
            here=self.here,
            includes=(*settings.include, *self.options.include),
            data=self._data(),
            send_ignored=bool(send_ignored),
            beside=Ledger(settings.places.client_dir).beside(self.found.root),
            environment=environment_of(self.chosen),
            limits=self._limits(),
        )

    def _limits(self) -> Limits:
        most = self.options.max_send_bytes
        if most is None and self.settings.run.max_send is not None:
            most = parse_size(self.settings.run.max_send)
        if most is None:
            return Limits()
        return Limits(max_bytes=most, max_files=max(Limits().max_files, most >> 12))

    def _data(self) -> list[Data]:
        given = []
        for text in self.options.data:
            path, equals, target = text.partition("=")
            given.append(Data(path=str(self.cwd / path), target=target if equals else None))
        for path, target in self.settings.data_for(self.cluster).items():
            given.append(Data(path=str(self.found.root / path), target=target or None))
        return given

    def _spec(self, argv: tuple[str, ...], resources: Resources, view: ProjectView | None) -> JobSpec:
        from .home import machine_id

        options, root = self.options, self.found.root
        typed = self.words[0] if self.words else ""
        named = shown(typed.rpartition("/")[2] or typed)[:100] or "job"
        return JobSpec(
            name=options.name or self.directives.name or named,
            argv=argv,
            cluster=self.cluster,
            queue=options.queue or self.directives.queue or self.settings.run.queue,
            script=typed if self.script is not None else "",
            resources=resources,
            env=self._slurm_facts(resources) | self.environment.env,
            secrets=tuple(sorted(self.environment.secrets)),
            project=str(root),
            workdir=str(root / self.found.workdir) if options.in_place else self.found.workdir,
            in_place=options.in_place,
            links=view.links if view else (),
            source_roots=view.source_roots if view else (),
            origin=Origin(host=machine_id(), directory=str(root)),
            results=options.results,
            hold_back=view.hold_back if view else (),
            stdout_file=self.saved.stdout,
            stderr_file=self.saved.stderr,
            tags=dict(options.tags),
            umask=own_umask(),
            within_s=options.within_s,
            after=self.after,
            not_before=options.not_before or self.directives.not_before,
            array=self.array.spec if self.array else None,
        )

    def _slurm_facts(self, resources: Resources) -> dict[str, str]:
        """What a script with ``#SBATCH`` lines may read everywhere, as far as it is known here."""
        if not self.directives.present:
            return {}
        cpus = resources.cpu_count
        told = {
            "SLURM_JOB_NAME": self.options.name or self.directives.name or self.words[0].rpartition("/")[2],
            "SLURM_SUBMIT_DIR": str(self.cwd),
        }
        return told | ({"SLURM_CPUS_PER_TASK": str(max(1, int(cpus)))} if cpus else {})

    def _look_there(self, spec: JobSpec) -> None:
        """Ask the other side about every path that the job will need; a definite no is a refusal."""
        if spec.in_place and not (self.here and self._probe()):
            raise InvalidRequest(
                [
                    Fault(
                        "--in-place",
                        f"cluster {spec.cluster!r} does not see {spec.workdir}: leave --in-place out",
                    )
                ]
            )
        program = self.chosen.program if self.chosen else spec.argv[0]
        programs = [program] if program.startswith("/") else []
        targets = [link.target for link in spec.links]
        asked = [*programs, *targets]
        seen = self.client.look(asked)
        for path in asked:
            if path not in seen:
                self.notes.append(f"{path} did not answer within 2 s; the job may fail there")
        faults = [
            Fault("SCRIPT", f"{path} cannot be run where the job goes")
            for path in programs
            if path in seen and not seen[path].executable
        ]
        if faults:
            raise InvalidRequest(faults)
        for path in targets:
            if path in seen and not seen[path].exists:
                self.notes.append(f"{path} does not exist where the job goes")


def _nobody(name: str) -> str:
    return ""


def _each_once(faults: Sequence[Fault]) -> list[Fault]:
    return list({fault.message: fault for fault in faults}.values())

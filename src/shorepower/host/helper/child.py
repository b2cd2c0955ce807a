"""What is done in a child: look the user up, drop, and only then touch or run anything."""

from __future__ import annotations

import ctypes
import errno
import grp
import json
import os
import pwd
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from .config import Config, uid_of
from .request import MARKS, No
from .values import NO_UID

__all__ = ["Account", "account", "become", "in_child", "run", "send", "words"]

_NOBODY = 65_534
_PR_SET_NO_NEW_PRIVS = 38
"""Source: linux/prctl.h."""


class Account(NamedTuple):
    """A user who may be served, as the system's databases know her now."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def account(uid: int, config: Config) -> Account:
    """The user with that number, if she may be served. Raises No."""
    if uid < max(config.minimum_uid, 1) or uid in (config.server_uid, _NOBODY, NO_UID):
        raise No("user", f"user {uid} is not served: numbers begin at {config.minimum_uid}")
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        raise No("user", f"there is no user {uid}") from None
    groups = tuple(os.getgrouplist(known.pw_name, known.pw_gid))
    if known.pw_uid != uid or uid in map(uid_of, config.denied_users) or 0 in groups:
        raise No("user", f"user {uid} is not served: denied, or of root's group")
    if config.allowed_groups and not _group_names(groups) & set(config.allowed_groups):
        raise No(
            "user", f"user {uid} is not served: in none of the groups {', '.join(config.allowed_groups)}"
        )
    return Account(known.pw_name, uid, known.pw_gid, groups, known.pw_dir)


def _group_names(groups: Sequence[int]) -> set[str]:
    names = set()
    for gid in groups:
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:  # a number without a name is in no list
            pass
    return names


def become(who: Account, config: Config, *, no_new_privileges: bool) -> None:
    """Be that user from here on, with no way back. Raises OSError, No."""
    for name, most in config.limits.items():
        number = getattr(resource, "RLIMIT_" + name.upper())
        hard = resource.getrlimit(number)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(number, (least, least))
    os.setgroups(who.groups)
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)
    if os.getresuid() != (who.uid,) * 3 or os.getresgid() != (who.gid,) * 3:
        raise No("os", "the user could not be changed", errno.EPERM)
    if no_new_privileges and ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise No("os", "new privileges could not be given up", errno.EPERM)
    try:
        os.setresuid(0, 0, 0)
    except PermissionError:
        return
    raise No("os", "root was not given up", errno.EPERM)


def run(request: Mapping[str, Any], config: Config, fds: Sequence[int], keep: int) -> NoReturn:
    """Become the user and the program that is asked for, with three descriptors. Raises OSError, No."""
    who = account(request["uid"], config)
    os.setsid()
    for target, fd in enumerate(fds):
        os.dup2(fd, target)  # what was received is above 2: these three were open from the beginning
    os.closerange(3, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    argv, env = _program(request, config, who)
    become(who, config, no_new_privileges=request["do"] != "spawn" or config.no_new_privileges)
    os.nice(request.get("nice", 0))
    os.umask(request.get("umask", 0o077))
    os.chdir(request.get("cwd", "/"))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execve(argv[0], argv, env)  # noqa: S606 - a program from the configuration, as the user


def _program(request: Mapping[str, Any], config: Config, who: Account) -> tuple[list[str], dict[str, str]]:
    if request["do"] == "spawn":
        if request["argv"][0] != config.shell:
            raise No("request", f"only {config.shell} is started")
        return request["argv"], request["env"]
    plain = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": who.home}
    plain |= {"USER": who.name, "LOGNAME": who.name}
    if request["do"] == "files":
        return list(config.file_program or _look_program()), plain
    name, *rest = request["argv"]
    if name not in config.commands:
        known = ", ".join(sorted(config.commands)) or "none"
        raise No("request", f"no command {name[:40]!r} is configured; there are: {known}")
    return [config.commands[name], *rest], plain


def _look_program() -> list[str]:
    return [
        sys.executable,
        "-I",
        "-S",
        os.path.join(os.path.dirname(os.path.abspath(__file__)), "files.py"),
    ]


def send(request: Mapping[str, Any], config: Config, *, known: bool) -> None:
    """Signal a group as its user: whatever happens, no process of anybody else is hit. Raises OSError, No.

    A leader that this helper did not start is proved to be a job's: by start, session and environment.
    """
    pid, marks = request["pid"], request["marks"]
    become(account(request["uid"], config), config, no_new_privileges=True)
    if not known:
        if not marks or MARKS[0] not in marks or MARKS[1] not in marks:
            raise No("gone", f"process {pid} was not started here, and no marks prove that it is a job's")
        found = words(pid)
        if (pid, request["start_time"]) != (int(found[3]), int(found[19])) or found[0] in "ZX":
            raise No("gone", f"process {pid} is not the leader that was meant")
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                told = set(file.read(1 << 22).split(b"\0"))
        except PermissionError:
            raise No("gone", f"process {pid} is another user's") from None
        if any(os.fsencode(f"{name}={value}") not in told for name, value in marks.items()):
            raise No("gone", f"process {pid} does not carry these marks")
    os.killpg(pid, getattr(signal, request["signal"]))


def words(pid: int) -> list[str]:
    """From the state on. Source: proc_pid_stat(5); the name in brackets may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError):
        raise No("gone", f"there is no process {pid}") from None
    return line[line.rindex(b")") + 2 :].decode().split()


def in_child(work: Callable[[], None], report: int) -> NoReturn:
    """Do it, and tell through ``report`` what went wrong, or ``{}``; the caller's code never goes on."""
    told: dict[str, Any] = {}
    try:
        work()
    except No as no:
        told = no.told
    except BaseException as fault:
        number = fault.errno if isinstance(fault, OSError) else 0
        told = No(
            "os", getattr(fault, "strerror", None) or type(fault).__name__, number or errno.EINVAL
        ).told
    try:
        os.write(report, json.dumps(told).encode())
    finally:
        os._exit(127 if told else 0)
    os._exit(127)

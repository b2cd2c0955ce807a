"""The one shell script that every place runs a job in.

It is passed as text (``sh -c TEXT shorepower-job ...``), never as a file: replacing the package cannot
change a script that is being read. It needs a POSIX shell and Linux' /proc, and forks nothing but the
user's program. In this order:

1. It takes **the fence**: ``start.<task>.<restart>`` is created exclusively, with who it is. Who finds
   it taken leaves at once with `LOST_THE_FENCE`, having touched nothing.
2. It reserves **the exit record** with spaces written, so that a disk that fills up later cannot lose the
   exit code. Where that fails the program does not run, and it leaves with `COULD_NOT_RECORD`.
3. It runs the program and waits. Signals that end the program do not end the wrapper.
4. It writes the exit record over the reserved room, and exits with the program's code.

What the records hold is told in `records`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

__all__ = ["COULD_NOT_RECORD", "LOST_THE_FENCE", "WRAPPER", "Errand", "carried", "command", "is_plain"]

LOST_THE_FENCE = 118
"""Exit code: somebody else runs this attempt, or it may not run at all."""
COULD_NOT_RECORD = 119
"""Exit code: the records could not be written (disk full, folder gone); nothing of the user's ran."""

# Names begin with _shore_ because a variable that came with the environment stays exported: assigning to
# `out` would change the user's own `out`.
_SCRIPT = r"""
_shore_dir=$1 _shore_part=$2 _shore_is=$3 _shore_note=$4 _shore_boot=$5 _shore_zero=$6
_shore_mask=$7 _shore_cwd=$8 _shore_in=$9
shift 9
_shore_out=$1 _shore_err=$2
shift 2
# `:` and not '': an ignored signal would stay ignored in the program, a handled one is default there
trap : TERM INT HUP QUIT USR1 USR2
# what the shell itself has to say never reaches the job's output
exec 3>&2 2>/dev/null
umask 077

# field 22 of stat is the start time; uptime has two decimals, so without the point it is hundredths
_shore_start=0 _shore_up=0.00
read -r _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x \
  _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_x _shore_start \
  _shore_x </proc/$$/stat
[ "$_shore_boot" != - ] || read -r _shore_boot </proc/sys/kernel/random/boot_id
read -r _shore_up _shore_x </proc/uptime
_shore_up=${_shore_up%.*}${_shore_up#*.}
_shore_began=$((_shore_zero + _shore_up))

# the fence: the group runs only if the file was created by this very redirection
_shore_mine=
set -C
{
  _shore_mine=1
  printf 'v=1 submission=%s part=%s pid=%s start=%s boot=%s at_cs=%s up_cs=%s %s end\n' "$_shore_is" \
    "$_shore_part" $$ "$_shore_start" "$_shore_boot" "$_shore_began" "$_shore_up" "$_shore_note"
} >"$_shore_dir/start.$_shore_part" || {
  [ "$_shore_mine" ] || [ ! -e "$_shore_dir/start.$_shore_part" ] || exit @LOST@
  exit @UNRECORDED@
}
_shore_exit=$_shore_dir/exit.$_shore_part
printf 'v=1 reserved%180s\n' '' >"$_shore_exit" || exit @UNRECORDED@
set +C

umask "$_shore_mask"
_shore_launch=- _shore_code=126
# redirections of `true` may fail; those of `exec` would end the shell
if ! cd "$_shore_cwd"; then
  _shore_launch=directory
elif [ "$_shore_in" != - ] && ! true <"$_shore_in"; then
  _shore_launch=input
elif [ "$_shore_out" != - ] && ! true >>"$_shore_out"; then
  _shore_launch=output
elif [ "$_shore_err" != - ] && ! true >>"$_shore_err"; then
  _shore_launch=output
else
  [ "$_shore_in" = - ] || exec <"$_shore_in"
  [ "$_shore_out" = - ] || exec >>"$_shore_out"
  [ "$_shore_err" = - ] || exec 3>>"$_shore_err"
  unset OLDPWD
  (
    # runs only if the program cannot be started: it tells our 126 and 127 from the program's own
    trap 'printf "v=1 no-start" 1<>"$_shore_exit"' EXIT
    exec "$@" 2>&3 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  )
  _shore_code=$?
  case $_shore_code in
  126 | 127)
    read -r _shore_x _shore_x _shore_y <"$_shore_exit"
    [ "$_shore_x" = no-start ] && _shore_launch=program
    # bash drops the trap when it is the kernel that refuses: look at the program and its interpreter
    if [ "$BASH_VERSION" ] && [ "$_shore_launch" = - ]; then
      _shore_y=$(command -v "$1") _shore_x=
      [ -f "$_shore_y" ] && [ -x "$_shore_y" ] || _shore_launch=program
      read -r _shore_x <"$_shore_y"
      set -f
      case $_shore_x in
      '#!'*)
        set -- ${_shore_x#??}
        [ -x "$1" ] || _shore_launch=program
        ;;
      esac
    fi
    ;;
  esac
fi

# copy-on-write file systems may need room even here: try for five minutes, if the records are still there
_shore_try=0
until
  read -r _shore_up _shore_x </proc/uptime
  _shore_up=${_shore_up%.*}${_shore_up#*.}
  printf 'v=1 pid=%s start=%s code=%s launch=%s began_cs=%s at_cs=%s up_cs=%s end\n' $$ "$_shore_start" \
    "$_shore_code" "$_shore_launch" "$_shore_began" $((_shore_zero + _shore_up)) "$_shore_up" \
    1<>"$_shore_exit"
do
  _shore_try=$((_shore_try + 1))
  [ $_shore_try -lt 300 ] && [ -e "$_shore_exit" ] || break
  sleep 1
done
exit "$_shore_code"
""".replace("@LOST@", str(LOST_THE_FENCE)).replace("@UNRECORDED@", str(COULD_NOT_RECORD))

WRAPPER = "\n".join(
    line for line in map(str.strip, _SCRIPT.splitlines()) if line and not line.startswith("#")
)
"""As it is passed: a shell reads all of it for every job, so without comments."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Names that a shell sets, reads or drops itself. Source: POSIX, Shell Command Language, 2.5.3; bash(1).
_TAKEN = frozenset(
    {
        *("IFS", "PPID", "OPTIND", "OPTARG", "LINENO", "ENV", "PS1", "PS2", "PS4", "OLDPWD", "SHLVL", "_"),
        *("MAILCHECK", "POSIXLY_CORRECT", "RANDOM", "SECONDS", "UID", "EUID", "GROUPS", "BASH", "BASH_ENV"),
        *("SHELLOPTS", "BASHOPTS", "BASH_VERSION", "BASH_VERSINFO", "BASH_XTRACEFD", "HISTCMD"),
        *("DIRSTACK", "FUNCNAME", "FUNCNEST", "IGNOREEOF"),
    }
)


class Errand(Struct, frozen=True, kw_only=True):
    """What a wrapper is told."""

    folder: str
    """Absolute; where the records go."""
    submission: str
    task: int
    restart: int
    facts: str = "native=-"
    """More words for the fence (``native=17 gpus=0,1``)."""
    boot: str = "-"
    """Boot id of the machine it will run on; ``-``: it looks itself."""
    zero_cs: int = 0
    """Hundredths of a second from 1970 to the start of the machine, by the caller's clock."""
    umask: int = 0o022
    cwd: str
    """Absolute; where the program starts."""
    stdin: str = "-"
    stdout: str = "-"
    stderr: str = "-"
    """Files to open; ``-``: the descriptor that the wrapper has."""


def command(shell: Sequence[str], errand: Errand, argv: Sequence[str]) -> list[str]:
    """The command line that runs a program in the wrapper."""
    return [
        *shell,
        "-c",
        WRAPPER,
        "shorepower-job",
        errand.folder,
        f"{errand.task}.{errand.restart}",
        errand.submission,
        errand.facts,
        errand.boot,
        str(errand.zero_cs),
        f"{errand.umask:03o}",
        errand.cwd,
        errand.stdin,
        errand.stdout,
        errand.stderr,
        *argv,
    ]


def is_plain(name: str) -> bool:
    """Whether every shell hands a variable of that name on unchanged."""
    return _PLAIN.fullmatch(name) is not None and name not in _TAKEN


def carried(argv: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """(argv, environment) that reach the program as given, although a shell is between.

    Variables that a shell would drop or change are set by ``env`` on the program's command line, which
    others on this machine can see: never call this with secrets whose names are not plain.
    """
    plain = {name: value for name, value in env.items() if is_plain(name)}
    around = [f"{name}={value}" for name, value in env.items() if name not in plain]
    return ([*(("env", "--", *around) if around else ()), *argv], plain)

"""The helper against whoever has taken over the server: its uid, its socket, any request."""

import json
import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shorepower.host.helper.config import load
from shorepower.host.processes import process_of
from support.helper_requests import ANY_JSON, BAD_FIELDS, BAD_SIGNALS, BAD_TEXTS, SIGNAL, SPAWN
from support.people import PYTHON, HelperRig, needs_root, people

TALKER = """
import json, socket, sys
path, *_ = sys.argv[1:]
for line in sys.stdin:
    text, count = json.loads(line)
    null = open("/dev/null")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.settimeout(30)
        try:
            s.connect(path)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            socket.send_fds(s, [text.encode("utf-8", "surrogatepass")], [null.fileno()] * count)
            answer = s.recv(1 << 16).decode() or "closed"
        except OSError as fault:
            answer = f"{type(fault).__name__}: {fault}"
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def users():
    with people("ada", "bob", "eve", system=("harbour", "daemonic")) as made:
        yield made


@pytest.fixture
def rig(users):
    import pwd

    eve = pwd.getpwuid(users["eve"]).pw_name
    made = HelperRig(users["harbour"], f'denied_users = ["{eve}"]\n[commands]\nwho = "/usr/bin/id"\n')
    made.start()
    yield made
    made.close()


def talk(rig, *requests, uid=None):
    """What a process of the server's user hears; a request is (text or fields, number of descriptors)."""
    lines = "".join(
        json.dumps([text if isinstance(text, str) else json.dumps(text), count]) + "\n"
        for text, count in requests
    )
    uid = rig.server_uid if uid is None else uid
    done = subprocess.run(
        [PYTHON, "-I", "-S", "-c", TALKER, rig.socket],
        input=lines,
        capture_output=True,
        text=True,
        user=uid,
        group=uid,
        extra_groups=[],
        cwd="/",
        timeout=100,
    )
    assert not done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@needs_root
def test_every_request_that_should_not_be_is_refused_and_the_helper_lives_on(rig, users):
    ada = users["ada"]
    spawn, call = {**SPAWN, "uid": ada}, {"v": 1, "do": "command", "uid": ada, "argv": ["who"]}
    others = [0, 1, 999, users["daemonic"], users["harbour"], users["eve"], 65534, 2**32 - 1, 3_999_999_999]
    asked = [(text, 3) for text in BAD_TEXTS]
    asked += [({**spawn, **field}, 3) for field in BAD_FIELDS]
    asked += [({**SIGNAL, "uid": ada, **field}, 0) for field in BAD_SIGNALS]
    for uid in others:
        asked += [({**spawn, "uid": uid}, 3), ({**call, "uid": uid}, 3)]
        asked += [({"v": 1, "do": "files", "uid": uid}, 3), ({**SIGNAL, "uid": uid}, 0)]
    asked += [(spawn, count) for count in (0, 1, 2, 4, 50)]
    asked += [({**SIGNAL, "uid": ada}, 3), (call, 0)]
    asked += [({**spawn, "argv": [program]}, 3) for program in ("/bin/bash", "sh", "../bin/sh", "/bin/sh/")]
    asked += [({**call, "argv": [name]}, 3) for name in ("/usr/bin/id", "sh", "", "../who")]
    answers = talk(rig, *asked)
    assert len(answers) == len(asked)
    taken = [pair for pair in zip(asked, answers, strict=True) if '"ok"' in pair[1]]
    assert not taken
    assert all('"no"' in answer for answer in answers), [a for a in answers if '"no"' not in a]
    assert '"ok"' in talk(rig, (spawn, 3))[0]
    assert rig.process.poll() is None
    settled(rig)


@needs_root
def test_nobody_but_the_servers_user_gets_a_word(rig, users):
    for uid in (users["ada"], 65534):
        assert "PermissionError" in talk(rig, ({**SPAWN, "uid": users["bob"]}, 3), uid=uid)[0]
    os.chmod(rig.socket, 0o666)  # and should the file's mode be lost, the kernel's word on the peer decides
    for uid in (users["ada"], 0):
        answer = talk(rig, ({**SPAWN, "uid": users["bob"]}, 3), uid=uid)[0]
        assert answer == "closed" or "Error" in answer


IDLE = 5
"""Descriptors of a helper that has nothing to do: the first three, the socket, the selector."""


def settled(rig):
    """Nothing stays open."""
    until = time.monotonic() + 20
    while rig.open_descriptors > IDLE:
        assert time.monotonic() < until
        time.sleep(0.001)


def sleeper(uid, marks=True):
    """A process of somebody's that nobody may end but herself."""
    env = {"SHOREPOWER_JOB_ID": "k3fq", "SHOREPOWER_ATTEMPT": "1"} if marks else {}
    return subprocess.Popen(
        ["/bin/sleep", "600"], user=uid, group=uid, extra_groups=[], env=env, start_new_session=True
    )


@needs_root
def test_no_foreign_process_is_signalled_and_a_proved_job_is(rig, users):
    marks = {"SHOREPOWER_JOB_ID": "k3fq", "SHOREPOWER_ATTEMPT": "1"}
    made = [sleeper(users["bob"]), sleeper(0), sleeper(users["ada"], marks=False)]
    own = sleeper(users["ada"])
    meant = [(one.pid, process_of(one.pid).start_time) for one in (*made, own, rig.process)]
    kill = {**SIGNAL, "uid": users["ada"], "signal": "SIGKILL", "marks": marks}
    try:
        asked = [({**kill, "pid": pid, "start_time": start}, 0) for pid, start in meant if pid != own.pid]
        pid, start = own.pid, process_of(own.pid).start_time
        asked += [
            ({**kill, "pid": pid, "start_time": start + 1}, 0),
            ({**kill, "pid": pid, "start_time": start, "uid": users["bob"]}, 0),
            ({**kill, "pid": pid, "start_time": start, "marks": {}}, 0),
            ({**kill, "pid": pid, "start_time": start, "marks": {**marks, "SHOREPOWER_ATTEMPT": "2"}}, 0),
            ({**kill, "pid": pid, "start_time": start, "marks": {"SHOREPOWER_JOB_ID": "k3fq"}}, 0),
        ]
        assert all('"no"' in answer for answer in talk(rig, *asked))
        assert all(one.poll() is None for one in (*made, own, rig.process))
        assert talk(rig, ({**kill, "pid": pid, "start_time": start}, 0)) == ['{"ok": {}}']
        assert own.wait(20) == -signal.SIGKILL
    finally:
        for one in (*made, own):
            one.kill()
            one.wait()


@needs_root
def test_connections_that_say_nothing_are_bounded_and_closed(users):
    rig = HelperRig(users["harbour"], patch="loop._ASKING_TAKES_S = 0.5")
    rig.start()
    try:
        held = [rig.connect(rig.socket) for _ in range(80)]
        assert all(one.recv(100) == b"" for one in held)  # 64 are heard until their time is over
        for one in held:
            one.close()
        assert '"ok"' in talk(rig, ({**SPAWN, "uid": users["ada"]}, 3))[0]
    finally:
        rig.close()


@needs_root
def test_a_start_that_never_begins_is_ended_and_holds_up_nobody(users):
    patch = (
        "import time; loop._BEGINNING_TAKES_S = 0.5; run = loop.run\n"
        "loop.run = lambda request, *rest: "
        "time.sleep(600) if 'dead' in request['cwd'] else run(request, *rest)"
    )
    rig = HelperRig(users["harbour"], patch=patch)
    rig.start()
    try:
        dead = {**SPAWN, "uid": users["ada"], "cwd": "/dead/nfs"}
        with rig.connect(rig.socket) as waiting, open("/dev/null") as null:
            socket.send_fds(waiting, [json.dumps(dead).encode()], [null.fileno()] * 3)
            assert '"ok"' in talk(rig, ({**SPAWN, "uid": users["ada"]}, 3))[0]
            assert "it did not begin in time" in waiting.recv(4096).decode()
        deadline = time.monotonic() + 20
        while Path(f"/proc/{rig.process.pid}/task/{rig.process.pid}/children").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.001)
    finally:
        rig.close()


@needs_root
def test_any_packet_with_any_descriptors_leaves_it_alive(rig, users):
    with open("/dev/null") as null:

        @settings(max_examples=300, deadline=None)
        @given(
            st.binary(min_size=1, max_size=2000)
            | st.dictionaries(st.sampled_from([*SPAWN, "pid", "marks"]), ANY_JSON, max_size=9).map(
                lambda told: json.dumps({**SPAWN, **told}).encode()
            ),
            st.integers(0, 20),
        )
        def send(data, count):
            with rig.connect(rig.socket) as connection:
                socket.send_fds(connection, [data], [null.fileno()] * count)
                assert b'"no"' in connection.recv(1 << 16)  # there is no user 4711

        send()
        settled(rig)
    assert '"ok"' in talk(rig, ({**SPAWN, "uid": users["ada"]}, 3))[0]


@needs_root
def test_it_lives_on_without_descriptors_and_recovers(rig, users):
    ada = {**SPAWN, "uid": users["ada"]}
    talk(rig, (ada, 3))
    settled(rig)
    usual = resource.prlimit(rig.process.pid, resource.RLIMIT_NOFILE)
    for room in range(8):
        resource.prlimit(rig.process.pid, resource.RLIMIT_NOFILE, (IDLE + room, usual[1]))
        if room:  # with none it cannot even say no
            assert '"ok"' not in talk(rig, (ada, 3))[0]
    resource.prlimit(rig.process.pid, resource.RLIMIT_NOFILE, usual)
    assert '"ok"' in talk(rig, (ada, 3))[0]
    settled(rig)


@needs_root
@pytest.mark.parametrize("fault", ["owner", "writable", "link"])
def test_a_configuration_that_others_can_change_is_refused(rig, users, fault):
    path = rig.config
    if fault == "owner":
        os.chown(path, users["ada"], 0)
    elif fault == "writable":
        os.chmod(path, 0o664)
    else:
        path = rig.folder / "link.toml"
        path.symlink_to(rig.config)
    with pytest.raises(SystemExit, match="has to be root's"):
        load(str(path))


@needs_root
def test_only_members_of_allowed_groups_are_served(users):
    rig = HelperRig(users["harbour"], 'allowed_groups = ["daemon"]\n')
    rig.start()
    try:
        told = talk(rig, ({**SPAWN, "uid": users["ada"]}, 3))[0]
        assert "in none of the groups daemon" in told
    finally:
        rig.close()


@needs_root
@pytest.mark.anyio
async def test_limits_and_privileges_are_given_up_as_configured(users):
    from shorepower.host.contract import Spawn
    from shorepower.host.user import UserHost

    rig = HelperRig(users["harbour"], "no_new_privileges = true\n[limits]\nnofile = 99\ncore = 0\n")
    rig.start()
    reader, writer = os.pipe()
    try:
        host = UserHost(users["ada"], rig.socket, rig.connect)
        null = os.open("/dev/null", os.O_RDWR)
        code = "ulimit -n; grep -E 'NoNewPrivs|CapEff|CapPrm|Uid|Gid' /proc/self/status"
        spawned = await host.spawn(
            Spawn(
                argv=["/bin/sh", "-c", code],
                env={"PATH": os.defpath},
                cwd="/",
                stdin=null,
                stdout=writer,
                stderr=null,
            )
        )
        await anyio.wait_readable(spawned.pidfd)
        ada = users["ada"]
        said = os.read(reader, 4096).decode().split("\n")
        assert said[0] == "99"
        assert dict(line.split(":\t") for line in said[1:] if line) == {
            "Uid": "\t".join([str(ada)] * 4),
            "Gid": "\t".join([str(ada)] * 4),
            "NoNewPrivs": "1",
            "CapEff": "0" * 16,
            "CapPrm": "0" * 16,
        }
        host.close()
    finally:
        rig.close()

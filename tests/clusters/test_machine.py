import os

import pytest

from shorepower.clusters.local.machine import Gpu, Pressure, detect, oom_kills, pressure

GIB = 1 << 30


@pytest.fixture
def put(tmp_path):
    """Writes files of a made-up machine."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    write({"proc/meminfo": "MemTotal: 33554432 kB\nMemFree: 1 kB\nMemAvailable: 16777216 kB\n"})
    return write


def test_this_machine():
    machine = detect()
    assert 0 < machine.cpu_count <= os.cpu_count()
    assert machine.memory_mib > 0
    assert 0 < pressure().available_mib <= pressure().total_mib
    assert oom_kills() >= 0


def test_no_control_groups(put):
    machine = detect(put({}))
    assert machine.memory_mib == int(32768 * 0.9)
    assert machine.gpus == ()
    assert pressure(put({})) == Pressure(16384, 32768)
    assert not pressure(put({})).short


def test_room_is_left_on_a_small_machine(put):
    assert detect(put({"proc/meminfo": "MemTotal: 4194304 kB\n"})).memory_mib == 3072


def test_limits_of_version_2_and_of_the_groups_above(put):
    root = put(
        {
            "proc/self/cgroup": "0::/user.slice/job\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            "sys/fs/cgroup/user.slice/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/user.slice/memory.current": f"{8 * GIB - (100 << 20)}\n",
            "sys/fs/cgroup/user.slice/memory.stat": "anon 1\ninactive_file 0\n",
            "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
            "sys/fs/cgroup/user.slice/job/memory.max": "max\n",
            "sys/fs/cgroup/user.slice/job/memory.current": "5\n",
            "sys/fs/cgroup/user.slice/job/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/user.slice/job/memory.events": "low 0\noom 3\noom_kill 2\n",
        }
    )
    machine = detect(root)
    assert machine.cpu_count == 0.5
    assert machine.memory_mib == 8192 - 1024
    assert pressure(root) == Pressure(100, 8192)
    assert pressure(root).short
    assert oom_kills(root) == 2


def test_limits_of_version_1(put):
    root = put(
        {
            "proc/self/cgroup": "4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "5\n",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": f"{3 * GIB}\n",
            "sys/fs/cgroup/memory/box/memory.stat": f"total_inactive_file {2 * GIB}\n",
            "sys/fs/cgroup/memory/box/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "25000\n",
            "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        }
    )
    machine = detect(root)
    assert (machine.cpu_count, machine.memory_mib) == (0.25, 3072)
    assert pressure(root) == Pressure(16384, 32768)
    assert oom_kills(root) == 7


def test_a_group_whose_path_is_not_seen_inside_a_container(put):
    root = put(
        {
            "proc/self/cgroup": "0::/docker/0123\n",
            "sys/fs/cgroup/cgroup.controllers": "cpu memory",
            "sys/fs/cgroup/memory.max": f"{2 * GIB}",
            "sys/fs/cgroup/memory.current": "0",
            "sys/fs/cgroup/cpu.max": "25000 100000",
        }
    )
    assert (detect(root).cpu_count, detect(root).memory_mib) == (0.25, 1024)


def test_kills_are_counted_for_the_machine_where_the_group_does_not(put):
    assert oom_kills(put({"proc/vmstat": "pgfault 1\noom_kill 4\n"})) == 4
    assert oom_kills(put({"proc/vmstat": "pgfault 1\n"})) == 0


def test_gpus_by_their_devices(put):
    info = "Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ: 4\nDevice Minor: \t {}\n"
    root = put(
        {
            **{f"dev/nvidia{name}": "" for name in ("0", "1", "10", "ctl", "-uvm")},
            "proc/driver/nvidia/gpus/0000:1/information": info.format(10),
            "proc/driver/nvidia/gpus/0000:2/information": "Model: Tesla T4\nDevice Minor: 0\n",
        }
    )
    assert detect(root).gpus == (Gpu("0", "t4"), Gpu("1"), Gpu("10", "a100-sxm4-40gb"))

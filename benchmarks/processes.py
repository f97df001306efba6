"""Processes of our own: started on a core, measured, and ended. Linux only: it reads /proc."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_TIMEOUT = 60.0
STOP_TIMEOUT = 40.0
_TICK = os.sysconf("SC_CLK_TCK")
_CPU_FIELDS = slice(11, 15)  # utime, stime, and the same of children that have ended; counted after the command's name


@dataclass(frozen=True, slots=True)
class Cores:
    """Where what is measured runs, and where the tools run that measure it."""

    measured: int
    tools: int

    @classmethod
    def of_this_machine(cls) -> "Cores":
        cores = sorted(os.sched_getaffinity(0))
        return cls(measured=cores[0], tools=cores[-1])


@contextmanager
def running(
    command: Sequence[str],
    *,
    core: int | None,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """The id of a process that runs on `core`, or on all, until the end of the block; it writes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*pinned(core), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
        )
    try:
        yield process.pid
    finally:
        end(process)


def end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pinned(core: int | None) -> list[str]:
    """What goes before a command to keep it on one core, if on any."""
    if core is None:
        return []
    if shutil.which("taskset") is None:
        raise SystemExit("The benchmarks need taskset (package util-linux).")
    return ["taskset", "-c", str(core)]


def cpu_seconds(pid: int) -> float:
    """What a process and its children have used so far, in user and kernel mode."""
    return sum(sum(map(int, _stat(each)[_CPU_FIELDS])) for each in family(pid)) / _TICK


def resident_mib(pid: int, field: str = "VmRSS", *, alone: bool = False) -> float:
    """Memory of a process and, unless it is `alone`, of its children; with `VmHWM`, the most there ever was of each."""
    return sum(_status(each, field) for each in ([pid] if alone else family(pid))) / 1024


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(pid: int, port: int, log: Path) -> None:
    wait_until(lambda: _accepts(port), pid, log)


def wait_until(ready: Callable[[], bool], pid: int, log: Path) -> None:
    """Wait for a process to be ready. Raises `RuntimeError`, with its log, when it has ended or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while not ready():
        if time.monotonic() > deadline or _has_ended(pid):
            raise RuntimeError(f"A process did not get ready:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)


def _has_ended(pid: int) -> bool:
    return _stat(pid)[:1] in (["Z"], [])


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def family(pid: int) -> list[int]:
    """The process, then its children and theirs."""
    parents = {int(entry.name): _parent(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found = [pid]
    for parent in found:
        found += [child for child, its_parent in parents.items() if its_parent == parent]
    return found


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else 0


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may itself contain blanks; none when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)

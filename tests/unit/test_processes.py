"""How processes that stay begin."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, threading
from llm_backend.bootstrap.processes import keep_heaps_few
print(keep_heaps_few())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
start = threading.Barrier(9)
def allocate():
    start.wait()
    libc.malloc(100_000)
    start.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
start.wait(); start.wait()
libc.malloc_stats()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has these heaps")
@pytest.mark.parametrize(
    ("environment", "changed", "heaps"), [({}, "True", 2), ({"MALLOC_ARENA_MAX": "1"}, "False", 1)]
)
def test_many_threads_share_few_heaps(environment: dict[str, str], changed: str, heaps: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == changed
    assert done.stderr.count("Arena ") <= heaps

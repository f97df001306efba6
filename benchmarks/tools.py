"""The two tools of a measurement of streams: who writes them, and who reads them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Cores, free_port, pinned, running, wait_for_port

ROOT = Path(__file__).parent.parent
DRAIN = 120.0  # seconds for the streams that were started last, and for a load tool that has to be given up


@dataclass(frozen=True, slots=True)
class Reading:
    """What a load tool saw."""

    ok: int
    failed: int
    tokens: int
    first_token_ms: float


@dataclass(frozen=True, slots=True)
class Tools:
    """Commands of our own, or of others that take the same arguments and are faster."""

    cores: Cores
    upstream_binary: str | None = None
    load_binary: str | None = None

    @contextmanager
    def upstream(self, folder: Path) -> Iterator[int]:
        """The port of a fake model server."""
        port = free_port()
        command = [self.upstream_binary] if self.upstream_binary else [sys.executable, "-m", "benchmarks.upstream"]
        log = folder / "upstream.log"
        with running([*command, str(port)], core=self.cores.tools, log=log, cwd=ROOT) as pid:
            wait_for_port(pid, port, log)
            yield port

    def load(
        self,
        port: int,
        request: Path,
        *,
        connections: int,
        seconds: float,
        streams: int,
        tokens: int,
        variants: int = 0,
    ) -> Reading:
        """Read streams until `seconds` are over or `streams` have been started, and those have ended."""
        command = [self.load_binary] if self.load_binary else [sys.executable, "-m", "benchmarks.load"]
        arguments = [port, request, connections, seconds, streams, 0, tokens, *([variants] if variants else [])]
        done = subprocess.run(
            [*pinned(self.cores.tools), *command, *map(str, arguments)],
            cwd=ROOT,
            capture_output=True,
            check=True,
            timeout=seconds + DRAIN,
        )
        seen = json.loads(done.stdout)
        return Reading(ok=seen["ok"], failed=seen["err"], tokens=seen["tok"], first_token_ms=seen["ttft_ms"]["p50"])

"""Logs, set up in a process of their own: they are set up once and for all."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging, structlog, sys
from llm_backend.interface.logs import set_up_logs

set_up_logs("info", json=JSON)
logging.getLogger("llm_backend.some").info("hello %s", "world", extra={"answer": 7})
logging.getLogger("llm_backend.some").debug("not this")
logging.getLogger("httpx").info("nor this")
structlog.get_logger("llm_backend.access").info("request", status=200)

def crash(password):
    raise RuntimeError("a bug")

try:
    crash("hunter2" + "hunter2")
except RuntimeError as error:
    logging.getLogger("llm_backend.some").error("crashed", exc_info=error)
"""


def output(as_json: bool) -> str:
    program = PROGRAM.replace("JSON", str(as_json))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr


def test_each_event_is_one_line_of_json() -> None:
    lines = [json.loads(line) for line in output(as_json=True).splitlines()]

    assert [line["event"] for line in lines] == ["hello world", "request", "crashed"]
    assert [line["level"] for line in lines] == ["info", "info", "error"]
    assert lines[0]["logger"] == "llm_backend.some"
    assert lines[0]["answer"] == 7
    assert lines[1]["status"] == 200
    assert "RuntimeError: a bug" in lines[2]["exception"]
    assert all(line["timestamp"].endswith("Z") for line in lines)


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_values(as_json: bool) -> None:
    text = output(as_json)

    assert "RuntimeError" in text
    assert "hunter2hunter2" not in text
    assert "not this" not in text
    assert "nor this" not in text

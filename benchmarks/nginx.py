"""nginx as a plain reverse proxy: the measure for what a server in between has to cost."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import free_port, running, wait_for_port

CONFIGURATION = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream model {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running one."""

    port: int
    pid: int


def find_nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@contextmanager
def proxying(binary: str, upstream: int, *, core: int, folder: Path) -> Iterator[Nginx]:
    """nginx in front of the model server, on one core, until the end of the block."""
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, upstream=upstream, port=port))
    command = [binary, "-e", str(folder / "nginx-error.log"), "-c", str(file)]
    log = folder / "nginx.log"
    with running(command, core=core, log=log) as pid:
        wait_for_port(pid, port, log)
        yield Nginx(port, pid)

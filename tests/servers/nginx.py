"""nginx over TLS and HTTP/2, as a process that ends with its block."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
from benchmarks.nginx import Installed, await_port, free_port, stop

ANSWER = {
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Gruss"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
CHUNKS = [f" w{number}" for number in range(20)]


def _events() -> Iterator[str]:
    for piece in CHUNKS:
        yield json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]})
    yield json.dumps({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield "[DONE]"


_CONFIGURATION = """\
load_module {module};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_shutdown_timeout 20s;
events {{ worker_connections 4096; multi_accept on; }}
http {{
  log_format connection $connection;
  access_log {folder}/access.log connection;
  default_type application/json;
  keepalive_requests {requests};
  keepalive_timeout {idle};
  client_max_body_size 64m;
  client_body_buffer_size 32m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=8192 ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    set $answer '{answer}';
    location = /v1/chat/completions {{ {latency} echo $answer; }}
    location = /stream/v1/chat/completions {{
      default_type text/event-stream;
      {events}
    }}
    location = /echo {{ echo_read_request_body; echo_request_body; }}
    location = /busy {{ return 503 '{{"error": {{"message": "busy"}}}}'; }}
    location = /cut {{ proxy_pass http://127.0.0.1:1; }}
  }}
}}
"""


@attrs.frozen
class Nginx:
    """A running nginx."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def reload(self) -> None:
        """`nginx -s reload`: new workers take over, the old ones send GOAWAY."""
        self.process.send_signal(signal.SIGHUP)

    def quit(self) -> None:
        """`nginx -s quit`: requests in progress are answered, no more are accepted."""
        self.process.send_signal(signal.SIGQUIT)

    @property
    def workers(self) -> set[int]:
        """The processes that answer requests, also old ones that end."""
        pid = self.process.pid
        return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    @property
    def connections(self) -> list[str]:
        """For each answered request, the number of its connection."""
        return Path(self.folder, "access.log").read_text().splitlines()

    def allow(self, requests: int) -> None:
        """After the next `reload`, a connection accepts this number of requests."""
        path = Path(self.folder, "nginx.conf")
        path.write_text(re.sub(r"keepalive_requests \d+", f"keepalive_requests {requests}", path.read_text()))


@contextlib.contextmanager
def run_nginx(
    installed: Installed,
    folder: Path,
    certificate: Path,
    *,
    requests: int = 1_000_000,
    idle: str = "60s",
    latency_ms: int = 0,
) -> Iterator[Nginx]:
    """Run nginx. A connection ends after ``requests``, or after ``idle`` seconds."""
    port = free_port()
    events = "\n      ".join(f"echo 'data: {event}'; echo ''; echo_flush;" for event in _events())
    Path(folder, "nginx.conf").write_text(
        _CONFIGURATION.format(
            module=installed.echo,
            folder=folder,
            port=port,
            certificate=certificate,
            requests=requests,
            idle=idle,
            latency=f"echo_sleep {latency_ms / 1000};" if latency_ms else "",
            answer=json.dumps(ANSWER),
            events=events,
        )
    )
    process = subprocess.Popen(
        [installed.nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")],
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PATH": os.environ.get("PATH", "") + ":/usr/sbin"},
    )
    with process:
        try:
            await_port(process, port)
            yield Nginx(f"https://127.0.0.1:{port}/v1", folder, process)
        finally:
            stop(process)

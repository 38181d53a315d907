"""nginx as the server of the benchmarks: its configuration and its process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ECHO_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_http_echo_module.so"),
    Path("/usr/share/nginx/modules/ngx_http_echo_module.so"),
)
START_LIMIT = 10.0
STOP_LIMIT = 5.0

CHUNKS = tuple(f" Wort{number}" for number in range(200))
"""The texts of the chunks of a stream."""

PACE = 0.005
"""Seconds between two chunks of a paced stream."""

HEAD = {
    "id": "chatcmpl-0001",
    "created": 1_760_000_000,
    "model": "deepseek-v3.2",
    "system_fingerprint": "fp_0",
}
ANSWER = HEAD | {
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Garten: ein Schlauch zum Bewaessern der Beete."},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 148, "completion_tokens": 29, "total_tokens": 177},
}

CONFIGURATION = """\
load_module {module};
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 16384; multi_accept on; }}
http {{
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  keepalive_timeout 10m;
  client_body_buffer_size 64k;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=8192;
    {tls}
    set $answer '{answer}';
{locations}
  }}
}}
"""


TLS = """\
listen 127.0.0.1:{port} ssl http2 backlog=8192;
    ssl_certificate {certificate};
    ssl_certificate_key {certificate};
    ssl_session_cache shared:tls:10m;"""


class Ports(NamedTuple):
    """The ports for plain http and, with a certificate, for https."""

    http: int
    https: int | None


class Installed(NamedTuple):
    """The paths of nginx and its echo module."""

    nginx: str
    echo: Path

    @property
    def version(self) -> str:
        """The name and version of nginx."""
        text = subprocess.run([self.nginx, "-v"], capture_output=True, text=True, check=True).stderr
        return text.rpartition(":")[2].strip()


def find_nginx() -> Installed | None:
    """nginx with its echo module, or None if one of them is missing."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    nginx = shutil.which("nginx", path=path)
    echo = next((path for path in ECHO_MODULES if path.exists()), None)
    return Installed(nginx, echo) if nginx and echo else None


@contextlib.contextmanager
def run_nginx(
    installed: Installed, latencies_ms: Sequence[int], certificate: Path | None = None
) -> Iterator[Ports]:
    """Run nginx with one worker, its files in a temporary folder; yields its ports.

    It answers chat completions with each latency under `base_path`, and streams under /stream and /paced.
    With a ``certificate``, a file with certificate and key, it also answers over TLS, with HTTP/2 for
    clients that support it and HTTP/1.1 for others.
    """
    with tempfile.TemporaryDirectory(prefix="headrace-nginx-") as folder:
        ports = Ports(free_port(), free_port() if certificate else None)
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(
            CONFIGURATION.format(
                module=installed.echo,
                folder=folder,
                port=ports.http,
                tls=TLS.format(port=ports.https, certificate=certificate) if certificate else "",
                answer=json.dumps(ANSWER),
                locations="\n".join(
                    [*map(chat_location, latencies_ms), streaming("/stream"), streaming("/paced", PACE)]
                ),
            )
        )
        with subprocess.Popen(
            [installed.nginx, "-p", folder, "-c", str(configuration)],
            stderr=subprocess.PIPE,
            # Ctrl-C goes to the whole process group, but the server must stop after its clients; see below.
            start_new_session=True,
        ) as process:
            try:
                await_port(process, ports.http)
                yield ports
            finally:
                stop(process)


def base_path(latency_ms: int) -> str:
    """The path of the API with this latency."""
    return f"/{latency_ms}ms/v1" if latency_ms else "/v1"


def chat_location(latency_ms: int) -> str:
    """The location of the chat completions with this latency."""
    answer = f"echo_sleep {latency_ms / 1000}; echo $answer;" if latency_ms else "return 200 $answer;"
    return f"    location = {base_path(latency_ms)}/chat/completions {{ {answer} }}"


def streaming(prefix: str, pause: float = 0.0) -> str:
    """The location of a streamed answer; with a pause after each chunk, each chunk has its own packet."""
    between = f" echo_flush; echo_sleep {pause};" if pause else ""
    events = (f"echo 'data: {event}'; echo '';{between}" for event in stream_events())
    inside = "\n      ".join(["default_type text/event-stream;", *events])
    return f"    location = {prefix}/v1/chat/completions {{\n      {inside}\n    }}"


def stream_events() -> Iterator[str]:
    """The events of a stream: role, `CHUNKS`, finish reason, token counts, end."""
    for delta, finish_reason in [
        ({"role": "assistant", "content": ""}, None),
        *(({"content": chunk}, None) for chunk in CHUNKS),
        ({}, "stop"),
    ]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        yield json.dumps(HEAD | {"object": "chat.completion.chunk", "choices": [choice], "usage": None})
    counts = {"prompt_tokens": 148, "completion_tokens": len(CHUNKS), "total_tokens": 148 + len(CHUNKS)}
    yield json.dumps(HEAD | {"object": "chat.completion.chunk", "choices": [], "usage": counts})
    yield "[DONE]"


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until nginx accepts connections; raises RuntimeError with its standard error if it does not."""
    until = time.monotonic() + START_LIMIT
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    stop(process)
    text = process.stderr.read().decode(errors="replace") if process.stderr else ""
    raise RuntimeError(f"nginx did not start:\n{text}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process; kill it if it does not end."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""The server that all peers call: nginx, which answers from memory and waits without work of its own.

It needs Debian's nginx-light and libnginx-mod-http-echo. Where those are missing, the embedded endpoint takes
their place: good enough to see that a benchmark works, but it is Python, and slower than what is measured.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from anyio.from_thread import start_blocking_portal

from headrace.endpoint import Behaviour, endpoint_process

ECHO_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_http_echo_module.so"),
    Path("/usr/share/nginx/modules/ngx_http_echo_module.so"),
)
START_LIMIT = 10.0
STOP_LIMIT = 5.0

ANSWER = {
    "id": "chatcmpl-0001",
    "object": "chat.completion",
    "created": 1_760_000_000,
    "model": "deepseek-v3.2",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Garten: ein Schlauch zum Bewaessern der Beete."},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 148, "completion_tokens": 29, "total_tokens": 177},
    "system_fingerprint": "fp_0",
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
    set $answer '{answer}';
{locations}
  }}
}}
"""


class Server(NamedTuple):
    """What is called: its name with its version, and the base URL for each latency in milliseconds."""

    name: str
    base_urls: Mapping[int, str]


@contextlib.contextmanager
def serving(latencies_ms: Sequence[int] = (0, 47, 800)) -> Iterator[Server]:
    """Run a server for the block, on a free port of the loopback; it stops on Ctrl-C and SIGTERM, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        nginx, module = find_nginx()
        running = nginx_running(nginx, module, latencies_ms) if nginx and module else embedded(latencies_ms)
        with running as server:
            yield server
    finally:
        signal.signal(signal.SIGTERM, before)


def find_nginx() -> tuple[str | None, Path | None]:
    """Where nginx and its echo module are; None for what is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    return shutil.which("nginx", path=path), next((path for path in ECHO_MODULES if path.exists()), None)


@contextlib.contextmanager
def nginx_running(nginx: str, module: Path, latencies_ms: Sequence[int]) -> Iterator[Server]:
    """Run nginx with one worker, its files in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="headrace-nginx-") as folder:
        port = free_port()
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(
            CONFIGURATION.format(
                module=module,
                folder=folder,
                port=port,
                answer=json.dumps(ANSWER),
                locations="\n".join(location(latency) for latency in latencies_ms),
            )
        )
        process = subprocess.Popen(
            [nginx, "-p", folder, "-c", str(configuration)],
            stderr=subprocess.PIPE,
            # Ctrl-C goes to a whole group; the server is stopped below, after those that call it.
            start_new_session=True,
        )
        try:
            await_port(process, port)
            urls = {latency: f"http://127.0.0.1:{port}{prefix(latency)}" for latency in latencies_ms}
            yield Server(version(nginx), urls)
        finally:
            stop(process)


def prefix(latency_ms: int) -> str:
    """The path of the API with this latency."""
    return f"/{latency_ms}ms/v1" if latency_ms else "/v1"


def location(latency_ms: int) -> str:
    """nginx's configuration of the chat completions with this latency."""
    answer = f"echo_sleep {latency_ms / 1000}; echo $answer;" if latency_ms else "return 200 $answer;"
    return f"    location = {prefix(latency_ms)}/chat/completions {{ {answer} }}"


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until nginx takes connections; raises RuntimeError with what it said if it does not."""
    until = time.monotonic() + START_LIMIT
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    stop(process)
    said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    raise RuntimeError(f"nginx did not start:\n{said}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process by its id, the hard way if it does not go."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def version(nginx: str) -> str:
    """nginx's name and version, as it says them."""
    said = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr
    return said.rpartition(":")[2].strip()


@contextlib.contextmanager
def embedded(latencies_ms: Sequence[int]) -> Iterator[Server]:
    """Run the embedded endpoint, a process for each latency."""
    print("nginx or its echo module is not installed: the embedded endpoint is called, and is the bottleneck")
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        urls = {}
        for latency in latencies_ms:
            endpoint = endpoint_process(Behaviour(latency=latency / 1000))
            urls[latency] = stack.enter_context(portal.wrap_async_context_manager(endpoint)).base_url
        yield Server("embedded endpoint", urls)

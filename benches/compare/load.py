"""The clients: load by wrk and h2load, single requests, and filling a cache with known keys."""

import http.client
import json
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import machine
from servers import HERE, Server

PIPELINED = 64
"""Requests under way at once while a cache is filled."""


class Wrong(Exception):
    """A target did not behave as the case requires, so that its figures would mean nothing."""


@dataclass(frozen=True)
class Load:
    """The result of one run of the load."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float


def wrk(server: Server, cpus: list[int], connections: int, seconds: int, mode: list[str]) -> Load:
    """Loads a server over HTTP/1.1; `mode` has the arguments of load.lua."""
    output = run_on(cpus, [
        "wrk", "--latency", "-t", str(len(cpus)), "-c", str(connections), "-d", f"{seconds}s",
        "-s", str(HERE / "load.lua"), f"http://127.0.0.1:{server.port}", "--", *mode,
    ])
    result = next((line for line in output.splitlines() if line.startswith("result ")), None)
    if result is None:
        raise Wrong(f"{server.name}: wrk says\n{output}")
    seen = json.loads(result.removeprefix("result "))
    if seen["errors"] or not seen["requests"]:
        raise Wrong(f"{server.name}: {seen['errors']} errors in {seen['requests']} requests; wrk says\n{output}")
    return Load(seen["requests"], seen["seconds"], seen["p50_us"], seen["p99_us"])


def h2load(server: Server, cpus: list[int], connections: int, seconds: int, path: str, log: Path) -> Load:
    """Loads a server over HTTP/2 without TLS. Each connection has 16 requests under way."""
    log.unlink(missing_ok=True)
    output = run_on(cpus, [
        "h2load", "-p", "h2c", "-t", str(len(cpus)), "-c", str(connections), "-m", "16", "-D", str(seconds),
        f"--log-file={log}", f"http://127.0.0.1:{server.port_h2}{path}",
    ])
    rows = [line.split("\t") for line in log.read_text().splitlines()]
    if not rows or any(status != "200" for _, status, _ in rows):
        raise Wrong(f"{server.name}: not every HTTP/2 answer is a 200; h2load says\n{output}")
    times = sorted(int(microseconds) for _, _, microseconds in rows)
    return Load(len(times), float(seconds), times[len(times) // 2], times[len(times) * 99 // 100])


def run_on(cpus: list[int], command: list[str]) -> str:
    """Runs a program on these cores to its end and returns its output."""
    command = ["taskset", "-c", ",".join(map(str, cpus)), machine.program(command[0]), *command[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise Wrong(f"{' '.join(command)} fails:\n{done.stdout}")
    return done.stdout


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    etag: str
    body: bytes


def fetch(port: int, path: str, etag: str = "") -> Answer:
    """Sends one request; with an ETag a conditional one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"If-None-Match": etag} if etag else {})
        response = connection.getresponse()
        return Answer(response.status, response.getheader("ETag", ""), response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Wrong(f"port {port} does not answer {path}: {error!r}") from error
    finally:
        connection.close()


def fetch_h2(server: Server, path: str) -> bytes:
    """Fetches a body over HTTP/2 without TLS."""
    command = [machine.program("nghttp"), f"http://127.0.0.1:{server.port_h2}{path}"]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=True)
    except subprocess.SubprocessError as error:
        raise Wrong(f"{server.name} does not answer {path} over HTTP/2: {error}") from error
    return done.stdout


def origin_requests(origin: Server) -> int:
    """Returns the number of requests at the origin, this one included."""
    return int(fetch(origin.port, "/status").body.split(b"\n")[2].split()[2])


def fill(server: Server, first: int, count: int) -> None:
    """Requests the keys `first` to `first + count` of 1 KiB once each, in order, and checks each body's key."""
    paths = [f"/1k/{key:012d}".encode() for key in range(first, first + count)]
    # The Host that wrk sends, since it is part of Larder's keys.
    host = f"127.0.0.1:{server.port}".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        reader = connection.makefile("rb")
        for start in range(0, count, PIPELINED):
            batch = paths[start:start + PIPELINED]
            connection.sendall(b"".join(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, host) for path in batch))
            for path in batch:
                if not read_body(reader, server.name).startswith(path):
                    raise Wrong(f"{server.name}: {path.decode()} is answered with another key's body")


def read_body(reader: BinaryIO, name: str) -> bytes:
    """Reads one response with a known length and returns its body."""
    status = reader.readline()
    length = None
    while (line := reader.readline()) not in (b"\r\n", b""):
        field, _, value = line.partition(b":")
        if field.lower() == b"content-length":
            length = int(value)
    if b" 200 " not in status or length is None:
        raise Wrong(f"{name}: while filling, an answer without length or with {status!r}")
    return reader.read(length)

"""Starts and stops servers, speaks plain HTTP/1.1 to them, and counts the results of scenarios."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"

# Ruby needs some seconds to load Rails on a busy machine.
START_SECONDS = 60
# No answer of these apps takes longer than a second.
ANSWER_SECONDS = 20


class CannotRun(Exception):
    """Something that the tests need is missing or does not start."""


def free_port() -> int:
    """Returns a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


class Servers(contextlib.ExitStack):
    """Servers of one part of the tests. The end of the `with` block stops them, by their process ids."""

    def __init__(self):
        super().__init__()
        self.folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="larder-apps-")))

    def start(self, name: str, command: list, port: int, env: dict | None = None) -> Path:
        """Starts a server, waits until it listens on `port`, and returns the path of its log."""
        log = self.folder / f"{name}.log"
        with log.open("w") as output:
            process = subprocess.Popen([str(part) for part in command], cwd=self.folder, env=os.environ | (env or {}),
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        self.callback(stop, process)
        deadline = time.monotonic() + START_SECONDS
        while not is_listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"{name} does not start (exit status {process.poll()}):\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        return log

    def larder(self, binary: Path, origin: int) -> int:
        """Starts Larder with its default configuration in front of an app, and returns its port."""
        port, admin = free_port(), free_port()
        self.start("larder", [binary, "serve", "--origin", f"http://{HOST}:{origin}", "--listen", f"{HOST}:{port}",
                              "--admin", f"{HOST}:{admin}"], port)
        return port


def stop(process: subprocess.Popen):
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def exit_on_sigterm():
    """Turns SIGTERM into an exit that stops the servers."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


# --- plain HTTP/1.1 ----------------------------------------------------------------------------


@dataclass
class Response:
    status: int
    head: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]

    def first(self, name: str) -> str:
        return next(iter(self.all(name)), "")


async def read_response(reader: asyncio.StreamReader, method: str = "GET") -> Response:
    """Reads one final response, framed by its length, by chunks, or by the end of the connection."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.rstrip("\r\n").split("\r\n")
        response = Response(int(lines[0].split()[1]), head, [])
        for line in lines[1:]:
            name, _, value = line.partition(":")
            response.headers.append((name.lower(), value.strip()))
        if response.status >= 200 or response.status == 101:
            break
    if method == "HEAD" or response.status in (101, 204, 304):
        return response
    if "chunked" in response.first("transfer-encoding"):
        while size := int((await reader.readline()).split(b";")[0], 16):
            response.body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    elif length := response.first("content-length"):
        response.body = await reader.readexactly(int(length))
    else:
        response.body = await reader.read()
    return response


async def fetch(port: int, target: str, method: str = "GET", headers: dict | None = None,
                body: bytes | None = None, connection: str = "close") -> Response:
    """Sends one request on a connection of its own, with this word for what is to become of the connection."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}:{port}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines.append(f"Connection: {connection}")
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
            return await read_response(reader, method)
        finally:
            writer.close()


# --- results -----------------------------------------------------------------------------------


class Problems:
    """What went wrong in one scenario: how often, by kind, and the first evidence of each kind."""

    def __init__(self):
        self.evidence: dict[str, list[str]] = {}

    def add(self, kind: str, evidence: str):
        self.evidence.setdefault(kind, []).append(evidence)


@dataclass
class Results:
    passed: int = 0
    failed: int = 0

    def report(self, scenario: str, problems: Problems, note: str = ""):
        """Prints the line of a scenario, and below it the first evidence of each kind of problem."""
        note = f" ({note})" if note else ""
        if not problems.evidence:
            self.passed += 1
            print(f"ok {scenario}{note}", flush=True)
            return
        self.failed += 1
        print(f"FAILED {scenario}{note}")
        for kind, all_of_kind in problems.evidence.items():
            print(f"    {len(all_of_kind)} x {kind}, first: {all_of_kind[0]}")
        sys.stdout.flush()

    def close(self) -> int:
        print(f"{self.passed} passed, {self.failed} failed")
        return 1 if self.failed or not self.passed else 0


def shown(html: bytes, name: str) -> str | None:
    """Returns the text of the element with this id."""
    match = re.search(rf'id="{name}">([^<]*)<'.encode(), html)
    return match and match.group(1).decode()

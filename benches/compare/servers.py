"""The servers: how each is configured, started and stopped, and the resources of its processes."""

import contextlib
import os
import random
import re
import signal
import socket
import string
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import machine

HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PATH_BYTES, QUERY_BYTES = len("/1k/000000000000"), len("/miss?n=000000000000")
"""The beginning of the origin's bodies of 1 KiB."""


@dataclass(frozen=True)
class Plan:
    """The settings that all servers of one run share."""

    directory: Path
    server_cpus: list[int]
    load_cpus: list[int]
    capacity_mib: int
    larder: Path | None


@dataclass
class Server:
    """One running server."""

    name: str
    port: int
    port_h2: int
    process: subprocess.Popen[bytes]
    cache_directory: Path | None = None

    def cpu_s(self) -> float:
        """Returns the CPU seconds, user and system, of all its processes so far."""
        ticks = 0
        for pid in family(self.process.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS_PER_S

    def memory_bytes(self) -> int:
        """Returns the resident bytes of its processes (shared pages counted once) and of its files in memory."""
        kib = 0
        for pid in family(self.process.pid):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            kib += sum(map(int, re.findall(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)))
        files = self.cache_directory.rglob("*") if self.cache_directory else ()
        return kib * 1024 + sum(file.stat().st_blocks * 512 for file in files)


def family(root: int) -> list[int]:
    """Returns a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def fill_in(template: str, values: dict[str, object]) -> str:
    """Returns a template of this folder with its @NAMES@ filled in."""
    text = (HERE / template).read_text()
    text = text.replace("@NAMES@", "Names between at signs")
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    if left := re.search(r"@[A-Z_0-9]+@", text):
        raise ValueError(f"{template}: no value for {left[0]}")
    return text


def filling(length: int) -> str:
    """Returns text without repetition, the same in each run, so that no target gains by compressing it."""
    return "".join(random.Random(length).choices(string.ascii_letters + string.digits, k=length))


def nginx_user() -> str:
    """Returns the line that lets root's nginx write into a folder of this user."""
    return "user root;" if os.geteuid() == 0 else ""


def spawn(command: list[str], cpus: list[int], log: Path) -> subprocess.Popen[bytes]:
    """Starts a program on these cores, in a session of its own: Ctrl-C reaches this script only, which stops it."""
    pinned = ["taskset", "-c", ",".join(map(str, cpus)), *command]
    with log.open("wb") as output:
        return subprocess.Popen(pinned, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until a port accepts connections."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{' '.join(process.args[3:])} does not listen:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a program and its descendants by their process ids: with SIGTERM, then with SIGKILL."""
    pids = family(process.pid)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def origin_command(plan: Plan, folder: Path, ports: dict[str, int]) -> list[str]:
    """Writes the origin's configuration and files."""
    for size, kib in (("16k", 16), ("256k", 256)):
        file = folder / "www" / size / f"{0:012d}"
        file.parent.mkdir(parents=True)
        beginning = f"/{size}/{0:012d}"
        file.write_text(beginning + filling(kib * 1024 - len(beginning)))
    config = folder / "origin.conf"
    config.write_text(fill_in("origin.conf.in", {
        "DIR": folder, "USER": nginx_user(), "PORT": ports["PORT"],
        "FILLING_PATH": filling(1024 - PATH_BYTES), "FILLING_QUERY": filling(1024 - QUERY_BYTES),
    }))
    return [machine.program("nginx"), "-c", str(config), "-e", str(folder / "origin-error.log")]


def nginx_command(plan: Plan, folder: Path, ports: dict[str, int]) -> list[str]:
    """Writes nginx's configuration."""
    (folder / "cache").mkdir()
    config = folder / "nginx.conf"
    config.write_text(fill_in("nginx.conf.in", {
        "DIR": folder, "USER": nginx_user(), "WORKERS": len(plan.server_cpus), "CAPACITY_MIB": plan.capacity_mib, **ports,
    }))
    return [machine.program("nginx"), "-c", str(config), "-e", str(folder / "error.log")]


def varnish_command(plan: Plan, folder: Path, ports: dict[str, int]) -> list[str]:
    """Writes Varnish's rules."""
    values = {"DIR": folder, "WORKERS": len(plan.server_cpus), "CAPACITY_MIB": plan.capacity_mib, **ports}
    (folder / "varnish.vcl").write_text(fill_in("varnish.vcl.in", values))
    lines = fill_in("varnishd.args.in", values).splitlines()
    return [machine.program("varnishd"), *(line for line in lines if line and not line.startswith("#"))]


def larder_command(plan: Plan, folder: Path, ports: dict[str, int]) -> list[str]:
    """Writes Larder's configuration."""
    config = folder / "larder.toml"
    values = {"WORKERS": len(plan.server_cpus), "CAPACITY_MIB": plan.capacity_mib, **ports}
    config.write_text(fill_in("larder.toml.in", values))
    return [str(plan.larder), "serve", "--config", str(config)]


COMMANDS = {"origin": origin_command, "nginx": nginx_command, "varnish": varnish_command, "larder": larder_command}


@contextlib.contextmanager
def running(plan: Plan, name: str, origin_port: int = 0) -> Iterator[Server]:
    """Starts a server, waits until it listens, and stops it at the end, even after an error."""
    port, port_h2, port_admin = machine.free_ports(3)
    folder = plan.directory / f"{name}-{port}"
    folder.mkdir()
    ports = {"PORT": port, "PORT_H2": port_h2, "ADMIN": port_admin, "ORIGIN": origin_port}
    cpus = plan.load_cpus if name == "origin" else plan.server_cpus
    log = folder / "output.log"
    process = spawn(COMMANDS[name](plan, folder, ports), cpus, log)
    try:
        wait_for(process, port, log)
        cache = folder / "cache" if name == "nginx" else None
        yield Server(name, port, port_h2 if name == "nginx" else port, process, cache)
    finally:
        stop(process)
        machine.remove(folder)

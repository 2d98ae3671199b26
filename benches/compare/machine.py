"""The comparison's needs of the machine: programs, cores, descriptors, ports, a memory-backed folder."""

import os
import resource
import shutil
import socket
import subprocess
import sys
from pathlib import Path

DESCRIPTORS_MIN = 16_384
"""nginx keeps up to 12,000 cache files open, the load up to some hundred connections."""

LOAD_PACKAGES = {"nginx": "nginx", "wrk": "wrk", "h2load": "nghttp2-client", "nghttp": "nghttp2-client"}
"""The programs of origin and load, and the Debian packages that have them."""


class Missing(Exception):
    """A missing requirement; the message says what to type or do."""


def find(name: str) -> str | None:
    """Returns the path of an installed program, even where only root's PATH has it (nginx, varnishd)."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def program(name: str) -> str:
    """Returns the path of a program that `require` has found."""
    path = find(name)
    if path is None:
        raise Missing(f"missing: {name}")
    return path


def require(packages: dict[str, str]) -> None:
    """Finds programs (`{program: Debian package}`), and installs missing ones with apt where that is allowed."""
    missing = sorted({package for name, package in packages.items() if find(name) is None})
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    line = f"sudo apt-get update && sudo {' '.join(install)}"
    root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if find("apt-get") is None or (root and find("sudo") is None):
        raise Missing(f"missing: {', '.join(missing)}. Type:\n    {line}")
    print(f"installing {' '.join(missing)}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], [*install, "-qq"]):
        done = subprocess.run([*root, *command], env=environment, stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise Missing(f"could not install: {', '.join(missing)}. Type:\n    {line}")
    if still := sorted(name for name in packages if find(name) is None):
        raise Missing(f"installed but not found: {', '.join(still)}")


def raise_descriptors() -> None:
    """Raises the limit of open descriptors to the allowed maximum, which child processes inherit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if most != resource.RLIM_INFINITY and most < DESCRIPTORS_MIN:
        raise Missing(f"{DESCRIPTORS_MIN} descriptors are needed, {most} are allowed. Type, as root:\n"
                      f"    ulimit -n {DESCRIPTORS_MIN}")


def cores(text: str) -> list[int]:
    """Reads a list of cores as taskset writes it: `0`, `0,2`, `0-3`."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def require_cores(server: list[int], load: list[int]) -> None:
    """Checks that server and load have cores of their own."""
    there = os.sched_getaffinity(0)
    if absent := sorted((set(server) | set(load)) - there):
        raise Missing(f"core {absent[0]} is not available; --server-cpus and --load-cpus name others "
                      f"(two cores are needed, here are {len(there)})")
    if both := sorted(set(server) & set(load)):
        raise Missing(f"core {both[0]} cannot serve and load at once: see --server-cpus and --load-cpus")


def memory_backed(room_bytes: int) -> Path | None:
    """Returns a tmpfs with that much space that allows programs to be loaded (Varnish compiles its rules)."""
    shm = Path("/dev/shm")
    if not (shm.is_dir() and os.access(shm, os.W_OK)):
        return None
    facts = os.statvfs(shm)
    room = facts.f_bavail * facts.f_frsize
    return shm if room >= room_bytes and not facts.f_flag & os.ST_NOEXEC else None


def free_ports(count: int) -> list[int]:
    """Returns that many different free ports of 127.0.0.1, picked by the system."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def remove(folder: Path) -> None:
    """Removes a folder, even while something is written into it."""
    shutil.rmtree(folder, ignore_errors=True)

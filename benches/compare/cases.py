"""The cases: the requests of each, the conditions for its figures to count, and the measurement."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import load
from load import Load, Wrong
from servers import Plan, Server, running

HIT_RATIO_MIN = 0.999
ZIPF_KEYS = 10_000
MEMORY_OBJECTS = 100_000
MEMORY_BASE = 2_000
"""Objects stored before the first reading of memory, so that one-time allocations are not counted per object."""
SETTLE_S = 2.0
"""The time for a server to finish its background work."""
KEY = f"{0:012d}"


@dataclass(frozen=True)
class Options:
    """The length and number of runs."""

    rounds: int
    seconds: int
    connections: int
    say: Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """One run of one case against one target."""

    per_second: float
    cpu_us: float
    p50_us: float
    p99_us: float
    busy: float


@dataclass
class Result:
    """The result of one case for one target: samples, or bytes per object."""

    case: str
    target: str
    samples: list[Sample] = field(default_factory=list)
    bytes_per_object: float | None = None

    def median(self, figure: str) -> float:
        """Returns the median of one figure over all samples."""
        return statistics.median(getattr(sample, figure) for sample in self.samples)

    def cost(self) -> float:
        """Returns the figure that targets are compared by: CPU per request, or bytes per object."""
        return self.bytes_per_object if self.bytes_per_object is not None else self.median("cpu_us")


@dataclass(frozen=True)
class Case:
    """A case: one row of the table for each target."""

    name: str
    title: str
    path: str = ""
    mode: tuple[str, ...] = ()
    over_h2: bool = False
    keys: int = 0
    misses: bool = False
    memory: bool = False


CASES = [
    Case("hit-1k", "hit, 1 KiB, one key", f"/1k/{KEY}", ("one", f"/1k/{KEY}")),
    Case("hit-16k", "hit, 16 KiB, one key", f"/16k/{KEY}", ("one", f"/16k/{KEY}")),
    Case("hit-256k", "hit, 256 KiB, one key", f"/256k/{KEY}", ("one", f"/256k/{KEY}")),
    Case("zipf-1k", f"hit, 1 KiB, Zipf over {ZIPF_KEYS:,} keys", f"/1k/{1:012d}", ("zipf", str(ZIPF_KEYS)), keys=ZIPF_KEYS),
    Case("not-modified", "304, 1 KiB, one key", f"/1k/{KEY}", ("conditional", f"/1k/{KEY}")),
    Case("miss-1k", "miss, 1 KiB, each key once", f"/miss?n={KEY}", ("unique",), misses=True),
    Case("h2-1k", "HTTP/2 hit, 1 KiB, one key", f"/1k/{KEY}", over_h2=True),
    Case("memory", f"memory, {MEMORY_OBJECTS:,} × 1 KiB", f"/1k/{KEY}", memory=True),
]


def measure(case: Case, plan: Plan, targets: list[str], options: Options) -> list[Result]:
    """Measures one case on all targets."""
    options.say(case.title)
    results = {name: Result(case.name, name) for name in targets}
    if case.memory:
        for name in targets:
            results[name].bytes_per_object = memory(case, plan, name)
    elif case.misses:
        # Each run fills a cache, so each starts with an empty one.
        for turn in range(options.rounds):
            for name in targets:
                with started(plan, [name]) as (origin, servers):
                    guard_answers(case, origin, servers)
                    results[name].samples.append(sample(case, plan, servers[0], origin, options, turn))
    else:
        with started(plan, targets) as (origin, servers):
            guard_answers(case, origin, servers)
            for server in servers:
                load.fill(server, 1, case.keys)
                run_load(case, plan, server, options, 1, 0)
            for turn in range(options.rounds):
                for server in servers:
                    results[server.name].samples.append(sample(case, plan, server, origin, options, turn))
    return list(results.values())


@contextlib.contextmanager
def started(plan: Plan, targets: list[str]) -> Iterator[tuple[Server, list[Server]]]:
    """Starts an origin and the targets in front of it, and stops them all at the end."""
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(running(plan, "origin"))
        yield origin, [stack.enter_context(running(plan, name, origin.port)) for name in targets]


def guard_answers(case: Case, origin: Server, servers: list[Server]) -> None:
    """Checks that every target answers as the origin does, at the first request and from the cache."""
    wanted = load.fetch(origin.port, case.path)
    for server in servers:
        for turn in ("first", "second"):
            got = load.fetch(server.port, case.path)
            if (got.status, got.etag, got.body) != (200, wanted.etag, wanted.body):
                raise Wrong(f"{case.name}: {server.name}'s {turn} answer to {case.path} is not the origin's: {got.status}, "
                            f"ETag {got.etag} for {wanted.etag}, {len(got.body)} bytes for {len(wanted.body)}")
        if case.over_h2 and load.fetch_h2(server, case.path) != wanted.body:
            raise Wrong(f"{case.name}: {server.name}'s answer over HTTP/2 is not the origin's")
        if "conditional" in case.mode:
            got = load.fetch(server.port, case.path, wanted.etag)
            if (got.status, got.body) != (304, b""):
                raise Wrong(f"{case.name}: {server.name} answers {got.status} with {len(got.body)} bytes, not 304")


def sample(case: Case, plan: Plan, server: Server, origin: Server, options: Options, turn: int) -> Sample:
    """Loads one target once, and checks that the origin received as many requests as the case says."""
    asked_before, cpu_before, began = load.origin_requests(origin), server.cpu_s(), time.monotonic()
    seen = run_load(case, plan, server, options, options.seconds, turn)
    cpu_s, took_s = server.cpu_s() - cpu_before, time.monotonic() - began
    # The count includes the request that read it before.
    asked = load.origin_requests(origin) - asked_before - 1
    if case.misses:
        guard_misses(server, origin, seen, asked, turn)
    elif 1 - asked / seen.requests < HIT_RATIO_MIN:
        raise Wrong(f"{case.name}: {server.name} asked the origin {asked} times for {seen.requests} requests: "
                    f"a hit ratio of {1 - asked / seen.requests:.2%}")
    found = Sample(seen.requests / seen.seconds, cpu_s / seen.requests * 1e6, seen.p50_us, seen.p99_us, cpu_s / took_s)
    options.say(f"  {turn + 1}/{options.rounds} {server.name}: {found.per_second:,.0f}/s, {found.cpu_us:.2f} µs of CPU")
    return found


def run_load(case: Case, plan: Plan, server: Server, options: Options, seconds: int, turn: int) -> Load:
    """Runs the case's load for some seconds."""
    if case.over_h2:
        # Fewer connections, since each has many requests under way.
        connections = max(len(plan.load_cpus), options.connections // 8)
        return load.h2load(server, plan.load_cpus, connections, seconds, case.path, plan.directory / "h2load.log")
    mode = list(case.mode)
    if case.misses:
        mode.append(str(turn + 1))
    if "conditional" in mode:
        mode.append(load.fetch(server.port, case.path).etag)
    return load.wrk(server, plan.load_cpus, options.connections, seconds, mode)


def guard_misses(server: Server, origin: Server, seen: Load, asked: int, turn: int) -> None:
    """Checks that each miss was one: fetched from the origin, and stored."""
    if asked < seen.requests:
        raise Wrong(f"{server.name} asked the origin {asked} times for {seen.requests} misses")
    time.sleep(SETTLE_S / 4)
    before = load.origin_requests(origin)
    # wrk builds its first request twice and sends it once, so the very first numbers may be
    # missing.
    for n in range(101, 111):
        path = f"/miss?n={turn + 1:03d}00{n:07d}"
        if not load.fetch(server.port, path).body.startswith(path.encode()):
            raise Wrong(f"{server.name} answers {path} with another key's body")
    if again := load.origin_requests(origin) - before - 1:
        raise Wrong(f"{server.name} has not stored its misses: {again} of 10 went to the origin again")


def memory(case: Case, plan: Plan, name: str) -> float:
    """Returns the bytes that each stored object adds to a target's memory."""
    with started(plan, [name]) as (origin, servers):
        guard_answers(case, origin, servers)
        server = servers[0]
        load.fill(server, 1, MEMORY_BASE)
        time.sleep(SETTLE_S)
        before, asked_before = server.memory_bytes(), load.origin_requests(origin)
        load.fill(server, 1 + MEMORY_BASE, MEMORY_OBJECTS)
        time.sleep(SETTLE_S)
        grown = server.memory_bytes() - before
        if (asked := load.origin_requests(origin) - asked_before - 1) != MEMORY_OBJECTS:
            raise Wrong(f"{name} asked the origin {asked} times for {MEMORY_OBJECTS} keys")
        # All are still stored: dropped objects would make the others look small.
        load.fill(server, 1 + MEMORY_BASE, MEMORY_OBJECTS)
        if lost := load.origin_requests(origin) - asked_before - 2 - asked:
            raise Wrong(f"{name} has kept only {MEMORY_OBJECTS - lost} of {MEMORY_OBJECTS} objects")
        return grown / MEMORY_OBJECTS

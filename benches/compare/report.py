"""The table, the promises, and the figures as JSON."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from cases import CASES, Result

PEERS = ("nginx", "varnish")


@dataclass(frozen=True)
class Promise:
    """The most that Larder may cost, as a share of what a peer costs in the same run."""

    case: str
    peer: str
    share_max: float


PROMISES = [Promise("hit-1k", "nginx", 0.9), Promise("hit-1k", "varnish", 0.7), Promise("miss-1k", "nginx", 0.5)]


def ratio(results: list[Result], case: str, peer: str) -> float | None:
    """Returns Larder's cost in a case as a share of a peer's, where both were measured."""
    costs = {result.target: result.cost() for result in results if result.case == case}
    return costs["larder"] / costs[peer] if {"larder", peer} <= costs.keys() else None


def table(results: list[Result]) -> str:
    """Returns one row for each case and target, as Markdown."""
    titles = {case.name: case.title for case in CASES}
    rows = [("case", "target", "requests/s", "CPU µs/request", "p50 µs", "p99 µs", "core busy", "bytes/object",
             "Larder ÷ it")]
    for result in results:
        share = ratio(results, result.case, result.target) if result.target in PEERS else None
        last = f"{share:.2f}" if share is not None else ""
        if result.bytes_per_object is not None:
            figures = ("", "", "", "", "", f"{result.bytes_per_object:,.0f}")
        else:
            figures = (f"{result.median('per_second'):,.0f}", f"{result.median('cpu_us'):.2f} {spread(result)}",
                       f"{result.median('p50_us'):,.0f}", f"{result.median('p99_us'):,.0f}",
                       f"{result.median('busy'):.0%}", "")
        rows.append((titles[result.case], result.target, *figures, last))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(text.ljust(width) if column < 2 else text.rjust(width)
                               for column, (text, width) in enumerate(zip(row, widths))) + " |" for row in rows]
    rule = "|" + "|".join("-" * (width + 2) if column < 2 else "-" * (width + 1) + ":"
                          for column, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def spread(result: Result) -> str:
    """Returns the spread of the runs: half the range, as a share of the median."""
    costs = [sample.cpu_us for sample in result.samples]
    return f"±{(max(costs) - min(costs)) / 2 / result.median('cpu_us'):.0%}"


def verdicts(results: list[Result]) -> list[tuple[Promise, float, bool]]:
    """Returns each promise that was measured, its figure, and whether it held."""
    measured = ((promise, ratio(results, promise.case, promise.peer)) for promise in PROMISES)
    return [(promise, share, share <= promise.share_max) for promise, share in measured if share is not None]


def promises(results: list[Result]) -> str:
    """Returns a line for each promise that was measured."""
    return "\n".join(
        f"{'held  ' if held else 'MISSED'} {promise.case}: {share:.2f} × {promise.peer}'s cost, "
        f"promised at most {promise.share_max}" for promise, share, held in verdicts(results))


def write_json(file: Path, results: list[Result], circumstances: dict[str, object]) -> None:
    """Writes every sample, with the machine and the settings."""
    rows = [dataclasses.asdict(result) | {"ratio": ratio(results, result.case, result.target)
                                          if result.target in PEERS else None} for result in results]
    file.write_text(json.dumps(circumstances | {"results": rows}, indent=2, ensure_ascii=False) + "\n")

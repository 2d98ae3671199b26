"""Runs real apps with Larder in front of them. `tests/apps/run` installs what this needs and calls it."""

import argparse
import asyncio
import sys
from pathlib import Path

import sessions
import upgrade
from harness import HERE, HOST, CannotRun, Results, Servers, exit_on_sigterm, free_port

BIN = Path(sys.executable).parent


def uvicorn(servers: Servers) -> int:
    port = free_port()
    servers.start("uvicorn", [BIN / "uvicorn", "--app-dir", HERE, "--host", HOST, "--port", str(port), "--workers", "1",
                              "--http", "httptools", "--no-access-log", "uvicorn_app:app"], port,
                  {"REQUEST_LOG": str(servers.folder / "requests.jsonl")})
    return port


def express(servers: Servers) -> int:
    port = free_port()
    servers.start("express", ["node", HERE / "express_app.js"], port, {"PORT": str(port)})
    return port


def rails(servers: Servers) -> int:
    port = free_port()
    servers.start("rails", ["/usr/bin/puma", "--bind", f"tcp://{HOST}:{port}", "--threads", "1:4", "--workers", "0",
                            HERE / "rails_app.ru"], port, {"RAILS_ENV": "production"})
    return port


def django(servers: Servers) -> int:
    port = free_port()
    servers.start("django", [BIN / "gunicorn", "--chdir", HERE, "--bind", f"{HOST}:{port}", "--workers", "1",
                             "--threads", "4", "--keep-alive", "5", "django_app"], port)
    return port


CARTS = [sessions.CART_PAGE, sessions.ABOUT_PAGE]
# Each shop: how it starts, its pages, and what the file of its heads says about it.
SHOPS = {
    "express": (express, CARTS, "Express 5 with express-session: rolling, saveUninitialized."),
    "rails": (rails, CARTS, "Rails 6.1 on Puma with its cookie store."),
    "django": (django, [*CARTS, sessions.FEEDBACK_PAGE],
               "Django 5.2 on gunicorn: sessions saved on every request, CSRF tokens."),
}
PARTS = ["uvicorn", *SHOPS]


def run_part(part: str, larder: Path, results: Results):
    with Servers() as servers:
        if part == "uvicorn":
            port = servers.larder(larder, uvicorn(servers))
            asyncio.run(upgrade.run(upgrade.Site(port, servers.folder / "requests.jsonl"), results))
        else:
            start, pages, _ = SHOPS[part]
            asyncio.run(sessions.run(part, pages, servers.larder(larder, start(servers)), results))


def write_heads(part: str):
    start, pages, about = SHOPS[part]
    with Servers() as servers:
        asyncio.run(sessions.write_heads(part, pages, start(servers), about))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/apps/run", description=__doc__.partition("\n")[0])
    parser.add_argument("--larder", type=Path, metavar="PATH", help="the binary to test")
    parser.add_argument("--write-heads", action="store_true", help="write heads/*.txt anew instead of testing")
    parser.add_argument("parts", nargs="+", choices=PARTS, help="which to run")
    chosen = parser.parse_args()
    if not chosen.larder and not chosen.write_heads:
        parser.error("--larder is needed")
    exit_on_sigterm()
    try:
        if chosen.write_heads:
            for part in chosen.parts:
                if part in SHOPS:
                    write_heads(part)
            return 0
        results = Results()
        for part in chosen.parts:
            run_part(part, chosen.larder, results)
        return results.close()
    except CannotRun as error:
        print(f"tests/apps/run: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

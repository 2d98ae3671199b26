"""Requests with an Upgrade and content that looks like a request, through Larder to uvicorn with one worker.

An app server that ignores the content of such a request reads it as a request of its own. Its response then goes to
whoever has the connection next. Each try sends one such request, and has other clients ask for pages meanwhile.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from harness import ANSWER_SECONDS, HOST, Problems, Response, Results, fetch, read_response

TRIES = 100
AT_ONCE = 34

# The app works on a page for 0.5 s: content that comes after this arrives while it does.
LATE_SECONDS = 0.1

# How long the sender of such a request waits for an answer. Some app servers never answer a broken
# WebSocket handshake.
FIRST_RESPONSE_SECONDS = 5

# When other clients ask, counted from the start of a try: while the app works on the request, just
# after its answer, and while it would work on the hidden request.
OTHERS_AFTER = (0.3, 0.52, 0.7)

# An address that no client of the tests has. Larder overwrites forwarding headers of clients that
# it does not trust.
FORGED_ADDRESS = "192.0.2.66"

WEBSOCKET = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
FOO = ["Upgrade: foo", "Connection: upgrade"]
H2C = ["Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA"]


def hidden_request(name: str) -> bytes:
    return "\r\n".join([
        f"GET /hidden-{name} HTTP/1.1", "Host: elsewhere.example", f"X-Forwarded-For: {FORGED_ADDRESS}",
        f"Forwarded: for={FORGED_ADDRESS};host=elsewhere.example;proto=https", "X-Forwarded-Host: elsewhere.example",
        "X-Forwarded-Proto: https", f"X-Canary: hidden-{name}", "", "",
    ]).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


# --- how the content goes ----------------------------------------------------------------------

# Sends a request for /front-NAME with the content, and returns path and status of each response.
Sender = Callable[[int, str, bytes], Awaitable[list[tuple[int, str | None]]]]


async def pause_and_write(writer: asyncio.StreamWriter, pieces: list[bytes], pause: float):
    for piece in pieces:
        await asyncio.sleep(pause)
        writer.write(piece)


def http1(upgrade: list[str], framing: str, method: str = "POST", pieces: int = 1, pause: float = 0.0,
          expect: bool = False) -> Sender:
    """Returns a sender over HTTP/1.1. A pause of 0 sends the content with the head, in one write."""

    async def send(port: int, name: str, content: bytes):
        lines = [f"{method} /front-{name} HTTP/1.1", f"Host: {HOST}:{port}", f"X-Canary: front-{name}", *upgrade]
        step = -(-len(content) // pieces)
        parts = [content[at:at + step] for at in range(0, len(content), step)]
        if framing == "length":
            lines.append(f"Content-Length: {len(content)}")
        elif framing == "chunked":
            lines.append("Transfer-Encoding: chunked")
            parts = [chunk(part) for part in parts] + [b"0\r\n\r\n"]
            if pieces == 1:
                parts = [b"".join(parts)]
        if expect:
            lines.append("Expect: 100-continue")
        head = "\r\n".join([*lines, "", ""]).encode()
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            if pause:
                writer.write(head)
                await pause_and_write(writer, parts, pause)
            else:
                writer.write(head + b"".join(parts))
            responses = []
            # A second response would mean that Larder itself read a second request, for which the
            # app takes 0.5 s.
            for patience in (FIRST_RESPONSE_SECONDS, 0.7):
                try:
                    async with asyncio.timeout(patience):
                        response = await read_response(reader)
                except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                    break
                responses.append((response.status, path_in(response.body)))
            return responses
        finally:
            writer.close()

    return send


def http2(method: str = "POST", extra: list[tuple[str, str]] = (), pieces: int = 1, pause: float = 0.0) -> Sender:
    """Returns a sender over HTTP/2 with prior knowledge. The extra headers may be such as HTTP/2 forbids."""

    async def send(port: int, name: str, content: bytes):
        config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False,
                                           normalize_outbound_headers=False)
        connection = h2.connection.H2Connection(config)
        connection.initiate_connection()
        pseudo = [(":method", method), (":scheme", "http"), (":authority", f"{HOST}:{port}"),
                  (":path", f"/front-{name}")]
        protocol = [header for header in extra if header[0].startswith(":")]
        fields = [header for header in extra if not header[0].startswith(":")]
        connection.send_headers(1, [*pseudo, *protocol, ("x-canary", f"front-{name}"), *fields])
        reader, writer = await asyncio.open_connection(HOST, port)
        try:
            writer.write(connection.data_to_send())
            step = -(-len(content) // pieces)
            for at in range(0, len(content), step):
                await asyncio.sleep(pause)
                connection.send_data(1, content[at:at + step], end_stream=at + step >= len(content))
                writer.write(connection.data_to_send())
            status, body = None, b""
            async with asyncio.timeout(ANSWER_SECONDS):
                while data := await reader.read(65536):
                    for event in connection.receive_data(data):
                        if isinstance(event, h2.events.ResponseReceived):
                            status = int(dict(event.headers)[b":status"])
                        elif isinstance(event, h2.events.DataReceived):
                            body += event.data
                        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset,
                                                h2.events.ConnectionTerminated)):
                            return [(status, path_in(body))] if status else []
                    writer.write(connection.data_to_send())
            return []
        except (ConnectionError, h2.exceptions.ProtocolError):
            return []
        finally:
            writer.close()

    return send


def path_in(body: bytes) -> str | None:
    """Returns the path in a page of the app. Larder's own responses have none."""
    try:
        return json.loads(body).get("path")
    except (ValueError, AttributeError):
        return None


@dataclass
class Framing:
    name: str
    send: Sender
    # The bytes are no content but follow a request without any: they are the same client's next
    # request if the upgrade is refused. Larder may then forward that request, rewritten.
    follows: bool = False
    # Everything arrives: the request reaches the app without its Upgrade. HTTP/2 forbids some of
    # the requests.
    arrives: bool = True


FRAMINGS = [
    Framing("length, content at once", http1(FOO, "length")),
    Framing("length, content 100 ms late", http1(FOO, "length", pause=LATE_SECONDS)),
    Framing("length, content in 3 pieces", http1(FOO, "length", pieces=3, pause=LATE_SECONDS)),
    Framing("chunked, content at once", http1(FOO, "chunked")),
    Framing("chunked, content 100 ms late", http1(FOO, "chunked", pause=LATE_SECONDS)),
    Framing("chunked, 3 chunks in pieces", http1(FOO, "chunked", pieces=3, pause=LATE_SECONDS)),
    Framing("websocket, POST with late content", http1(WEBSOCKET, "length", pause=LATE_SECONDS)),
    Framing("websocket, GET with late content", http1(WEBSOCKET, "length", method="GET", pause=LATE_SECONDS)),
    Framing("websocket, GET with late chunks", http1(WEBSOCKET, "chunked", method="GET", pause=LATE_SECONDS)),
    Framing("websocket that the app refuses, late bytes",
            http1(WEBSOCKET, "none", method="GET", pause=LATE_SECONDS), follows=True),
    Framing("h2c with late content", http1(H2C, "length", pause=LATE_SECONDS)),
    Framing("h2c without content, late bytes", http1(H2C, "none", method="GET", pause=LATE_SECONDS), follows=True),
    Framing("foo without content, late bytes", http1(FOO, "none", method="GET", pause=LATE_SECONDS), follows=True),
    Framing("Expect: 100-continue, late content", http1(FOO, "length", pause=LATE_SECONDS, expect=True)),
    Framing("HTTP/2, content at once", http2()),
    Framing("HTTP/2, content late in 3 pieces", http2(pieces=3, pause=LATE_SECONDS)),
    Framing("HTTP/2 with Connection and Upgrade",
            http2(extra=[("connection", "upgrade"), ("upgrade", "foo")], pause=LATE_SECONDS), arrives=False),
    Framing("HTTP/2 with HTTP2-Settings and Expect",
            http2(extra=[("http2-settings", "AAMAAABk"), ("expect", "100-continue")], pause=LATE_SECONDS)),
    Framing("HTTP/2, extended CONNECT", http2("CONNECT", [(":protocol", "websocket"), ("sec-websocket-version", "13")],
                                              pause=LATE_SECONDS), arrives=False),
]


# --- the tries ---------------------------------------------------------------------------------


class Site:
    """Larder in front of the app, and the app's log of requests."""

    def __init__(self, port: int, request_log: Path):
        self.port = port
        self.request_log = request_log

    def requests(self) -> list[dict]:
        return [json.loads(line) for line in self.request_log.read_text().splitlines()]


async def ask_for_page(site: Site, path: str, after: float, problems: Problems):
    """Another client: asks for a page of its own, and checks that it gets that."""
    await asyncio.sleep(after)
    try:
        response = await fetch(site.port, path, headers={"X-Canary": path})
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
        problems.add("no response", f"a client that asked for {path}: {error!r}")
        return
    check_page(path, response, problems, "another's answer", "a client that asked for {path} got {got}")


def check_page(path: str, response: Response, problems: Problems, kind: str, sentence: str):
    got = response.body.decode("latin-1")[:120]
    expected = {"path": path, "canary": path, "method": "GET"}
    try:
        right = response.status == 200 and json.loads(response.body) == expected
    except ValueError:
        right = False
    if not right:
        problems.add(kind, sentence.format(path=path, got=f"{response.status} {got}")
                     + f", Cache-Status: {response.first('cache-status')}")


async def try_once(site: Site, framing: Framing, name: str, pages: list[str], turn: asyncio.Semaphore,
                   problems: Problems):
    async with turn:
        others = [asyncio.create_task(ask_for_page(site, path, after, problems))
                  for path, after in zip(pages, OTHERS_AFTER)]
        responses = await framing.send(site.port, name, hidden_request(name))
        await asyncio.gather(*others)
    own = {f"/front-{name}", None} | ({f"/hidden-{name}"} if framing.follows else set())
    for status, path in responses:
        if path not in own:
            problems.add("another's answer", f"the client that sent /front-{name} got {status} for {path}")
    if len(responses) > 1 and not framing.follows:
        problems.add("two responses", f"the client that sent /front-{name} got {responses}")


async def tries(site: Site, number: int, framing: Framing, results: Results):
    """Makes all tries of one framing, and checks what the app got and what Larder stored."""
    problems = Problems()
    names = [f"{number}-{count}" for count in range(TRIES)]
    pages = {name: [f"/page-{name}-{other}" for other in range(len(OTHERS_AFTER))] for name in names}
    turn = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(try_once(site, framing, name, pages[name], turn, problems) for name in names))

    arrived = 0
    for request in site.requests():
        path = request["path"]
        if path.startswith(f"/hidden-{number}-"):
            # A request that Larder has read itself says who sent it.
            forged = request["forwarded_for"] != HOST
            if request["event"] == "head" and (forged or not framing.follows):
                problems.add("hidden request at the app", f"{path}, Host {request['host']}, "
                             f"X-Forwarded-For {request['forwarded_for']}")
        elif path.startswith(f"/front-{number}-") and request["event"] == "content":
            name = path.removeprefix("/front-")
            whole = "" if framing.follows else hidden_request(name).decode()
            if request["content"] != whole:
                problems.add("content lost", f"{path} came with {len(request['content'])} bytes, not {len(whole)}")
            else:
                arrived += 1
    if framing.arrives and not framing.follows and arrived < TRIES:
        problems.add("requests lost", f"{arrived} of {TRIES} reached the app with their content")

    hits = 0
    for path in (path for group in pages.values() for path in group):
        response = await fetch(site.port, path, headers={"X-Canary": path})
        hits += "; hit" in response.first("cache-status")
        check_page(path, response, problems, "wrong page stored", "{path} is answered with {got}")
    if not hits:
        problems.add("no hit", "no page was stored, so there was nothing stored to check")
    results.report(f"uvicorn: {framing.name}", problems,
                   f"{TRIES} tries, {arrived} arrived whole, {hits} pages stored")


# --- real WebSocket sessions -------------------------------------------------------------------


async def session(site: Site, number: int, problems: Problems):
    """One session: 100 messages echoed, a ping answered, and a close code that arrives on the other side."""
    url = f"ws://{HOST}:{site.port}/ws"
    async with asyncio.timeout(60), connect(url, proxy=None) as client:
        for count in range(100):
            message = f"{number}-{count}-" + "x" * count * 50
            sent = message.encode() if count % 2 else message
            await client.send(sent)
            received = await client.recv()
            if received != sent:
                problems.add("wrong echo", f"session {number}, message {count} came back as {str(received)[:60]}")
        await asyncio.wait_for(await client.ping(), 10)
        if number % 2:
            await client.close(4000 + number)
            return
        await client.send(f"close {4000 + number}")
        try:
            await client.recv()
            problems.add("not closed", f"session {number} got a message instead")
        except ConnectionClosed as closed:
            if closed.rcvd is None or closed.rcvd.code != 4000 + number:
                problems.add("wrong close code", f"session {number} got {closed.rcvd}, not {4000 + number}")


async def websocket_sessions(site: Site, results: Results, sessions: int = 20):
    problems = Problems()
    ends = await asyncio.gather(*(session(site, number, problems) for number in range(sessions)),
                                return_exceptions=True)
    for error in ends:
        if error is not None:
            problems.add("session failed", repr(error))
    await asyncio.sleep(0.2)
    codes = {request["code"] for request in site.requests() if request["event"] == "closed"}
    if missing := {4000 + number for number in range(1, sessions, 2)} - codes:
        problems.add("wrong close code", f"the app did not get {sorted(missing)}")
    await ask_for_page(site, "/page-after-websocket", 0, problems)
    results.report("uvicorn: WebSocket", problems,
                   f"{sessions} sessions, 100 messages each, ping, close codes both ways")


async def run(site: Site, results: Results):
    for number, framing in enumerate(FRAMINGS):
        await tries(site, number, framing, results)
    await websocket_sessions(site, results)

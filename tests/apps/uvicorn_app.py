"""An ASGI app with slow, cacheable pages that logs every request it receives, and a WebSocket echo at /ws.

Each request becomes one JSON line in the file that REQUEST_LOG names.
"""

import asyncio
import json
import os

LOG = open(os.environ["REQUEST_LOG"], "a", buffering=1, encoding="utf-8")

# Long enough for the content of a request to arrive while the app still works on its head.
PAGE_SECONDS = 0.5


def log(**entry):
    LOG.write(json.dumps(entry) + "\n")


def headers_of(scope):
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


async def page(scope, receive, send):
    """Reads the content, waits, and answers with what it received. The lifetime lets a cache store the answer."""
    headers = headers_of(scope)
    entry = {"kind": "http", "method": scope["method"], "path": scope["path"], "host": headers.get("host"),
             "forwarded_for": headers.get("x-forwarded-for"), "upgrade": headers.get("upgrade")}
    log(**entry, event="head")
    content = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            log(**entry, event="disconnect")
            return
        content += message.get("body", b"")
        if not message.get("more_body"):
            break
    log(**entry, event="content", content=content.decode("latin-1"))
    await asyncio.sleep(PAGE_SECONDS)
    body = json.dumps({"path": scope["path"], "canary": headers.get("x-canary"), "method": scope["method"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"public, max-age=300"),
    ]})
    await send({"type": "http.response.body", "body": body})


async def websocket(scope, receive, send):
    """Echoes messages at /ws, and closes with CODE on the text `close CODE`. Refuses every other path after a pause."""
    entry = {"kind": "websocket", "path": scope["path"]}
    await receive()
    if scope["path"] != "/ws":
        log(**entry, event="refused")
        await asyncio.sleep(PAGE_SECONDS)
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            log(**entry, event="closed", code=message.get("code"))
            return
        text = message.get("text")
        if text is not None and text.startswith("close "):
            await send({"type": "websocket.close", "code": int(text.split()[1])})
        elif text is not None:
            await send({"type": "websocket.send", "text": text})
        else:
            await send({"type": "websocket.send", "bytes": message["bytes"]})


async def app(scope, receive, send):
    if scope["type"] == "http":
        await page(scope, receive, send)
    elif scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        raise NotImplementedError(scope["type"])

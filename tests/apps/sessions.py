"""Visitors and a signed-in user of a shop in turn: nobody is given another's cookie or page, and every flow works."""

import asyncio
import html
import re
from dataclasses import dataclass, field
from urllib.parse import urlencode

from harness import HERE, HOST, CannotRun, Problems, Response, Results, fetch, shown

LIFETIMES = {"max-age": "max-age=60", "public": "public, max-age=60", "s-maxage": "public, s-maxage=60"}
VISITORS = 20
USER = "ada"


@dataclass
class Page:
    """A kind of page of a shop."""

    folder: str
    # What the report calls the page.
    what: str
    # Shows session, user and cart, so that the test can tell whose page it is.
    personal: bool = False
    # Where the form of the page goes. The page has none otherwise.
    form: str | None = None


CART_PAGE = Page("page", "page with name and cart", personal=True, form="/cart")
ABOUT_PAGE = Page("about", "page without anything personal")
FEEDBACK_PAGE = Page("form", "form with a CSRF token alone", form="/feedback")


@dataclass(eq=False)
class Client:
    """One browser: a cookie jar, and what its owner knows about the session."""

    name: str
    jar: dict[str, str] = field(default_factory=dict)
    session: str | None = None
    user: str = "nobody"
    cart: int = 0

    @property
    def kind(self) -> str:
        """The report's name for the owner of a cookie or page that another client was given."""
        return "another visitor" if self.user == "nobody" else "the signed-in user"

    def headers(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.jar.items())} if self.jar else {}


class Shop:
    """The shop as its clients see it through Larder, and a record of which client was given what."""

    def __init__(self, port: int, connection: str = "close"):
        self.port = port
        self.connection = connection
        self.owner_of_cookie: dict[str, Client] = {}
        self.owner_of_session: dict[str, Client] = {}

    async def send(self, client: Client, target: str, problems: Problems, form: bytes | None = None) -> Response:
        """Sends a request of the client and takes in the cookies of the response."""
        headers = client.headers()
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        response = await fetch(self.port, target, "GET" if form is None else "POST", headers, form, self.connection)
        for line in response.all("set-cookie"):
            cookie = line.partition(";")[0]
            owner = self.owner_of_cookie.setdefault(cookie, client)
            if owner is not client:
                problems.add(f"cookie of {owner.kind}",
                             f"{client.name} was given {cookie[:36]}… of {owner.name}, {target}, "
                             f"Cache-Status: {response.first('cache-status')}")
            name, _, value = cookie.partition("=")
            client.jar[name] = value
        return response

    async def get(self, client: Client, page: Page, target: str, problems: Problems) -> Response:
        """Loads a page, and checks that it is the client's own."""
        response = await self.send(client, target, problems)
        status = response.first("cache-status")
        if response.status != 200:
            problems.add("wrong status", f"{client.name} got {response.status} for {target}")
        elif page.personal:
            session, user, cart = (shown(response.body, name) for name in ("session", "user", "cart"))
            owner = self.owner_of_session.setdefault(session, client)
            if owner is not client:
                problems.add(f"page of {owner.kind}", f"{client.name} was shown the page of {owner.name}, {target}, "
                             f"user {user}, cart {cart}, Cache-Status: {status}")
            else:
                expected = (client.session or session, client.user, str(client.cart))
                if (session, user, cart) != expected:
                    problems.add("session lost", f"{target} shows {client.name} {(session, user, cart)}, "
                                 f"not {expected}, Cache-Status: {status}")
                client.session = session
        return response

    async def post(self, client: Client, page: Response, target: str, problems: Problems, **fields: str) -> bool:
        """Sends the form of a page with its hidden inputs, and tells whether the app accepted it."""
        inputs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.body.decode())
        fields |= {name: html.unescape(value) for name, value in inputs}
        response = await self.send(client, target, problems, urlencode(fields).encode())
        if response.status not in (302, 303):
            problems.add("form refused", f"{client.name} got {response.status} for POST {target}")
        return response.status in (302, 303)

    async def sign_in(self, client: Client, problems: Problems):
        form = await self.send(client, "/login", problems)
        if await self.post(client, form, "/login", problems, user=USER):
            client.user, client.session = USER, None

    async def visit(self, client: Client, page: Page, target: str, problems: Problems):
        """Loads a page, sends its form where it has one, and loads the page again."""
        response = await self.get(client, page, target, problems)
        if page.form and await self.post(client, response, page.form, problems) and page.personal:
            client.cart += 1
        await self.get(client, page, target, problems)


async def rounds(shop: Shop, page: Page, lifetime: str, problems: Problems):
    """Has 20 new visitors and a signed-in user load one kind of page: in turn, in two orders, and all at once."""
    user = Client("the user")
    await shop.sign_in(user, problems)
    for order in ("user-first", "visitors-first", "at-once"):
        target = f"/{page.folder}/{lifetime}/{order}"
        clients = [Client(f"visitor {number}") for number in range(1, VISITORS + 1)]
        clients.insert(VISITORS // 2 if order == "visitors-first" else 0, user)
        if order == "at-once":
            await asyncio.gather(*(shop.visit(client, page, target, problems) for client in clients))
        else:
            for client in clients:
                await shop.visit(client, page, target, problems)
        for client in clients:
            await shop.get(client, page, target, problems)


async def is_stored(port: int, results: Results, app: str):
    """Checks that a page without any cookie is stored: without a cache, every other scenario would pass."""
    problems = Problems()
    await fetch(port, "/plain")
    status = (await fetch(port, "/plain")).first("cache-status")
    if "hit" not in status:
        problems.add("no hit", f"second request for /plain, Cache-Status: {status}")
    results.report(f"{app}: a page without cookies is stored", problems)


async def run(app: str, pages: list[Page], port: int, results: Results):
    """Runs all scenarios of one shop."""
    await is_stored(port, results, app)
    shop = Shop(port)
    for lifetime, cache_control in LIFETIMES.items():
        for page in pages:
            problems = Problems()
            await rounds(shop, page, lifetime, problems)
            results.report(f"{app}: {page.what}, `{cache_control}`", problems,
                           f"{VISITORS} visitors and a user, 3 orders")


# --- the heads of the apps' responses ----------------------------------------------------------


async def write_heads(app: str, pages: list[Page], port: int, about: str):
    """Writes the head of each page as the app sends it: to a new visitor, to a known one, and to a signed-in user."""
    # Larder keeps its connections to the app open, and so does this client, since some apps then
    # answer with other headers.
    shop, problems = Shop(port, "keep-alive"), Problems()
    blocks = [f"# {about}\n# Written by `tests/apps/run --write-heads {app}`. Each block names a request, "
              "and has the head of its response.\n"]
    user, known = Client(USER), Client("known")
    await shop.sign_in(user, problems)
    for lifetime in LIFETIMES:
        for page in pages:
            target = f"/{page.folder}/{lifetime}/heads"
            await shop.send(known, target, problems)
            for who, client in (("a new visitor", Client("new")), ("a known visitor", known), ("the user", user)):
                blocks.append(block(who, "GET", target, await shop.send(client, target, problems)))
    blocks.append(block("anybody", "GET", "/plain", await shop.send(Client("any"), "/plain", problems)))
    if problems.evidence:
        raise CannotRun(f"{app} gives one client's cookie to another on its own: {problems.evidence}")
    (HERE / "heads").mkdir(exist_ok=True)
    text = "\n".join(blocks).replace(f"{HOST}:{port}", "127.0.0.1:3000")
    (HERE / "heads" / f"{app}.txt").write_text(text, encoding="latin-1")


def block(who: str, method: str, target: str, response: Response) -> str:
    return f"# {method} {target}, {who}\n{response.head.replace(chr(13), '').rstrip()}\n"

"""A Django shop in one file: sessions that are saved on every request, and forms with CSRF tokens."""

import secrets

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseRedirect
from django.middleware.csrf import get_token, rotate_token
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a secret of the tests",
    SESSION_ENGINE="django.contrib.sessions.backends.cache",
    SESSION_SAVE_EVERY_REQUEST=True,
)

LIFETIMES = {
    "max-age": "max-age=60",
    "public": "public, max-age=60",
    "s-maxage": "public, s-maxage=60",
}


def form(request):
    return (f'<form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
            "<button>Send</button></form>")


def response(body, cache_control):
    return HttpResponse(body, headers={"Cache-Control": cache_control})


def visit(request):
    """Begins a session for a new visitor."""
    if "visitor" not in request.session:
        request.session.update({"visitor": secrets.token_hex(8), "cart": 0})
    return request.session


def plain(request):
    return response('<p id="plain">the same for everybody</p>', "public, max-age=60")


def page(request, lifetime, round):
    session = visit(request)
    return response(f'<p id="session">{session["visitor"]}</p><p id="user">{session.get("user", "nobody")}</p>'
                    f'<p id="cart">{session["cart"]}</p>{form(request)}', LIFETIMES[lifetime])


def feedback_form(request, lifetime, round):
    """Has a CSRF token, and does not look at the session."""
    return response(f'<p id="feedback">tell us</p>{form(request)}', LIFETIMES[lifetime])


def about(request, lifetime, round):
    """Looks at neither session nor token; Django saves the session of those who have one all the same."""
    return response('<p id="about">about the shop</p>', LIFETIMES[lifetime])


def login(request):
    session = visit(request)
    if request.method != "POST":
        return response(form(request), "no-store")
    session.cycle_key()
    session.update({"visitor": secrets.token_hex(8), "user": request.POST["user"]})
    rotate_token(request)
    return HttpResponseRedirect("/")


def cart(request):
    session = visit(request)
    session["cart"] += 1
    return HttpResponseRedirect("/")


def feedback(request):
    return HttpResponseRedirect("/")


urlpatterns = [
    path("plain", plain),
    path("page/<lifetime>/<round>", page),
    path("form/<lifetime>/<round>", feedback_form),
    path("about/<lifetime>/<round>", about),
    path("login", login),
    path("cart", cart),
    path("feedback", feedback),
]
application = get_wsgi_application()

"""Pages and actions of a member."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator

import jwt
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET, require_POST

from members.models import Member
from members.push import publisher
from peatio_ws.errors import PublishError

TOKEN_SECONDS = 60


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    return render(request, "members/home.html", {"members": Member.objects.select_related("user")})


@require_POST
@login_required
def notify(request: HttpRequest) -> HttpResponse:
    """Push to all open pages of a member, on every worker and host."""
    member = get_object_or_404(Member, user__username=request.POST["to"])
    message = {"from": request.user.get_username(), "text": request.POST["text"]}
    try:
        publisher.to_member(member.uid, "message", message)
    except PublishError:
        return HttpResponse("The message could not be sent; try again later.", status=503)
    return HttpResponse(status=204)


@require_POST
@login_required
def token(request: HttpRequest) -> HttpResponse:
    """Return a short-lived token for Peatio's protocols. POST, so that it is not cached."""
    now, member = int(time.time()), get_object_or_404(Member, user=request.user)
    claims = {"sub": "session", "uid": member.uid, "iat": now, "exp": now + TOKEN_SECONDS, "jti": str(uuid.uuid4())}
    return JsonResponse({"token": jwt.encode(claims, settings.TOKEN_SECRET, "HS256")})


@require_GET
@login_required
def statement(_request: HttpRequest) -> StreamingHttpResponse:
    """Stream a response."""

    def lines() -> Iterator[str]:
        yield "day,balance\n"
        for day in range(1, 366):
            yield f"{day},{day * 100}.00\n"

    return StreamingHttpResponse(lines(), content_type="text/csv")


@require_POST
@login_required
def documents(request: HttpRequest) -> HttpResponse:
    """Accept a file and describe it."""
    file = request.FILES["document"]
    return JsonResponse({"name": file.name, "sha256": hashlib.file_digest(file.file, "sha256").hexdigest()})

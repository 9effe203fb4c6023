"""The project's pages. The gateway serves the WebSockets `/messages` and `/ranger/` (wsgi.py)."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path
from members import views

urlpatterns = [
    path("", views.home, name="home"),
    path("login", LoginView.as_view(), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("notify", views.notify, name="notify"),
    path("token", views.token, name="token"),
    path("statement.csv", views.statement, name="statement"),
    path("documents", views.documents, name="documents"),
]

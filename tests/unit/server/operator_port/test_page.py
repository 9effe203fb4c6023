"""The files of the operator's page."""

from __future__ import annotations

import re
import tomllib

import pytest

from peatio_ws.server.operator_port import page
from tests.support.gateway import ROOT

MODULES = sorted(path.name for path in page.FOLDER.glob("*.mjs"))
HTML = (page.FOLDER / "index.html").read_text()


def test_files_are_served_with_a_strict_policy() -> None:
    assert set(page.FILES) == {
        "/",
        *(f"/page/{name}" for name in (*MODULES, "operator.css", "base.css", "icon.svg")),
    }
    kinds = {"/": "text/html", "css": "text/css", "mjs": "text/javascript", "svg": "image/svg+xml"}
    for path in page.FILES:
        answer = page.answer(path, "GET")
        assert answer is not None
        headers = dict(answer.headers)
        assert answer.status == "200 OK"
        assert answer.kind.startswith(kinds[path.rpartition(".")[2]])
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; ")
        assert "connect-src 'self';" in headers["Content-Security-Policy"]
        assert headers["Content-Security-Policy"].endswith("; require-trusted-types-for 'script'; trusted-types 'none'")
        assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


@pytest.mark.parametrize("path", ["/page", "/page/", "/page/index.html", "/page/../page.py", "/console/", ""])
def test_other_paths_are_not_the_pages(path: str) -> None:
    assert page.answer(path, "GET") is None


def test_other_methods_are_answered_with_the_allowed_ones() -> None:
    answer = page.answer("/", "POST")
    assert answer is not None
    assert (answer.status[:3], dict(answer.headers)["Allow"]) == ("405", "GET, HEAD")


def test_page_complies_with_its_policy_and_needs_no_other_host() -> None:
    assert re.findall(r"<script(?![^>]*\bsrc=)", HTML) == []
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", HTML)
    for name in ("index.html", "operator.css", *MODULES):
        content = (page.FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"(?:https?:)?//[a-z][a-z0-9.-]+\.[a-z]+", content) == []
        for link in re.findall(r'(?:(?:href|src)=|^import .* from )"([^"#]+)"', content, re.MULTILINE):
            assert f"/page/{link.removeprefix('page/').removeprefix('./')}" in page.FILES, f"{name} names {link}"


def test_what_clients_choose_is_never_read_as_html() -> None:
    for name in MODULES:
        script = (page.FOLDER / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|srcdoc|DOMParser", script)


def test_token_is_kept_in_the_tab_only() -> None:
    scripts = "".join((page.FOLDER / name).read_text() for name in MODULES)
    assert not re.search(r"localStorage|document\.cookie|indexedDB|caches\.", scripts)


def test_every_field_has_a_label_and_every_label_a_field() -> None:
    ids = re.findall(r'\sid="([^"]+)"', HTML)
    assert len(ids) == len(set(ids))
    for names in re.findall(r'(?:for|aria-labelledby|aria-describedby)="([^"]+)"', HTML):
        assert set(names.split()) <= set(ids) | {"dialog-title"}
    script = "".join((page.FOLDER / name).read_text() for name in MODULES)
    assert set(re.findall(r'\$\("([a-z-]+)"\)', script)) <= set(ids)


def test_all_files_are_packaged() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = packed["peatio_ws.server.operator_port"]
    found = {path for pattern in patterns for path in (ROOT / "peatio_ws/server/operator_port").glob(pattern)}
    assert found == set(page.FOLDER.iterdir())

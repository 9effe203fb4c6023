"""Sphinx configuration for the site in docs/, built by `make docs`."""

import os
import re
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "Peatio WebSocket gateway"
html_title = project
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["node_modules", "conf.py"]
html_theme = "furo"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_static_path = html_css_files = ["site.css"]
html_extra_path = ["asyncapi.yaml", "channels.schema.json"]
myst_heading_anchors = 4  # `page.md#a-heading`, as on GitHub
suppress_warnings: list[str] = []  # the site is built with -W: every warning is an error

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "clients" / "python" / "src"))  # the API reference
default_role = "code"
autodoc_mock_imports = ["websockets"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"

INCLUDED = {
    HERE.parent / "CHANGELOG.md": HERE / "changelog.md",
    HERE.parent / "clients" / "python" / "README.md": HERE / "clients" / "python.md",
    HERE.parent / "clients" / "js" / "README.md": HERE / "clients" / "js.md",
}
"""Pages outside the site, and the page of the site that includes each."""
_TO_A_PAGE = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)(#[^)\s]+)?\)")


def convert_outside_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Point links to pages outside the site to the page that includes them, or turn them into downloads."""
    folder = (HERE / page).parent

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        file = folder.joinpath(target).resolve()
        if file in INCLUDED:
            return f"[{text}]({os.path.relpath(INCLUDED[file], folder)}{anchor})"
        return match[0] if file.is_relative_to(HERE) else f"{{download}}`{text.replace('`', '')} <{target}>`"

    source[0] = _TO_A_PAGE.sub(link, source[0])


def setup(app: Sphinx) -> None:
    """Register the languages of transcripts and pictures, and the handling of links out of the site."""
    app.add_lexer("frames", TextLexer)
    app.add_lexer("mermaid", TextLexer)  # GitHub draws it; the site shows the text
    app.connect("source-read", convert_outside_links)

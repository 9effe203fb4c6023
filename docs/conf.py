"""Sphinx configuration for the site in docs/, built by `make docs`."""

import re
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

project = "Peatio WebSocket gateway"
html_title = project
extensions = ["myst_parser"]
exclude_patterns = ["node_modules", "conf.py"]
html_theme = "furo"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False
html_static_path = html_css_files = ["site.css"]
html_extra_path = ["asyncapi.yaml"]
myst_heading_anchors = 4  # `page.md#a-heading`, as on GitHub
suppress_warnings: list[str] = []  # the site is built with -W: every warning is an error

HERE = Path(__file__).parent
_TO_A_PAGE = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)\)")


def hand_on_pages_of_others(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn links to pages outside the site (`../bench/README.md`) into downloads, like links to other files."""

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        outside = not (HERE / page).parent.joinpath(target).resolve().is_relative_to(HERE)
        return f"{{download}}`{text.replace('`', '')} <{target}>`" if outside else match[0]

    source[0] = _TO_A_PAGE.sub(link, source[0])


def setup(app: Sphinx) -> None:
    """Register the languages of transcripts and pictures, and the handling of links out of the site."""
    app.add_lexer("frames", TextLexer)
    app.add_lexer("mermaid", TextLexer)  # GitHub draws it; the site shows the text
    app.connect("source-read", hand_on_pages_of_others)

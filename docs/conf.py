"""How Sphinx makes the site of docs/: `make docs`."""

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
html_extra_path = ["asyncapi.yaml"]
myst_heading_anchors = 4  # `page.md#a-heading`, as on GitHub
suppress_warnings: list[str] = []  # the site is built with -W: nothing is let pass


def setup(app: Sphinx) -> None:
    """Know the language of the transcripts (contributing.md)."""
    app.add_lexer("frames", TextLexer)

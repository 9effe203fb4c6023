"""An image without containers: the instructions of a Dockerfile, carried out below a folder.

The absolute paths of the image become paths below the folder, in commands and variables. The base image's Python is one
of this machine's, and its pip keeps its cache and uses the downloaded packages of the tests. All stages share the
folder; of an earlier stage, only the copied paths are kept. Knows no gateway.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

from tests.support import stranger

STEP_SECONDS = 240.0
_PATHS = re.compile(r"(?<![\w./])/(opt/peatio-ws|srv|tmp)\b")
_NO_EFFECT = {"ARG", "EXPOSE", "STOPSIGNAL"}


class Image:
    """What Dockerfiles make.

    Args:
        folder: an empty folder, into which every user may look.

    Attributes:
        command, check: the words of CMD and HEALTHCHECK.
        user: the numbers of the user and its group.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._place = folder, folder
        python = folder / "usr" / "local" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.symlink_to(real := _python())
        same = real.resolve().name == f"python{sys.version_info.major}.{sys.version_info.minor}"
        self._pip = stranger.pip_options() if same else {}  # wheels are of one version
        self._base = {"PATH": f"{python.parent}:/usr/bin:/bin"}
        self._environ = dict(self._base)
        self._earlier: set[Path] = set()
        self.command, self.check, self.user = list[str](), list[str](), (0, 0)
        for name in ("opt", "srv", "tmp"):
            (folder / name).mkdir()

    def build(self, dockerfile: str, context: Path) -> None:
        """Carry out the instructions of a Dockerfile. Raises AssertionError with the output of a step that fails."""
        for word, rest in instructions(dockerfile):
            if word not in _NO_EFFECT:
                getattr(self, f"_{word.lower()}")(rest, context)
        for path in self._earlier:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._earlier.clear()

    def start(self, words: list[str], environ: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program as the image's user."""
        whole = {**self._environ, **environ}
        found = shutil.which(words[0], path=whole["PATH"])
        assert found is not None, words
        return subprocess.Popen(
            [found, *words[1:]], cwd=self._place, env=whole, **self._as_user(), process_group=0, **options
        )

    def _as_user(self) -> dict[str, Any]:
        return {"user": self.user[0], "group": self.user[1], "extra_groups": []} if any(self.user) else {}

    def _moved(self, text: str) -> str:
        text = _PATHS.sub(lambda found: f"{self._folder}{found[0]}", text)
        return text.replace("/usr/local/bin/pip", f"{sys.executable} -m pip").replace("--no-cache-dir ", "")

    def _from(self, _rest: str, _context: Path) -> None:
        if self._environ == self._base:  # a later stage; `FROM` another image of ours continues it
            self._earlier = {path for part in ("opt", "srv", "tmp") for path in (self._folder / part).iterdir()}

    def _run(self, rest: str, _context: Path) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", self._moved(rest)],
            cwd=self._place,
            env=self._environ | self._pip,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
            **self._as_user(),
        )
        assert done.returncode == 0, f"RUN {rest}\n{done.stdout}"

    def _copy(self, rest: str, context: Path) -> None:
        *names, target = self._moved(rest).split()
        if names[0].startswith("--from="):
            assert names[1:] == [target], "the folder is shared"
            self._earlier = {path for path in self._earlier if not path.is_relative_to(target)}
            return
        for name in names:
            source, place = context / name, Path(target)
            if source.is_dir():
                shutil.copytree(
                    source, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
                )
            else:
                (place if target.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)

    def _workdir(self, rest: str, _context: Path) -> None:
        self._place = Path(self._moved(rest))

    def _env(self, rest: str, _context: Path) -> None:
        for word in shlex.split(self._moved(rest)):
            name, _, value = word.partition("=")
            self._environ[name] = Template(value).substitute(self._environ)

    def _user(self, rest: str, _context: Path) -> None:
        user, _, group = rest.replace("root", "0:0").partition(":")
        self.user = int(user), int(group)

    def _healthcheck(self, rest: str, _context: Path) -> None:
        self.check = json.loads(rest.partition("CMD ")[2])

    def _cmd(self, rest: str, _context: Path) -> None:
        self.command = json.loads(rest)


def _python() -> Path:
    """Return a Python that every user may run: the one of the tests, or the machine's."""
    for python in (Path(sys.base_prefix, "bin", "python3"), Path("/usr/bin/python3")):
        real = python.resolve()
        if python.exists() and all(folder.stat().st_mode & 0o001 for folder in real.parents):
            return python
    raise AssertionError("the tests need a Python that every user may run; as root: apt-get install python3-venv")


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield the instructions of a Dockerfile: their first words, and the rest on one line."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, rest.strip()

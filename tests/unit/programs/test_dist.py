"""What a release consists of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.programs.dist import ROOT, checksums, first_example, image_context, versions


def test_all_parts_claim_the_same_version() -> None:
    assert len(set(versions(ROOT).values())) == 1, versions(ROOT)


def test_the_image_context_is_what_the_dockerfile_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "deploy" / "Dockerfile").read_text(), re.M)
    names = image_context(ROOT)
    assert set(" ".join(copied).split()) == set(names) - {".dockerignore", "deploy/Dockerfile"}
    assert all((ROOT / name).exists() for name in names)


@pytest.mark.parametrize(("readme", "language"), [("clients/python", "python"), ("clients/js", "js")])
def test_the_first_example_of_a_readme_connects_to_a_local_gateway(readme: str, language: str) -> None:
    example = first_example((ROOT / readme / "README.md").read_text(), language)
    assert "ws://127.0.0.1:8080/" in example
    with pytest.raises(ValueError, match="no example in cobol"):
        first_example(example, "cobol")


def test_checksums_are_those_that_sha256sum_reads(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"abc")
    assert checksums([part]) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  part\n"

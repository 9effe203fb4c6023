"""Files of variables: what they may contain, and how faults are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from peatio_ws.config.env_file import read_env_file
from peatio_ws.errors import ConfigurationError


def written(folder: Path, content: str) -> Path:
    (folder / "gateway.env").write_text(content)
    return folder / "gateway.env"


def test_values_quotes_comments_and_blank_lines_are_read(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "# a comment\n\nAMQP_URL=amqp://a:b#c$d@host/v  # another\nexport LOG_LEVEL='debug'\nREDIS_URL=\n"
        'JWT_PUBLIC_KEY="-----BEGIN\nline\n-----END"\n',
    )
    assert read_env_file(path) == {
        "AMQP_URL": "amqp://a:b#c$d@host/v",
        "LOG_LEVEL": "debug",
        "REDIS_URL": "",
        "JWT_PUBLIC_KEY": "-----BEGIN\nline\n-----END",
    }


def test_each_line_that_is_not_understood_is_reported_without_its_value(tmp_path: Path) -> None:
    path = written(tmp_path, "A=1\nREDIS_PASSWORD secret\nB=2\nC='secret\n")
    with pytest.raises(ConfigurationError) as wrong:
        read_env_file(path)
    assert [str(fault).partition("line ")[2][:2] for fault in wrong.value.faults] == ["2:", "4:"]
    assert "secret" not in str(wrong.value)


def test_a_file_that_is_not_a_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigurationError, match="is not valid UTF-8"):
        read_env_file(tmp_path / "binary")
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        read_env_file(tmp_path / "missing")

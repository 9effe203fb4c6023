"""Commands of `rabbitmqctl` and `rabbitmq-streams` as calls into the node with `erl_call`.

The programs take half a second of CPU time to start; a call takes a millisecond. Commands that are not in `COMMANDS`
still need the programs.

Knows RabbitMQ's own functions (3.10 to 4.x); knows no process and no folder of the tests.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import Final

PROGRAM: Final = "erl_call"
SECONDS: Final = 90.0
_BY: Final = '<<"test">>'
_COLUMN: Final = """fun
    ({resource, _, _, Name}) -> Name;
    (rabbit_classic_queue) -> classic;
    (rabbit_stream_queue) -> stream;
    (rabbit_quorum_queue) -> quorum;
    (Value) -> Value
end"""
"""Expression for a column's value."""


class BrokerError(Exception):
    """The node refused a command; its text is the node's."""


def available() -> bool:
    """Whether `erl_call` is installed; Debian has it in `erlang-base`, on which RabbitMQ depends."""
    return shutil.which(PROGRAM) is not None


def evaluate(node: str, cookie: str, environ: Mapping[str, str], expressions: str) -> str:
    """Evaluate Erlang expressions on a node.

    Args:
        expressions: separated by commas; a full stop at the end may be left out.

    Returns:
        The value of the last one, as `rabbitmqctl eval` prints it. A list of texts is printed one a line.

    Raises:
        BrokerError: with the node's error text.
    """
    value = f"begin {expressions.strip().removesuffix('.')} end"
    text = (
        f"case {value} of {{lines, Lines}} -> Text = lists:join(10, Lines); "
        'Value -> Text = io_lib:format("~tp", [Value]) end, '
        "base64:encode_to_string(unicode:characters_to_binary(Text)).\n"
    )
    command = [PROGRAM, "-sname", node, "-c", cookie, "-e"]
    done = subprocess.run(command, input=text, env=environ, capture_output=True, text=True, timeout=SECONDS)
    # erl_call prints an empty text as an empty list.
    found = re.fullmatch(r'\{ok, (?:"(.*)"|\[\])\}', done.stdout)
    if done.returncode or not found:
        raise BrokerError(f"{expressions}: {done.stdout or done.stderr}")
    return base64.b64decode(found[1] or "").decode()


def expressions(words: tuple[str, ...]) -> str | None:
    """Translate a command of `rabbitmqctl`; None for one that is not known here."""
    name, *rest = (word for word in words if word != "--silent")
    vhost = "/"
    for option in ("-p", "--vhost"):
        if option in rest:
            at = rest.index(option)
            vhost = rest[at + 1]
            del rest[at : at + 2]
    made = COMMANDS.get(name)
    return made(_text(vhost), rest) if made else None


def _text(word: str) -> str:
    """Return an Erlang binary of an ASCII text."""
    return f"<<{json.dumps(word)}>>"


def _add_vhost(_: str, words: list[str]) -> str:
    return f"rabbit_vhost:add({_text(words[0])}, {_BY})"


def _delete_vhost(_: str, words: list[str]) -> str:
    return f"rabbit_vhost:delete({_text(words[0])}, {_BY})"


def _add_user(_: str, words: list[str]) -> str:
    user, password = map(_text, words)
    return f"rabbit_auth_backend_internal:add_user({user}, {password}, {_BY})"


def _delete_user(_: str, words: list[str]) -> str:
    return f"rabbit_auth_backend_internal:delete_user({_text(words[0])}, {_BY})"


def _set_permissions(vhost: str, words: list[str]) -> str:
    user, *patterns = map(_text, words)
    return f"rabbit_auth_backend_internal:set_permissions({user}, {vhost}, {', '.join(patterns)}, {_BY})"


def _close_all_connections(_: str, words: list[str]) -> str:
    return f"[rabbit_networking:close_connection(C, {json.dumps(words[0])}) || C <- rabbit_networking:connections()]"


def _close_all_user_connections(_: str, words: list[str]) -> str:
    return f"rabbit_networking:close_all_user_connections({_text(words[0])}, {json.dumps(words[1])})"


def _set_vm_memory_high_watermark(_: str, words: list[str]) -> str:
    absolute, limit = words
    return f"vm_memory_monitor:set_vm_memory_high_watermark({{{absolute}, {json.dumps(limit)}}})"


def _eval(_: str, words: list[str]) -> str:
    return words[0]


def _table(rows: str, columns: list[str]) -> str:
    """Return an expression that prints a header line and a line for each row, with tabs between columns.

    Args:
        rows: an expression for a list of property lists.
    """
    names, head = ", ".join(columns), r"\t".join(columns)
    cell = '(fun (Cell) when is_binary(Cell) -> Cell; (Cell) -> io_lib:format("~0tp", [Cell]) end)'
    return (
        f'Shown = {_COLUMN}, {{lines, ["{head}" | [lists:join(9, [{cell}(Shown(proplists:get_value(Name, Row))) '
        f"|| Name <- [{names}]]) || Row <- {rows}]]}}"
    )


def _list_queues(vhost: str, columns: list[str]) -> str:
    return _table(f"rabbit_amqqueue:info_all({vhost}, [{', '.join(columns)}])", columns)


def _list_exchanges(vhost: str, columns: list[str]) -> str:
    return _table(f"rabbit_exchange:info_all({vhost}, [{', '.join(columns)}])", columns)


def _list_bindings(vhost: str, columns: list[str]) -> str:
    return _table(f"rabbit_binding:info_all({vhost})", columns)


def _replica(change: str) -> Callable[[str, list[str]], str]:
    def made(vhost: str, words: list[str]) -> str:
        stream, node = words
        return f"ok = rabbit_stream_queue:{change}_replica({vhost}, {_text(stream)}, '{node}')"

    return made


COMMANDS: Final[Mapping[str, Callable[[str, list[str]], str]]] = {
    "add_vhost": _add_vhost,
    "delete_vhost": _delete_vhost,
    "add_user": _add_user,
    "delete_user": _delete_user,
    "set_permissions": _set_permissions,
    "close_all_connections": _close_all_connections,
    "close_all_user_connections": _close_all_user_connections,
    "set_vm_memory_high_watermark": _set_vm_memory_high_watermark,
    "eval": _eval,
    "list_queues": _list_queues,
    "list_exchanges": _list_exchanges,
    "list_bindings": _list_bindings,
    "add_replica": _replica("add"),
    "delete_replica": _replica("delete"),
}
"""Makes an expression from a virtual host and a command's arguments."""

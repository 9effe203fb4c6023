"""Commands of `rabbitmqctl`, translated into Erlang that a node evaluates."""

from __future__ import annotations

from tests.support.broker_rpc import expressions


def test_arguments_are_passed_as_binaries() -> None:
    found = expressions(("set_permissions", "-p", "here", "ann", "^$", r"a\.b", 'q"'))
    assert found == (
        r'rabbit_auth_backend_internal:set_permissions(<<"ann">>, <<"here">>, <<"^$">>, <<"a\\.b">>, '
        r'<<"q\"">>, <<"test">>)'
    )


def test_default_virtual_host_is_used_unless_named() -> None:
    assert 'info_all(<<"/">>' in str(expressions(("list_queues", "name", "--silent")))
    assert 'info_all(<<"here">>' in str(expressions(("list_queues", "-p", "here", "name")))
    assert 'replica(<<"here">>, <<"s">>, \'a@b\')' in str(expressions(("add_replica", "--vhost", "here", "s", "a@b")))


def test_unknown_commands_are_left_to_the_program() -> None:
    assert expressions(("join_cluster", "a@b")) is None

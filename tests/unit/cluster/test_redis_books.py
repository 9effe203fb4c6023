"""Order books that workers request from each other, with a stand-in for Redis.

The real one is tested in `tests/live/test_shared_state.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.queue
import pytest
import redis

from peatio_ws.cluster import redis_books
from peatio_ws.cluster.redis_books import MAX_REQUESTS, RedisBooks
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_keys import BOOKS_KEY

BOOK = b'{"asks":[],"bids":[],"sequence":7}'
OTHER = b'{"asks":[],"bids":[],"sequence":9}'


class Store:
    """Hashes that never expire, and one channel."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[bytes, bytes]] = {}
        self.questions: list[str] = []
        self.listeners: list[gevent.queue.Queue[bytes]] = []
        self.reachable = True

    def publish(self, _channel: str, question: str) -> int:
        if not self.reachable:
            raise redis.ConnectionError
        self.questions.append(question)
        for listener in self.listeners:
            listener.put(question.encode())
        return len(self.listeners)

    def hkeys(self, key: str) -> list[bytes]:
        return list(self.hashes.get(key, {}))

    def hmget(self, key: str, names: list[bytes]) -> list[bytes | None]:
        return [self.hashes[key].get(name) for name in names]

    def hdel(self, key: str, name: str) -> int:
        return self.hashes.get(key, {}).pop(name.encode(), None) is not None

    def pipeline(self, transaction: bool) -> Any:
        return self

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None: ...

    def hset(self, key: str, items: list[bytes]) -> None:
        self.hashes.setdefault(key, {}).update(zip(items[::2], items[1::2], strict=True))

    def expire(self, _key: str, seconds: int) -> None:
        assert seconds > 0

    def execute(self, raise_on_error: bool) -> list[Any]:
        return []

    def pubsub(self, ignore_subscribe_messages: bool) -> Listener:
        return Listener(self)


class Listener:
    def __init__(self, store: Store) -> None:
        self._store, self._waiting = store, gevent.queue.Queue[bytes]()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None: ...

    def subscribe(self, _channel: str) -> None:
        self._store.listeners.append(self._waiting)

    def get_message(self, timeout: float) -> dict[str, bytes] | None:
        try:
            return {"data": self._waiting.get(timeout=timeout)}
        except gevent.queue.Empty:
            return None


class Books:
    """A worker's books: those that it exports, and those that it has adopted."""

    def __init__(self, **books: bytes) -> None:
        self.own, self.adopted = books, list[tuple[str, bytes, bool]]()
        self.useful = True

    def export(self) -> Iterator[tuple[str, bytes]]:
        return iter(self.own.items())

    def adopt(self, name: str, body: bytes, fresh: bool) -> bool:
        self.adopted.append((name, body, fresh))
        return self.useful

    def needs_book(self) -> bool:
        return False


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(redis_books, "JITTER_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(redis_books, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(redis_books, "ANSWER_SECONDS", 60.0)
    return Store()


@pytest.fixture
def start(store: Store) -> Iterator[Callable[[Books], RedisBooks]]:
    running: list[RedisBooks] = []

    def start_one(books: Books) -> RedisBooks:
        connection = RedisConnection("redis://127.0.0.1:1/0")
        connection.redis = store  # type: ignore[assignment]
        running.append(RedisBooks(connection, books))
        running[-1].start()
        gevent.idle()
        return running[-1]

    yield start_one
    gevent.killall([greenlet for one in running for greenlet in one._greenlets])


def wait_until(condition: Callable[[], object]) -> None:
    with gevent.Timeout(20):
        while not condition():
            gevent.sleep(0.001)


def test_a_worker_adopts_the_books_of_another(start: Callable[[Books], RedisBooks]) -> None:
    start(Books(**{"btcusd.ob": BOOK}))
    asking = Books()
    start(asking).request()
    wait_until(lambda: asking.adopted)
    assert asking.adopted == [("btcusd.ob", BOOK, True)]


def test_worker_does_not_answer_its_own_request(start: Callable[[Books], RedisBooks], store: Store) -> None:
    alone = Books(**{"btcusd.ob": BOOK})
    start(alone).request()
    wait_until(lambda: store.questions)
    gevent.idle()
    assert store.hashes == {}


def test_each_book_is_answered_once(start: Callable[[Books], RedisBooks], store: Store) -> None:
    first, second = start(Books(**{"btcusd.ob": BOOK})), start(Books(**{"btcusd.ob": OTHER, "ethusd.ob": OTHER}))
    for one in (first, second):
        one._answer("question")
    assert store.hashes == {f"{BOOKS_KEY}:question": {b"btcusd.ob": BOOK, b"ethusd.ob": OTHER}}


def test_a_worker_that_stops_leaves_its_books_behind(
    start: Callable[[Books], RedisBooks], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_books, "ANSWER_SECONDS", 0.02)
    start(Books(**{"btcusd.ob": BOOK})).stop()
    assert store.hashes == {BOOKS_KEY: {b"btcusd.ob": BOOK}}
    later = Books()
    start(later).request()
    wait_until(lambda: later.adopted)
    assert later.adopted == [("btcusd.ob", BOOK, False)], "the answer may be older than what the worker has received"


def test_a_worker_without_books_leaves_nothing_behind(start: Callable[[Books], RedisBooks], store: Store) -> None:
    start(Books()).stop()
    assert store.hashes == {}


def test_book_of_a_restarted_sequence_is_forgotten(start: Callable[[Books], RedisBooks], store: Store) -> None:
    store.hashes[BOOKS_KEY] = {b"btcusd.ob": BOOK, b"ethusd.ob": OTHER}
    start(Books()).forget("btcusd.ob")
    wait_until(lambda: b"btcusd.ob" not in store.hashes[BOOKS_KEY])
    assert store.hashes[BOOKS_KEY] == {b"ethusd.ob": OTHER}


def test_useless_answers_repeat_the_request_a_few_times(start: Callable[[Books], RedisBooks], store: Store) -> None:
    start(Books(**{"btcusd.ob": BOOK}))
    asking = Books()
    asking.useful = False
    start(asking).request()
    wait_until(lambda: len(store.questions) == MAX_REQUESTS)
    wait_until(lambda: len(asking.adopted) == MAX_REQUESTS)
    assert len(set(store.questions)) == MAX_REQUESTS, "answers of several requests were mixed"


def test_request_is_repeated_after_a_redis_outage(
    start: Callable[[Books], RedisBooks], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_books, "ANSWER_SECONDS", 0.02)
    start(Books(**{"btcusd.ob": BOOK}))
    asking: Any = Books()
    asking.needs_book = lambda: True
    store.reachable = False
    books = start(asking)
    books.request()
    wait_until(lambda: books._question)
    assert not store.questions
    store.reachable = True
    wait_until(lambda: asking.adopted)


def test_request_is_repeated_while_a_client_waits(
    start: Callable[[Books], RedisBooks], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_books, "ANSWER_SECONDS", 0.02)
    monkeypatch.setattr(redis_books, "REDIS_BOOKS_PAUSES", (0.001, 0.002))
    asking: Any = Books()
    asking.needs_book = lambda: True
    start(asking)
    wait_until(lambda: len(store.questions) >= 3)

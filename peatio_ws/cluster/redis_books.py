"""Exchanges order books between workers through Redis.

A worker that starts, or misses increments, publishes a request on the channel `peatio_ws:books`. Other workers write
their books as fields of the hash `peatio_ws:books:<question>`. Without a request nothing is written, except that a
worker that ends stores its books in the hash `peatio_ws:books`. `sync.py` decides whether a book matches the increments
received here.
"""

from __future__ import annotations

import random
import time
import uuid
from typing import Any, Final

import gevent
import gevent.event
import redis

from peatio_ws.cluster.local_state import Books
from peatio_ws.cluster.redis_connection import RedisConnection
from peatio_ws.cluster.redis_keys import BOOKS_KEY, books_answers_key
from peatio_ws.concurrency.backoff import REDIS_BOOKS_PAUSES, Backoff
from peatio_ws.concurrency.supervision import supervise

ANSWER_SECONDS: Final = 1.0
"""How long a worker waits for answers."""
POLL_SECONDS: Final = 0.05
JITTER_SECONDS: Final = (0.02, 0.06)
"""Delay of an answer: the worker first reads what was published before the request, and skips books that another worker
has already answered with."""
EXPIRE_SECONDS: Final = 30
KEPT_SECONDS: Final = 86_400
MAX_REQUESTS: Final = 5
"""Requests in a row while answers end before the increments received here: the answering worker is behind."""


class RedisBooks:
    """Sends and answers book requests for one worker.

    Args:
        connection: to Redis.
        books: this worker's books.
    """

    def __init__(self, connection: RedisConnection, books: Books) -> None:
        self._connection, self._books = connection, books
        self._wanted = gevent.event.Event()
        self._question = b""
        self._greenlets: list[gevent.Greenlet[Any, Any]] = []

    def start(self) -> None:
        """Start to answer requests, and to send them after `request`."""
        self._greenlets = [
            gevent.spawn(supervise, "books, answering", self._run_answers),
            gevent.spawn(supervise, "books, asking", self._run_requests),
        ]

    def stop(self) -> None:
        """Stop, and store the books for a worker that starts when no other one is running."""
        gevent.killall(self._greenlets)
        self._write(BOOKS_KEY, KEPT_SECONDS, set())

    def request(self) -> None:
        """Request books soon. Never waits."""
        self._wanted.set()

    def forget(self, name: str) -> None:
        """Delete the stored book of this name. Never waits.

        A sequence that starts again will reach the number of the stored book at some time. A worker that starts then
        would continue from the outdated book.
        """
        gevent.spawn(self._connection.ask, "forgetting a book", lambda: self._connection.redis.hdel(BOOKS_KEY, name))

    def _run_requests(self) -> None:
        backoff = Backoff(*REDIS_BOOKS_PAUSES, jitter=0)
        pause = backoff.next_pause()
        while True:
            if self._wanted.wait(pause):
                self._wanted.clear()
                backoff.reset()
            elif not self._books.needs_book():
                continue
            pause = backoff.next_pause()
            for _ in range(MAX_REQUESTS):
                answered = self._request_once()
                if answered is None:  # Redis is unreachable
                    self._wanted.set()
                    gevent.sleep(ANSWER_SECONDS)
                if answered is not False:
                    break

    def _request_once(self) -> bool | None:
        """Send one request. Return False if an answer was of no use, None if Redis is unreachable, else True."""
        question = uuid.uuid4().hex
        self._question = question.encode()
        if (
            self._connection.ask("asking for books", lambda: self._connection.redis.publish(BOOKS_KEY, question))
            is None
        ):
            return None
        seen = set[bytes]()
        until = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < until:
            gevent.sleep(POLL_SECONDS)
            if not self._adopt_new(books_answers_key(question), seen, fresh=True):
                return False
        self._adopt_new(BOOKS_KEY, seen, fresh=False)
        return True

    def _adopt_new(self, key: str, seen: set[bytes], fresh: bool) -> bool:
        """Adopt the books under this key that are not in `seen`. Return whether all of them were of use."""
        connection = self._connection
        known = connection.ask("reading books", lambda: connection.redis.hkeys(key)) or ()
        names = [name for name in known if name not in seen]
        bodies = (connection.ask("reading books", lambda: connection.redis.hmget(key, names)) or ()) if names else ()
        taken = [
            self._books.adopt(name.decode(errors="replace"), body, fresh)
            for name, body in zip(names, bodies, strict=False)
            if body is not None
        ]
        seen.update(names)
        return all(taken)

    def _run_answers(self) -> None:
        connection = self._connection
        while True:
            try:
                generation = connection.generation
                with connection.redis.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
                    listener.subscribe(BOOKS_KEY)
                    while connection.generation == generation:
                        message = listener.get_message(timeout=ANSWER_SECONDS)
                        if message is not None and message["data"] != self._question:
                            gevent.spawn(self._answer, message["data"].decode(errors="replace"))
            except (redis.RedisError, OSError):
                gevent.sleep(ANSWER_SECONDS)

    def _answer(self, question: str) -> None:
        gevent.sleep(random.uniform(*JITTER_SECONDS))
        key = books_answers_key(question[:64])
        known = self._connection.ask("reading books", lambda: self._connection.redis.hkeys(key))
        if known is not None:
            self._write(key, EXPIRE_SECONDS, set(known))

    def _write(self, key: str, seconds: int, known: set[bytes]) -> None:
        books = [(name.encode(), body) for name, body in self._books.export()]
        items = [part for name, body in books if name not in known for part in (name, body)]
        if items:
            with self._connection.redis.pipeline(transaction=False) as pipe:
                pipe.hset(key, items=items)
                pipe.expire(key, seconds)
                self._connection.run("giving books", pipe)

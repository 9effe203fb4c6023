"""The exceptions of the package, as one tree. An exception carries its policy: a code for programs, a text and a remedy
for people, the log level, and the label under which metrics count it. So the code that catches it decides nothing.

PeatioWsError              code             logged    counted as
├── ConfigurationError     each fault's     -         -                               the process ends before it serves
├── BadDelivery            DeliveryFault    warning   deliveries{outcome=code}        the delivery is dropped
├── AuthenticationError    TokenFault       info      authentications{outcome}        answered; the connection stays
├── TryLater               Delay            info      authentications{outcome}        answered with a time to retry
├── Refused                HTTP status      info      refused_handshakes{status}      answered with HTTP, not upgraded
├── ClientError            "client_error"   -         -                               answered; the connection stays
├── PublishError           "not_published"  -         -                               raised to the publisher
└── Disconnect             close code       -         closes{by,code}                 the connection is closed

Exceptions within one package have the base class that their callers expect:

├── ConnectionError
│   ├── SourceUnavailable  `amqp.source`                   tried again
│   ├── Reopen             `amqp.source`                   opened again at once
│   │   └── Restored       `amqp.source`                   the preferred source can be read
│   └── BrokerAlarm        `amqp.history_stream.markers`   the broker accepts no messages
├── SourceRefused          `amqp.source`                   another source is read; carries its remedy
├── ImpossibleInput        `life_cycle`                    a bug: the connection or source ends
├── InvalidOrder (ClientError) `simulator.order_form`      also answered over REST, with Peatio's code
├── RequestRefused         `simulator.rest_body`           answered with HTTP, as Peatio does
├── NotFound, TooManyTraces `cluster.operator`      an operator named nothing known; no worker traces more
├── Idle (BaseException)   `transport.receive`             not an error: the greenlet of an idle client ends
└── ValueError
    ├── SeveralFaults      `config.validation_errors`
    ├── ExposedKey         `auth.keys`
    ├── UnusableKey        `auth.keys`
    ├── TooLarge           `transport.http.headers`
    └── Unreadable         `transport.http.proxy_protocol`
"""

from __future__ import annotations

from peatio_ws.errors.base import ErrorCode, PeatioWsError
from peatio_ws.errors.configuration import ConfigurationError, Fault, FaultCode
from peatio_ws.errors.connections import ClientError, Disconnect, Refused
from peatio_ws.errors.messages import BadDelivery, DeliveryFault, PublishError
from peatio_ws.errors.tokens import AuthenticationError, Delay, TokenFault, TryLater

__all__ = [
    "AuthenticationError",
    "BadDelivery",
    "ClientError",
    "ConfigurationError",
    "Delay",
    "DeliveryFault",
    "Disconnect",
    "ErrorCode",
    "Fault",
    "FaultCode",
    "PeatioWsError",
    "PublishError",
    "Refused",
    "TokenFault",
    "TryLater",
]

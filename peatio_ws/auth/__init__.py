"""The identity of a client: tokens, the keys that verify them, revocations and lockouts. Knows no connection."""

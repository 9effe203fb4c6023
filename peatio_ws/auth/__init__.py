"""Who a client is: tokens, the keys that verify them, revocations and the lockout of addresses. Knows no connection."""

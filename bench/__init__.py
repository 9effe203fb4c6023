"""`make bench`: compare this gateway with other servers that do the same work, and with bare send() in C."""

"""Traces: what an operator sees of single connections, live (`peatio-ws trace`)."""

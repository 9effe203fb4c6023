"""Traces: the messages of workers for an operator, and their reader."""

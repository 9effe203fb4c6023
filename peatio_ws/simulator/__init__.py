"""The simulated exchange of `peatio-ws run`."""

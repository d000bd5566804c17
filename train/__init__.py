"""Entry points: each defines flags, builds a configuration, and calls one function of the library."""

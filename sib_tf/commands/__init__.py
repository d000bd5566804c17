"""What entry points share, and the one command of an installed package, `sib-tf`. Flags are known here alone."""

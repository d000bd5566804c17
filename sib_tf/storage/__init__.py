"""Whole files or none: atomic writes, locks, digests, and files of others read with care."""

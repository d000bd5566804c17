"""Measurements beside the package: transductive few-shot methods compared on realistic query sets."""

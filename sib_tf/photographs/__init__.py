"""Photographs to answers with nothing to train: a phone's backbone and the head that ships, on piles of any size."""

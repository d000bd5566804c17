"""Tables of features that are better left on the disk: calls take the rows that their episodes need."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sib_tf.episodes import EpisodeRows

# Bytes of a memory-mapped table that is held in memory still.
_HELD = 1 << 30


def is_large(table) -> bool:
    """Returns whether a table `[pictures, D]` stays on the disk: a memory-mapped one of more than 1 GiB."""
    return isinstance(table, np.memmap) and table.nbytes > _HELD


def held(table):
    """Returns the table as a tensor, or, if it is large, as it is."""
    return table if is_large(table) else tf.convert_to_tensor(table)


def fetched(table, rows: Sequence[EpisodeRows], size: int | None = None) -> tuple:
    """Returns what episodes are gathered from, and the episodes: of a large table the rows that they take, in memory.

    Args:
        table: from `held`.
        rows: episodes of every specification.
        size: rows of what is returned for a large table, the last ones zero; None: as many as the episodes have places,
            so that episodes of the same shapes give tables of the same shape.
    """
    if not is_large(table):
        return table, list(rows)
    places = [np.ravel(field) for each in rows for field in (each.support, each.query)]
    used, found = np.unique(np.concatenate(places), return_inverse=True)
    taken = np.zeros((size or len(found), table.shape[1]), np.float32)
    taken[: len(used)] = table[used]
    parts = iter(np.split(found.astype(np.int32), np.cumsum([len(each) for each in places])[:-1]))
    return taken, [
        each._replace(support=next(parts).reshape(each.support.shape), query=next(parts).reshape(each.query.shape))
        for each in rows
    ]

"""Writes the digests of the heads that ship, which are checked whenever one is loaded; `make ship` calls it."""

from pathlib import Path

from sib_tf import heads
from sib_tf.storage import atomic, digests


def main() -> None:
    folder = Path(heads.__file__).parent
    files = {name: digest for name, digest in digests.of_folder(folder).items() if name.endswith(heads.SUFFIXES)}
    atomic.write_json(folder / digests.FILE, {name: files[name] for name in files if name != digests.FILE})


if __name__ == "__main__":
    main()

"""Lists the licences of what an installed sib_tf needs, and refuses those that do not go with Apache-2.0.

    python .ci/licences.py --output=docs/licences.md

Without --output it only checks. Exit code 1 if one is unknown or is not on the list of those that are allowed.
"""

import argparse
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

# Permissive ones, as SPDX writes them, and those that bind changes to a file of their own only (MPL).
ALLOWED = frozenset(
    """
    0BSD Apache-2.0 BSD-2-Clause BSD-3-Clause CC0-1.0 HPND ISC MIT MIT-CMU MPL-2.0 PSF-2.0 Python-2.0 Unlicense Zlib
    """.split()  # noqa: SIM905
)
# What projects write that do not use SPDX's names; the first that is found in the text counts.
_NAMES = (
    (r"apache.*2|^apache( software)?( license)?$", "Apache-2.0"),
    (r"3-clause|new bsd|modified bsd", "BSD-3-Clause"),
    (r"2-clause|simplified bsd", "BSD-2-Clause"),
    (r"\bbsd\b", "BSD-3-Clause"),
    (r"mpl.?2|mozilla public license 2", "MPL-2.0"),
    (r"^mit-cmu$|\bhpnd\b", "HPND"),
    (r"\bmit\b", "MIT"),
    (r"python software foundation|\bpsf\b", "PSF-2.0"),
    (r"\bisc\b", "ISC"),
    (r"unlicense", "Unlicense"),
)
# Their metadata name none; read in the LICENSE file of the package.
_LOOKED_UP = {"namex": "Apache-2.0"}
_HEAD = """# Licences of what sib_tf needs

Written by `make licences` from the metadata of what is installed; CI refuses others than permissive ones and MPL-2.0.
sib_tf itself is Apache-2.0.

`make audit` asks pypi.org for known vulnerabilities of the versions in `.ci/constraints.txt`, and fails where it cannot
be asked. That was so where this page was written: the versions have not been audited.

| package | licence | home |
|---|---|---|
"""
# What the metadata of an extra do not say.
_NOTE = """
Not needed, and installed with the extra `photos` only: **pillow-heif**, which reads HEIC. Its own code is under
BSD-3-Clause; its wheels bring libheif and libde265 (LGPL-3.0) and x265 (GPL-2.0), and are under GPL-2.0 as a whole.
They are loaded when such a file is read, and are no part of sib_tf. Who hands on an image or installer with this extra
in it hands on these libraries, and what their licences ask for applies to them; without pillow-heif HEIC files are
named as skipped.
"""


def needed(root: str) -> dict[str, metadata.Distribution]:
    """Returns all distributions that `root` needs without extras, by name."""
    found, open_ends = {}, [(root, frozenset())]
    while open_ends:
        name, extras = open_ends.pop()
        distribution = metadata.distribution(name)
        for line in distribution.requires or ():
            requirement = Requirement(line)
            wanted = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if requirement.marker and not any(requirement.marker.evaluate(each) for each in wanted):
                continue
            key = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if key not in found:
                found[key] = metadata.distribution(key)
                open_ends.append((key, frozenset(requirement.extras)))
    return dict(sorted(found.items()))


def licence(distribution: metadata.Distribution) -> str:
    """Returns SPDX's expression for a distribution's licence, or what its metadata say, or "unknown"."""
    fields = distribution.metadata
    name = re.sub(r"[-_.]+", "-", fields["Name"]).lower()
    if name in _LOOKED_UP:
        return _LOOKED_UP[name]
    if expression := fields.get("License-Expression"):
        return expression
    classifiers = [c.rpartition(" :: ")[2] for c in fields.get_all("Classifier", []) if c.startswith("License ::")]
    # A whole licence in the field is no name: its first line may be.
    lines = (fields.get("License") or "").strip().splitlines()
    for text in [*classifiers, *lines[:1]]:
        for pattern, spdx in _NAMES:
            if re.search(pattern, text.lower()):
                return spdx
    return (lines or classifiers or ["unknown"])[0]


def refused(expression: str) -> bool:
    """Whether an SPDX expression binds to a licence that is not allowed.

    Without regard to brackets: each part between two ANDs needs an alternative that is allowed.
    """
    parts = re.split(r"\s+AND\s+", expression.replace("(", "").replace(")", ""))
    return not all(ALLOWED & set(re.split(r"\s+OR\s+", part)) for part in parts)


def _home(distribution: metadata.Distribution) -> str:
    urls = [line.partition(", ")[2] for line in distribution.metadata.get_all("Project-URL", [])]
    return next((url for url in [distribution.metadata.get("Home-page"), *urls] if url and url != "UNKNOWN"), "")


def main() -> int:
    """Checks, and writes the page if it is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="The page to write.")
    output = parser.parse_args().output
    found = {name: (licence(distribution), _home(distribution)) for name, distribution in needed("sib_tf").items()}
    wrong = {name: text for name, (text, _) in found.items() if refused(text)}
    if wrong:
        print(f"Licences that are unknown or not allowed: {wrong}", file=sys.stderr)
        return 1
    if output:
        output.write_text(
            _HEAD + "".join(f"| {name} | {text} | {home} |\n" for name, (text, home) in found.items()) + _NOTE,
            encoding="utf-8",
        )
    print(f"{len(found)} packages, licences: {', '.join(sorted({text for text, _ in found.values()}))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

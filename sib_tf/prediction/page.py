"""Predictions as one HTML page that needs nothing beside it: the pictures, by class, with what the steps changed."""

import base64
import io
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from sib_tf.pictures.files import read_picture
from sib_tf.pictures.picture_folders import Query, Support
from sib_tf.prediction.predictions import Answer, Predictions
from sib_tf.storage import atomic

_THUMBNAIL = 112
_STYLE = """
:root { color-scheme: light dark; --text: #1c2321; --soft: #5a6461; --page: #f6f7f5; --card: #fff; --line: #dde2de;
  --sure: #0b6e4f; --moved: #a8470f; --tint: #fdf1e8; }
@media screen and (prefers-color-scheme: dark) { :root { --text: #e8ecea; --soft: #a3adaa; --page: #141817;
  --card: #1e2423; --line: #343d3a; --sure: #4cc39b; --moved: #f2a065; --tint: #33261b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 0; font-size: 1.25rem; }
h1 + p { margin-top: .25rem; max-width: 46rem; } p, li { color: var(--soft); }
b, .name { color: var(--text); }
.name, h2, nav { white-space: pre-wrap; overflow-wrap: anywhere; }
a { color: inherit; } nav ul { display: flex; flex-wrap: wrap; gap: .4rem; padding: 0; list-style: none; }
nav a { display: block; padding: .15rem .7rem; border: 1px solid var(--line); border-radius: 1rem;
  background: var(--card); text-decoration: none; color: var(--soft); }
nav a:hover, nav a:focus { border-color: var(--sure); } nav span { color: var(--text); }
section { margin-top: 1.75rem; padding-top: 1.25rem; border-top: 1px solid var(--line); }
.head { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1.25rem; margin-bottom: .9rem; }
.head p { margin: 0; } .labelled { display: flex; flex-wrap: wrap; align-items: center; gap: .3rem; font-size: .8rem;
  color: var(--soft); }
.labelled img { width: 2.25rem; height: 2.25rem; border-radius: .25rem; border: 1px solid var(--line); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem; }
figure { margin: 0; padding: .6rem; border: 1px solid var(--line); border-radius: .5rem; background: var(--card);
  font-size: .8rem; line-height: 1.35; break-inside: avoid; }
figure img { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: .3rem; }
figcaption div { margin-top: .35rem; }
.bar { flex: 1; height: .3rem; border-radius: .15rem; background: var(--line); overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--sure); }
.sure { display: flex; align-items: center; gap: .5rem; font-size: .95rem; white-space: nowrap; }
.second, .was { overflow-wrap: anywhere; } .second { color: var(--soft); }
.changed { border: 2px solid var(--moved); background: var(--tint); padding: calc(.6rem - 1px); }
.was { color: var(--moved); font-weight: 600; } .changed .bar i { background: var(--moved); }
label { display: inline-flex; gap: .5rem; align-items: center; cursor: pointer; }
body:has(#only:checked) figure:not(.changed) { display: none; }
@media print { :root { --page: #fff; --tint: #fff; } body { padding: 0; font-size: 11pt; } nav, label { display: none; }
  .bar, figure, .changed { print-color-adjust: exact; -webkit-print-color-adjust: exact; } h2 { break-after: avoid; }
  .grid { grid-template-columns: repeat(6, 1fr); } }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Predictions: {title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Predictions</h1>
{introduction}
<nav aria-label="Classes"><ul>{links}</ul></nav>
<label><input type="checkbox" id="only"> only pictures whose class the steps changed</label>
</header>
<main>
{sections}
</main>
{skipped}
</body>
</html>
"""


def save(path: str | os.PathLike, predictions: Predictions, support: Support, query: Query, description: dict) -> None:
    """Writes the page, with a small copy of every picture inside.

    Args:
        path: the file.
        predictions: of `query`.
        support, query: the pictures.
        description: of the model.
    """
    answers = predictions.answers()
    labelled = {name: [] for name in predictions.classes}
    for label, file in zip(support.labels, support.paths, strict=True):
        labelled[label].append(_picture(file, file.name))
    cards = {name: [] for name in predictions.classes}
    shown = tqdm(list(zip(answers, query.paths, strict=True)), unit="picture", desc="page", delay=1, leave=False)
    none_of_these = []
    for answer, file in shown:
        place = none_of_these if answer.none_of_these else cards[answer.class_name]
        place.append((-answer.probability, _card(answer, file)))
    sections = [_section(i, name, labelled[name], cards[name]) for i, name in enumerate(cards)]
    if none_of_these:
        sections.append(_section(len(cards), "None of these", [], none_of_these))
    page = _PAGE.format(
        title=f"{len(answers)} pictures, {len(cards)} classes",
        style=_STYLE,
        introduction=_introduction(answers, len(cards), len(support.labels), description),
        links="".join(
            f'<li><a href="#class{i}"><span dir="auto">{escape(name)}</span> {len(cards[name])}</a></li>'
            for i, name in enumerate(cards)
        ),
        sections="\n".join(sections),
        skipped=_skipped([*support.skipped, *query.skipped]),
    )
    atomic.write_text(path, page)


def _introduction(answers: list[Answer], way: int, labelled: int, description: dict) -> str:
    calibrated = "calibrated on validation classes" if description.get("calibrated") else "not calibrated"
    changed = sum(answer.changed for answer in answers)
    return (
        f"<p>Pictures: <b>{len(answers)}</b>, each given one of <b>{way}</b> classes, which were learned from "
        f"<b>{labelled}</b> labelled pictures and from all of these together. K = {description['num_steps']} steps "
        f"changed <b>{changed}</b> answers of nearest prototypes; these are framed, and say what they were before. In "
        "every class the most certain come first. Probabilities "
        f"are {calibrated}.</p>"
    )


def _section(number: int, name: str, labelled: list[str], cards: list[tuple[float, str]]) -> str:
    figures = "\n".join(card for _, card in sorted(cards, key=lambda entry: entry[0]))
    count = f"{len(cards)} picture{'s' * (len(cards) > 1)}" if cards else "no picture"
    support = f"labelled: {''.join(labelled)}" if labelled else ""
    return (
        f'<section id="class{number}" aria-labelledby="name{number}">\n<div class="head">'
        f'<h2 id="name{number}" dir="auto">{escape(name)}</h2><p>{count}</p>'
        f'<div class="labelled">{support}</div></div>\n<div class="grid">\n{figures}\n</div>\n'
        "</section>"
    )


def _card(answer: Answer, file: Path) -> str:
    was = (
        f'<div class="was">was <span dir="auto">{escape(answer.prototype_class)}</span>, '
        f"{_percent(answer.prototype_probability)}</div>"
        if answer.changed
        else ""
    )
    return (
        f"<figure{' class=changed' if answer.changed else ''}>{_picture(file, answer.file)}<figcaption>"
        f'<div class="name" dir="auto">{escape(answer.file)}</div>'
        f'<div class="sure"><b>{_percent(answer.probability)}</b>'
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * answer.probability:.1f}%"></i></span></div>{was}'
        f'<div class="second">then <span dir="auto">{escape(answer.second_class)}</span>, '
        f"{_percent(answer.second_probability)}</div></figcaption></figure>"
    )


def _skipped(reasons: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(reason)}</li>" for reason in reasons)
    return f"<footer><section><h2>Skipped</h2><ul>{items}</ul></section></footer>" if items else ""


def _picture(file: Path, name: str) -> str:
    """The middle square, which is what the model sees."""
    buffer = io.BytesIO()
    Image.fromarray(read_picture(file, _THUMBNAIL)).save(buffer, "JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(name)}" title="{escape(name)}">'


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f}&nbsp;%"

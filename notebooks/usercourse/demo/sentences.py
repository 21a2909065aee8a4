"""The sentences of the page, partly as HTML of escaped text: queries, relevant images, warnings, errors."""

import html
from collections.abc import Mapping, Sequence

from usercourse.demo.engine import Answer, Right
from usercourse.demo.failures import EXPLAINED, cause_name

SHOWN = 60  # words of a query that are repeated


def paragraph(inner: str, *, alert: bool = False) -> str:
    """A block of the page; `alert` marks a problem. `inner` is HTML."""
    edge = "#D55E00" if alert else "#0072B2"
    role = "alert" if alert else "status"
    return (
        f'<div role="{role}" style="border-left:4px solid {edge};padding:.15em .8em;margin:.3em 0;'
        f'max-width:54em;line-height:1.5;overflow-wrap:anywhere">{inner}</div>'
    )


def title(text: str) -> str:
    """A small heading."""
    return f'<h3 style="margin:.5em 0 .1em;font-size:15px">{html.escape(text)}</h3>'


def read_as(answer: Answer, *, alone: bool = True) -> str:
    """The query, as HTML, with the words struck through that the model does not know. alone: the query has no image."""
    shown = answer.pieces[:SHOWN]
    words = " ".join(
        html.escape(piece) if known else f"<s>{html.escape(piece)}</s>" for piece, known in shown
    )
    more = " …" if len(answer.pieces) > len(shown) else ""
    if answer.nothing_known and alone:
        return (
            f"The model knows none of these words, so the order of the images is meaningless: {words}{more}"
        )
    if not all(known for _, known in answer.pieces):
        return f"Query: {words}{more} (struck through: words that the model does not know)"
    return f"Query: {words}{more}"


def arithmetic(terms: Sequence[tuple[int, str]]) -> str:
    """A sentence on the texts that were added and subtracted."""
    added = ", ".join(f"“{text}”" for sign, text in terms if sign > 0)
    taken = ", ".join(f"“{text}”" for sign, text in terms if sign < 0)
    return f"Vectors added: {added}." + (f" Subtracted: {taken}." if taken else "")


def right_answers(right: Sequence[Right], total: int) -> str:
    """A sentence on rank and score of a caption's relevant images, or that these are unknown."""
    if not right:
        return (
            "This query is not a caption of these images, so it is unknown which of them are relevant. Search "
            "with a caption (choose an image, then one of its captions) to see the ranks of the relevant images."
        )
    own = next(one for one in right if one.own)
    said = f"Its ground-truth image has rank {own.rank:,} of {total:,} (score {own.score:.2f})."
    others = [one for one in right if not one.own]
    if others:
        ranks = ", ".join(f"{one.rank:,}" for one in others[:8])
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        said += f" The caption is true of {len(others)} other{'s' if len(others) > 1 else ''}: rank {ranks}{more}."
    return said


def causes(counts: Mapping[str, int], captions: int) -> str:
    """The number of failures by cause, as an HTML table."""
    failed = sum(counts.values())
    rows = "".join(
        f'<tr><td style="text-align:right;padding-right:1em;white-space:nowrap">{count:,}</td>'
        f'<td style="text-align:left"><b>{html.escape(cause_name(cause))}</b>: '
        f"{html.escape(EXPLAINED[cause])}</td></tr>"
        for cause, count in sorted(counts.items(), key=lambda item: -item[1])
    )
    return (
        f"Of {captions:,} captions, {failed:,} do not rank their ground-truth image first. The likely causes, read off "
        f'the scene graph of the first hit:<table style="line-height:1.35">{rows}</table>'
    )

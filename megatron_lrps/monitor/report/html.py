"""Parts of an HTML page that needs nothing but itself: no script, nothing fetched; for a phone, a keyboard, a reader.

What these functions are given as text is escaped; what they return is ``Markup``, which is not escaped again. The page
is well-formed XML as well, which is what its tests read.
"""

import html
import re
from collections.abc import Iterable, Sequence

FOLDED = 24
"""Rows of a table; one that has more is shown when it is asked for."""
LONGEST = 400
"""Characters of a text from a file: a traceback in a history would bury all else."""

STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f5f6f8;--ink:#1b1f24;--soft:#555c66;--line:#c9ced6;--link:#00569c;
--333333:#333;--ffffff:#fff;--dddddd:#ddd;--0072b2:#0072b2;--d55e00:#d55e00;--8c8c8c:#8c8c8c;--009e73:#009e73;
--cc79a7:#cc79a7;--text-333333:#333;--text-0072b2:#005d91;--text-d55e00:#a84a00;--text-8c8c8c:#5f5f5f;
--text-009e73:#00704f;--text-cc79a7:#9c4478}
@media(prefers-color-scheme:dark){:root{--page:#14171b;--card:#1e2329;--ink:#e8eaed;--soft:#b3bac4;--line:#454c55;
--link:#8cc4ff;--333333:#d0d4d9;--ffffff:#14171b;--dddddd:#3a4048;--0072b2:#3fa7e3;--d55e00:#f08a3c;--8c8c8c:#9a9fa6;
--009e73:#2fc39a;--cc79a7:#dd8cbb;--text-333333:#d0d4d9;--text-0072b2:#6fbdec;--text-d55e00:#f5a468;
--text-8c8c8c:#b0b5bb;--text-009e73:#4fd6b0;--text-cc79a7:#eba9cf}}
@media(prefers-reduced-motion:no-preference){html{scroll-behavior:smooth}}
*{box-sizing:border-box}
body{font:1rem/1.5 system-ui,sans-serif;margin:0;color:var(--ink);background:var(--page);overflow-wrap:anywhere}
header,nav,main,footer{max-width:76rem;margin:0 auto;padding:.5rem 1rem}
h1{font-size:1.6rem;line-height:1.25;margin:1rem 0 .25rem}h2{font-size:1.25rem;margin:2rem 0 .5rem}
h3{font-size:1rem;margin:1.25rem 0 .25rem}p,ul{margin:.5rem 0}a{color:var(--link)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
.soft,figcaption,footer{color:var(--soft);font-size:.9rem}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--page);padding:.5rem}
header nav{padding:0}nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;padding:0}
nav a{display:inline-block;padding:.25rem 0}
.scroll{overflow-x:auto;width:fit-content;max-width:100%;margin:.75rem 0;border:1px solid var(--line);
border-radius:.375rem}figure .scroll{width:auto;background:var(--page)}
table{border-collapse:collapse;min-width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
caption{text-align:left;font-weight:600;padding:.5rem .75rem}
caption span{display:inline-block;position:sticky;left:.75rem;max-width:calc(100vw - 4rem)}
th,td{padding:.3rem .75rem;border-top:1px solid var(--line);text-align:right;white-space:nowrap;vertical-align:top}
thead th{background:var(--card)}tbody th{font-weight:600;position:sticky;left:0;background:var(--page)}
.text{text-align:left}
.long{text-align:left;white-space:normal;min-width:26rem}
details{margin:.75rem 0}summary{font-weight:600;padding:.5rem 0;cursor:pointer}
figure{margin:.75rem 0}svg{display:block;width:100%;min-width:54rem;height:auto}
svg *{stroke-linejoin:round;stroke-linecap:butt}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;padding:0;list-style:none}
.facts li{background:var(--card);border-radius:.375rem;padding:.5rem .75rem}
.facts strong{display:block;font-size:1.3rem}
.tree,.tree ul{list-style:none;padding-left:0}.tree li ul{padding-left:.75rem;margin-left:.4rem;
border-left:2px solid var(--line)}.tree li{margin:.4rem 0;min-width:13rem}
.box{padding:.25rem .75rem}
code{background:var(--card);border-radius:.25rem;padding:0 .25rem}
.state{border:1px solid var(--soft);border-radius:1rem;padding:0 .5rem;font-size:.85rem;
display:inline-block}
th span{white-space:nowrap}@media(max-width:30rem){tbody th:has(span){white-space:normal}}
@media print{nav,.skip{display:none}.scroll{overflow:visible}svg{min-width:0}
details::details-content{content-visibility:visible}}
"""

_COLOUR = re.compile(r"(?<=: )#([0-9a-f]{6})\b")
_COORDINATE = re.compile(r"(\d+\.\d)\d+")


class Markup(str):
    """HTML that is whole and safe."""

    __slots__ = ()


Part = str | int | None


def text(value: Part) -> Markup:
    """A value as HTML: escaped, without what XML or UTF-8 does not have, cut where it is very long."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("-")
    if isinstance(value, int):
        return Markup(f"{value:,}")
    shown = value if len(value) <= LONGEST else f"{value[:LONGEST]}…"
    # Not printable are controls, lone surrogates, and marks that turn the direction of all that follows.
    return Markup(html.escape("".join(_printable(each) for each in shown)))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"


def join(parts: Iterable[Part]) -> Markup:
    """Parts one after another."""
    return Markup("".join(map(text, parts)))


def prose(words: str) -> Markup:
    """A sentence whose commands stand between backticks, as a terminal shows them: here they are code."""
    parts = words.split("`")
    if len(parts) % 2 == 0:  # one has no other
        return text(words)
    return join(tag("code", part) if at % 2 else part for at, part in enumerate(parts))


def tag(name: str, *parts: Part, **attributes: str | None) -> Markup:
    """An element; attributes that are None are left out, ``_`` in their names is ``-``."""
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items() if value is not None
    )
    return Markup(f"<{name}{given}>{join(parts)}</{name}>")


def table(
    caption: str,
    headers: Sequence[str],
    rows: Sequence[Sequence[Part]],
    *,
    texts: int = 1,
    long: int | None = None,
) -> Markup:
    """A table that scrolls in a region of its own, which the keyboard reaches; folded where it has many rows.

    Without rows it is nothing.

    Args:
        caption: What it shows.
        headers: One a column.
        rows: Each begins with its header.
        texts: So many columns, from the left, are words; numbers are right-aligned.
        long: A column whose words wrap.
    """
    kinds = ["long" if at == long else "text" if at < texts else None for at in range(len(headers))]
    head = [tag("th", each, scope="col", class_=kind) for each, kind in zip(headers, kinds, strict=True)]
    body = []
    for row in rows:
        first, *others = zip(row, kinds, strict=True)
        cells = [tag("td", cell, class_=kind) for cell, kind in others]
        body.append(join([tag("tr", tag("th", first[0], scope="row", class_=first[1]), *cells), Markup("\n")]))
    inside = join(
        [
            tag("caption", tag("span", caption)),
            tag("thead", tag("tr", *head)),
            Markup("\n"),
            tag("tbody", *body),
        ]
    )
    if not rows:
        return Markup()
    whole = region(caption, tag("table", inside))
    if len(rows) <= FOLDED:
        return whole
    return join([tag("details", tag("summary", f"{caption}: {len(rows):,} rows"), whole), Markup("\n")])


def region(label: str, *parts: Part) -> Markup:
    """What may be wider than the page: it scrolls by itself, with a finger or with the arrow keys."""
    return join([tag("div", *parts, class_="scroll", role="region", aria_label=label, tabindex="0"), Markup("\n")])


def picture(svg: str, *, name: str, title: str, description: str, caption: str) -> Markup:
    """An SVG of matplotlib's within the page, in the page's own colours, light or dark.

    Args:
        svg: The file's content.
        name: What its ids begin with, of which a page has each once.
        title: Its name, for those who do not see it.
        description: What it shows, for the same.
        caption: What stands under it.
    """
    view = re.search(r'viewBox="([\d .]+)"', svg)
    inside = svg[svg.index("<g ") : svg.rindex("</svg>")]
    # Its style sheet would hold for the whole page, and so would its ids.
    inside = re.sub(r'\bid="', f'id="{name}-', inside)
    inside = re.sub(r'xlink:href="#', f'href="#{name}-', inside).replace("url(#", f"url(#{name}-")
    inside = re.sub(r"font-family: [^;\"]*", "font-family: system-ui, sans-serif", inside)
    inside = re.sub(r' d="([^"]*)"', lambda found: f' d="{_short(found[1])}"', inside)
    inside = re.sub(r'(<text )?style="([^"]*)"', _recoloured, inside)
    names = tag("title", title, id=f"{name}-title"), tag("desc", description, id=f"{name}-desc")
    whole = Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view[1] if view else "0 0 864 432"}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">{join(names)}{inside}</svg>'
    )
    return join([tag("figure", region(title, whole), tag("figcaption", caption)), Markup("\n")])


def _short(path: str) -> str:
    """A path's data without what is less than a tenth of a point."""
    return _COORDINATE.sub(r"\1", re.sub(r"\s+", " ", path.strip()))


def _recoloured(found: re.Match[str]) -> str:
    of_text = "text-" if found[1] else ""
    return f'{found[1] or ""}style="{_COLOUR.sub(rf"var(--{of_text}\1, #\1)", found[2])}"'


def page(title: str, *parts: Part, above: Part = "", below: Part = "") -> str:
    """A whole page of that title, which is its only ``h1``.

    Args:
        title: Its name.
        parts: Of its main part.
        above: Before the main part, under the title.
        below: Its footer.
    """
    footer = tag("footer", below) if below else Markup()
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8" />\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1" />\n<title>{text(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<a class="skip" href="#main">Skip to the content</a>\n'
        f"<header>\n<h1>{text(title)}</h1>\n{text(above)}</header>\n"
        f'<main id="main">\n{join(parts)}</main>\n{footer}\n</body>\n</html>\n'
    )


def section(name: str, heading: str, *parts: Part) -> Markup:
    """A part of the page under a heading, which links and readers find by its name."""
    head = tag("h2", heading, id=f"{name}-heading")
    inside = tag("section", head, *parts, id=name, aria_labelledby=f"{name}-heading")
    return join([inside, Markup("\n")])


def listing(lines: Iterable[Part]) -> Markup:
    """A list; nothing where it has no lines."""
    items = [tag("li", each) for each in lines]
    return tag("ul", *items) if items else Markup()

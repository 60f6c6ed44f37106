"""A picture of the rows that have a floor: CPU of each delivery, ours and others', as an SVG without any library."""

from xml.sax.saxutils import escape

from bench.driver_promises import Traffic
from bench.driver_report import Outcome

WIDTH, LEFT, RIGHT, BAR, GAP, HEAD, FOOT = 860, 300, 120, 16, 22, 64, 40
COLOURS = {"floor": "#8a939c", "ours": "#2563a8", "ws": "#c98a2b"}
NAMES = {"floor": "a raw epoll loop", "ours": "Polyglot", "ws": "npm's ws"}
TITLE = "CPU of the server for each delivery (echo: each round trip)"
FONT = 'font-family="system-ui, sans-serif" font-size="13"'


def picture(outcomes: list[Outcome], caption: str) -> str:
    """Bars of CPU as multiples of the floor's; those beyond the width are cut, and say so."""
    rows = [one for one in outcomes if isinstance(one.row, Traffic) and one.median("floor", "cpu_us")]
    times_max = max(2.0, *(_times(one, "ours") or 0 for one in rows), 0.0) * 1.15 if rows else 2.0
    scale = (WIDTH - LEFT - RIGHT) / times_max
    parts: list[str] = []
    y = HEAD
    for outcome in rows:
        top = y
        for whose in ("floor", "ours", "ws"):
            times = _times(outcome, whose)
            if times is None:
                continue
            cut = times > times_max
            width = min(times, times_max) * scale
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{COLOURS[whose]}"/>')
            micros = outcome.median(whose, "cpu_us") or 0.0
            said = f"{micros:.2f} µs" + (f" ({times:.1f} ×{', cut' if cut else ''})" if whose != "floor" else "")
            parts.append(f'<text x="{LEFT + width + 6:.1f}" y="{y + BAR - 3}" {FONT} fill="#444">{said}</text>')
            y += BAR + 2
        middle = (top + y) / 2 + 3
        title = escape(outcome.row.title)
        parts.append(f'<text x="{LEFT - 10}" y="{middle:.0f}" {FONT} text-anchor="end" fill="#222">{title}</text>')
        y += GAP
    height = y + FOOT
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" role="img">',
            f"<title>{TITLE}</title>",
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="16" y="26" {FONT} font-weight="600" fill="#222">{TITLE}</text>',
            *_legend(),
            *parts,
            f'<text x="16" y="{height - 14}" {FONT} fill="#666">{escape(caption)}</text>',
            "</svg>\n",
        ]
    )


def _times(outcome: Outcome, whose: str) -> float | None:
    floor, value = outcome.median("floor", "cpu_us"), outcome.median(whose, "cpu_us")
    return value / floor if floor and value else None


def _legend() -> list[str]:
    parts: list[str] = []
    x = 16
    for whose, name in NAMES.items():
        parts.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{COLOURS[whose]}"/>')
        parts.append(f'<text x="{x + 17}" y="49" {FONT} fill="#222">{name}</text>')
        x += 150
    return parts

"""Line plots as SVG, without libraries: panels side by side, each with its lines."""
import math

COLOURS = ["#0b6fa4", "#d1495b", "#2e8b57", "#8a5a9e", "#c77d0a", "#555555"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 320, 64, 16, 40, 48


def ticks(top):
    """About five round numbers from 0 to beyond `top`."""
    step = 10 ** math.floor(math.log10(top / 5))
    step *= min((m for m in (1, 2, 5, 10) if top / (m * step) <= 6), default=10)
    return [i * step for i in range(math.ceil(top / step) + 1)]


def escaped(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def panel(title, x_label, y_label, lines):
    """lines: {name: [(x, y), ...]}. Values of x stand at equal distances: they are few and grow by factors."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    marks = ticks(max(y for points in lines.values() for _, y in points))
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    at_x = lambda x: LEFT + width * (xs.index(x) + 0.5) / len(xs)
    at_y = lambda y: TOP + height * (1 - y / marks[-1])
    out = [f'<text x="{LEFT}" y="18" font-weight="bold">{escaped(title)}</text>']
    for y in marks:
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at_y(y):.1f}" y2="{at_y(y):.1f}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 6}" y="{at_y(y) + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in xs:
        out.append(f'<text x="{at_x(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{x}</text>')
    out.append(f'<text x="{LEFT + width / 2}" y="{HEIGHT - 12}" text-anchor="middle">{escaped(x_label)}</text>'
               f'<text transform="translate(14 {TOP + height / 2}) rotate(-90)" text-anchor="middle">{escaped(y_label)}</text>')
    for i, (name, points) in enumerate(lines.items()):
        colour = COLOURS[i // 2 % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if i % 2 else ""
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in sorted(points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        out += [f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        out.append(f'<line x1="{LEFT + 8}" x2="{LEFT + 32}" y1="{TOP + 8 + 15 * i}" y2="{TOP + 8 + 15 * i}" stroke="{colour}" '
                   f'stroke-width="2"{dash}/><text x="{LEFT + 38}" y="{TOP + 12 + 15 * i}">{escaped(name)}</text>')
    return "\n".join(out)


def write(path, panels):
    """panels: [(title, x label, y label, lines)]. Lines come in pairs of one colour, the second dashed."""
    body = "\n".join(f'<g transform="translate({i * WIDTH} 0)">\n{panel(*p)}\n</g>' for i, p in enumerate(panels))
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(panels)} {HEIGHT}" font-family="sans-serif" '
                    f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n')

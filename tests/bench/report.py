#!/usr/bin/python3
"""Write what compare.py and more.py measured as a page and pictures.

report.py TABLE.json MORE.json FLAMES.json PAGE.md PICTURES-DIR

Replaces what stands between the two "measured" marks of PAGE.md; other text
stays. Pictures are SVG, without scripts or fonts.
"""
import json
import statistics
import sys
from pathlib import Path

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
COLOURS = {"frondfs": "#2a7a4b", "gocryptfs": "#3567a8", "securefs": "#b07a1e",
           "floor": "#8a8a8a", "direct": "#c4c4c4"}


def text(x, y, what, anchor="start", size=12):
    what = what.replace("&", "&amp;").replace("<", "&lt;")
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" '
            f'text-anchor="{anchor}">{what}</text>')


def svg(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} '
            f'{height}" font-family="sans-serif">\n<rect width="{width}" '
            f'height="{height}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


def bars(table):
    """Speed as a multiple of gocryptfs's, or of the first peer's."""
    units, medians = table["units"], medians_of(table)
    peers = list(dict.fromkeys(s for d in medians.values() for s in d))
    base = "gocryptfs" if "gocryptfs" in peers else peers[-1]
    shown = [s for s in peers if s != "direct"]
    parts, y = [text(10, 20, f"Speed, {base} = 1; longer is better", size=14)], 40
    for workload, by in medians.items():
        if base not in by:
            continue
        parts.append(text(250, y + 7 * len(shown), workload, "end"))
        for s in shown:
            if s in by:
                ratio = by[base] / by[s] if units[workload] == "s" else by[s] / by[base]
                width = min(ratio, 8) * 60
                parts.append(f'<rect x="260" y="{y}" width="{width:.1f}" '
                             f'height="10" fill="{COLOURS[s]}"/>')
                parts.append(text(265 + width, y + 9, f"{ratio:.2f}", size=10))
            y += 12
        y += 10
    for n, s in enumerate(shown):
        parts.append(f'<rect x="{260 + 110 * n}" y="{y}" width="10" height="10" '
                     f'fill="{COLOURS[s]}"/>')
        parts.append(text(275 + 110 * n, y + 9, s))
    return svg(800, y + 25, parts)


def lines(title, x_name, series):
    """series: {name: [(label of x, y)]}, x at equal distances, y from 0."""
    top = max((y for rows in series.values() for _, y in rows), default=1) or 1
    labels = [x for x, _ in max(series.values(), key=len)]
    step = 560 / max(len(labels) - 1, 1)
    parts = [text(10, 20, title, size=14), text(360, 295, x_name, "middle")]
    for k in range(5):
        y = 260 - k * 55
        parts.append(f'<line x1="80" y1="{y}" x2="640" y2="{y}" stroke="#ddd"/>')
        parts.append(text(75, y + 4, f"{top * k / 4:.4g}", "end", 10))
    for k, label in enumerate(labels):
        parts.append(text(80 + k * step, 277, label, "middle", 10))
    for n, (name, rows) in enumerate(series.items()):
        points = " ".join(f"{80 + labels.index(x) * step:.1f},{260 - y / top * 220:.1f}"
                          for x, y in rows)
        parts.append(f'<polyline points="{points}" fill="none" stroke-width="2" '
                     f'stroke="{COLOURS[name]}"/>')
        parts.append(f'<rect x="655" y="{40 + 20 * n}" width="10" height="10" '
                     f'fill="{COLOURS[name]}"/>')
        parts.append(text(670, 49 + 20 * n, name))
    return svg(760, 305, parts)


def medians_of(table):
    return {w: {s: statistics.median(v) for s, v in table["results"][w].items()}
            for w in table["units"] if w in table["results"]}


def number(x):
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}"


def row(*cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def table_of(table):
    medians, units = medians_of(table), table["units"]
    systems = list(dict.fromkeys(s for d in medians.values() for s in d))
    out = [row("workload", "unit", *systems,
               *(f"to {s}" for s in systems if s not in ("frondfs", "direct"))),
           "|" + "---|" * (2 + len(systems) + len([s for s in systems if s not in
                                                  ("frondfs", "direct")]))]
    for w, by in medians.items():
        ratios = []
        for s in systems:
            if s in ("frondfs", "direct"):
                continue
            good = s in by and "frondfs" in by
            ratios.append(f"{by['frondfs'] / by[s]:.2f} x" if good else "")
        out.append(row(w, units[w], *(number(by[s]) if s in by else "" for s in systems),
                       *ratios))
    return out


def requests_of(table):
    out = ["", "Requests that a frondfs mount answered in the last round:", "",
           row("workload", "requests"), "|---|---|"]
    for w, kinds in table["requests"].items():
        told = sorted(kinds.items(), key=lambda kn: -kn[1])
        out.append(row(w, ", ".join(f"{k} {n}" for k, n in told)))
    return out


def label(n):
    for size, letter in ((1000000, "M"), (1000, "k")):
        if n >= size:
            return f"{n // size}{letter}"
    return str(n)


def more_of(more, pictures):
    results, out = more["results"], []
    plots = [("scale", "files", "create_us", "us to create a file"),
             ("scale", "files", "list_us", "us to list a file, cold"),
             ("scale", "files", "remove_us", "us to remove a file"),
             ("scale", "files", "memory_kib", "KiB of the daemon's memory"),
             ("size", "mib", "write_mb_s", "MB/s written at the end"),
             ("size", "mib", "read_mb_s", "MB/s read there, cold"),
             ("start", "files", "ms", "ms of a mount command")]
    for part, x, y, title in plots:
        series = {s: [(label(r[x]), r[y]) for r in rows]
                  for s, rows in results.get(part, {}).items() if s in COLOURS}
        if series:
            name = f"bench-{part}-{y.split('_')[0]}.svg"
            unit = "files in the directory" if x == "files" else "MiB of the file"
            (pictures / name).write_text(lines(title, unit, series))
            out += ["", f"![{title}](pictures/{name})"]
    if "far" in results:
        out += ["", "Over a backing directory with 20 ms for each operation:", "",
                row("", "write MB/s", "read MB/s"), "|---|---|---|"]
        out += [row(s, number(r['write_mb_s']), number(r['read_mb_s']))
                for s, r in results["far"].items() if r]
    if "programs" in results:
        systems = list(results["programs"])
        out += ["", row("program", *systems), "|---|" + "---|" * len(systems)]
        for w in next(iter(results["programs"].values())):
            out.append(row(w, *(number(results["programs"][s][w]) for s in systems)))
    return out


def flames_of(flames):
    """Where the daemon's time goes; the file is missing where perf is."""
    out = ["", "Where the daemon's time goes, its system calls included (a click on a "
           "picture shows each box's name):", "",
           row("workload", "busy, cores", "most of it in"), "|---|---|---|"]
    for w, f in flames.items():
        top = ", ".join(f"`{name}` {share} %" for name, share in f["top"][:6])
        out.append(row(f"[{w}](pictures/{f['picture']})", f"{f['busy']:.2f}", top))
    return out if flames else []


def machine_of(m):
    versions = ", ".join(f"{k} ({v})" for k, v in m["versions"].items() if v)
    where = " under a hypervisor" if m["hypervisor"] else ""
    return [f"{m['date']}: {m['cores']} x {m['cpu']}{where}, {m['memory_gib']} GiB, "
            f"{m['system']}, Linux {m['kernel']}; {versions}; backing directories "
            "on tmpfs."]


def main():
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    table, more = (json.loads(Path(p).read_text()) for p in sys.argv[1:3])
    flames = Path(sys.argv[3])
    flames = json.loads(flames.read_text()) if flames.exists() else {}
    page, pictures = Path(sys.argv[4]), Path(sys.argv[5])
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / "bench-table.svg").write_text(bars(table))
    body = machine_of(table["machine"])
    body += ["", f"Medians of {table['rounds']} interleaved rounds, "
             f"{table['mib']} MiB, {table['files']} small files. Of rates, more than "
             "1 x is better; of times, less.", "", *table_of(table), "",
             "![speed beside peers](pictures/bench-table.svg)", *requests_of(table),
             *more_of(more, pictures), *flames_of(flames)]
    old = page.read_text() if page.exists() else f"{BEGIN}\n{END}\n"
    head, _, rest = old.partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(head + "\n".join([BEGIN, *body, END]) + tail)


if __name__ == "__main__":
    main()

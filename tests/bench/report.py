#!/usr/bin/python3
"""Write what compare.py and more.py measured as a page and pictures.

report.py TABLE.json BEFORE.json MORE.json FLAMES.json PAGE.md PICTURES-DIR

BEFORE.json is compare.py's of a mount that may keep nothing (run.sh).
Replaces what stands between the two "measured" marks of PAGE.md; other text
stays. Pictures are SVG, without scripts or fonts.
"""
import json
import math
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


def round_top(top):
    """A number that is easily quartered, not less than top."""
    unit = 10 ** math.floor(math.log10(top))
    return next(unit * k for k in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)
                if unit * k >= top)


def lines(title, x_name, series):
    """series: {name: [(label of x, y)]}, x at equal distances, y from 0. What
    follows a comma in a name tells the stroke, what stands before it the colour."""
    top = round_top(max((y for rows in series.values() for _, y in rows)))
    labels = [x for x, _ in max(series.values(), key=len)]
    step = 560 / max(len(labels) - 1, 1)
    parts = [text(10, 20, title, size=14), text(360, 295, x_name, "middle")]
    for k in range(5):
        y = 260 - k * 55
        parts.append(f'<line x1="80" y1="{y}" x2="640" y2="{y}" stroke="#ddd"/>')
        parts.append(text(75, y + 4, f"{top * k / 4:.4g}", "end", 10))
    for k, x in enumerate(labels):
        parts.append(text(80 + k * step, 277, x, "middle", 10))
    for n, (name, rows) in enumerate(series.items()):
        system, _, variant = name.partition(",")
        stroke = (f'stroke="{COLOURS[system]}" stroke-width="2"'
                  + (' stroke-dasharray="6 3"' if variant else ""))
        points = " ".join(f"{80 + labels.index(x) * step:.1f},{260 - y / top * 220:.1f}"
                          for x, y in rows)
        parts.append(f'<polyline points="{points}" fill="none" {stroke}/>')
        parts.append(f'<line x1="655" y1="{45 + 20 * n}" x2="675" y2="{45 + 20 * n}" '
                     f'{stroke}/>')
        parts.append(text(680, 49 + 20 * n, name))
    return svg(800, 305, parts)


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


def requests_of(table, before):
    """Sums in three columns, and the kinds of the last."""
    asked = before.get("requests", {})
    out = ["", "Requests that a frondfs mount answered in one round, beside one with "
           "`-o shared,writeback=off`, where the kernel may keep neither names nor "
           "attributes and pages only while a file is open:", "",
           row("workload", "may keep nothing", "default", "times", "of these"),
           "|---|---|---|---|---|"]
    for w, kinds in table["requests"].items():
        now, then = sum(kinds.values()), sum(asked.get(w, {}).values())
        told = sorted(kinds.items(), key=lambda kn: -kn[1])
        few = [f"{k} {n}" for k, n in told if n * 200 >= now]
        out.append(row(w, then or "", now, f"{then / now:.2f}" if then else "",
                       ", ".join(few)))
    return out


def label(n):
    for size, letter in ((1000000, "M"), (1000, "k")):
        if n >= size:
            return f"{n // size}{letter}"
    return str(n)


def size_label(mib):
    return f"{mib >> 10} GiB" if mib >= 1024 else f"{mib} MiB"


def picture(pictures, name, title, x_name, series):
    (pictures / name).write_text(lines(title, x_name, series))
    return ["", f"![{title}](pictures/{name})"]


def cost_rows(words, shape, system, rows, counts, keys):
    """Elapsed and processor time, each with how much the dearest is dearer."""
    out = []
    for which, key in keys:
        by = {r["files"]: r[key] for r in rows if key in r}
        if by:
            ratio = max(by.values()) / min(by.values())
            out.append(row(words, shape, system, which,
                           *(number(by[n]) if n in by else "" for n in counts),
                           f"{ratio:.2f}"))
    return out


def scale_of(results, pictures):
    """What a file costs, in one directory (whole lines) and in a tree (dashed)."""
    out, what = [], {"create_us": "create", "stat_us": "stat, cold",
                     "list_us": "list with stat, cold", "remove_us": "remove, cold"}
    counts = sorted({r["files"] for rows in results.values() for r in rows} - {0})
    out += ["", "Microseconds per file, by how many files there are; in a tree, of 100 "
            "files a directory, directories included. Elapsed, and of the processors "
            "(the daemon's and the program's), which depends less on what else runs:", "",
            row("", "", "", "", *map(label, counts), "dearest to cheapest"),
            "|---|---|---|---|" + "---|" * (len(counts) + 1)]
    for key, words in what.items():
        for shape in ("directory", "tree"):
            for system, rows in results.items():
                out += cost_rows(words, shape, system,
                                 [r for r in rows if r["shape"] == shape], counts,
                                 (("elapsed", key),
                                  ("processors", key.replace("_us", "_cpu_us"))))
    titles = {**{k: f"us to {w}" for k, w in what.items()},
              "memory_kib": "MiB of the daemon's memory",
              "mount_ms": "ms of a mount command, key derivation included"}
    for key, title in titles.items():
        scaled = 1 / 1024 if key == "memory_kib" else 1
        series = {}
        for system, rows in results.items():
            for shape in ("directory", "tree"):
                points = [(label(r["files"]), r[key] * scaled) for r in rows
                          if r["shape"] in (shape, "empty") and key in r]
                if len(points) > 1 and (key in what or system != "direct"):
                    series[system + (", tree" if shape == "tree" else "")] = points
        out += picture(pictures, f"bench-scale-{key.split('_')[0]}.svg",
                       title + " (dashed: in a tree)", "files", series)
    return out


def size_of(results, pictures):
    out = ["", "Medians of three, at the end of sparse files (small ones: as many as "
           "make the same amount), MB/s written with fsync, and read cold:", "",
           row("file of", *(f"{s}, {how}" for s in results
                            for how in ("written", "read"))),
           "|---|" + "---|" * (2 * len(results))]
    for n, first in enumerate(next(iter(results.values()))):
        cells = [(rows[n]["write_mb_s"], rows[n]["read_mb_s"])
                 for rows in results.values()]
        out.append(row(size_label(first["mib"]),
                       *(number(x) for pair in cells for x in pair)))
    for key, title in (("write_mb_s", "MB/s written"), ("read_mb_s", "MB/s read, cold"),
                       ("memory_kib", "MiB of the daemon's memory")):
        scaled = 1 / 1024 if key == "memory_kib" else 1
        series = {s: [(size_label(r["mib"]), r[key] * scaled) for r in rows]
                  for s, rows in results.items() if s != "direct"}
        out += picture(pictures, f"bench-size-{key.split('_')[0]}.svg", title,
                       "size of the file", series)
    return out


def programs_of(results, rounds):
    systems = list(results)
    how = f"medians of {rounds} runs" if rounds > 1 else "one run of each"
    out = ["", f"Programs, seconds, cold but for the transactions, {how}:", "",
           row("", *systems), "|---|" + "---|" * len(systems)]
    for w in next(iter(results.values())):
        out.append(row(w, *(number(results[s][w]) if w in results[s] else ""
                            for s in systems)))
    return out


def more_of(more, pictures):
    results, out = more.get("results", {}), []
    if "scale" in results:
        out += scale_of(results["scale"], pictures)
    if "size" in results:
        out += size_of(results["size"], pictures)
    if "far" in results:
        out += ["", "Over a backing directory with 20 ms for each operation:", "",
                row("", "write MB/s", "read MB/s"), "|---|---|---|"]
        out += [row(s, number(r['write_mb_s']), number(r['read_mb_s']))
                for s, r in results["far"].items() if r]
    if "programs" in results:
        out += programs_of(results["programs"], more["rounds"])
    return out


def flames_of(flames):
    """Where the daemon's time goes; the file is missing where perf is."""
    out = ["", "Where the daemon's processor time goes, its system calls included, in flame graphs "
           "(opened by itself, each shows a box's name and share under the pointer):", "",
           row("workload", "seconds", "most of it in"), "|---|---|---|"]
    for w, f in flames.items():
        top = ", ".join(f"`{name}` {share} %" for name, share in f["top"][:6])
        out.append(row(f"[{w}](pictures/{f['picture']})", f"{f['seconds']:.2f}", top))
    return out if flames else []


def machine_of(m):
    versions = ", ".join(f"{k} ({v})" for k, v in m["versions"].items() if v)
    where = " under a hypervisor" if m["hypervisor"] else ""
    return [f"{m['date']}: {m['cores']} x {m['cpu']}{where}, {m['memory_gib']} GiB, "
            f"{m['system']}, Linux {m['kernel']}; {versions}; backing directories "
            "on tmpfs."]


def read_if_there(path):
    path = Path(path)
    return json.loads(path.read_text()) if path.exists() else {}


def main():
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    table = json.loads(Path(sys.argv[1]).read_text())
    before, more, flames = map(read_if_there, sys.argv[2:5])
    page, pictures = Path(sys.argv[5]), Path(sys.argv[6])
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / "bench-table.svg").write_text(bars(table))
    body = machine_of(table["machine"])
    body += ["", f"Medians of {table['rounds']} interleaved rounds, "
             f"{table['mib']} MiB, {table['files']} small files. Of rates, more than "
             "1 x is better; of times, less.", "", *table_of(table), "",
             "![speed beside peers](pictures/bench-table.svg)",
             *requests_of(table, before), *more_of(more, pictures), *flames_of(flames)]
    old = page.read_text() if page.exists() else f"{BEGIN}\n{END}\n"
    head, _, rest = old.partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(head + "\n".join([BEGIN, *body, END]) + tail)


if __name__ == "__main__":
    main()

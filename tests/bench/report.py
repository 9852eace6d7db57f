#!/usr/bin/python3
"""Write what the other scripts measured as a page and pictures.

report.py RESULTS-DIR PAGE.md PICTURES-DIR

RESULTS-DIR has table.json, and what there is of: unsaved.json, before.json and
requests.json, of what is asked without all that saves requests, of a mount that
may keep nothing, and of the peers; one.json, made on one processor (all
compare.py's, see run.sh); more.json, scale.json, size.json,
several.json, far.json and programs.json (more.py's, all parts in one or each by itself);
flames.json (flame.py's); journal.json and journal-ext4.json (journal_cost.py's).
Replaces what stands between the marks of PAGE.md, "goals", "measured" and
"journal"; other text stays. Pictures are SVG, without scripts or fonts.
"""
import json
import math
import statistics
import sys
from pathlib import Path

from journal_cost import WORKLOADS as JOURNAL_WORKLOADS, ratios as journal_ratios

COLOURS = {"frondfs": "#2a7a4b", "gocryptfs": "#3567a8", "securefs": "#b07a1e",
           "floor": "#8a8a8a", "plain": "#8a4fa0", "direct": "#c4c4c4"}
PEERS = ("gocryptfs", "securefs", "floor")
# of rates the least multiple of the peer's, of times the most
GOALS = {
    "sequential write": (1.5, 1.6, 1.0),
    "sequential read, cold, ordinary user": (1.45, 2, 1.8),
    "sequential read, cold, root": (2, None, None),
    "random read 4k, 4 jobs, cold": (1.25, 1.2, 0.95),
    "random write 4k, fsync every 64": (5, 2.5, 4),
    "create small files": (0.80, 1.05, 0.95),
    "untar": (0.65, 0.95, 0.80),
    "md5 of the tree, cold": (0.85, 0.80, 0.80),
    "ls -lR cold": (1.0, None, 1.0),
    "ls -lR warm": (0.35, None, 0.35),
    "rm -r": (0.95, 0.95, 1.0),
}
FLAT = 1.2              # growth that counts as none
PHASES = {"create": "create", "stat": "stat, cold", "list": "list with stat, cold",
          "remove": "remove, cold"}
TICKED = 100000         # files from which on 10 ms, the clock's tick, are little
MEASURES = {"us": "elapsed", "cpu_us": "processors", "user_us": "own code"}


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


def lines(title, x_name, series, limit=None):
    """series: {name: [(label of x, y)]}, x at equal distances, y from 0. What
    follows a comma in a name tells the stroke, what stands before it the colour.
    limit is a line across."""
    top = round_top(max((y for rows in series.values() for _, y in rows)))
    labels = [x for x, _ in max(series.values(), key=len)]
    step = 560 / max(len(labels) - 1, 1)
    parts = [text(10, 20, title, size=14), text(360, 295, x_name, "middle")]
    for k in range(5):
        y = 260 - k * 55
        parts.append(f'<line x1="80" y1="{y}" x2="640" y2="{y}" stroke="#ddd"/>')
        parts.append(text(75, y + 4, f"{top * k / 4:.4g}", "end", 10))
    if limit:
        y = 260 - limit / top * 220
        parts.append(f'<line x1="80" y1="{y:.1f}" x2="640" y2="{y:.1f}" '
                     'stroke="#c33" stroke-dasharray="2 4"/>')
        parts.append(text(645, y + 4, f"{limit:g}", size=10))
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


def goal(values, unit, other, wanted):
    """How frondfs compares, bold where the goal in brackets is reached; behind it
    the least and the most of any round."""
    ratio = statistics.median(values) / statistics.median(other)
    reached = ratio <= wanted if unit == "s" else ratio >= wanted
    each = [a / b for a, b in zip(values, other)]
    told = f"**{ratio:.2f}**" if reached else f"{ratio:.2f}"
    return f"{told} ({wanted:g}) {min(each):.2f} to {max(each):.2f}"


def goals_of(table):
    out = ["Rates at least, times at most so many times the other's: the ratio of the "
           f"medians of {table['rounds']} rounds, in bold where the goal in brackets is "
           "reached, and the least and the largest ratio of any one round.", "",
           row("workload", *(f"to {p}" for p in PEERS)), "|---|---|---|---|"]
    reached = wanted = 0
    for w, limits in GOALS.items():
        by = table["results"].get(w, {})
        cells = [goal(by["frondfs"], table["units"][w], by[p], limit)
                 if limit and p in by else "" for p, limit in zip(PEERS, limits)]
        wanted += sum(map(bool, cells))
        reached += sum("**" in c for c in cells)
        out.append(row(w, *cells))
    return [*out, "", f"{reached} of {wanted} are reached."]


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


NO_REQUESTS = ("forget", "batch_forget", "calls")     # or none that is answered


def asked(kinds):
    return sum(n for k, n in kinds.items() if k not in NO_REQUESTS)


def requests_of(table, told):
    """Sums in columns, and the kinds of the default mount's."""
    counted = told.get("requests", {}).get("asked", {})
    columns = {f"frondfs, {words}": told[name]["requests"] for name, words in
               (("unsaved", "nothing saved"), ("before", "nothing kept"))
               if name in told}
    columns.update({p: {w: by.get(p, {}) for w, by in counted.items()}
                    for p in PEERS if any(p in by for by in counted.values())})
    out = ["", "Requests that a frondfs mount answers in one round; the same mount with "
           "all that saves requests taken out (`compare.py --unsaved`); one that may keep "
           "nothing (`-o shared,writeback=off`: neither names nor attributes, and pages "
           "only while a file is open); and the others, as the kernel counts them "
           "(`compare.py --requests`). What the kernel forgets is left out.", "",
           row("workload", "frondfs", *columns, "frondfs's are"),
           "|---|---|---|" + "---|" * len(columns)]
    for w, kinds in table["requests"].items():
        now = asked(kinds)
        few = [f"{k} {n}" for k, n in sorted(kinds.items(), key=lambda kn: -kn[1])
               if n * 200 >= now and k not in NO_REQUESTS]
        out.append(row(w, now, *(asked(by.get(w, {})) or "" for by in columns.values()),
                       ", ".join(few)))
    return out + calls_of(counted)


def calls_of(counted):
    """What a daemon made of each request."""
    systems = [s for s in COLOURS if any("calls" in by.get(s, {})
                                         for by in counted.values())]
    if not systems:
        return []
    out = ["", "System calls of the daemon but for poll(2), and how many to a request:",
           "",
           row("workload", *systems), "|---|" + "---|" * len(systems)]
    for w, by in counted.items():
        cells = [(by[s]["calls"], asked(by[s])) if s in by else (0, 0) for s in systems]
        out.append(row(w, *(f"{calls}, {calls / n:.1f}" if n else ""
                            for calls, n in cells)))
    return out


def spent_of(table):
    """Who used the processors, and how much of them."""
    spent, cores = table.get("spent", {}), table["machine"]["cores"]
    systems = [s for s in ("frondfs", *PEERS) if any(s in by for by in spent.values())]
    if not systems:
        return []
    out = ["", "Processor seconds, medians: of the daemon's own code + of the kernel for "
           "it + of the programs, their kernel's included; and how busy that kept all "
           f"{cores} processors:", "", row("workload", *systems),
           "|---|" + "---|" * len(systems)]
    for w in table["units"]:
        cells = []
        for s in systems:
            rounds = spent.get(w, {}).get(s, [])
            if rounds:
                took, *parts = (statistics.median(column) for column in zip(*rounds))
                cells.append(" + ".join(f"{p:.2f}" for p in parts)
                             + f", {100 * sum(parts) / took / cores:.0f} %")
            else:
                cells.append("")
        if any(cells):
            out.append(row(w, *cells))
    return out


def one_of(table, one):
    """What becomes of it without a second processor, that has to be woken."""
    if not one:
        return []
    now, then = medians_of(table), medians_of(one)
    systems = list(next(iter(then.values())))
    out = ["", f"All of it bound to one processor (`taskset -c 0`, {one['rounds']} "
           "rounds), as a multiple of its speed on all:", "",
           row("workload", *systems), "|---|" + "---|" * len(systems)]
    for w, by in then.items():
        faster = [now[w][s] / by[s] if table["units"][w] == "s" else by[s] / now[w][s]
                  for s in systems]
        out.append(row(w, *(f"{f:.2f}" for f in faster)))
    return out


def label(n):
    for size, letter in ((1000000, "M"), (1000, "k")):
        if n >= size:
            return f"{n // size}{letter}"
    return str(n)


def size_label(mib):
    return f"{mib >> 10} GiB" if mib >= 1024 else f"{mib} MiB"


def picture(pictures, name, title, x_name, series, limit=None):
    (pictures / name).write_text(lines(title, x_name, series, limit))
    return ["", f"![{title}](pictures/{name})"]


def growth_cell(r, phase):
    """Microseconds, and how many times as much as with few files."""
    growths = [r.get(f"{phase}_{m}_growth") for m in MEASURES
               if m != "user_us" or r["files"] >= TICKED]
    return (f"{number(r[f'{phase}_us'])} us: "
            + ", ".join(f"{g:.2f}" for g in growths if g is not None))


def largest(rows, measure):
    """The largest growth, and of what."""
    found = [(r[f"{phase}_{measure}_growth"], phase, r["shape"]) for r in rows
             for phase in PHASES if f"{phase}_{measure}_growth" in r
             and (measure != "user_us" or r["files"] >= TICKED)]
    return "{:.2f} ({}, {})".format(*max(found)) if found else ""


def growth_summary(results, counts):
    out = ["", "The largest of these:", "",
           row("", "", *map(label, counts)), "|---|---|" + "---|" * len(counts)]
    for measure, words in MEASURES.items():
        for system, rows in results.items():
            cells = [largest([r for r in rows if r["files"] == n], measure)
                     for n in counts]
            if any(cells):
                out.append(row(words, system, *cells))
    return out


def growth_table(results, counts):
    out = ["", "What a file costs, in microseconds, by how many there are, in one "
           "directory and in a tree of 100 files a directory, directories included; and "
           "how many times as much as with 1000 files, measured just before and just "
           "after: elapsed, of the processors (the daemon's and the program's), and of "
           "the daemon's own code.", "",
           row("", "", "", *map(label, counts)), "|---|---|---|" + "---|" * len(counts)]
    for phase, words in PHASES.items():
        for shape in ("directory", "tree"):
            for system, rows in results.items():
                by = {r["files"]: growth_cell(r, phase) for r in rows
                      if r["shape"] == shape}
                if by:
                    out.append(row(words, shape, system,
                                   *(by.get(n, "") for n in counts)))
    return out + growth_summary(results, counts)


def beside_of(results, counts):
    """Memory and start, of all in a directory and a tree."""
    out = ["", "The daemon's memory, mounted and with so many files in one directory "
           "known to the kernel, MiB, and the bytes that each of the most takes; and the "
           "least and the longest time of a mount command with none to so many files, "
           "ms, the key derivation included:", "",
           row("", "mounted", *map(label, counts), "each", "mount command"),
           "|---|---|---|---|" + "---|" * len(counts)]
    for system, rows in results.items():
        by = {r["files"]: r for r in rows if r["shape"] == "directory"}
        if system == "direct" or not by:
            continue
        last = by[max(by)]
        times = [r["mount_ms"] for r in rows if "mount_ms" in r]
        out.append(row(system, number(last["idle_kib"] / 1024),
                       *(number(by[n]["memory_kib"] / 1024) if n in by else ""
                         for n in counts),
                       f"{(last['memory_kib'] - last['idle_kib']) * 1024 / max(by):.0f}",
                       f"{min(times):.0f} to {max(times):.0f}"))
    return out


def scale_of(results, pictures):
    """Tables, and plots: one directory (whole lines) and a tree (dashed)."""
    counts = sorted({r["files"] for rows in results.values() for r in rows} - {0})
    out = growth_table(results, counts) + beside_of(results, counts)
    keys = {**{f"{p}_us_growth": f"{words}: times the cost with 1000 files"
               for p, words in PHASES.items()},
            "memory_kib": "MiB of the daemon's memory",
            "mount_ms": "ms of a mount command, key derivation included"}
    for key, title in keys.items():
        scaled, grows = 1 / 1024 if key == "memory_kib" else 1, key.endswith("growth")
        series = {}
        for system, rows in results.items():
            for shape in ("directory", "tree"):
                points = [(label(r["files"]), r[key] * scaled) for r in rows
                          if r["shape"] in (shape, "empty") and key in r]
                if len(points) > 1 and (grows or system != "direct"):
                    series[system + (", tree" if shape == "tree" else "")] = points
        if series:
            out += picture(pictures, f"bench-scale-{key.split('_')[0]}.svg",
                           title + " (dashed: in a tree)", "files", series,
                           FLAT if grows else None)
    return out


def apart(rows, key):
    """Of large files, the least and the most, and how far apart they are."""
    values = [r[key] for r in rows if r["mib"] >= 16]
    return (f"{number(min(values))} to {number(max(values))} MB/s, "
            f"{100 * (max(values) / min(values) - 1):.0f} % apart")


def size_of(results, pictures):
    out = ["", "Medians, at the end of sparse files (small ones: as many as "
           "make the same amount), MB/s written with fsync, and read cold:", "",
           row("file of", *(f"{s}, {how}" for s in results
                            for how in ("written", "read"))),
           "|---|" + "---|" * (2 * len(results))]
    for n, first in enumerate(next(iter(results.values()))):
        cells = [(rows[n]["write_mb_s"], rows[n]["read_mb_s"])
                 for rows in results.values()]
        out.append(row(size_label(first["mib"]),
                       *(number(x) for pair in cells for x in pair)))
    out += ["", "Of 16 MiB to 64 GiB: " + "; ".join(
        f"{s} writes at {apart(rows, 'write_mb_s')}, and reads at "
        f"{apart(rows, 'read_mb_s')}" for s, rows in results.items()) + "."]
    for key, title in (("write_mb_s", "MB/s written"), ("read_mb_s", "MB/s read, cold"),
                       ("memory_kib", "MiB of the daemon's memory")):
        scaled = 1 / 1024 if key == "memory_kib" else 1
        series = {s: [(size_label(r["mib"]), r[key] * scaled) for r in rows]
                  for s, rows in results.items() if s != "direct"}
        out += picture(pictures, f"bench-size-{key.split('_')[0]}.svg", title,
                       "size of the file", series)
    return out


def several_of(results):
    out = ["", "One file of 512 MiB, written with fsync and read, cold, in parts by several "
           "processes, medians of three: MB/s, and how many processors were busy:", "",
           row("", *(f"{s}, {how}" for s in results for how in ("written", "read"))),
           "|---|" + "---|" * (2 * len(results))]
    for n, first in enumerate(next(iter(results.values()))):
        cells = [f"{number(rows[n][f'{how}_mb_s'])}, {rows[n][f'{how}_busy']:.2f}"
                 for rows in results.values() for how in ("write", "read")]
        out.append(row(f"{first['processes']} at once", *cells))
    return out


FAR_GOALS = {"write_mb_s": ("writes", 10), "read_mb_s": ("reads", 5)}


def far_of(results):
    out = ["", "Over a backing directory with 20 ms for each operation:", "",
           row("", "write MB/s", "read MB/s"), "|---|---|---|"]
    out += [row(s, number(r['write_mb_s']), number(r['read_mb_s']))
            for s, r in results.items() if r]
    if "frondfs" in results and "gocryptfs" in results:
        told = [f"{words} {results['frondfs'][k] / results['gocryptfs'][k]:.0f} times as "
                f"fast as gocryptfs ({wanted} were aimed at)"
                for k, (words, wanted) in FAR_GOALS.items()]
        out += ["", "frondfs " + ", and ".join(told) + "."]
    return out


def spread(values):
    """The median, and of many the least and the most."""
    values = values if isinstance(values, list) else [values]
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else \
        f"{middle} ({number(min(values))} to {number(max(values))})"


def programs_of(results):
    systems = [s for s in COLOURS if s in results]
    out = ["", "Programs, seconds, cold but for the transactions: medians, the least and "
           "the most:", "", row("", *systems), "|---|" + "---|" * len(systems)]
    for w in dict.fromkeys(w for by in results.values() for w in by):
        out.append(row(w, *(spread(results[s][w]) if w in results[s] else ""
                            for s in systems)))
    return out


def more_of(more, pictures):
    results, out = more.get("results", {}), []
    if "scale" in results:
        out += scale_of(results["scale"], pictures)
    if "size" in results:
        out += size_of(results["size"], pictures)
    if "several" in results:
        out += several_of(results["several"])
    if "far" in results:
        out += far_of(results["far"])
    if "programs" in results:
        out += programs_of(results["programs"])
    return out


def flames_of(flames):
    """Where the daemon's time goes; the file is missing where perf is."""
    if not flames:
        return []
    kinds = sorted({k for f in flames.values() for k in f["parts"]})
    out = ["", "Where the daemon's processor time goes, its system calls included, in "
           "percent, with flame graphs (opened by itself, each shows a box's name and "
           "share under the pointer):", "",
           row("workload", "seconds", *kinds, "most of all in"),
           "|---|---|---|" + "---|" * len(kinds)]
    for w, f in flames.items():
        top = ", ".join(f"`{name}` {share} %" for name, share in f["top"][:3])
        out.append(row(f"[{w}](pictures/{f['picture']})", f"{f['seconds']:.2f}",
                       *(f["parts"].get(k, 0) for k in kinds), top))
    return out


def machine_of(m):
    versions = ", ".join(f"{k} ({v})" for k, v in m["versions"].items() if v)
    where = " under a hypervisor" if m["hypervisor"] else ""
    return [f"{m['date']}: {m['cores']} x {m['cpu']}{where}, {m['memory_gib']} GiB, "
            f"{m['system']}, Linux {m['kernel']}; {versions}; backing directories "
            "on tmpfs."]


def journal_of(tmpfs, ext4):
    """Of two runs of journal_cost.py."""
    runs = {"tmpfs": tmpfs, "ext4, an image on a disk": ext4}
    runs = {words: told for words, told in runs.items() if told}
    if not runs:
        return []
    mib, files = (max(t[k] for t in runs.values()) for k in ("mib", "files"))
    rounds = " and ".join(f"{told['rounds']} on {words.partition(',')[0]}"
                          for words, told in runs.items())
    out = [f"Medians of {rounds}, {mib} MiB and {files} files; the ratio is that of the "
           "speeds, more than 1 means that the journal is faster, and in brackets are "
           "the least and the largest.", "",
           row("", *runs, "wanted"), "|---|---|" + "---|" * len(runs)]
    for w, (_, wanted) in JOURNAL_WORKLOADS.items():
        cells = []
        for told in runs.values():
            r = journal_ratios(w, told["results"][w])
            cells.append(f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})")
        out.append(row(w, *cells, f"{wanted:.2f}"))
    return out


def results_below(directory):
    """Every file by its name; the parts of more.py's as one."""
    told = {p.stem: json.loads(p.read_text()) for p in Path(directory).glob("*.json")}
    more = {"results": {}}
    for name in ("more", "scale", "size", "several", "far", "programs"):
        more["results"].update(told.get(name, {}).get("results", {}))
    return told, more


def replace(page, name, body):
    """What stands between two marks, unless there is nothing instead."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    old = page.read_text()
    if not body or begin not in old:
        return
    head, _, rest = old.partition(begin)
    page.write_text(head + "\n".join([begin, *body, end]) + rest.partition(end)[2])


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    told, more = results_below(sys.argv[1])
    page, pictures = Path(sys.argv[2]), Path(sys.argv[3])
    table = told["table"]
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / "bench-table.svg").write_text(bars(table))
    body = machine_of(table["machine"])
    body += ["", f"Medians of {table['rounds']} interleaved rounds, "
             f"{table['mib']} MiB, {table['files']} small files. Of rates, more than "
             "1 x is better; of times, less.", "", *table_of(table), "",
             "![speed beside peers](pictures/bench-table.svg)",
             *spent_of(table), *one_of(table, told.get("one")),
             *requests_of(table, told), *more_of(more, pictures),
             *flames_of(told.get("flames", {}))]
    replace(page, "goals", goals_of(table))
    replace(page, "measured", body)
    replace(page, "journal", journal_of(told.get("journal"), told.get("journal-ext4")))


if __name__ == "__main__":
    main()

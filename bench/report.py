"""What was measured, as Markdown tables and as a picture."""

import statistics

OURS, THEIRS = "pg-rejoin", "pg_rewind-15"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def megabytes(value: float) -> str:
    return f"{value / 1e6:,.1f} MB"


def number(value: float) -> str:
    return f"{value:,.0f}"


# (title, figure of a tool's entry, form)
FIGURES = [
    ("wall time", lambda t: t["median"]["seconds"], seconds),
    ("until it streams", lambda t: t["median"]["seconds_until_streaming"], seconds),
    ("of it start and replay", lambda t: t["median"]["replay_seconds"], seconds),
    ("CPU time", lambda t: t["median"]["cpu_seconds"], seconds),
    ("received from the source", lambda t: t["bytes_received"], megabytes),
    ("written", lambda t: t["median"]["bytes_written"], megabytes),
    ("calls that flush", lambda t: t["syncs"], number),
    ("peak memory", lambda t: t["median"]["max_rss_bytes"], megabytes),
]


def ratio(scenario: dict) -> float:
    ours, theirs = (scenario["tools"][name]["median"]["seconds"] for name in (OURS, THEIRS))
    return theirs / ours


def range_of(tool: dict) -> str:
    times = [run["seconds"] for run in tool["runs"]]
    return f"{min(times):.2f}-{max(times):.2f}"


def overview(results: dict) -> list:
    lines = ["| | scenario | pg-rejoin | pg_rewind 15 | ratio |", "|---|---|--:|--:|--:|"]
    for scenario in results["scenarios"]:
        ours, theirs = (scenario["tools"][name] for name in (OURS, THEIRS))
        lines.append(f"| {scenario['name']} | {scenario['title']} ({megabytes(scenario['target_bytes'])}, {number(scenario['files'])} files) "
                     f"| {seconds(ours['median']['seconds'])} ({range_of(ours)}) "
                     f"| {seconds(theirs['median']['seconds'])} ({range_of(theirs)}) | {ratio(scenario):.1f} |")
    ratios = [ratio(s) for s in results["scenarios"]]
    lines += ["", f"Geometric mean of the ratios: **{statistics.geometric_mean(ratios):.1f}**, the lowest {min(ratios):.1f}."]
    return lines


def details(scenario: dict) -> list:
    ours, theirs = (scenario["tools"][name] for name in (OURS, THEIRS))
    lines = ["", f"**{scenario['name']}: {scenario['title']}**", "", "| | pg-rejoin | pg_rewind 15 | ratio |", "|---|--:|--:|--:|"]
    for title, figure, form in FIGURES:
        a, b = figure(ours), figure(theirs)
        lines.append(f"| {title} | {form(a)} | {form(b)} | {f'{b / a:.1f}' if a else '-'} |")
    spent = ", ".join(f"{name} {value:.2f} s" for name, value in scenario["phases"].items() if value >= 0.005)
    if engine := scenario.get("engine"):
        share = engine["fetch_bytes_per_second"] / engine["bare_fetch_bytes_per_second"]
        lines += ["", f"By themselves: WAL is decoded at {engine['wal_bytes_per_second'] / 1e9:.2f} GB/s on one core; {engine['connections']}"
                  f" connections fetch {engine['fetch_bytes_per_second'] / 1e9:.2f} GB/s, {share:.0%} of what bare connections do"
                  f" ({engine['bare_fetch_bytes_per_second'] / 1e9:.2f} GB/s)."]
    return [*lines, "", f"Phases of ours, in one run: {spent}."]


def markdown(results: dict) -> str:
    machine = results["machine"]
    lines = [f"{machine['cpus']} cores, {machine['memory_bytes'] >> 30} GiB, {machine['system']}; {'; '.join(results['versions'])};"
             f" size {results['size']:g}, medians (ranges) of {results['runs']} runs each, alternating.", ""]
    lines += overview(results)
    for scenario in results["scenarios"]:
        lines += details(scenario)
    return "\n".join(lines) + "\n"


BAR, GAP, LEFT, RIGHT = 11, 12, 330, 120
WIDTH = 820


def picture(results: dict) -> str:
    """A pair of bars for each scenario, each pair on its own scale: what counts is how they compare."""
    rows = results["scenarios"]
    height = 30 + len(rows) * (2 * BAR + GAP) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
             'font-family="sans-serif" font-size="11">',
             f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
             f'<rect x="{LEFT}" y="8" width="10" height="10" fill="#2f6db5"/><text x="{LEFT + 14}" y="17">pg-rejoin</text>',
             f'<rect x="{LEFT + 90}" y="8" width="10" height="10" fill="#b9bec6"/>'
             f'<text x="{LEFT + 104}" y="17">pg_rewind 15 (seconds, medians of {results["runs"]})</text>']
    for index, scenario in enumerate(rows):
        top = 30 + index * (2 * BAR + GAP)
        times = [scenario["tools"][name]["median"]["seconds"] for name in (OURS, THEIRS)]
        parts.append(f'<text x="{LEFT - 8}" y="{top + BAR + 4}" text-anchor="end">{scenario["name"]}  {scenario["title"]}</text>')
        for row, (value, colour) in enumerate(zip(times, ("#2f6db5", "#b9bec6"))):
            width = (WIDTH - LEFT - RIGHT) * value / max(times)
            y = top + row * BAR
            label = f"{value:.2f}" + (f"   {ratio(scenario):.1f} times faster" if row == 0 else "")
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}"/>'
                         f'<text x="{LEFT + width + 5:.1f}" y="{y + BAR - 2}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"

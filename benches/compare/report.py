"""From the raw rounds and counts of one run to Markdown."""

import statistics

from rounds import interval, ratios

ENOUGH_ROUNDS, BUSY = 15, 0.98


def markdown(run):
    """The whole report."""
    parts = [about(run), "### Counts\n\n" + counts(run["counts"])] if run["counts"] else [about(run)]
    if run["comparisons"]:
        parts.append("### CPU time\n\n" + costs(run["comparisons"]))
    return "\n\n".join(parts) + "\n"


def about(run):
    lines = [f"Run of {run['date']}: {', '.join(run['versions'].values())}; {run['kernel']}, {run['cores']} cores ({run['cpu']})."]
    rounds = f"{run['rounds']} rounds of {run['seconds']} s. " if run["comparisons"] else ""
    lines.append(f"{rounds}Command: `{run['command']}`.")
    if run["comparisons"] and run["rounds"] < ENOUGH_ROUNDS:
        lines.append(f"**Fewer than {ENOUGH_ROUNDS} rounds: these times claim nothing.**")
    if run["comparisons"] and run["disturbed"]:
        lines.append(f"**A compiler ran beside it ({run['disturbed']} times seen): these times claim nothing.**")
    return "\n".join(lines)


def counts(rows):
    """Calls, instructions and bytes per proxy."""
    lines = ["| what | proxy | system calls | user instructions | code lines |", "|---|---|---|---|---|"]
    for what in dict.fromkeys(row["what"] for row in rows if "calls" in row):
        for row in (row for row in rows if row["what"] == what):
            lines.append(f"| {what} | {row['name']} | {row['calls']:.2f} | {row['instructions'] / 1000:.1f}k | {row['lines']} |")
    idle = [f"{row['name']} {row['bytes'] / 1024:.1f} KiB" for row in rows if "bytes" in row]
    return "\n".join(lines) + "\n\nMemory per idle keep-alive connection: " + ", ".join(idle) + "."


def costs(comparisons):
    """One line per scenario and peer."""
    lines = ["| scenario | peer | weir | peer's | ratio [95 %] | | weir rps | peer's rps |", "|---|---|---|---|---|---|---|---|"]
    for comparison in comparisons:
        for peer in (name for name in comparison["names"] if name != "weir"):
            lines.append(line(comparison, peer))
    return "\n".join(lines)


def line(comparison, peer):
    rounds, scenario = comparison["rounds"], comparison["scenario"]
    middle, low, high = interval(ratios(rounds, peer))
    if peer == "weir again":
        word = "fine" if low <= 1 <= high else "**biased**"
    else:
        word = "ahead" if low > 1 else "**behind**" if high < 1 else "level"
    ours, theirs = (f"{median(rounds, name, 'ns') / 1000:.1f} µs/{scenario['per']}" for name in ("weir", peer))
    rates = " | ".join(rate(rounds, name) for name in ("weir", peer))
    return f"| {scenario['title']} | {peer} | {ours} | {theirs} | {middle:.2f} [{low:.2f}, {high:.2f}] | {word} | {rates} |"


def rate(rounds, name):
    """Requests a second, in brackets when the proxy's core was not busy: then something else was the limit."""
    busy, value = median(rounds, name, "busy"), f"{median(rounds, name, 'rps'):,.0f}"
    return value if busy >= BUSY else f"({value}, {busy:.0%} busy)"


def median(rounds, name, what):
    return statistics.median(one[what] for members in rounds for one in members if one["name"] == name)

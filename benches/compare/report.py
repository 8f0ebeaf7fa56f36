"""From the raw rounds and counts of one run to Markdown."""

import statistics
import textwrap

from rounds import interval, ratios

ENOUGH_ROUNDS, BUSY = 15, 0.98
BUILDS = {
    "weir": "CPU time",
    "weir trained": "CPU time, trained build",
    "weir release": "CPU time, profile `release`",
}


def markdown(run, chart=""):
    """The whole report; `chart` is the link to the picture of this run."""
    parts = [about(run)]
    if run["counts"]:
        parts.append("### Counts\n\n" + counts([row for row in run["counts"] if "calls" in row]))
    if rows := [row for row in run.get("memory", []) + run["counts"] if "bytes" in row]:
        parts.append("### Memory\n\n" + memory(rows))
    if chart:
        parts.append(f"![CPU time of each peer over that of weir, with 95 % intervals]({chart})")
    for build in builds(run):
        parts.append(f"### {BUILDS[build]}\n\n" + costs(run["comparisons"], build))
    parts += [floor(comparison) for comparison in run["comparisons"] if "relay" in comparison["names"]]
    return "\n\n".join(parts) + "\n"


def builds(run):
    """The builds of weir that were timed."""
    return [build for build in BUILDS if any(build in one["names"] for one in run["comparisons"])]


def about(run):
    lines = [f"Run of {run['date']}: {', '.join(run['versions'].values())}; {run['kernel']}, {run['cores']} cores ({run['cpu']})."]
    rounds = f"{run['rounds']} rounds of {run['seconds']} s. " if run["comparisons"] else ""
    lines.append(f"{rounds}Command: `{run['command']}`.")
    if run["comparisons"] and run["rounds"] < ENOUGH_ROUNDS:
        lines.append(f"**Fewer than {ENOUGH_ROUNDS} rounds: these times claim nothing.**")
    if run["comparisons"] and run["disturbed"]:
        lines.append(f"**A compiler ran beside it ({run['disturbed']} times seen): these times claim nothing.**")
    return "\n".join(map(wrapped, lines))


def wrapped(words):
    """Prose of at most 100 columns."""
    return textwrap.fill(words, 100, break_long_words=False, break_on_hyphens=False)


def counts(rows):
    """Calls, instructions, code lines and allocations per request and proxy."""
    head = "| what | proxy | system calls | user instructions | code lines | allocations |"
    lines = [head, "|---|---|---|---|---|---|"]
    for what in dict.fromkeys(row["what"] for row in rows):
        for row in (row for row in rows if row["what"] == what):
            allocations = f"{abs(row['allocations']):.1f}" if "allocations" in row else ""
            code = f"{row['instructions'] / 1000:.1f}k | {row.get('lines', '')} | {allocations}"
            lines.append(f"| {what} | {row['name']} | {row['calls']:.2f} | {code} |")
    return "\n".join(lines)


def memory(rows):
    """KiB per connection, a proxy a column."""
    names = list(dict.fromkeys(row["name"] for row in rows))
    lines = [f"| KiB per | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for what in dict.fromkeys(row["what"] for row in rows):
        found = {row["name"]: f"{row['bytes'] / 1024:.1f}" for row in rows if row["what"] == what}
        lines.append(f"| {what} | {' | '.join(found.get(name, '-') for name in names)} |")
    return "\n".join(lines)


def costs(comparisons, build):
    """One line per scenario and peer of a build of weir."""
    head = f"| scenario | peer | {build} | peer's | ratio [95 %] | | {build} rps | peer's rps |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for comparison in comparisons:
        for peer in peers_of(comparison, build):
            lines.append(line(comparison, peer, build))
    return "\n".join(lines)


def peers_of(comparison, build):
    """The names a build of weir is compared with. One build is not the peer of another."""
    if build not in comparison["names"]:
        return []
    return [name for name in comparison["names"] if name not in BUILDS]


def line(comparison, peer, build):
    rounds, scenario = comparison["rounds"], comparison["scenario"]
    middle, low, high = interval(ratios(rounds, peer, build))
    if peer == "weir again":
        word = "fine" if low <= 1 <= high else "**biased**"
    elif peer == "relay":
        word = "floor"
    else:
        word = "ahead" if low > 1 else "**behind**" if high < 1 else "level"
    ours, theirs = (f"{median(rounds, name, 'ns') / 1000:.1f} µs/{scenario['per']}" for name in (build, peer))
    rates = " | ".join(rate(rounds, name) for name in (build, peer))
    return f"| {scenario['title']} | {peer} | {ours} | {theirs} | {middle:.2f} [{low:.2f}, {high:.2f}] | {word} | {rates} |"


def floor(comparison):
    """Each proxy's cost over that of the raw relay."""
    names = [name for name in comparison["names"] if name != "relay"]
    over = {name: interval(ratios(comparison["rounds"], name, "relay")) for name in names}
    listed = [f"{name} {middle:.2f} [{low:.2f}, {high:.2f}]" for name, (middle, low, high) in over.items()]
    title = comparison["scenario"]["title"]
    return wrapped(f"Cost over that of the raw relay ({title}): {', '.join(listed)}.")


def rate(rounds, name):
    """Requests a second, in brackets when the proxy's core was not busy: then something else was the limit."""
    busy, value = median(rounds, name, "busy"), f"{median(rounds, name, 'rps'):,.0f}"
    return value if busy >= BUSY else f"({value}, {busy:.0%} busy)"


def median(rounds, name, what):
    return statistics.median(one[what] for members in rounds for one in members if one["name"] == name)

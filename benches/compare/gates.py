"""Most that a request may cost. A commit that makes one cheaper lowers its gate with it."""

import statistics

# Of profile `dist` without a training, as `scripts/bench.sh --gates` counts them. Calls are those of one connection.
GATES = {
    "keep-alive GET": {"calls": 6.1, "instructions": 22_200, "lines": 1_400, "allocations": 14.5},
    "keep-alive GET, browser headers": {"calls": 6.1, "instructions": 32_200, "lines": 1_440, "allocations": 14.7},
    "reject": {"calls": 3.1, "instructions": 11_600, "lines": 930, "allocations": 14.7},
    "keep-alive GET, default logs": {"calls": 6.2, "instructions": 28_500, "lines": 1_500, "allocations": 15.3},
    "a connection per request": {"calls": 12.1, "instructions": 34_400, "lines": 1_880, "allocations": 28.3},
}

# A run now and then holds what happens once in a while, as a source of randomness that is filled again.
RUNS = 3


def medians(runs):
    """One row for each kind of request, with the median of each count."""
    return [
        of_kind[0] | {unit: statistics.median(row[unit] for row in of_kind) for unit in GATES[of_kind[0]["what"]]}
        for of_kind in zip(*runs)
    ]


def exceeded(rows):
    """What is above its gate, in words."""
    found = []
    for row in rows:
        for unit, most in GATES[row["what"]].items():
            if row[unit] > most:
                found.append(f"{row['what']}: {row[unit]:.2f} {unit}, at most {most}")
    return found

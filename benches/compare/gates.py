"""Most that a request may cost. A commit that makes one cheaper lowers its gate with it."""

# Of profile `dist` without a training, as `scripts/bench.sh --gates` counts them. Calls are those of one connection.
GATES = {
    "keep-alive GET": {"calls": 6.1, "instructions": 22_500, "lines": 1_430, "allocations": 12.9},
    "keep-alive GET, browser headers": {"calls": 6.1, "instructions": 32_500, "lines": 1_460, "allocations": 12.9},
    "reject": {"calls": 3.1, "instructions": 12_000, "lines": 970, "allocations": 13.1},
    "keep-alive GET, default logs": {"calls": 7.2, "instructions": 26_500, "lines": 1_700, "allocations": 12.9},
    "a connection per request": {"calls": 11.2, "instructions": 50_000, "lines": 2_100, "allocations": 32.0},
}


def exceeded(rows):
    """What is above its gate, in words."""
    found = []
    for row in rows:
        for unit, most in GATES[row["what"]].items():
            if row[unit] > most:
                found.append(f"{row['what']}: {row[unit]:.2f} {unit}, at most {most}")
    return found

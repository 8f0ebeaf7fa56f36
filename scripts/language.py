#!/usr/bin/env python3
"""Prints measures of names, comments and layout, with the range of six well-kept proxies and crates beside them.

    scripts/language.py [--list MEASURE]

Measured are the Rust sources of the product, without unit tests, and the names of all tests. `tests/house.rs` holds bounds.
MEASURE is `openings`, `answer`, `types` or `tests`: its places are listed instead.
"""

import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PRODUCT = ["src", "limit/src", "auth/src", "migrate/src"]
TESTS = ["src", "tests", "limit", "auth", "migrate"]
QUESTION = re.compile(r"(what|how|whether|where|why|who|whom|whose|whoever)\b", re.IGNORECASE)
FIELD_WORDS = ["timeout", "shutdown", "websocket", "gzip", "dns", "response"]


def rust_files(folders):
    """Every Rust file below the folders."""
    for folder in folders:
        yield from sorted(path for path in (ROOT / folder).rglob("*.rs") if "target" not in path.parts)


def product_lines(path):
    """Lines of a source file up to its unit tests."""
    return path.read_text().split("#[cfg(test)]")[0].splitlines()


def doc_blocks(lines):
    """Doc comments, a block each, as (line number, text)."""
    block, start, found = [], 0, []
    for number, line in enumerate([*lines, ""], 1):
        match = re.match(r"\s*//[/!]( ?)(.*)", line)
        if match:
            start = start or number
            block.append(match[2])
        elif block:
            found.append((start, "\n".join(block)))
            block, start = [], 0
    return found


def is_inner(line):
    """Tells a comment inside of code from documentation."""
    return re.match(r"\s*//(?![/!])", line) is not None


class Sources:
    """Counts over the product's sources."""

    def __init__(self):
        self.blocks, self.openings, self.examples = 0, [], 0
        self.words, self.answer, self.responses = 0, [], 0
        self.inner, self.code = 0, 0
        self.types = collections.defaultdict(list)
        for path in rust_files(PRODUCT):
            self.file(path.relative_to(ROOT), product_lines(path))

    def file(self, name, lines):
        """Adds one file."""
        crate = name.parts[0]
        for number, text in doc_blocks(lines):
            self.blocks += 1
            self.examples += "```" in text
            if QUESTION.match(text.lstrip()):
                self.openings.append(f"{name}:{number}: {text.splitlines()[0]}")
        for number, line in enumerate(lines, 1):
            comment = re.match(r"\s*//[/!]?(.*)", line)
            if comment:
                self.inner += is_inner(line)
                self.words += len(re.findall(r"[\w'-]+", comment[1]))
                self.responses += len(re.findall(r"\bresponses?\b", comment[1], re.IGNORECASE))
                found = re.findall(r"\banswer(?:s|ed|ing)?\b", comment[1], re.IGNORECASE)
                self.answer += [f"{name}:{number}: {line.strip()}"] * len(found)
            elif line.strip():
                self.code += 1
            declared = re.match(r"\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|trait|union) (\w+)", line)
            if declared:
                self.types[crate, declared[1]].append(f"{name}:{number}")


def test_names():
    """Names of all test functions, with their places."""
    found = []
    for path in rust_files(TESTS):
        waiting = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.match(r"\s*#\[(tokio::)?test\b", line) or re.match(r"\s*#\[test_case", line):
                waiting = True
            name = re.match(r"\s*(?:pub )?(?:async )?fn (\w+)", line)
            if name and waiting:
                found.append((name[1], f"{path.relative_to(ROOT)}:{number}"))
                waiting = False
    return found


def measure():
    """Everything, as (measure, value, range of the models)."""
    sources, tests = Sources(), test_names()
    sentences = [(name, place) for name, place in tests if re.match(r"(a|an|the|what|who)_", name)]
    repeated = {key: places for key, places in sources.types.items() if len(places) > 1}
    words = " ".join(f"{len([1 for name, place in tests if word in name or word in place])}" for word in FIELD_WORDS)
    rows = [
        ("doc blocks that begin with What/How/Whether/Where/Why/Who",
         f"{100 * len(sources.openings) / sources.blocks:.1f} %", "0-5.5 %"),
        ("`answer` per 1,000 comment words", f"{1000 * len(sources.answer) / sources.words:.2f}", "0-0.05"),
        ("`response` per 1,000 comment words", f"{1000 * sources.responses / sources.words:.2f}", "0-6.8"),
        ("inner comments per 100 code lines", f"{100 * sources.inner / sources.code:.1f}", "4-14"),
        ("doc blocks with a code example", f"{sources.examples}", "13-41"),
        ("test names that begin with a_/an_/the_/what_/who_", f"{100 * len(sentences) / len(tests):.0f} %", "0 %"),
        (f"tests found by {', '.join(FIELD_WORDS)}", words, "all"),
        ("type names that exist twice or more in a crate", f"{len(repeated)}", "few"),
        ("entries in `ls src`", f"{len([entry for entry in (ROOT / 'src').iterdir()])}", "10-20"),
    ]
    places = {
        "openings": sources.openings,
        "answer": sources.answer,
        "types": [f"{name} in {crate}: {', '.join(found)}" for (crate, name), found in sorted(repeated.items())],
        "tests": [f"{place}: {name}" for name, place in sentences],
    }
    return rows, places


def main(arguments):
    """Prints the table, or the places of one measure."""
    rows, places = measure()
    if arguments[:1] == ["--list"] and len(arguments) == 2 and arguments[1] in places:
        print("\n".join(places[arguments[1]]))
    elif arguments:
        sys.exit(__doc__)
    else:
        width = max(len(name) for name, _, _ in rows)
        print(f"{'measure':{width}}  {'weir':>14}  models")
        for name, value, models in rows:
            print(f"{name:{width}}  {value:>14}  {models}")


if __name__ == "__main__":
    main(sys.argv[1:])

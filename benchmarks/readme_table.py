"""Write the README's comparison table, picture and sample anew from a fresh `tinygpt demo`.

    python -m benchmarks.readme_table

On a machine that reaches the hub the table then shows distilgpt2's quality too.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.readme_picture import draw

README = Path(__file__).parent.parent / "README.md"
PICTURE = README.parent / "docs" / "comparison.svg"


def splice(page: str, name: str, content: str) -> str:
    """Put content between the markers <!-- name --> and <!-- /name --> of a page."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"README.md lacks the markers {begin.strip()} and {end}")
    return before + begin + content.rstrip("\n") + "\n" + end + after


def main() -> None:
    """Run the demo in a temporary folder and splice what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "tinygpt", "demo"], cwd=folder, check=True)
        run = Path(folder, "runs", "demo")
        lines = (run / "comparison.md").read_text("utf-8").split("\n")
        data = json.loads((run / "comparison.json").read_text("utf-8"))
    begin = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table = list(itertools.takewhile(lambda line: line.startswith("|"), lines[begin:]))
    after = lines[lines.index("## What it rests on") + 2 :]
    notes = list(itertools.takewhile(lambda line: line.startswith("- "), after))
    notes.append(f"- Command: `tinygpt demo`, {data['created'][:10]}")
    sample = data["models"][0]["samples"][0]
    text = (sample["prompt"] + sample["text"]).split("\n")
    page = splice(README.read_text("utf-8"), "table", "\n".join([*table, "", *notes]))
    page = splice(page, "sample", "\n".join(f"    {line}".rstrip() for line in text))
    said = f"A run of `tinygpt demo`, {data['created'][:10]}, drawn by `make readme-table`."
    README.write_text(splice(page, "caption", said), "utf-8")
    PICTURE.write_text(draw(data) + "\n", "utf-8")
    print(f"written: {README} and {PICTURE}")


if __name__ == "__main__":
    main()

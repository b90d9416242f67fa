"""Copies docs/concepts/*.md to ../corpus/*.txt as plain text.

Run once, when the corpus was made. The copies are committed, so that the model can be made again
after the documentation has changed. Headings lose their marks and the section "Not built yet" is
left out: a model should not learn by heart what will soon be wrong.
"""

import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parent / "corpus"
DOCS = HERE.parents[3] / "docs" / "concepts"

for source in sorted(DOCS.glob("[a-z]*.md")):
    text = source.read_text().split("## Not built yet")[0]
    text = re.sub(r"^#+ ", "", text, flags=re.M)
    (CORPUS / f"{source.stem}.txt").write_text(text.strip() + "\n")

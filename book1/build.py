"""Build a notebook from cells; keeps ids stable."""
import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

class Book:
    def __init__(self, path, prefix):
        self.path, self.prefix, self.cells, self.n = path, prefix, [], 0
    def _id(self):
        self.n += 1
        return f"{self.prefix}-{self.n:02d}"
    def md(self, text):
        self.cells.append(new_markdown_cell(text.strip("\n"), id=self._id()))
    def code(self, text, *tags, **metadata):
        m = dict(metadata)
        if tags: m["tags"] = list(tags)
        self.cells.append(new_code_cell(text.strip("\n"), id=self._id(), metadata=m))
    def exercises(self, *three):
        self.md("## Exercises")
        for n, (task, words, code) in enumerate(three, 1):
            self.md(f"**Exercise {n}.** {task.strip()}")
            self.code("# Your work goes here.", "work")
            self.md(f"<details><summary>Solution {n}</summary>\n\n{words.strip()}\n\n</details>")
            self.code(code, "solution", jupyter={"source_hidden": True, "outputs_hidden": True})
    def write(self):
        old = nbformat.read(self.path, 4)
        nb = new_notebook(cells=self.cells, metadata={k: v for k, v in old.metadata.items() if k != "widgets"})
        nb.nbformat_minor = 5
        nbformat.write(nb, self.path)

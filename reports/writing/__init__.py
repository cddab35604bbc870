"""The forms of a report: blocks, HTML, Markdown, LaTeX, captions, references, drawing."""

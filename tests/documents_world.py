"""Hand-made documents for tests: one of each format, PDFs written byte by byte, and what breaks readers.

Not a test: test modules import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

PROSE = {
    "first": "LoRA is a fine-tuning method for large models. It keeps the pretrained weights frozen and learns little.",
    "second": "LoRA was introduced by Edward Hu and colleagues at Microsoft in 2021. Its matrices have a low rank.",
}
MARKDOWN = f"""---
title: Low-Rank Adaptation (LoRA)
source: https://arxiv.org/abs/2106.09685
license: CC-BY-4.0
date: 2026-11-22
---

{PROSE["first"]}

## Method

{PROSE["second"]} The update is $W + \\frac{{\\alpha}}{{r}} B A$, as [the paper](https://example.org) says.

```python
secret_code = "never in a passage"
```

- Only the small matrices are trained, and all the other weights stay as they were.
- The update can be merged, so that nothing is slower when the model is used.

| metric | value |
|---|---|
| rank | 16 |
| alpha | 32 |

## References

A. Author. A paper that nobody should find in any passage of the whole collection. 2020.
"""
MDX = f"""import {{ Tip }} from 'components'
export const meta = {{ a: 1 }}

# Low-Rank Adaptation[[lora]]

<CourseFloatingBanner chapter={{5}}
  notebooks={{[
    {{label: "Colab > here", value: "https://example.org"}},
]}} />

{PROSE["first"]}

{{#if fw === 'pt'}}
<Tip warning={{true}}>

{PROSE["second"]}

</Tip>
{{/if}}

```js
<Unclosed tag in code
```
"""
HTML = f"""<!DOCTYPE html><html><head><meta charset="utf-8"><title>Low-Rank Adaptation</title>
<meta name="source" content="https://arxiv.org/abs/2106.09685"><meta name="licence" content="CC-BY-4.0">
<meta name="date" content="2026-11-22"></head><body>
<nav><a href="/">Home of the menu</a> <a href="/about">About this site</a></nav>
<article><h1>Low-Rank Adaptation</h1><p>{PROSE["first"]}</p>
<h2>Method</h2><p>{PROSE["second"]}</p><pre>secret_code = 1</pre><script>alert("never")</script></article>
<footer>All rights are in this footer line.</footer></body></html>"""
LATEX = f"""% source: https://arxiv.org/abs/2106.09685
% licence: CC-BY-4.0
\\documentclass{{article}}
\\title{{Low-Rank Adaptation}}
\\author{{Nobody}}
\\date{{2026-11-22}}
\\begin{{document}}
\\maketitle
{PROSE["first"]} It costs 0.1\\% of the weights \\cite{{hu}}.

\\section{{Method}}
{PROSE["second"]}
% a comment that stays out
The update is $W + \\frac{{\\alpha}}{{r}} BA$ and its size is
\\begin{{equation}} r (d + k) \\end{{equation}}
weights, \\emph{{far}} fewer than before.
\\input{{/etc/passwd}}
\\begin{{verbatim}}secret_code\\end{{verbatim}}
\\begin{{thebibliography}}{{9}}
\\bibitem{{hu}} E. Hu. A paper that nobody should find.
\\end{{thebibliography}}
\\end{{document}}
"""
RST = f"""
===================
Low-Rank Adaptation
===================

:Source: https://arxiv.org/abs/2106.09685
:Licence: CC-BY-4.0
:Date: 2026-11-22

{PROSE["first"]}

Method
======

{PROSE["second"]} The rank is :math:`r \\ll d`, see :ref:`fig_rank` and :class:`~peft.LoraConfig`.

.. math::

   W + \\frac{{\\alpha}}{{r}} B A

.. versionadded:: 1.0

   A note in a directive that docutils does not know, which is long enough to be read.

.. code-block:: python

   secret_code = 1

.. include:: /etc/passwd

.. raw:: html

   <b>secret_code</b>
"""
SOURCES = {"lora.md": MARKDOWN, "lora.mdx": MDX, "lora.html": HTML, "lora.tex": LATEX, "lora.rst": RST}
PDF_LINES = [
    (24, True, "Low-Rank Adaptation", 30),
    (12, False, "LoRA is a fine-tuning method for large models. It keeps the pre-", 14),
    (12, False, "trained weights frozen and learns little, as a hyphen at a line end", 14),
    (12, False, "must not hide.", 28),
    (16, True, "Method", 24),
    (12, False, "LoRA was introduced by Edward Hu and colleagues at Microsoft in", 14),
    (12, False, "2021. Its matrices have a low rank and are the only trained ones.", 28),
    (16, True, "References", 24),
    (12, False, "A paper that nobody should find in a passage of this collection.", 14),
]


def write_all(folder: Path) -> None:
    """One document of each format, all on LoRA, with what must stay out of passages in them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in SOURCES.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "lora.pdf").write_bytes(pdf([PDF_LINES]))
    (folder / "lora.pdf.yaml").write_text("title: LoRA, in print\nlicence: CC-BY-4.0\ndate: 2026-11-22\n")
    (folder / "lora.txt").write_text(f"{PROSE['first']}\n\n{PROSE['second']} This is the plain text.\n")


def pdf(pages: Sequence[Iterable[tuple[int, bool, str, int]]], *, encrypted: bool = False) -> bytes:
    """A PDF of lines (size, bold, text, distance to the next line in points)."""
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold >>",
    ]
    for number, lines in enumerate(pages):
        stream, height = "", 760
        for size, bold, text, step in lines:
            stream += f"BT /F{2 if bold else 1} {size} Tf 72 {height} Td ({text}) Tj ET\n"
            height -= step
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {6 + 2 * number} 0 R"
            " /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}endstream")
    return _assemble(objects, encrypted)


def _assemble(objects: Sequence[str], encrypted: bool) -> bytes:
    data, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    data += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    key = f" /Encrypt << /Filter /Standard /V 1 /R 2 /O <{'1' * 64}> /U <{'2' * 64}> /P -4 >> /ID [<00> <00>]"
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R{key if encrypted else ''} >>"
    return data + f"trailer\n{trailer}\nstartxref\n{start}\n%%EOF\n".encode()

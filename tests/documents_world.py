"""Hand-made documents for tests: one of each format, PDFs written byte by byte, and what breaks readers.

Not a test: test modules import it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping, Sequence
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
PAPER = r"""\documentclass{article}
\usepackage[margin=1in]{geometry}
\newcommand{\model}{\textsc{Bert}\xspace}
\newcommand{\R}{\mathbb{R}} \newcommand*\norm[2][2]{\|#2\|_{#1}}
\def\bx{\mathbf{x}} \DeclareMathOperator{\argmax}{arg\,max}
\newcommand{\be}{\begin{equation}} \newcommand{\ee}{\end{equation}}
\title{A Study of \model} \date{May 2021}
\begin{document}
\maketitle
\begin{abstract}We study \model and how large its vectors are.\end{abstract}
\input{sections/intro}
\section{Method} % \input{commented}
Let $\bx \in \R^d$ and $\hat\bx = \argmax_{y} \norm{y}$ be the largest. Then the norm is
\be \norm[1]{x} = \alpha \ee
\input{gone} \input{../../etc/passwd} \include{/etc/passwd}
\end{document} What stands here is not read.
"""
PAPER_FILES = {
    "main.tex": PAPER,
    "sections/intro.tex": "\\section{Introduction}\n\\model is introduced here, and is small enough to be read.\n"
    "\\input{deeper}",
    "sections/deeper.tex": "\nThis stands in a file of a file, which includes the one above in a circle. "
    "\\input{sections/intro}",
    "figure.eps": "no text",
}
LATEXML = r"""<!DOCTYPE html><html lang="en"><head><title>Low-Rank Adaptation of Large Language Models</title>
<meta name="viewport" content="width=device-width"></head><body>
<nav class="ltx_page_navbar"><nav class="ltx_TOC"><ol class="ltx_toclist"><li class="ltx_tocentry">
<a class="ltx_ref" href="#S1">1 Introduction</a></li></ol></nav></nav>
<div class="ltx_page_main"><div class="section" id="target-section"><a id="license-tr"
 href="https://info.arxiv.org/help/license/index.html">License: CC BY 4.0</a><div id="watermark-tr">arXiv:2106.09685v2
 [cs.CL] 16 Oct 2021</div></div>
<div class="ltx_page_content"><article class="ltx_document ltx_authors_1line">
<h1 class="ltx_title ltx_title_document">LoRA: Low-Rank Adaptation</h1>
<div class="ltx_authors"><span class="ltx_creator ltx_role_author"><span class="ltx_personname">Edward Hu
</span><span class="ltx_contact ltx_role_email">edward@example.org</span></span></div>
<div class="ltx_abstract"><h6 class="ltx_title ltx_title_abstract">Abstract</h6>
<p class="ltx_p">We keep the pretrained weights frozen and train two small matrices.</p></div>
<section class="ltx_section" id="S1"><h2 class="ltx_title ltx_title_section"><span class="ltx_tag ltx_tag_section">1
</span>Introduction</h2>
<div class="ltx_para"><p class="ltx_p">Many applications adapt one large model<span class="ltx_note ltx_role_footnote">
<sup class="ltx_note_mark">1</sup><span class="ltx_note_outer">A footnote that nobody should find.</span></span>
 <cite class="ltx_cite ltx_citemacro_citep">(Brown et al., 2020)</cite>, as <cite class="ltx_cite ltx_citemacro_citet">
Li &amp; Liang (2021)</cite> show. The update of <math alttext="W_{0}\in\mathbb{R}^{d\times k}" display="inline">
<semantics><mrow><msub><mi>W</mi><mn>0</mn></msub></mrow>
<annotation encoding="application/x-tex">W_{0}</annotation></semantics></math> is low-rank:</p>
<table class="ltx_equation ltx_eqn_table" id="S1.E1"><tbody><tr class="ltx_equation ltx_eqn_row">
<td class="ltx_eqn_cell ltx_align_center"><math alttext="W_{0}+\Delta W=W_{0}+BA" display="block"><mi>W</mi></math></td>
<td class="ltx_eqn_cell ltx_eqn_eqno"><span class="ltx_tag ltx_tag_equation">(1)</span></td></tr></tbody></table>
<p class="ltx_p">where the rank is small. <span class="ltx_ERROR undefined">\undefinedmacro</span></p></div>
<ul class="ltx_itemize"><li class="ltx_item"><span class="ltx_tag ltx_tag_item">•</span><div class="ltx_para">
<p class="ltx_p">Nothing is slower when the model is used.</p></div></li></ul>
<figure class="ltx_table"><table class="ltx_tabular"><tr><td>Model</td><td>91.3</td></tr></table></figure></section>
<section class="ltx_bibliography"><h2 class="ltx_title ltx_title_bibliography">References</h2><ul class="ltx_biblist">
<li class="ltx_bibitem">Brown et al. A paper that nobody should find.</li></ul></section></article></div>
<footer class="ltx_page_footer">Generated by LaTeXML</footer></div></body></html>"""
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


def archive(files: Mapping[str, str]) -> bytes:
    """A compressed tar of text files by name, as arXiv sends the source of a paper."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return data.getvalue()


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

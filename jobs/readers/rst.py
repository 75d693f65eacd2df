"""reStructuredText, Sphinx's dialect too: no file is included, nothing raw passes, unknown directives are tolerated."""

from __future__ import annotations

import io
import re
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, directives, roles
from docutils.utils import SystemMessage

from jobs.documents import Block, Extract, UnreadableError, collapse, is_back_matter, list_text, table_text
from jobs.readers.marks import replace_marks
from jobs.readers.plain import decode

_SETTINGS = {
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "_disable_config": True,
    "report_level": 5,
    "halt_level": 5,
    "line_length_limit": 10_000_000,
    "smart_quotes": False,
    "syntax_highlight": "none",
}
_SILENT_DIRECTIVES = re.compile(
    r"^(toctree|literalinclude|option|program|index|highlight|currentmodule|module|auto\w+|py:\w+|c:\w+|cpp:\w+"
    r"|code-block|sourcecode|code|parsed-literal|bibliography|plot|graphviz|mermaid|video|tabularcolumns|only|cmdoption)$"
)
_DIRECTIVE = re.compile(r"^[ \t]*\.\. (?:\|[^|\n]+\| )?([\w:.+-]+?)::", re.M)
_ROLE = re.compile(r":([A-Za-z][\w:.+-]*):`")
_PREFIXES = ("fig", "tab", "eq", "sec", "chap")
_SILENT_NODES = (
    nodes.literal_block,
    nodes.comment,
    nodes.system_message,
    nodes.target,
    nodes.substitution_definition,
    nodes.image,
    nodes.figure,
    nodes.footnote,
    nodes.citation,
    nodes.topic,
    nodes.sidebar,
    nodes.raw,
    nodes.option_list,
    nodes.decoration,
    nodes.doctest_block,
)


class _Unknown(Directive):
    """A directive docutils does not know: its content is read as text, unless its name says that it is none."""

    optional_arguments, final_argument_whitespace, has_content = 99, True, True
    option_spec = None

    def run(self) -> list[nodes.Node]:
        if _SILENT_DIRECTIVES.match(self.name):
            return []
        holder = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, holder)
        return [holder]


def _unknown_role(
    name: str, raw: str, text: str, lineno: int, inliner: Any, options: Any = None, content: Any = ()
) -> Any:
    if name == "ref" and re.fullmatch(r"[a-z]+(?:_[a-z]+)*", text) and not text.startswith(_PREFIXES):
        return [nodes.Text(text.replace("_", " "))], []  # a label in words: "the :ref:`chain_rule`"
    if name in ("ref", "numref", "eq", "cite") and "<" not in text:
        return [nodes.Text(replace_marks(f":{'eqref' if name == 'eq' else name}:`{text}`"))], []
    words = collapse(nodes.unescape(text)).removeprefix("~")
    return [nodes.Text(words.rpartition("<")[0].rstrip() if words.endswith(">") and "<" in words else words)], []


def read(data: bytes) -> Extract:
    """Read a reStructuredText file. Raises `UnreadableError` where docutils gives up."""
    source = decode(data)
    _tolerate(source)
    try:
        tree = publish_doctree(source, settings_overrides=_SETTINGS | {"warning_stream": io.StringIO()})
    except (SystemMessage, RecursionError) as error:
        raise UnreadableError(f"not valid reStructuredText ({collapse(str(error))[:120]})") from error
    extract = Extract(title=collapse(tree.get("title", "")))
    _walk(tree, "", extract)
    return extract


def _tolerate(source: str) -> None:
    """Give docutils a stand-in for every directive and role of this document that is not its own."""
    for name in set(_DIRECTIVE.findall(source)):
        if name.lower() not in directives._directive_registry and name not in directives._directives:
            directives.register_directive(name, _Unknown)
    for name in set(_ROLE.findall(source)):
        if name.lower() not in roles._role_registry and name not in roles._roles:
            roles.register_local_role(name, _unknown_role)


def _walk(parent: Any, section: str, extract: Extract) -> None:
    for node in parent.children:
        if isinstance(node, nodes.section):
            _walk(node, _heading(node, extract), extract)
        elif isinstance(node, nodes.docinfo):
            extract.metadata |= _docinfo(node)
        elif isinstance(node, nodes.rubric):
            section = collapse(node.astext())
        elif not isinstance(node, (*_SILENT_NODES, nodes.title, nodes.subtitle)):
            _block(node, section, extract)


def _heading(node: Any, extract: Extract) -> str:
    title = collapse(node.next_node(nodes.title).astext())
    if extract.title:
        return title
    extract.title = title
    return ""


def _docinfo(docinfo: Any) -> dict[str, str]:
    found = {}
    for node in docinfo.children:
        if isinstance(node, nodes.field):
            found[node[0].astext()] = node[1].astext()
        else:
            found[node.tagname] = node.astext()
    return found


def _block(node: Any, section: str, extract: Extract) -> None:
    if isinstance(node, nodes.paragraph | nodes.line_block):
        text = "" if _of_links(node) else _text(node)
    elif isinstance(node, nodes.math_block):
        text = f"$$ {collapse(node.astext())} $$"
    elif isinstance(node, nodes.bullet_list | nodes.enumerated_list):
        items = [item for item in node.children if not _of_links(item)]
        pointers = sum(map(_is_pointer, items))
        text = list_text(map(_text, items)) if 2 * pointers < len(items) else ""  # else it lists what is elsewhere
    elif isinstance(node, nodes.definition_list):
        text = list_text(_definition(item) for item in node.children)
    elif isinstance(node, nodes.table):
        text = table_text([[_text(cell) for cell in row.children] for row in node.findall(nodes.row)])
    else:  # admonitions, quotes, containers: what stands in them
        return _walk(node, section, extract)
    if text and not is_back_matter(section):
        extract.blocks.append(Block(section, text))


def _of_links(node: Any) -> bool:
    """Whether half or more of the letters are those of links to other pages: it tells where else to read."""
    linked = sum(len(link.astext()) for link in node.findall(nodes.reference) if link.get("refuri"))
    return bool(linked) and 2 * linked >= len(node.astext())


def _is_pointer(item: Any) -> bool:
    """Whether it is a link, a dash and what is there: an item of a list of libraries or pages."""
    first, *after = item.children[0].children if item.children else [None]
    linked = isinstance(first, nodes.reference) and bool(first.get("refuri"))
    return linked and bool(re.match(r"\s*[-–—]", "".join(node.astext() for node in after)))


def _definition(item: Any) -> str:
    parts = [_text(child) for child in item.children]
    return ": ".join(part for part in parts if part)


def _text(node: Any) -> str:
    return collapse(replace_marks("".join(_pieces(node))))


def _pieces(node: Any) -> list[str]:
    if isinstance(node, nodes.Text):
        return [str(node)]
    if isinstance(node, nodes.math):
        return [f"${node.astext()}$"]
    if isinstance(node, nodes.math_block):
        return [f" $${node.astext()}$$ "]
    if isinstance(node, nodes.literal):
        return [f"`{node.astext()}`"]
    if isinstance(node, (*_SILENT_NODES, nodes.footnote_reference, nodes.citation_reference)):
        return []
    pieces = [piece for child in node.children for piece in _pieces(child)]
    return [*pieces, " "] if isinstance(node, nodes.paragraph | nodes.list_item | nodes.line) else pieces

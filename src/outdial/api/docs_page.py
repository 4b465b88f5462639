"""``/docs``: the OpenAPI document as one page of plain HTML, without a script and without asking any other server."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, Final

_REFERENCE: Final = re.compile(r"&quot;#/components/schemas/([\w.]+)&quot;")

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
summary {{ cursor: pointer; padding: .3rem 0 }}
summary b {{ display: inline-block; min-width: 4.5rem }}
code, pre {{ font: 14px/1.4 ui-monospace, monospace }}
pre {{ background: #8882; padding: .8rem; overflow: auto }}
details {{ border-bottom: 1px solid #8884 }}
td, th {{ text-align: left; padding: .1rem 1rem .1rem 0; vertical-align: top }}
</style>
<h1>{title}</h1>
{about}
<p>The same for programs: <a href="openapi.json">openapi.json</a>.</p>
{operations}
<h2>Errors</h2>
{errors}
<h2>Failures</h2>
{answers}
<h2>Shapes</h2>
{shapes}
</html>
"""


def page(document: dict[str, Any]) -> str:
    """Return the page for an OpenAPI document."""
    tags: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            tags.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    return _PAGE.format(
        title=escape(f"{document['info']['title']} {document['info']['version']}"),
        about=_paragraphs(document["info"]["description"]),
        operations="\n".join(f"<h2>{escape(tag)}</h2>\n" + "\n".join(items) for tag, items in tags.items()),
        errors=_errors(document.get("x-error-catalogue", [])),
        answers=_answers(document["components"].get("responses", {})),
        shapes="\n".join(_shape(name, schema) for name, schema in sorted(document["components"]["schemas"].items())),
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [_paragraphs(operation.get("description", "")), _parameters(operation.get("parameters", []))]
    failures: list[str] = []
    if "requestBody" in operation:
        parts += ["<p>Body</p>", _content(operation["requestBody"])]
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            failures.append(_failure(status, answer["$ref"].rpartition("/")[2]))
        else:
            parts += [f"<p>{escape(status)}: {escape(answer['description'])}</p>", _content(answer)]
    if failures:
        parts.append(f"<p>Failures: {', '.join(failures)}</p>")
    summary = f"<b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
    return f"<details><summary>{summary}</summary>\n" + "\n".join(parts) + "\n</details>"


def _failure(status: str, name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(status)}</a>'


def _answers(responses: dict[str, Any]) -> str:
    """Return the failures that operations refer to."""
    return "\n".join(
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code> {escape(answer["description"])}</summary>'
        f"{_content(answer)}</details>"
        for name, answer in responses.items()
    )


def _parameters(parameters: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code></td><td>{escape(parameter['in'])}</td>"
        f"<td>{_inline(parameter['description'])}</td></tr>"
        for parameter in parameters
    )
    return f"<table>{rows}</table>"


def _errors(catalogue: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(error['errorCode'])}</code></td><td>{error['status']}</td>"
        f"<td>{'ask again' if error['retryable'] else ''}</td><td>{_inline(error['meaning'])}</td></tr>"
        for error in catalogue
    )
    return f"<table>{rows}</table>"


def _content(described: dict[str, Any]) -> str:
    contents = [content for content in described.get("content", {}).values() if content]
    return "".join(_schema(content["schema"]) + _examples(content) for content in contents)


def _examples(content: dict[str, Any]) -> str:
    found = (
        [content["example"]] if "example" in content else [one["value"] for one in content.get("examples", {}).values()]
    )
    return "".join(f"<p>For example</p>{_schema(example)}" for example in found)


def _shape(name: str, schema: dict[str, Any]) -> str:
    return f'<details id="{escape(name)}"><summary><code>{escape(name)}</code></summary>{_schema(schema)}</details>'


def _schema(schema: Any) -> str:
    text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
    return f"<pre>{_REFERENCE.sub(_link, text)}</pre>"


def _link(found: re.Match[str]) -> str:
    return f'<a href="#{found[1]}">{found[1]}</a>'


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph.strip())


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))

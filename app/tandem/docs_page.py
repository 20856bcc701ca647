"""The page at `/docs`: what there is to ask for, as plain HTML. Where Swagger UI can be fetched it takes the place.

Its script is not ours and comes from a public CDN; a browser without the internet must not be shown a blank page.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_CDN: Final = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui"
_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
.plain {{ font: 16px/1.5 system-ui, sans-serif; max-width: 56em; margin: 2em auto; padding: 0 1em }}
.plain h3 {{ font: bold 1em ui-monospace, monospace; margin: 2em 0 0 }}
.plain p {{ margin: .2em 0; white-space: pre-line }}
</style>
<div id="swagger-ui"><main class="plain">
<h1>{title}</h1>
<p>Everything under /calls wants the header <code>Authorization: Bearer API_TOKEN</code>.
For machines: <a href="/openapi.json">openapi.json</a>.</p>
{operations}
</main></div>
<script defer src="{cdn}-bundle.js" onload="show()"></script>
<script>
function show() {{
  const style = document.createElement("link");
  style.rel = "stylesheet";
  style.href = "{cdn}.css";
  document.head.append(style);
  SwaggerUIBundle({{url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true}});
}}
</script>
</html>
"""


def page(described: Mapping[str, Any]) -> str:
    """The page for an OpenAPI description."""
    title = f"{described['info']['title']} {described['info']['version']}"
    return _PAGE.format(title=escape(title), operations="\n".join(_operations(described)), cdn=_CDN)


def _operations(described: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield f"<h3>{method.upper()} {escape(path)}</h3>"
            yield f"<p>{escape(operation.get('description', ''))}</p>"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            model = described.get("components", {}).get("schemas", {}).get(body.get("$ref", "").rpartition("/")[2], {})
            if fields := [*_fields(model)]:
                yield f"<ul>{''.join(fields)}</ul>"


def _fields(model: Mapping[str, Any]) -> Iterator[str]:
    """What a request's body may have."""
    for name, field in model.get("properties", {}).items():
        must = " (must be there)" if name in model.get("required", ()) else ""
        choices = [str(value) for kind in (field, *field.get("anyOf", ())) for value in kind.get("enum", ())]
        words = " ".join(filter(None, (field.get("description", ""), " | ".join(choices))))
        yield f"<li><code>{escape(name)}</code>{must} {escape(words)}</li>"

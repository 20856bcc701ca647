"""The page at `/docs`: readable where nothing can be fetched from elsewhere."""

from __future__ import annotations

from servers import tandem

from tandem.docs_page import page


async def test_every_operation_and_field_is_there_without_a_script() -> None:
    async with tandem() as server:
        described = (await server.http.get("/openapi.json")).json()
        answer = await server.http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    plain = answer.text.partition("<script")[0]
    for path, methods in described["paths"].items():
        for method in methods:
            assert f"<h3>{method.upper()} {path}</h3>" in plain
    assert "Place a call." in plain
    assert "<code>to</code> (must be there)" in plain
    assert "hang_up | leave_message | continue" in plain
    assert '<link rel="stylesheet"' not in plain, "a style sheet that can't be fetched would hold the page up"


def test_what_is_described_is_text_and_no_html() -> None:
    operation = {"description": "<b>&"}
    text = page({"info": {"title": "<i>", "version": "1"}, "paths": {"/<x>": {"get": operation}}})
    assert "<h1>&lt;i&gt; 1</h1>" in text
    assert "GET /&lt;x&gt;" in text
    assert "<p>&lt;b&gt;&amp;</p>" in text

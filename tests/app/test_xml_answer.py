from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from tandem.carriers.xml_answer import clean, document


@given(st.text())
def test_any_text_makes_a_document_that_parses(text: str) -> None:
    said = ET.Element("Say", attribute=clean(text))
    said.text = clean(text)
    answer = document(said, ET.Element("Hangup"))
    assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?><Response>')
    assert answer.content_type == "text/xml; charset=utf-8"
    read = ET.fromstring(answer.body)  # noqa: S314 - our own document
    assert [verb.tag for verb in read] == ["Say", "Hangup"]
    assert (read[0].text or "").split() == clean(text).split()

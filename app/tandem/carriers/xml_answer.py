"""An answer to a webhook in XML, pure: what the carriers' dialects of it have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

_ILLEGAL_IN_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class XmlAnswer:
    """The answer to a webhook."""

    body: bytes
    content_type: str = "text/xml; charset=utf-8"


def document(*verbs: ET.Element) -> XmlAnswer:
    """A `<Response>` of these verbs."""
    response = ET.Element("Response")
    response.extend(verbs)
    return XmlAnswer(b'<?xml version="1.0" encoding="UTF-8"?>' + ET.tostring(response, encoding="utf-8"))


def clean(text: str) -> str:
    """Without the characters that XML can't carry in any spelling; the writer escapes the rest."""
    return _ILLEGAL_IN_XML.sub("", text)

"""Scenarios put together from parts: SIPp knows no include, and the flows have most of their messages in common.

    <?part NAME name="text" ...?>       in a scenario or a part: here stands parts/NAME.xml
    <?default name="text" ...?>         in a part: what its {name} is where nothing is given

What parts/audible/ has takes the place of a part where the phone is to be heard.

{here} is another number in every part, so that its labels are its own. A line of which nothing is left is left out.
SIPp refuses a variable that is named once only: here all are named once more, in a Reference.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

SCENARIOS = Path(__file__).parent
EVENTS = ("rebind", "flush", "reboot", "change-ip")  # what may happen to a router in mid-call: it forgets who called

LEFT_MS = 3900  # how long a phone waits for the other's BYE, once that one has been heard

_PART = re.compile(r'<\?part (\S+?)((?:\s+\w+="[^"]*")*)\?>')
_DEFAULT = re.compile(r'<\?default((?:\s+\w+="[^"]*")*)\?>\n')
_GIVEN = re.compile(r'(\w+)="([^"]*)"')
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
_VARIABLES = re.compile(r'(?:assign_to|Global variables)="([^"]+)"')
_PLACE = re.compile(r"\{(\w+)\}")


def scenario(name: str, times: int = 0, sound_ms: int = 0) -> str:
    """Return a scenario as SIPp reads it, of a phone that plays its recording so many times, which takes so long.

    Raises OSError for one that is not there, ValueError for a wrong part.
    """
    text = (SCENARIOS / f"{name}.xml").read_text(encoding="utf-8")
    text = _with_parts(text, itertools.count(1), _played(times, sound_ms))
    variables = ",".join(dict.fromkeys(",".join(_VARIABLES.findall(text)).split(",")))
    return text.replace("</scenario>", f'  <Reference variables="{variables}"/>\n</scenario>') if variables else text


def _played(times: int, sound_ms: int) -> dict[str, str]:
    """Return what the parts of a phone that is to be heard are told; nothing where it is not."""
    if not times:
        return {}
    return {"times": str(times), "sound_ms": str(sound_ms), "left_ms": str(sound_ms + LEFT_MS)}


def flows() -> list[str]:
    """Return what a phone can do with another: the scenarios of callers."""
    return sorted(path.stem.removeprefix("uac_") for path in SCENARIOS.glob("uac_*.xml"))


def eventful() -> list[str]:
    """Return the flows in which something can happen to a router while the call is up."""
    return _with_part("event")


def audible() -> list[str]:
    """Return the flows in which the two can be heard."""
    return _with_part("play")


def _with_part(part: str) -> list[str]:
    """Return the flows whose caller has this part."""
    texts = {flow: (SCENARIOS / f"uac_{flow}.xml").read_text(encoding="utf-8") for flow in flows()}
    return [flow for flow, text in texts.items() if f"<?part {part}?>" in text]


def callee(flow: str) -> str:
    """Return the name of the callee's scenario: a plain call is answered where a flow has none of its own."""
    return f"uas_{flow}" if (SCENARIOS / f"uas_{flow}.xml").exists() else "uas_call"


def _with_parts(text: str, numbers: Iterator[int], played: Mapping[str, str]) -> str:
    return _PART.sub(lambda found: _part(found[1], dict(_GIVEN.findall(found[2])), numbers, played), text)


def _part(name: str, given: Mapping[str, str], numbers: Iterator[int], played: Mapping[str, str]) -> str:
    audible = SCENARIOS / "parts" / "audible" / f"{name}.xml"
    path = audible if played and audible.exists() else SCENARIOS / "parts" / f"{name}.xml"
    text = path.read_text(encoding="utf-8")
    text = _COMMENT.sub("", text)
    default = _DEFAULT.search(text)
    values = {**dict(_GIVEN.findall(default[1] if default else "")), **played, **given, "here": str(next(numbers))}
    text = _DEFAULT.sub("", text)
    unknown = set(given) - set(_PLACE.findall(text))
    if unknown:
        raise ValueError(f"part {name} has no place for {', '.join(sorted(unknown))}")
    return _with_parts("\n".join(_filled(text.strip("\n").splitlines(), name, values)).strip(), numbers, played)


def _filled(lines: list[str], name: str, values: Mapping[str, str]) -> Iterator[str]:
    for line in lines:
        missing = set(_PLACE.findall(line)) - set(values)
        if missing:
            raise ValueError(f"part {name} is not told {', '.join(sorted(missing))}")
        filled = _PLACE.sub(lambda found: values[found[1]], line)
        if filled.strip() or not line.strip():
            yield filled

"""Views of the good story, and of stories that were broken in one place."""

from __future__ import annotations

from typing import Any

from observer.checks import judge
from observer.decode import Sighting
from observer.topology import Topology
from observer.view import schema
from observer.view.model import Seen, view
from tests.unit.observer.sightings import TOPOLOGY, case, good_story, histories


def seen(
    sightings: list[Sighting] | None = None, events: list[dict[str, Any]] | None = None, where: Topology = TOPOLOGY,
    judged: dict[str, Any] | None = None,
) -> Seen:  # fmt: skip
    """Return what a view is made of: the good story, but for what is given."""
    told = good_story() if sightings is None else sightings
    routers = {home.router: "home" for home in where.homes}
    return Seen("a run", where, told, histories(where, events or []), routers, judged or {})


def drawn(sightings: list[Sighting] | None = None, **more: Any) -> schema.View:
    """Return the view, of which the schema has nothing to say."""
    found = view(seen(sightings, **more))
    assert list(schema.breaches(found)) == []
    return found


def judged(sightings: list[Sighting]) -> schema.View:
    """Return the view with the verdict on it."""
    return drawn(sightings, judged=judge(case(sightings)) | {"without": [], "facts": []})


def call(view: schema.View, name: str) -> schema.Call:
    """Return the call of this Call-ID."""
    return next(call for call in view["calls"] if call["id"] == name)


def arrow(view: schema.View, name: str, label: str, origin: str) -> schema.Arrow:
    """Return the first arrow of a call that has this label and comes from this lane."""
    return next(one for one in call(view, name)["arrows"] if (one["label"], one["origin"]["lane"]) == (label, origin))

// From the view to the rows of the ladder: an arrow that a router passed on is one row with the one before it.
"use strict";

const KEEP_ALIVES = "keep-alives";

function plain(text) {
  // Characters that nobody sees, or that turn a line around, are shown by their number.
  return String(text).replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g,
    (one) => "\\u" + one.charCodeAt(0).toString(16).padStart(4, "0"));
}

function brief(text, most) { return text.length > most ? text.slice(0, most - 1) + "…" : text; }

function visibleCalls(view, filter) {
  const wanted = filter.find.trim().toLowerCase();
  return view.calls.filter((call) =>
    (!filter.method || call.method === filter.method) && (!filter.failed || call.verdict === "fail") &&
    (!wanted || [call.id, call.caller, call.callee].some((name) => name.toLowerCase().includes(wanted))));
}

function rowsOf(view, calls, unfolded) {
  const rows = [], tags = new Map();
  for (const call of calls) {
    const at = new Map();  // the row of each arrow
    for (const arrow of call.arrows) {
      const row = arrow.crossing ? at.get(arrow.before) : undefined;
      if (row) { row.arrows.push(arrow); at.set(arrow.id, row); continue; }
      const made = { time: arrow.time, call, arrows: [arrow] };
      at.set(arrow.id, made);
      rows.push(made);
    }
  }
  for (const event of view.events) rows.push({ time: event.time, event });
  for (const media of talks(view)) rows.push({ time: media.start, media });
  rows.sort((one, other) => one.time - other.time);
  for (const row of rows) {  // transactions are numbered as they are shown
    if (!row.arrows) continue;
    const key = row.call.id + " " + row.arrows[0].transaction;
    if (!tags.has(key)) tags.set(key, tags.size);
    row.tag = tags.get(key);
  }
  return unfolded ? rows : folded(rows);
}

function folded(rows) {
  const found = [];
  for (const row of rows) {
    const last = found[found.length - 1];
    if (!row.arrows || !row.arrows[0].is_keepalive) { found.push(row); continue; }
    if (last && last.folded) last.folded.push(row);
    else found.push({ time: row.time, folded: [row] });
  }
  return found;
}

function talks(view) {
  // One band for each stream of RTP: as the first and the last tap saw it. A phone may use its SSRC again.
  const found = [], open = new Map();
  const passing = new Set(view.lanes.filter((lane) => ["router", "proxy"].includes(lane.kind)).map((lane) => lane.name));
  for (const media of view.media) {
    const known = (open.get(media.ssrc) || []).find((each) => goesOn(each.taps, media, passing));
    if (known) { known.taps.push(media); continue; }
    const made = { start: media.start, taps: [media] };
    open.set(media.ssrc, [...(open.get(media.ssrc) || []), made]);
    found.push(made);
  }
  return found;
}

function goesOn(taps, media, passing) {
  const last = taps[taps.length - 1], by = media.origin.lane;
  const returns = taps.some((each) => each.source === media.destination);
  const same = last.source === media.source && last.destination === media.destination;
  return media.start <= last.end + 1 && (same || (last.target.lane === by && passing.has(by) && !returns));
}

function wrongs(row) {
  const found = [];
  for (const arrow of row.arrows) {
    if (arrow.lost) found.push("✗ " + arrow.lost);
    for (const failure of arrow.failed) found.push("! " + failure.check + ": " + failure.text);
  }
  return [...new Set(found)];
}

function translation(row) {
  // What a router made of the addresses, in the middle of its lane.
  const found = [];
  for (const arrow of row.arrows) {
    if (!arrow.crossing) continue;
    for (const change of arrow.changes) if (change.kind === "address") found.push(change.before + " → " + change.after);
  }
  return found.join(", ");
}

function heightOf(row) {
  if (row.event) return 24;
  if (row.folded) return 30;
  if (row.media) return 44;
  return 36 + (translation(row) ? 12 : 0) + 15 * Math.min(wrongs(row).length, 2);
}

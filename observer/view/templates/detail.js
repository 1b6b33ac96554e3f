// What stands at the right: a message with what was changed in it, or the run. Whatever comes from messages is text.
"use strict";

const MOST_CELLS = 400000;  // of the table by which lines are compared; beyond, only the ends that are alike are found
const SIGNS = { pass: "✓", fail: "✗", "not-seen": "?" };
const VERDICTS = { pass: "✓ PASS", fail: "✗ FAIL", "lab-broken": "! LAB BROKEN" };

function html(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.map((child) => (typeof child === "string" ? plain(child) : child)));
  return made;
}

function prose(text) {
  // A sentence of ours: what stands between backticks is code.
  return text.split("`").map((part, number) => (number % 2 ? html("code", {}, part) : plain(part)));
}

function compare(before, after) {
  // Returns [sign, line] of each line: "=", "-" or "+".
  let first = 0, end = 0;
  while (first < before.length && first < after.length && before[first] === after[first]) first++;
  while (end < before.length - first && end < after.length - first && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  const olds = before.slice(first, before.length - end), news = after.slice(first, after.length - end);
  const found = before.slice(0, first).map((line) => ["=", line]);
  found.push(...middle(olds, news));
  found.push(...after.slice(after.length - end).map((line) => ["=", line]));
  return found;
}

function middle(olds, news) {
  if (olds.length * news.length > MOST_CELLS) return [...olds.map((line) => ["-", line]), ...news.map((line) => ["+", line])];
  const wide = news.length + 1, table = new Uint32Array((olds.length + 1) * wide);
  for (let i = olds.length - 1; i >= 0; i--)
    for (let j = news.length - 1; j >= 0; j--)
      table[i * wide + j] = olds[i] === news[j] ? table[(i + 1) * wide + j + 1] + 1 : Math.max(table[(i + 1) * wide + j], table[i * wide + j + 1]);
  const found = [];
  let i = 0, j = 0;
  while (i < olds.length || j < news.length) {
    if (i < olds.length && j < news.length && olds[i] === news[j]) { found.push(["=", olds[i]]); i++; j++; }
    else if (j >= news.length || (i < olds.length && table[(i + 1) * wide + j] >= table[i * wide + j + 1])) found.push(["-", olds[i++]]);
    else found.push(["+", news[j++]]);
  }
  return found;
}

const SEPARATORS = /([;,\s<>&@:=./]+)/;
const MOST_MARKED = 4000;  // characters of a line whose words are compared

function marked(line, other) {
  // The line, with what differs from the other one marked.
  if (line.length + other.length > MOST_MARKED) return markedEnds(line, other);
  const words = (text) => text.split(SEPARATORS).filter(Boolean);
  const parts = compare(words(other), words(line)).filter(([sign]) => sign !== "-");
  if (parts.every(([sign]) => sign === "+")) return [plain(line)];
  const joined = [];
  for (const [sign, word] of parts) {
    const last = joined[joined.length - 1];
    if (last && last[0] === sign) last[1] += word; else joined.push([sign, word]);
  }
  return joined.map(([sign, text]) => (sign === "+" ? html("mark", {}, text) : plain(text)));
}

function markedEnds(line, other) {
  let first = 0, end = 0;
  const most = Math.min(line.length, other.length);
  while (first < most && line[first] === other[first]) first++;
  while (end < most - first && line[line.length - 1 - end] === other[other.length - 1 - end]) end++;
  if (first === 0 && end === 0) return [plain(line)];
  const parts = [plain(line.slice(0, first))];
  if (first < line.length - end) parts.push(html("mark", {}, line.slice(first, line.length - end)));
  parts.push(plain(line.slice(line.length - end)));
  return parts;
}

function wireLine(sign, parts, kind) {
  const cell = html("span");
  cell.append(...parts);
  return html("div", { class: kind }, html("span", { class: "sign" }, sign), cell);
}

function whole(text) {
  const made = html("div", { class: "wire", id: "whole" });
  let head = true;
  text.split("\n").forEach((line, number) => {
    const colon = line.indexOf(":");
    if (!line) head = false;
    if (head && number && colon > 0) made.append(wireLine("", [html("span", { class: "key" }, line.slice(0, colon)), plain(line.slice(colon))], ""));
    else made.append(wireLine("", [number ? plain(line) : html("span", { class: "key" }, line)], ""));
  });
  return made;
}

function difference(before, after) {
  const made = html("div", { class: "wire", id: "diff" });
  const lines = compare(before.split("\n"), after.split("\n"));
  const changed = pairs(lines);
  lines.forEach(([sign, line], number) => {
    const other = changed.get(number);
    const parts = other === undefined ? [plain(line)] : marked(line, lines[other][1]);
    made.append(wireLine(sign === "=" ? "" : sign === "-" ? "−" : "+", parts, sign === "=" ? "" : sign === "-" ? "gone" : "came"));
  });
  return made;
}

function pairs(lines) {
  // Which removed line is which added one, edited: of the same name, in one block.
  const found = new Map(), name = (line) => line.split(/[:=\s]/, 1)[0].toLowerCase();
  let gone = [];
  lines.forEach(([sign, line], number) => {
    if (sign === "=") { gone = []; return; }
    if (sign === "-") { gone.push(number); return; }
    const same = gone.filter((each) => !found.has(each) && name(lines[each][1]) === name(line));
    const like = same.find((each) => branch(lines[each][1]) === branch(line));
    if (like !== undefined) { found.set(number, like); found.set(like, number); }
  });
  return found;
}

function branch(line) { const found = /^v(?:ia)?\s*:.*;\s*branch=([^;,\s]+)/i.exec(line); return found ? found[1] : ""; }

function changeCard(change) {
  const lines = html("div", { class: "lines" });
  const name = ["first line", "line ends"].includes(change.name) || change.name.endsWith("=") ? "" : change.name + (change.kind === "address" || change.kind === "transport" ? " " : ": ");
  const both = change.before && change.after;
  const put = (sign, kind, text, other) => {
    const cell = html("span", {}, name);
    cell.append(...(both ? marked(text, other) : [plain(text)]));
    lines.append(html("div", { class: kind }, html("span", {}, sign), cell));
  };
  if (change.before || change.kind === "removed") put("−", "gone", change.before, change.after);
  if (change.after || change.kind === "added") put("+", "came", change.after, change.before);
  const why = html("div", { class: "why" }, html("span", { class: "by" }, change.by + ": "));
  why.append(...prose(change.why || "no explanation known"), " ");
  if (change.rfc) why.append(html("span", { class: "rfc" }, change.rfc));
  return html("div", { class: "change", "data-name": change.name }, lines, why);
}

function messageDetail(view, arrow, before, state, again) {
  const made = [html("h2", {}, arrow.label)];
  const first = arrow.sights[0];
  made.push(html("p", { class: "meta" }, `${(first.time - view.start).toFixed(6)} s · ${arrow.origin.lane} → ${arrow.target.lane} · ${arrow.transport.toUpperCase()}`));
  made.push(html("p", { class: "meta" }, `${arrow.source} → ${arrow.destination}`));
  made.push(html("p", { class: "meta" }, `seen at ${arrow.sights.map((sight) => sight.tap).join(", ")}${arrow.copy ? ` · sent for the ${ordinal(arrow.copy + 1)} time` : ""}`));
  if (arrow.lost) made.push(html("div", { class: "alert" }, html("b", {}, "✗ Lost: "), arrow.lost));
  for (const failure of arrow.failed) made.push(html("div", { class: "alert" }, html("b", {}, "✗ " + failure.check + ": "), failure.text));
  if (before) {
    made.push(html("h3", {}, `What ${arrow.by} changed (${arrow.changes.length})`));
    const isAddress = (change) => change.kind === "address";
    const told = [...arrow.changes.filter((change) => !isAddress(change)), ...arrow.changes.filter(isAddress)];
    made.push(...told.map(changeCard));
    if (!arrow.changes.length) made.push(html("p", {}, "Nothing."));
  } else made.push(html("p", { class: "keys" }, "This is where the message was first seen."));
  made.push(html("h3", {}, "The message"));
  if (before) {
    const toggle = html("div", { class: "toggle", role: "group" });
    for (const [name, words] of [["diff", "as a diff"], ["whole", "whole"]]) {
      const button = html("button", { type: "button", "aria-pressed": state.form === name, "data-form": name }, words);
      button.addEventListener("click", () => { state.form = name; again(); });
      toggle.append(button);
    }
    made.push(toggle);
  }
  made.push(before && state.form === "diff" ? difference(before.text, arrow.text) : whole(arrow.text));
  return made;
}

function ordinal(number) { return number + (["th", "st", "nd", "rd"][number % 100 > 10 && number % 100 < 14 ? 0 : number % 10] || "th"); }

function runDetail(view, now) {
  const made = [html("h2", {}, view.verdict ? VERDICTS[view.verdict] || view.verdict : view.live ? "The lab, as it runs" : "What was captured")];
  made.push(html("p", { class: "meta" }, view.title + (view.without.length ? ` · without ${view.without.join(", ")}` : "")));
  for (const note of view.notes) made.push(html("div", { class: "note" }, note));
  for (const fact of view.facts) made.push(html("div", { class: "alert" }, fact));
  for (const router of view.routers) made.push(...routerDetail(router, now));
  if (view.media.length) made.push(html("h3", {}, "Audio"), mediaTable(view));
  if (view.checks.length) {
    made.push(html("h3", {}, "Checks"));
    made.push(html("ul", { class: "checks" }, ...view.checks.map((check) =>
      html("li", {}, html("span", { class: check.result === "pass" ? "fine" : "bad" }, SIGNS[check.result] || "?"), html("span", {}, check.name), html("small", {}, check.evidence)))));
  }
  return made;
}

function routerDetail(router, now) {
  const made = [html("h3", {}, `Router ${router.lane}${router.kind ? ": " + router.kind : ""}`)];
  if (!router.mappings.length) { made.push(html("p", { class: "keys" }, "It has no mapping of a phone's port for SIP.")); return made; }
  const table = html("table", {}, html("tr", {}, ...["inside → outside", "age", "left"].map((name) => html("th", {}, name))));
  for (const mapping of router.mappings) {
    const age = Math.max(0, (mapping.ended || now) - mapping.made);
    const left = mapping.transport === "udp" && router.lifetime ? Math.max(0, router.lifetime - (now - mapping.used)) : 0;
    const last = html("td", { class: "tight" }, mapping.ended ? "ended" : mapping.transport === "udp" ? `${left.toFixed(0)} s` : mapping.transport);
    if (!mapping.ended && mapping.transport === "udp" && router.lifetime) {
      const bar = html("i");
      bar.style.width = Math.round((100 * left) / router.lifetime) + "%";
      last.append(html("div", { class: "life" }, bar));
    }
    table.append(html("tr", {}, html("td", { class: "mono" }, `${mapping.private} → ${mapping.public}`), html("td", { class: "tight" }, `${age.toFixed(age < 10 ? 1 : 0)} s`), last));
  }
  made.push(table);
  return made;
}

function mediaTable(view) {
  const table = html("table", {}, html("tr", {}, ...["at", "from → to", "packets", "lost", "jitter"].map((name) => html("th", {}, name))));
  for (const media of view.media)
    table.append(html("tr", {}, html("td", { class: "tight" }, media.tap), html("td", { class: "mono" }, `${media.source} → ${media.destination}`),
      html("td", {}, String(media.packets)), html("td", {}, String(media.lost)), html("td", { class: "tight" }, media.jitter.toFixed(2) + " ms")));
  return table;
}

// The page: what is picked, what is filtered, the keyboard, and what comes while the lab runs.
"use strict";

const by = (id) => document.getElementById(id);
const ALL = "";
const MOST_CALLS = 400;  // that a live page keeps

const view = JSON.parse(by("view").textContent);
const state = { call: null, arrow: "", form: "diff", unfolded: false, filter: { find: "", method: "", failed: false }, follow: true };
let shown = [];
const ladder = new Ladder(by("scroll"), by("heads"), by("rows"), by("drawing"), pickRow);

function now() { return view.live ? Date.now() / 1000 : view.end; }

function chooseCall() {
  const failed = view.calls.find((call) => call.method === "INVITE" && call.verdict === "fail");
  const first = failed || view.calls.find((call) => call.method === "INVITE");
  return first && !view.live ? first.id : ALL;
}

function duration(seconds) { return seconds < 1 ? (seconds * 1000).toFixed(0) + " ms" : seconds < 10 ? seconds.toFixed(2) + " s" : seconds.toFixed(0) + " s"; }

function isOpen(call) { return view.live && ["trying", "ringing", "up"].includes(call.state); }

function lasting(call) {
  const last = call.arrows[call.arrows.length - 1];
  return duration(call.duration + (isOpen(call) && last ? Math.max(0, now() - last.time) : 0));
}

function stateWords(call) {
  const signs = { trying: "…", ringing: "◔", up: "●", ended: "■", failed: "✗", done: "✓" };
  return (signs[call.state] || "") + " " + call.state + (call.state === "failed" && call.status ? " " + call.status : "");
}

function who(call) {
  return brief(call.caller, 40) + (call.method === "REGISTER" && call.caller === call.callee ? " registers" : " → " + brief(call.callee, 40));
}

function callItem(call) {
  const wrong = call.verdict === "fail";
  const made = html("li", { role: "option", "data-call": call.id, "aria-selected": state.call === call.id, title: plain(call.id) },
    html("div", { class: "top" }, html("span", { class: "who" }, who(call)), html("span", { class: "way" }, brief(call.method, 12))),
    html("div", { class: "sub" }, html("span", { class: wrong ? "bad" : call.verdict === "pass" ? "fine" : "" }, brief(stateWords(call), 34)),
      html("span", { class: "lasting" }, lasting(call)), ...(call.nat ? [html("span", {}, "NAT " + call.nat)] : [])));
  return made;
}

function showCalls() {
  shown = visibleCalls(view, state.filter);
  const list = by("list"), above = list.scrollTop;
  const all = html("li", { role: "option", "data-call": ALL, "aria-selected": state.call === ALL },
    html("div", { class: "top" }, html("span", { class: "who" }, "All"), html("span", { class: "way" }, `${shown.length} of ${view.calls.length}`)));
  list.replaceChildren(all, ...shown.map(callItem));
  list.scrollTop = above;
  const methods = [...new Set(view.calls.map((call) => call.method))].sort();
  const select = by("method");
  if (select.options.length !== methods.length + 1) {
    select.replaceChildren(html("option", { value: "" }, "all methods"), ...methods.map((name) => html("option", { value: name }, brief(name, 20))));
    select.value = state.filter.method;
  }
}

function showLadder() {
  const picked = state.call === ALL ? shown : shown.filter((call) => call.id === state.call);
  const only = state.call === ALL ? view : { ...view, events: near(picked), media: view.media.filter((media) => picked.some((call) => call.method === "INVITE" && isBetween(call, media) && media.start >= call.start && (isOpen(call) || media.start <= call.arrows[call.arrows.length - 1].time))) };
  const rows = rowsOf(only, picked, state.unfolded);
  ladder.on = arrowOf(state.arrow);
  ladder.picked = rows.find((row) => row.arrows && row.arrows.some((arrow) => arrow.id === state.arrow)) || null;
  ladder.show(view, rows);
  by("empty").hidden = rows.length > 0;
  by("empty").textContent = view.live ? "Nothing yet. `./lab call` places a call." : view.calls.length ? "Nothing that fits the filter." : "No SIP message was seen.";
}

function isBetween(call, media) {
  return [media.origin.lane, media.target.lane].every((lane) => call.arrows.some((arrow) => arrow.origin.lane === lane || arrow.target.lane === lane));
}

function near(calls) { return view.events.filter((event) => isDuring(event.time, calls)); }

function isDuring(time, calls) {
  return calls.some((call) => call.arrows.length && time >= call.arrows[0].time - 1 && time <= call.arrows[call.arrows.length - 1].time + 1);
}

function arrowOf(id) {
  if (!id) return null;
  for (const call of view.calls) for (const arrow of call.arrows) if (arrow.id === id) return arrow;
  return null;
}

function showDetail() {
  const arrow = arrowOf(state.arrow), detail = by("detail");
  if (!arrow) { detail.replaceChildren(...runDetail(view, now())); return; }
  detail.replaceChildren(...messageDetail(view, arrow, arrowOf(arrow.before), state, showDetail));
}

function showHead() {
  document.title = view.live ? "The lab, live" : plain(view.title);
  by("title").textContent = view.live ? "SIP through a real NAT, live" : view.title;
  const verdict = by("verdict");
  verdict.hidden = !view.verdict;
  verdict.textContent = VERDICTS[view.verdict] || "";
  verdict.className = "chip " + view.verdict;
}

function show() { showHead(); showCalls(); showLadder(); if (!state.arrow) showDetail(); }

function pickCall(id) {
  state.call = id;
  if (!shown.some((call) => call.id === id && call.arrows.some((arrow) => arrow.id === state.arrow))) state.arrow = "";
  for (const item of by("list").children) item.setAttribute("aria-selected", item.dataset.call === id);
  const item = [...by("list").children].find((each) => each.dataset.call === id);
  if (item) item.scrollIntoView({ block: "nearest" });
  by("scroll").scrollTop = 0;
  showLadder();
  showDetail();
  part("ladder");
}

function pickRow(row, id) {
  if (!row) return;
  if (row.folded) { state.unfolded = true; showLadder(); return; }
  if (!row.arrows) return;
  const arrow = row.arrows.find((each) => each.id === id) || row.arrows[row.arrows.length - 1];
  pickArrow(arrow, Boolean(id) || innerWidth <= 900);
}

function pickArrow(arrow, turn) {
  state.arrow = arrow.id;
  state.follow = false;
  showLadder();
  showDetail();
  by("detail").scrollTop = 0;
  if (ladder.picked) ladder.reveal(ladder.picked);
  by("said").textContent = ladder.picked ? ladder.words(ladder.picked) : "";
  if (turn) part("detail");
}

function part(name) {
  document.querySelector("main").dataset.part = name;
  for (const button of by("tabs").children) button.setAttribute("aria-current", button.dataset.part === name);
  if (name === "ladder") { ladder.measure(); ladder.draw(); }
}

function step(by_) {
  const rows = ladder.rows.filter((row) => row.arrows);
  if (!rows.length) return;
  const at = rows.indexOf(ladder.picked);
  const row = rows[at < 0 ? (by_ > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by_, 0), rows.length - 1)];
  pickArrow(row.arrows[row.arrows.length - 1], false);
}

function across(by_) {
  const row = ladder.picked;
  if (!row) return;
  const at = row.arrows.findIndex((arrow) => arrow.id === state.arrow);
  const arrow = row.arrows[at + by_];
  if (arrow) pickArrow(arrow, false);
}

function stepCall(by_) {
  const ids = [ALL, ...shown.map((call) => call.id)];
  pickCall(ids[Math.min(Math.max(ids.indexOf(state.call) + by_, 0), ids.length - 1)]);
}

function overview() { state.arrow = ""; showLadder(); showDetail(); part("detail"); }

function theme(name) {
  const names = ["", "light", "dark"];
  const root = document.documentElement;
  const next = name === undefined ? names[(names.indexOf(root.dataset.theme || "") + 1) % names.length] : name;
  if (next) root.dataset.theme = next; else delete root.dataset.theme;
  by("theme").lastElementChild.textContent = next || "system";
  try { localStorage.setItem("theme", next); } catch { /* a file may not remember */ }
}

function remembered() { try { return localStorage.getItem("theme") || ""; } catch { return ""; } }

function filtered() { shown = visibleCalls(view, state.filter); show(); }

by("find").addEventListener("input", (event) => { state.filter.find = event.target.value; filtered(); });
by("method").addEventListener("change", (event) => { state.filter.method = event.target.value; filtered(); });
by("failed").addEventListener("change", (event) => { state.filter.failed = event.target.checked; filtered(); });
by("filters").addEventListener("submit", (event) => event.preventDefault());
by("list").addEventListener("click", (event) => { const item = event.target.closest("li"); if (item) pickCall(item.dataset.call); });
by("theme").addEventListener("click", () => theme());
by("overview").addEventListener("click", overview);
by("tabs").addEventListener("click", (event) => { if (event.target.dataset.part) part(event.target.dataset.part); });
by("scroll").addEventListener("scroll", () => { if (view.live) state.follow = ladder.isAtEnd; }, { passive: true });

const KEYS = {
  ArrowDown: () => step(1), ArrowUp: () => step(-1), j: () => step(1), ArrowRight: () => across(1), ArrowLeft: () => across(-1),
  "]": () => stepCall(1), "[": () => stepCall(-1), "/": () => { part("calls"); by("find").focus(); }, t: () => theme(), o: overview,
  f: () => { by("failed").click(); }, k: () => { state.unfolded = !state.unfolded; showLadder(); }, Escape: overview,
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=search], select")) { if (event.key === "Escape") event.target.blur(); return; }
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

// ── what comes while the lab runs ──

function take(news) {
  for (const call of news.calls || []) {
    const at = view.calls.findIndex((known) => known.id === call.id);
    if (at >= 0) view.calls[at] = call; else view.calls.push(call);
  }
  if (view.calls.length > MOST_CALLS) view.calls.splice(0, view.calls.length - MOST_CALLS);
  for (const name of ["lanes", "events", "routers", "media", "notes", "title", "start", "end", "verdict", "checks", "facts", "without"]) if (name in news) view[name] = news[name];
  const follow = state.follow;
  show();
  if (follow) ladder.toEnd();
}

function tick() {
  if (!state.arrow && view.routers.length) showDetail();
  for (const call of shown.filter(isOpen)) {
    const item = [...by("list").children].find((each) => each.dataset.call === call.id);
    if (item) item.querySelector(".lasting").textContent = lasting(call);
  }
}

function follow() {
  const chip = by("live");
  chip.hidden = false;
  const say = (kind, words) => { chip.className = "chip " + kind; chip.textContent = words; };
  const source = new EventSource("events");
  source.addEventListener("open", () => say("pass", "● live"));
  source.addEventListener("error", () => say("wait", "◌ not connected"));
  source.addEventListener("whole", (event) => { view.calls = []; take(JSON.parse(event.data)); });
  source.addEventListener("news", (event) => take(JSON.parse(event.data)));
  setInterval(() => { if (!document.hidden) tick(); }, 1000);
}

theme(remembered());
part("ladder");
state.call = chooseCall();
show();
if (document.body.dataset.live === "yes") follow();

// The ladder: only the rows that can be seen are drawn.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const TRANSACTIONS = 7;  // colours; the number beside the arrow says which one it is

function svg(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const pen = document.createElement("canvas").getContext("2d");
const widths = new Map();

function widthOf(words, kind) {
  const key = kind + words;
  if (!widths.has(key)) {
    if (widths.size > 5000) widths.clear();
    const style = getComputedStyle(document.documentElement);
    pen.font = kind.includes("small") ? "10.5px " + style.getPropertyValue("--mono")
      : (kind.includes("event") ? "400 11.5px " : kind.includes("wrong") ? "600 11.5px " : "600 12px ") + style.getPropertyValue("--sans");
    widths.set(key, pen.measureText(words).width + 4);
  }
  return widths.get(key);
}

class Ladder {
  constructor(scroll, heads, rows, drawing, pick) {
    Object.assign(this, { scroll, heads, area: rows, drawing, pick, rows: [], tops: [0], lanes: [], start: 0, picked: null });
    let waiting = false;
    const later = () => { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; this.draw(); }); } };
    scroll.addEventListener("scroll", later, { passive: true });
    new ResizeObserver(() => { this.measure(); later(); }).observe(scroll);
    drawing.addEventListener("click", (event) => this.clicked(event));
  }

  show(view, rows) {
    this.lanes = view.lanes;
    this.start = view.start;
    this.rows = rows;
    this.tops = [0];
    for (const row of rows) this.tops.push(this.tops[this.tops.length - 1] + heightOf(row));
    this.measure();
    this.draw();
  }

  measure() {
    const width = this.scroll.clientWidth;
    this.narrow = width < 560;
    this.gutter = this.narrow ? 60 : 92;
    this.width = Math.max(width, this.gutter + this.lanes.length * (this.narrow ? 62 : 100));
    const band = this.narrow ? 26 : 54;
    const routers = this.lanes.filter((lane) => lane.edges.length > 1).length;
    const free = this.width - this.gutter - routers * band;
    const step = free / Math.max(1, this.lanes.length);
    this.edges = new Map();
    let x = this.gutter + step / 2;
    for (const lane of this.lanes) {
      const wide = lane.edges.length > 1 ? band : 0;
      this.edges.set(lane.name, wide ? [x, x + wide] : [x]);
      x += step + wide;
    }
  }

  x(end) { const edges = this.edges.get(end.lane) || [this.gutter]; return edges[Math.min(end.edge, edges.length - 1)]; }

  draw() {
    const height = this.tops[this.tops.length - 1];
    const above = this.scroll.scrollTop, seen = this.scroll.clientHeight;
    const tall = Math.max(height + 16, seen - this.heads.clientHeight - 2);
    this.area.style.height = tall + "px";
    this.area.style.width = this.width + "px";
    this.drawHeads();
    let first = 0, last = this.rows.length;
    while (first < last) { const mid = (first + last) >> 1; if (this.tops[mid + 1] < above - 100) first = mid + 1; else last = mid; }
    const top = this.tops[first] || 0, made = [];
    const bottom = Math.min(tall, above + seen + 100);
    made.push(...this.lines(top, bottom));
    for (let number = first; number < this.rows.length && this.tops[number] < above + seen + 100; number++)
      made.push(this.row(this.rows[number], number, this.tops[number] - top));
    this.drawing.replaceChildren(...made);
    this.drawing.style.top = top + "px";
    this.drawing.setAttribute("width", this.width);
    this.drawing.setAttribute("height", Math.max(0, Math.max(bottom, this.tops[Math.min(first + made.length, this.rows.length)] || 0) - top));
  }

  lines(top, bottom) {
    const made = [];
    for (const lane of this.lanes) {
      const edges = this.edges.get(lane.name);
      if (edges.length > 1) made.push(svg("rect", { class: "band", x: edges[0], y: 0, width: edges[1] - edges[0], height: bottom - top }));
      for (const x of edges) made.push(svg("line", { class: "lane", x1: x, x2: x, y1: 0, y2: bottom - top }));
    }
    return made;
  }

  drawHeads() {
    const tall = this.narrow ? 46 : 50;
    this.heads.setAttribute("width", this.width);
    this.heads.setAttribute("height", tall);
    const made = [];
    for (const lane of this.lanes) {
      const edges = this.edges.get(lane.name), middle = (edges[0] + edges[edges.length - 1]) / 2;
      if (edges.length > 1) made.push(svg("rect", { class: "band", x: edges[0], y: tall - 8, width: edges[1] - edges[0], height: 8 }));
      for (const x of edges) made.push(svg("line", { class: "lane", x1: x, x2: x, y1: tall - 8, y2: tall }));
      made.push(svg("text", { class: "name", x: middle, y: 19, "text-anchor": "middle" }, plain(brief(lane.name, 24))));
      if (this.narrow) continue;
      lane.edges.forEach((edge, number) => {
        const words = plain(edge.address === lane.name ? "" : edge.address);
        const anchor = edges.length === 1 ? "middle" : number ? "start" : "end";
        const x = edges.length === 1 ? middle : number ? middle + 3 : middle - 3;
        made.push(svg("text", { class: "address", x, y: 35, "text-anchor": anchor }, words));
      });
      if (edges.length > 1) made.push(svg("text", { class: "address", x: middle, y: 35, "text-anchor": "middle" }, "|"));
    }
    this.heads.replaceChildren(...made);
  }

  row(row, number, y) {
    const height = heightOf(row), picked = row === this.picked;
    const made = svg("g", { class: "row" + (picked ? " picked" : "") + (row.fresh ? " fresh" : ""), transform: `translate(0 ${y})`,
      "data-row": number, role: "option", "aria-selected": picked, "aria-label": this.words(row) });
    made.append(svg("rect", { class: "hit", x: 0, y: 0, width: this.width, height }));
    const time = (row.time - this.start).toFixed(this.narrow ? 2 : 4);
    const y0 = row.arrows || row.media ? 21 : 16;
    made.append(svg("text", { class: "time", x: this.narrow ? 36 : 60, y: y0, "text-anchor": "end" }, time));
    if (row.event) this.event(made, row.event);
    else if (row.folded) this.fold(made, row.folded);
    else if (row.media) this.media(made, row.media);
    else this.arrows(made, row);
    return made;
  }

  words(row) {
    if (row.event) return plain(row.event.text);
    if (row.folded) return row.folded.length + " keep-alives";
    if (row.media) return "RTP";
    const last = row.arrows[row.arrows.length - 1], first = row.arrows[0];
    return plain(`${first.label}, ${first.origin.lane} to ${last.target.lane}${first.copy ? ", sent again" : ""}${last.lost ? ", lost" : ""}`);
  }

  arrows(made, row) {
    const first = row.arrows[0], colour = row.tag % TRANSACTIONS;
    const y = 24;
    const group = svg("g", { class: `t${colour}${first.status ? " answer" : ""}${first.copy ? " again" : ""}` });
    group.append(this.tag(row.tag, this.narrow ? 55 : 88));
    let previous = null;
    for (const arrow of row.arrows) {
      const from = this.x(arrow.origin), to = this.x(arrow.target);
      if (previous !== null && previous !== from) group.append(svg("line", { class: "through", x1: previous, x2: from, y1: y, y2: y }));
      group.append(this.shaft(arrow, from, to, y, arrow === this.on));
      previous = to;
    }
    made.append(group);
    const ends = row.arrows.flatMap((arrow) => [this.x(arrow.origin), this.x(arrow.target)]);
    const left = Math.min(...ends), right = Math.max(...ends);
    const again = first.copy ? `↻ ${first.copy + 1}  ` : "";
    this.text(made, "label", again + plain(brief(first.label, 70)), (left + right) / 2, 15);
    let below = y + 13;
    const words = translation(row);
    if (words) { this.text(made, "small", plain(words), (left + right) / 2, below + 1); below += 13; }
    for (const wrong of wrongs(row).slice(0, 2)) { this.text(made, "wrong label", plain(wrong), (left + right) / 2, below + 2); below += 15; }
  }

  shaft(arrow, from, to, y, on) {
    const group = svg("g", { class: "seg" + (on ? " on" : ""), "data-arrow": arrow.id });
    const way = Math.sign(to - from) || 1;
    if (from === to) { group.append(svg("path", { class: "shaft", d: `M${from} ${y - 5}h18v10h-14` })); return group; }
    const end = arrow.lost ? from + (to - from) * .82 : to - way * 2;
    group.append(svg("line", { class: "shaft", x1: from, x2: end - way * 5, y1: y, y2: y }));
    if (arrow.lost) group.append(svg("path", { class: "cross", d: `M${end - 5} ${y - 5}l10 10m0 -10l-10 10` }));
    else group.append(svg("path", { class: "head", d: `M${end} ${y}l${-way * 8} -4.5v9z` }));
    return group;
  }

  tag(transaction, x) {
    const words = String(transaction + 1);
    const wide = 9 + 6 * words.length;
    x -= wide;
    return svg("g", { class: "tag" }, svg("rect", { x, y: 11, width: wide, height: 14, rx: transaction % 2 ? 2 : 7 }),
      svg("text", { x: x + wide / 2, y: 21.5, "text-anchor": "middle" }, words));
  }

  text(made, kind, words, middle, y) {
    const room = this.width - this.gutter - 10;
    let shown = words;
    if (widthOf(shown, kind) > room) {
      let most = words.length;
      for (let less = 0; less < most;) { const mid = (less + most + 1) >> 1; if (widthOf(brief(words, mid), kind) > room) most = mid - 1; else less = mid; }
      shown = brief(words, Math.max(most, 1));
    }
    const half = widthOf(shown, kind) / 2;
    const x = Math.min(Math.max(middle, this.gutter + half), this.width - half - 6);
    made.append(svg("text", { class: kind, x, y, "text-anchor": "middle" }, shown));
  }

  event(made, event) {
    const edges = this.edges.get(event.lane) || [this.gutter], middle = (edges[0] + edges[edges.length - 1]) / 2;
    const words = plain(event.text);
    if (widthOf(words, "event label") > this.width - middle - 20) { this.text(made, "event label", "◆ " + words, middle, 16); return; }
    made.append(svg("path", { class: "head t6", d: `M${middle} 6l6 6l-6 6l-6 -6z` }), svg("text", { class: "event label", x: middle + 12, y: 16 }, words));
  }

  fold(made, folded) {
    const count = folded.length, methods = [...new Set(folded.map((row) => row.arrows[0].method))].sort().join(", ");
    made.append(svg("text", { class: "fold label", x: this.gutter + 8, y: 19 },
      `⋯ ${count} keep-alive${count > 1 ? "s" : ""} (${methods}), folded: click or k`));
  }

  media(made, media) {
    const first = media.taps[0], last = media.taps[media.taps.length - 1];
    const from = this.x(first.origin), to = this.x(last.target);
    const way = Math.sign(to - from) || 1;
    const left = Math.min(from, to), right = Math.max(from, to);
    made.append(svg("path", { class: "rtp", d: way > 0 ? `M${left} 8h${right - left - 10}l10 9l-10 9h${-(right - left - 10)}z`
      : `M${right} 8h${-(right - left - 10)}l-10 9l10 9h${right - left - 10}z` }));
    const lost = Math.max(first.packets - last.packets, last.lost);
    this.text(made, "label", `RTP ${plain(first.payload)}`, (left + right) / 2, 21);
    this.text(made, "small", `${last.packets} packets, ${lost} lost, jitter ${last.jitter.toFixed(1)} ms, ${(last.end - last.start).toFixed(1)} s`, (left + right) / 2, 38);
  }

  clicked(event) {
    const row = event.target.closest("[data-row]");
    if (!row) return;
    const arrow = event.target.closest("[data-arrow]");
    this.pick(this.rows[Number(row.dataset.row)], arrow ? arrow.dataset.arrow : "");
  }

  reveal(row) {
    const number = this.rows.indexOf(row);
    if (number < 0) return;
    const head = this.heads.clientHeight, seen = this.scroll.clientHeight - head;
    const top = this.tops[number], bottom = this.tops[number + 1];
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = Math.max(0, top - 20);
    else if (bottom > this.scroll.scrollTop + seen) this.scroll.scrollTop = bottom - seen + 20;
  }

  get isAtEnd() { return this.scroll.scrollTop + this.scroll.clientHeight > this.scroll.scrollHeight - 40; }
  toEnd() { this.scroll.scrollTop = this.scroll.scrollHeight; }
}

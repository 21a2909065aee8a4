// What can be clicked in the demo, in four forms: cards, a map, an image with its words, and an upload; and a sign
// that nothing can be clicked any more.
// Everything is a real button or follows the arrow keys. Texts go in as text, never as HTML.

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Arrow keys move among the buttons of a group by where they stand; one of them is in the tab order.
function rove(group) {
  const all = () => [...group.querySelectorAll("button[data-rove]")];
  const admit = (chosen) => all().forEach((one) => (one.tabIndex = one === chosen ? 0 : -1));
  const items = all();
  admit(items.find((one) => one.getAttribute("aria-pressed") === "true") || items[0]);
  group.addEventListener("focusin", (event) => {
    if (event.target.matches("button[data-rove]")) admit(event.target);
  });
  group.addEventListener("keydown", (event) => {
    const buttons = all();
    const at = buttons.indexOf(document.activeElement);
    if (at < 0) return;
    let next = null;
    if (event.key === "ArrowRight") next = buttons[at + 1];
    else if (event.key === "ArrowLeft") next = buttons[at - 1];
    else if (event.key === "Home") next = buttons[0];
    else if (event.key === "End") next = buttons[buttons.length - 1];
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const sign = event.key === "ArrowDown" ? 1 : -1;
      const own = buttons[at].getBoundingClientRect();
      const far = (one) => {
        const box = one.getBoundingClientRect();
        const down = sign * (box.top - own.top);
        return down > 2 ? down * 1000 + Math.abs(box.left - own.left) : Infinity;
      };
      next = buttons.reduce((best, one) => (far(one) < far(best) ? one : best), buttons[at]);
    } else return;
    event.preventDefault();
    event.stopPropagation();
    if (next) next.focus();
  });
}

// --- cards: images or captions in rows ------------------------------------------------------------------

function cards(model, root) {
  const { items = [], label = "", empty = "", wide = false } = model.get("data");
  const list = make("div", { class: wide ? "ud-list" : "ud-cards", role: "group", "aria-label": label });
  for (const item of items) {
    const button = make("button", {
      type: "button",
      class: `ud-card ${item.mark || ""}`,
      "data-rove": "",
      "data-key": item.key,
      "aria-label": item.label,
      "aria-pressed": String(model.get("chosen") === item.key),
      title: item.title,
      onclick: () => {
        list.querySelectorAll("button").forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
        model.send({ event: "choose", key: item.key });
      },
    });
    if (item.src) button.append(make("img", { src: item.src, alt: "", draggable: "false" }));
    else if (item.src === "") button.append(make("span", { class: "ud-gone" }, "cannot be read"));
    if (item.second) button.append(make("img", { src: item.second, alt: "", draggable: "false" }));
    const line = make("span", { class: "ud-line" });
    if (item.rank) line.append(make("b", {}, item.rank));
    if (item.score) line.append(make("span", { class: "ud-score" }, item.score));
    if (item.change) line.append(make("span", { class: `ud-change ${item.turn || ""}` }, item.change));
    if (item.badge) line.append(make("span", { class: "ud-badge" }, item.badge));
    button.append(line);
    if (item.text) button.append(make("span", { class: "ud-text" }, item.text));
    if (!item.similar) {
      list.append(button);
      continue;
    }
    // The mouse's short way; by keyboard the same button stands under the image that was chosen.
    const similar = make("button", {
      type: "button",
      class: "ud-similar",
      tabindex: "-1",
      "data-similar": item.key,
      "aria-label": item.similar,
      title: "Search with this image",
      onclick: () => model.send({ event: "similar", key: item.key }),
    }, "similar");
    list.append(make("div", { class: "ud-hit" }, button, similar));
  }
  if (!items.length && empty) list.append(make("p", { class: "ud-hint" }, empty));
  root.append(list);
  if (items.length) rove(list);
}

// --- regions: an image under a grid, attention and words next to it ----------------------------------------

function regions(model, root) {
  const { src, grid = [1, 1], maps = [], label = "" } = model.get("data");
  if (!src) return;
  const [rows, columns] = grid;
  let chosen = maps.length ? 0 : -1;
  let region = -1;
  const cells = [];
  const stage = make("div", { class: "ud-stage", role: "group", "aria-label": `${label}, ${rows} by ${columns} regions` });
  stage.append(make("img", { src, alt: label, draggable: "false" }));
  const overlay = make("div", { class: "ud-grid", style: `grid-template-columns: repeat(${columns}, 1fr)` });
  for (let r = 0; r < rows * columns; r++) {
    const cell = make("button", {
      type: "button", class: "ud-cell", "data-rove": "",
      onclick: () => { region = region === r ? -1 : r; paint(); },
    });
    cells.push(cell);
    overlay.append(cell);
  }
  stage.append(overlay);
  const lists = make("div", { class: "ud-maps" });
  const buttons = maps.map((map, i) =>
    make("button", { type: "button", class: `ud-map ${map.kind}`, "data-rove": "", onclick: () => { chosen = i; region = -1; paint(); } },
      make("span", { class: "ud-bar", "aria-hidden": "true" }), make("span", {}, map.name)));
  for (const [kind, title] of [["attention", "Where it looks"], ["word", "Each word, region by region"]]) {
    const own = buttons.filter((_, i) => maps[i].kind === kind);
    if (own.length) lists.append(make("div", { class: "ud-group", role: "group", "aria-label": title }, make("p", { class: "ud-title" }, title), ...own));
  }
  const said = make("p", { class: "ud-said", role: "status", "aria-live": "polite" });
  const heat = make("canvas", { class: "ud-heat", "aria-hidden": "true" });
  const words = maps.filter((map) => map.kind === "word");

  function strength(map, r) {
    const low = map.low, high = map.high;
    return high > low ? Math.max(0, Math.min(1, (map.weights[r] - low) / (high - low))) : 0;
  }
  function paint() {
    const map = maps[chosen];
    cells.forEach((cell, r) => {
      const v = map ? strength(map, r) : 0;
      cell.style.background = map ? `rgba(${map.kind === "word" ? "0, 114, 178" : "213, 94, 0"}, ${(0.78 * v).toFixed(3)})` : "";
      const value = map ? `, ${map.weights[r].toFixed(map.kind === "word" ? 2 : 3)}` : "";
      cell.setAttribute("aria-label", `row ${Math.floor(r / columns) + 1}, column ${(r % columns) + 1}${value}`);
      cell.setAttribute("aria-pressed", String(r === region));
    });
    buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", String(i === chosen));
      const bar = button.querySelector(".ud-bar");
      bar.style.width = region < 0 ? "0" : `${Math.round(100 * strength(maps[i], region))}%`;
    });
    if (!map) said.textContent = "";
    else if (region >= 0) {
      const best = words.length ? words.reduce((a, b) => (b.weights[region] > a.weights[region] ? b : a)) : null;
      said.textContent = best ? `This region answers most to "${best.name}" (${best.weights[region].toFixed(2)}).` : `This region gets ${(100 * map.weights[region]).toFixed(1)} % of the attention.`;
    } else said.textContent = map.sentence;
    root.dataset.map = map ? map.name : "";
    drawHeat();
  }
  function drawHeat() {
    if (!words.length) { heat.style.display = "none"; return; }
    const scale = 6, line = 15, left = 84;
    const count = rows * columns;
    const ratio = window.devicePixelRatio || 1;
    const width = left + count * scale, height = words.length * line;
    heat.width = width * ratio; heat.height = height * ratio;
    heat.style.width = `${width}px`; heat.style.maxWidth = "100%";
    const pen = heat.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "12px sans-serif";
    words.forEach((word, i) => {
      pen.fillStyle = getComputedStyle(root).color;
      pen.fillText(word.name.length > 12 ? `${word.name.slice(0, 11)}…` : word.name, 0, i * line + 11);
      word.weights.forEach((_, r) => {
        pen.fillStyle = `rgba(0, 114, 178, ${strength(word, r).toFixed(3)})`;
        pen.fillRect(left + r * scale, i * line, scale - 1, line - 1);
      });
      if (maps[chosen] === word) { pen.strokeStyle = "#D55E00"; pen.lineWidth = 2; pen.strokeRect(left - 1, i * line, count * scale, line - 1); }
    });
    if (region >= 0) { pen.strokeStyle = "#D55E00"; pen.lineWidth = 2; pen.strokeRect(left + region * scale - 1, 0, scale + 1, height - 1); }
  }
  heat.addEventListener("click", (event) => {
    const box = heat.getBoundingClientRect();
    const factor = (84 + rows * columns * 6) / box.width;
    const r = Math.floor(((event.clientX - box.left) * factor - 84) / 6);
    const word = words[Math.floor(((event.clientY - box.top) * factor) / 15)];
    if (word) chosen = maps.indexOf(word);
    region = r >= 0 ? r : -1;
    paint();
  });
  const heading = make("p", { class: "ud-title ud-heat-title" }, "Words (rows) against regions (columns, row by row of the image)");
  root.append(make("div", { class: "ud-why" }, stage, lists), said);
  if (words.length) root.append(heading, heat);
  paint();
  rove(stage);
  rove(lists);
}

// --- map: images and captions on a plane -----------------------------------------------------------------

function map(model, root) {
  const { xy = [], keys = [], labels = [], sheet = "", columns = 1, tile = 32, pictures = 0, label = "", groups = [], group = [], shades = [] } = model.get("data");
  if (!xy.length) return;
  const colour = (i) => (group.length ? shades[group[i % pictures] % shades.length] : "#0072B2"); // a caption is its image's
  const middle = groups.map((_, g) => {
    const own = group.flatMap((one, i) => (one === g ? [xy[i]] : []));
    const median = (axis) => own.map((point) => point[axis]).sort((a, b) => a - b)[own.length >> 1];
    return [median(0), median(1)];
  });
  let shown = -1; // the group that stands out
  const faded = (i) => shown >= 0 && group[i % pictures] !== shown;
  const hits = () => model.get("hits");
  let zoom = 1, centre = [0.5, 0.5], cursor = 0, picked = [];
  const plane = make("canvas", { class: "ud-plane", tabindex: "0", role: "application", "aria-label": `${label}. Arrow keys move to the next image in that direction, Enter chooses it and its neighbours, plus and minus zoom.` });
  const said = make("p", { class: "ud-said", role: "status", "aria-live": "polite" });
  const list = make("div", { class: "ud-list", role: "group", "aria-label": "chosen on the map" });
  const atlas = new Image();
  atlas.onload = () => paint();
  atlas.src = sheet;
  const side = () => plane.clientWidth || 600;
  const place = (i) => [((xy[i][0] - centre[0]) * zoom + 0.5) * side(), ((xy[i][1] - centre[1]) * zoom + 0.5) * side()];

  function paint() {
    if (plane.offsetParent === null) return; // another panel is shown; it is drawn when this one comes back
    const ratio = window.devicePixelRatio || 1, size = side();
    plane.width = size * ratio; plane.height = size * ratio;
    const pen = plane.getContext("2d");
    pen.scale(ratio, ratio);
    const { backgroundColor: ground, color: ink } = getComputedStyle(plane);
    pen.fillStyle = ground; pen.fillRect(0, 0, size, size);
    const thumb = Math.max(10, Math.min(64, 15 * zoom)), edge = Math.max(1.5, Math.min(4, thumb / 9));
    for (let i = pictures; i < xy.length; i++) {
      const [x, y] = place(i);
      pen.globalAlpha = faded(i) ? 0.08 : 0.55;
      pen.fillStyle = colour(i);
      pen.beginPath(); pen.arc(x, y, 2 + zoom / 3, 0, 7); pen.fill();
    }
    for (let i = 0; i < pictures; i++) {
      const [x, y] = place(i);
      if (x < -thumb || y < -thumb || x > size + thumb || y > size + thumb) continue;
      pen.globalAlpha = faded(i) ? 0.12 : 1;
      if (group.length) { pen.fillStyle = colour(i); pen.fillRect(x - thumb / 2 - edge, y - thumb / 2 - edge, thumb + 2 * edge, thumb + 2 * edge); }
      if (atlas.complete && atlas.naturalWidth)
        pen.drawImage(atlas, (i % columns) * tile, Math.floor(i / columns) * tile, tile, tile, x - thumb / 2, y - thumb / 2, thumb, thumb);
    }
    pen.globalAlpha = 1;
    pen.font = "600 13px sans-serif"; pen.textAlign = "center"; pen.lineJoin = "round";
    const named = [];
    groups.forEach((name, g) => {
      if (shown >= 0 && g !== shown) return;
      const x = ((middle[g][0] - centre[0]) * zoom + 0.5) * size, wide = pen.measureText(name).width / 2;
      let y = ((middle[g][1] - centre[1]) * zoom + 0.5) * size;
      const hidden = () => named.find((other) => Math.abs(other.y - y) < 15 && Math.abs(other.x - x) < other.wide + wide + 4);
      for (let under = hidden(), tries = 0; under && tries < 20; under = hidden(), tries++) y = under.y + 15; // names stay legible
      named.push({ x, y, wide });
      pen.strokeStyle = ground; pen.lineWidth = 4; pen.strokeText(name, x, y);
      pen.fillStyle = ink; pen.fillText(name, x, y);
    });
    pen.textAlign = "start";
    const ring = (i, of, width, grow) => {
      const [x, y] = place(i), s = thumb + 2 * edge + grow;
      pen.strokeStyle = ground; pen.lineWidth = width + 3; pen.strokeRect(x - s / 2, y - s / 2, s, s);
      pen.strokeStyle = of; pen.lineWidth = width; pen.strokeRect(x - s / 2, y - s / 2, s, s);
      return [x, y];
    };
    picked.forEach((i) => ring(i, ink, 2, 3));
    for (const [key, rank] of Object.entries(hits())) {
      const i = keys.indexOf(key);
      if (i < 0) continue;
      const [x, y] = ring(i, "#D55E00", 3, 6);
      pen.fillStyle = "#D55E00"; pen.fillRect(x - thumb / 2 - 9, y - thumb / 2 - 9, 17, 14);
      pen.fillStyle = "#fff"; pen.font = "bold 11px sans-serif"; pen.fillText(rank, x - thumb / 2 - 7, y - thumb / 2 + 2);
    }
    if (document.activeElement === plane) ring(cursor, ink, 2, 9);
  }
  function nearest(x, y, count) {
    const order = [...Array(pictures).keys()].map((i) => [(xy[i][0] - x) ** 2 + (xy[i][1] - y) ** 2, i]);
    return order.sort((a, b) => a[0] - b[0]).slice(0, count).map((pair) => pair[1]);
  }
  function pick(i) {
    cursor = i;
    picked = nearest(xy[i][0], xy[i][1], 8);
    list.replaceChildren(...picked.map((j) => make("button", {
      type: "button", class: "ud-card", "data-rove": "", "data-key": keys[j], onclick: () => model.send({ event: "open", key: keys[j] }),
    }, make("span", { class: "ud-tile", style: `background: url(${sheet}) -${(j % columns) * tile}px -${Math.floor(j / columns) * tile}px; width: ${tile}px; height: ${tile}px` }),
    make("span", { class: "ud-text" }, labels[j] || keys[j]))));
    rove(list);
    said.textContent = `“${labels[i] || keys[i]}” and its ${picked.length - 1} neighbours on the map. Choose one to search with it.`;
    root.dataset.picked = picked.map((j) => keys[j]).join(" ");
    model.send({ event: "choose", keys: picked.map((j) => keys[j]) });
    paint();
  }
  function enlarge(factor, about) {
    zoom = Math.max(1, Math.min(12, zoom * factor));
    centre = zoom === 1 ? [0.5, 0.5] : about || [...xy[cursor]];
    paint();
  }
  plane.addEventListener("click", (event) => {
    const box = plane.getBoundingClientRect();
    const at = (v, low, c) => ((v - low) / box.width - 0.5) / zoom + c;
    pick(nearest(at(event.clientX, box.left, centre[0]), at(event.clientY, box.top, centre[1]), 1)[0]);
  });
  plane.addEventListener("keydown", (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (way) {
      let best = -1, least = Infinity;
      for (let i = 0; i < pictures; i++) {
        const dx = xy[i][0] - xy[cursor][0], dy = xy[i][1] - xy[cursor][1];
        const along = dx * way[0] + dy * way[1], across = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
        if (i !== cursor && along > 0 && along >= across && along + 2 * across < least) { least = along + 2 * across; best = i; }
      }
      if (best >= 0) { cursor = best; said.textContent = labels[best] || keys[best]; if (zoom > 1) centre = [...xy[best]]; }
      paint();
    } else if (event.key === "Enter" || event.key === " ") pick(cursor);
    else if (event.key === "+") enlarge(1.6);
    else if (event.key === "-") enlarge(1 / 1.6);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  plane.addEventListener("focus", paint);
  plane.addEventListener("blur", paint);
  function legend() {
    const chips = make("div", { class: "ud-tools", role: "group", "aria-label": "places; one that is chosen stands out" });
    groups.forEach((name, g) => {
      const chip = make("button", { type: "button", class: "ud-chip", "data-rove": "", "data-group": name, "aria-pressed": "false", onclick: () => {
        shown = shown === g ? -1 : g;
        [...chips.children].forEach((one, at) => one.setAttribute("aria-pressed", String(at === shown)));
        paint();
      } }, make("span", { class: "ud-swatch", style: `background:${shades[g % shades.length]}` }), name);
      chips.append(chip);
    });
    if (groups.length) rove(chips);
    return chips;
  }
  const first = Object.keys(hits()).map((key) => keys.indexOf(key)).find((i) => i >= 0);
  if (first !== undefined) cursor = first;
  const button = (name, says, does) => make("button", { type: "button", class: "ud-plain", "aria-label": says, onclick: does }, name);
  root.append(
    make("div", { class: "ud-tools" }, button("+", "zoom in", () => enlarge(1.6)), button("−", "zoom out", () => enlarge(1 / 1.6)), button("whole map", "show the whole map", () => enlarge(0)),
      make("span", { class: "ud-hint" }, "Thumbnails: images; dots: captions; numbered: hits of the search.")),
    legend(),
    make("div", { class: "ud-split" }, plane, make("div", { class: "ud-beside" }, said, list)));
  new ResizeObserver(paint).observe(plane);
  requestAnimationFrame(paint);
  model.on("change:hits", paint);
  return () => model.off("change:hits", paint);
}

// --- upload: a file is looked at before it is sent ---------------------------------------------------------

function upload(model, root) {
  const { limit = 0, label = "" } = model.get("data");
  const said = make("span", { class: "ud-said", role: "alert" });
  const send = async (file) => {
    said.textContent = "";
    if (!file) return;
    if (file.size > limit) {
      said.textContent = `${file.name} has ${(file.size / 1048576).toFixed(1)} MB; at most ${Math.round(limit / 1048576)} MB can be sent. Scale the image down.`;
      return;
    }
    said.textContent = "sending …";
    try {
      model.send({ event: "file", name: file.name }, undefined, [await file.arrayBuffer()]);
      said.textContent = "";
    } catch (error) {
      said.textContent = `${file.name} cannot be read: ${error.message}`;
    }
  };
  const input = make("input", { type: "file", class: "ud-file", "aria-label": label, onchange: () => { send(input.files[0]); input.value = ""; } });
  const zone = make("label", { class: "ud-drop" }, make("span", {}, label), input);
  zone.addEventListener("dragover", (event) => event.preventDefault());
  zone.addEventListener("drop", (event) => { event.preventDefault(); send(event.dataTransfer.files[0]); });
  root.append(zone, said);
  const told = (content) => { if (content.event === "clear") said.textContent = ""; }; // the next action was another
  model.on("msg:custom", told);
  return () => model.off("msg:custom", told);
}

// --- alive: nothing, until the kernel or its server is gone; then what to do -------------------------------------

const ASKS_EVERY = 3000; // ms
const GONE = {
  server: "The server of this page does not answer, so nothing you do here has an effect. Start it again (python course.py demo) and open the address that it prints.",
  refused: "The server does not know this page any more: it was started again with another token. Open the address that it printed last.",
  kernel: "The program behind this page has ended, so nothing you do here has an effect. Load the page again.",
  cell: "The kernel behind this output has ended or was started again. Run its cell again.",
};

function alive(model, root) {
  const kernel = model.widget_manager?.kernel; // a page without one, such as a stored notebook, has nothing to ask
  if (!kernel?.statusChanged || !kernel.serverSettings) return;
  const page = document.body.dataset.voila !== undefined; // else it is a cell's output among others
  const said = make("p", { class: `ud-gone-sign${page ? " ud-page" : ""}`, role: "alert", hidden: "" });
  let over = false, missed = 0;
  const tell = (why) => {
    if (over && why !== null) return; // an ended kernel does not come back
    said.textContent = why === null ? "" : why === "kernel" && !page ? GONE.cell : GONE[why];
    said.hidden = why === null;
    over = why === "kernel" || why === "refused";
    if (why === "kernel" && page) said.append(" ", make("button", { type: "button", class: "ud-plain", onclick: () => location.reload() }, "Load again"));
  };
  const changed = (_, status) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status)) tell("kernel");
  };
  const ask = async () => {
    if (over) return;
    const { baseUrl } = kernel.serverSettings;
    try {
      const answer = await fetch(`${baseUrl}api/kernels/${kernel.id}?${Date.now()}`, { cache: "no-store", signal: AbortSignal.timeout(4 * ASKS_EVERY) });
      missed = 0;
      if (answer.status === 404) tell("kernel");
      else if (answer.status === 401 || answer.status === 403 || answer.redirected) tell("refused");
      else if (!said.hidden) tell(null);
    } catch (error) {
      missed += 1;
      if (missed > 1) tell("server"); // one lost request is no sign
    }
  };
  kernel.statusChanged.connect(changed);
  const clock = setInterval(ask, ASKS_EVERY);
  root.append(said);
  return () => { clearInterval(clock); kernel.statusChanged.disconnect(changed); };
}

const FORMS = { cards, regions, map, upload, alive };

function render({ model, el }) {
  el.classList.add("ud-root");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // or JupyterLab takes the arrows for its cells
  let tidy = null;
  const draw = () => {
    if (tidy) tidy();
    const held = el.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    el.replaceChildren();
    tidy = FORMS[model.get("form")](model, el);
    el.dataset.drawn = String(Number(el.dataset.drawn || 0) + 1);
    if (held !== undefined) [...el.querySelectorAll("button[data-key]")].find((one) => one.dataset.key === held)?.focus();
  };
  model.on("change:data", draw);
  draw();
  return () => { model.off("change:data", draw); if (tidy) tidy(); };
}

export default { render };

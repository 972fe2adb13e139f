"use strict";
/* Slices in HU, windowed here: scrolling and windowing ask nothing of the server. */
(() => {
  const viewer = document.getElementById("viewer");
  const stage = document.getElementById("stage");
  const canvas = document.getElementById("picture");
  const svg = document.getElementById("lines");
  const where = document.getElementById("where");
  const trouble = document.getElementById("trouble");
  const strip = document.getElementById("strip");
  const scroll = document.getElementById("scroll");
  const outlinesButton = document.getElementById("outlines");
  const presets = [...viewer.querySelectorAll("[data-level]")];
  const scores = [...document.querySelectorAll("#scores li")].map((each) => each.dataset);
  const base = `/api/v1/studies/${encodeURIComponent(viewer.dataset.uid)}`;
  const slices = new Map();
  let stack = "", count = 0, at = 0, level = 40, width = 80, outlines = [], shown = true;

  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  function tell(words) {
    trouble.textContent = words;
    trouble.hidden = !words;
  }

  async function asked(path) {
    const answer = await fetch(base + path);
    if (answer.status === 401) return void window.location.reload();
    if (!answer.ok) throw new Error((await answer.json()).detail);
    return answer;
  }

  function load(index) {
    if (!slices.has(index)) {
      const coming = asked(`/pictures/${index}?stack=${stack}`).then(async (answer) => ({
        rows: Number(answer.headers.get("X-Rows")),
        columns: Number(answer.headers.get("X-Columns")),
        spacing: answer.headers.get("X-Pixel-Spacing").split("\\").map(Number),
        hu: new Int16Array(await answer.arrayBuffer()),
      }));
      slices.set(index, coming);
      coming.catch(() => slices.delete(index));
    }
    return slices.get(index);
  }

  async function draw() {
    const index = at;
    let slice;
    try {
      slice = await load(index);
    } catch (error) {
      if (index === at) tell(`Slice ${index + 1} cannot be shown: ${error.message}`);
      return;
    }
    if (index !== at || !slice) return;
    tell("");
    const { rows, columns, hu } = slice;
    if (canvas.width !== columns || canvas.height !== rows) {
      canvas.width = columns;
      canvas.height = rows;
    }
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const low = level - width / 2;
    const scale = 255 / width;
    for (let i = 0; i < hu.length; i++) {
      const grey = clamp((hu[i] - low) * scale, 0, 255) | 0;
      pixels[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    context.putImageData(image, 0, 0);
    svg.setAttribute("viewBox", `-0.5 -0.5 ${columns} ${rows}`);
    svg.replaceChildren(...outlines.filter((each) => shown && each.slice === index).map(polyline));
    const score = scores[index];
    where.textContent = `${index + 1} / ${count}` + (score ? ` · ${score.position} mm · any ${score.words}` : "");
    stage.setAttribute("aria-label", `Slice ${index + 1} of ${count}`);
    stage.dataset.slice = index;
    document.getElementById("window").textContent = `L ${Math.round(level)} W ${Math.round(width)}`;
    drawStrip();
  }

  function polyline(outline) {
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", outline.line.join(" "));
    line.setAttribute("class", outline.subtype);
    return line;
  }

  /* A bar for each slice, as high as its probability; the slice in view is framed. None without an analysis: empty bars would look like an answer. */
  function drawStrip() {
    strip.width = strip.clientWidth;
    const context = strip.getContext("2d");
    const bar = strip.width / Math.max(1, count);
    context.clearRect(0, 0, strip.width, strip.height);
    const style = getComputedStyle(document.documentElement);
    for (let i = 0; i < count; i++) {
      const any = scores[i] ? Number(scores[i].any) : 0;
      context.fillStyle = style.getPropertyValue(any >= 0.5 ? "--flagged" : "--dim");
      const high = Math.max(1, any * (strip.height - 6));
      context.fillRect(i * bar + 1, strip.height - high, Math.max(1, bar - 2), high);
    }
    context.strokeStyle = style.getPropertyValue("--focus");
    context.lineWidth = 2;
    context.strokeRect(at * bar + 1, 1, Math.max(2, bar - 2), strip.height - 2);
  }

  function go(index) {
    at = clamp(index, 0, count - 1);
    scroll.value = at;
    draw();
    for (const near of [at + 1, at - 1, at + 2]) if (near >= 0 && near < count) load(near).catch(() => {});
  }

  function setWindow(l, w) {
    level = clamp(l, -1000, 3000);
    width = clamp(w, 1, 4000);
    for (const each of presets)
      each.setAttribute("aria-pressed", String(Number(each.dataset.level) === level && Number(each.dataset.width) === width));
    draw();
  }

  function toggleOutlines() {
    shown = !shown;
    outlinesButton.setAttribute("aria-pressed", String(shown));
    draw();
  }

  for (const each of presets)
    each.addEventListener("click", () => setWindow(Number(each.dataset.level), Number(each.dataset.width)));
  for (const each of document.querySelectorAll("[data-slice]"))
    if (each.tagName === "BUTTON") each.addEventListener("click", () => go(Number(each.dataset.slice)));
  outlinesButton.addEventListener("click", toggleOutlines);
  scroll.addEventListener("input", () => go(Number(scroll.value)));
  strip.addEventListener("click", (event) => go(Math.floor((event.offsetX / strip.clientWidth) * count)));
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    go(at - Math.sign(event.deltaY)); /* down is towards the feet, as with the keys */
  }, { passive: false });
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, y: event.clientY, level, width };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (drag) setWindow(drag.level + (drag.y - event.clientY), drag.width + (event.clientX - drag.x) * 2);
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { drag = null; });

  const form = document.getElementById("feedback");
  const kept = document.getElementById("kept");
  async function send(method, body) {
    const trouble = await sendFeedback(viewer.dataset.uid, method, body);
    return !trouble || say(trouble, true);
  }

  function say(words, bad) {
    kept.classList.toggle("error", bad);
    kept.textContent = words;
    return false;
  }

  function show(agrees) {
    form.dataset.agrees = agrees;
    document.getElementById("back").disabled = agrees === "";
    for (const each of form.querySelectorAll("button[data-agrees]"))
      each.setAttribute("aria-pressed", String(each.dataset.agrees === String(agrees)));
  }

  /* One after the other: of two answers in quick succession, the later one must be the one that is kept. */
  let answering = Promise.resolve();
  function answer(agrees) {
    const subtypes = [...form.querySelectorAll("[name=subtype]:checked")].map((each) => each.value);
    const note = form.elements.note.value;
    const revision = Number(form.dataset.revision);
    const said = { agrees, revision, subtypes: subtypes.length ? subtypes : null, note };
    form.dataset.agrees = agrees;
    answering = answering.then(async () => {
      if (!(await send("POST", said))) return;
      say(`Kept: you ${agrees ? "agree" : "disagree"}.`, false);
      show(agrees);
    });
  }

  function takeBack() {
    answering = answering.then(async () => {
      if (form.dataset.agrees === "" || !(await send("DELETE"))) return;
      say("Taken back.", false);
      show("");
    });
  }
  if (form) {
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const each of form.querySelectorAll("button[data-agrees]"))
      each.addEventListener("click", () => answer(each.dataset.agrees === "true"));
    document.getElementById("back").addEventListener("click", takeBack);
    form.addEventListener("change", () => { if (form.dataset.agrees) answer(form.dataset.agrees === "true"); });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (["TEXTAREA", "SELECT"].includes(event.target.tagName)) return;
    if (event.target === scroll && event.key.startsWith("Arrow")) return;
    const act = {
      ArrowDown: () => go(at - 1), ArrowUp: () => go(at + 1), j: () => go(at - 1), k: () => go(at + 1),
      o: toggleOutlines,
      a: () => form && answer(true), d: () => form && answer(false), u: () => form && takeBack(),
      Escape: () => { window.location.href = "/"; },
    }[event.key] || (presets[Number(event.key) - 1] && (() => presets[Number(event.key) - 1].click()));
    if (!act) return;
    event.preventDefault();
    act();
  });
  window.addEventListener("resize", drawStrip);

  /* The page stays as it is under the reader's eyes, and says when it no longer tells how things are. */
  /* It asks now and then, and holds no connection: a browser has six for all its tabs. */
  async function look() {
    if (document.hidden) return;
    const lost = document.getElementById("lost");
    try {
      const answer = await fetch(`/studies/${encodeURIComponent(viewer.dataset.uid)}/version`);
      if (answer.status === 401) return void window.location.reload();
      lost.hidden = answer.ok;
      if (answer.ok) document.getElementById("news").hidden = (await answer.json()).version === viewer.dataset.version;
    } catch {
      lost.hidden = false;
    }
  }
  setInterval(look, 10000);
  document.addEventListener("visibilitychange", look);

  (async () => {
    try {
      const told = await (await asked("/pictures")).json();
      stack = told.stack;
      count = told.slices;
      if (count && !told.analysed) document.getElementById("window").before("Largest series so far, not analysed. ");
      outlines = told.outlines;
      outlinesButton.disabled = !outlines.length;
    } catch (error) {
      tell(`No picture can be shown: ${error.message}`);
      return;
    }
    if (!count) return tell("No image of this study can be shown.");
    scroll.max = count - 1;
    const key = document.querySelector("button[data-slice]");
    const most = scores.reduce((best, each, i) => (Number(each.any) > Number(scores[best].any) ? i : best), 0);
    setWindow(40, 80);
    go(key ? Number(key.dataset.slice) : scores.length ? most : Math.floor(count / 2));
  })();
})();

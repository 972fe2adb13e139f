"use strict";
/* The list: keys, waiting times that run, the chosen study kept in sight while rows re-sort. */
(() => {
  const list = document.getElementById("list");
  const form = document.getElementById("filters");
  const lost = document.getElementById("lost");
  const said = document.getElementById("said");
  const search = document.getElementById("search");
  const keys = document.getElementById("keys");
  const KEPT = "ich-triage-filters";
  let chosen = null;
  let readAt = performance.now();

  const rows = () => [...list.querySelectorAll(".row")];
  const rowOf = (uid) => rows().find((row) => row.dataset.uid === uid);

  function choose(row, scroll = true) {
    for (const each of rows()) each.classList.toggle("chosen", each === row);
    chosen = row ? row.dataset.uid : null;
    if (row && scroll) {
      row.scrollIntoView({ block: "nearest" });
      row.querySelector("a").focus({ preventScroll: true });
    }
  }

  function step(by) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.dataset.uid === chosen);
    choose(all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))]);
  }

  async function answer(agrees) {
    const row = rowOf(chosen);
    if (!row) return;
    const sent = await fetch(`/api/v1/studies/${encodeURIComponent(chosen)}/feedback`, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRF-Token": document.body.dataset.csrf },
      body: JSON.stringify({ agrees }),
    });
    if (sent.status === 401) return void window.location.reload();
    const told = await sent.json();
    said.textContent = sent.ok ? `Kept: ${agrees ? "agrees" : "disagrees"}` : told.detail;
    said.classList.toggle("hidden", sent.ok);
    said.classList.toggle("banner", !sent.ok);
    if (sent.ok) htmx.trigger(form, "again");
  }

  /* Waiting times run here, so that rows stay as they are until the list changes. */
  function tick() {
    const since = (performance.now() - readAt) / 1000;
    for (const each of list.querySelectorAll("[data-waiting]")) {
      const s = Number(each.dataset.waiting) + since;
      const minutes = Math.floor(s / 60);
      each.textContent =
        s < 60 ? `${Math.floor(s)} s` : minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    }
  }

  function keep() {
    const fields = Object.fromEntries(["search"].map((name) => [name, form.elements[name].value]));
    const boxes = [...form.querySelectorAll("[type=checkbox]")].map((box) => box.checked);
    sessionStorage.setItem(KEPT, JSON.stringify({ fields, boxes }));
  }

  function restore() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) || "null");
    if (!kept) return;
    search.value = kept.fields.search;
    form.querySelectorAll("[type=checkbox]").forEach((box, i) => { box.checked = Boolean(kept.boxes[i]); });
    if (search.value || kept.boxes.some(Boolean)) htmx.trigger(form, "again");
  }

  const places = new Map();
  function remember() { rows().forEach((row, i) => places.set(row.dataset.uid, `${i} ${row.className}`)); }

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target === list) { places.clear(); remember(); }
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== list) return;
    readAt = performance.now();
    lost.hidden = true;
    tick();
    rows().forEach((row) => {
      const was = places.get(row.dataset.uid);
      if (!was || was.split(" ").slice(1).join(" ").replace(" chosen", "").replace(" moved", "") !== row.className) row.classList.add("moved");
    });
    const row = chosen && rowOf(chosen);
    if (row) choose(row, document.activeElement === document.body);
  });
  for (const name of ["htmx:sseError", "htmx:sendError", "htmx:timeout"])
    document.body.addEventListener(name, () => { lost.hidden = false; });
  document.body.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) window.location.reload();
    else lost.hidden = false;
  });

  form.addEventListener("submit", (event) => event.preventDefault());
  for (const name of ["change", "input"])
    form.addEventListener(name, () => { form.elements.page.value = "1"; keep(); });
  list.addEventListener("click", (event) => {
    const turn = event.target.closest("[data-page]");
    if (turn) {
      form.elements.page.value = turn.dataset.page;
      htmx.trigger(form, "again");
      window.scrollTo(0, 0);
    }
    const row = event.target.closest(".row");
    if (row) choose(row, false);
  });
  list.addEventListener("focusin", (event) => {
    const row = event.target.closest(".row");
    if (row && row.dataset.uid !== chosen) choose(row, false);
  });
  document.getElementById("help").addEventListener("click", () => keys.showModal());
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || keys.open) return;
    if (event.target === search) {
      if (event.key === "Escape") search.blur();
      return;
    }
    const act = {
      j: () => step(1),
      k: () => step(-1),
      a: () => answer(true),
      d: () => answer(false),
      "/": () => search.focus(),
      "?": () => keys.showModal(),
      Enter: () => event.target.tagName !== "A" && event.target.tagName !== "BUTTON" && rowOf(chosen)?.querySelector("a").click(),
    }[event.key];
    if (!act) return;
    if (event.key !== "Enter") event.preventDefault();
    act();
  });

  tick();
  setInterval(tick, 1000);
  restore();
})();

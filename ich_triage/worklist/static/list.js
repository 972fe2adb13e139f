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
  let answered = null; /* the study that this page has answered last */
  let after = null; /* the study that came after the chosen one before its answer moved it */
  let readAt = performance.now();

  const rows = () => [...list.querySelectorAll(".row")];
  const rowOf = (uid) => rows().find((row) => row.dataset.uid === uid);

  function choose(row) {
    if (row.dataset.uid !== chosen) after = null;
    chosen = row.dataset.uid;
    for (const each of rows()) each.classList.toggle("chosen", each === row);
  }

  const focus = (row) => row.querySelector("a").focus({ preventScroll: true });

  function step(by) {
    const all = rows();
    if (!all.length) return;
    const others = all.filter((row) => row.dataset.uid !== chosen);
    const next = after ? others.findIndex((row) => row.dataset.uid === after) : -1;
    const at = all.findIndex((row) => row.dataset.uid === chosen);
    const to = next >= 0 ? next + Math.min(by, 0) : at < 0 ? 0 : at + by;
    const among = next >= 0 ? others : all;
    const row = among[Math.min(among.length - 1, Math.max(0, to))];
    choose(row);
    row.scrollIntoView({ block: "nearest" });
    focus(row);
  }

  function say(words, bad) {
    said.textContent = words;
    said.className = bad ? "banner bad" : "hidden";
  }

  /* One after the other: of two answers in quick succession, the later one must be the one that is kept. */
  let answering = Promise.resolve();
  function answer(agrees) {
    const row = rowOf(chosen);
    if (!row) return;
    after ??= row.nextElementSibling?.dataset.uid;
    const uid = chosen;
    const said = { agrees, revision: Number(row.dataset.revision) || 1 };
    answering = answering.then(() => send(uid, said));
  }

  async function send(uid, said) {
    const trouble = await sendFeedback(uid, "POST", said);
    if (trouble) return say(trouble, true);
    answered = uid;
    say(`Kept: ${said.agrees ? "agrees" : "disagrees"}. Key u takes it back.`, false);
    htmx.trigger(form, "again");
  }

  /* A slip sends the study to the end of everybody's list, perhaps to another page: this brings it back. */
  async function takeBack() {
    if (!answered) return;
    const trouble = await sendFeedback(answered, "DELETE");
    if (trouble) return say(trouble, true);
    chosen = answered;
    after = answered = null;
    say("Taken back.", false);
    htmx.trigger(form, "again");
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

  /* How the list was before it is replaced: what each study showed, whether the chosen one was in sight and held the focus. */
  const before = { shown: new Map(), inSight: false, focused: false };
  const look = (row) => row.className.replace(/ (chosen|moved)/g, "");

  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target !== list) return;
    before.shown = new Map(rows().map((row) => [row.dataset.uid, look(row)]));
    const place = rowOf(chosen)?.getBoundingClientRect();
    before.inSight = Boolean(place) && place.bottom > 0 && place.top < window.innerHeight;
    before.focused = Boolean(document.activeElement.closest(".row"));
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== list) return;
    readAt = performance.now();
    lost.hidden = true;
    /* Not the page that the answer shows: who has turned the list since it was asked for would be turned back. */
    const page = form.elements.page;
    page.value = Math.min(page.value, list.querySelector(".pager").dataset.pages);
    tick();
    for (const row of rows()) row.classList.toggle("moved", before.shown.get(row.dataset.uid) !== look(row));
    const row = rowOf(chosen);
    if (!row) return;
    choose(row);
    if (before.inSight && !after) row.scrollIntoView({ block: "nearest" });
    if (before.focused) focus(row);
  });
  for (const name of ["htmx:sseError", "htmx:sendError", "htmx:timeout"])
    document.body.addEventListener(name, () => { lost.hidden = false; });
  document.body.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) window.location.reload();
    else lost.hidden = false;
  });
  /* A refused stream does not say why: the rows do, and lead to the log-in when the session has ended. */
  document.body.addEventListener("htmx:sseError", () => htmx.trigger(form, "again"));

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
    if (row) choose(row);
  });
  list.addEventListener("focusin", (event) => {
    const row = event.target.closest(".row");
    if (row && row.dataset.uid !== chosen) choose(row);
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
      u: () => { answering = answering.then(takeBack); },
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

"use strict";
/* A reader's answer on its way: gives the words for what went wrong, and none once it is kept. */
window.sendFeedback = async (uid, method, body) => {
  const not = method === "POST" ? "Not kept" : "Not taken back";
  const sent = await fetch(`/api/v1/studies/${encodeURIComponent(uid)}/feedback`, {
    method,
    headers: { "Content-Type": "application/json", "X-CSRF-Token": document.body.dataset.csrf },
    body: body && JSON.stringify(body),
  }).catch(() => null);
  if (!sent) return `${not}: no connection to the service. Try again once it is back.`;
  if (sent.status === 401) window.location.reload();
  if (sent.ok) return "";
  const told = await sent.json().catch(() => ({})); /* a proxy before us answers in its own way */
  return `${not}: ${told.detail || `the service answered with status ${sent.status}`}`;
};

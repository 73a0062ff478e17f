// One audit: the replies side by side with the chunk, differences marked by character (jsdiff).

const Audit = {
  TIMEOUT_MS: 300, // that one comparison may take; texts that are longer than that allows are shown unmarked
  opener: null,

  toggle(row, audit, opener) {
    const isOpen = opener === Audit.opener && opener.getAttribute("aria-expanded") === "true";
    Audit.close();
    if (isOpen) return;
    Audit.opener = opener;
    opener.setAttribute("aria-expanded", "true");
    const panel = Audit.panel(row, audit);
    document.getElementById("audit-place").replaceChildren(panel);
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "nearest" });
  },

  /** Close what is open; whether anything was. The focus goes back to the chunk. */
  close() {
    if (!document.getElementById("audit")) return false;
    document.getElementById("audit-place").replaceChildren();
    Audit.opener.setAttribute("aria-expanded", "false");
    if (Audit.opener.isConnected) Audit.opener.focus();
    return true;
  },

  panel(row, audit) {
    const which = row.audits.indexOf(audit) + 1;
    const end = audit.at + Math.max(1, audit.len) - 1;
    const close = Data.element("button", { type: "button" }, "Close");
    close.addEventListener("click", Audit.close);
    return Data.element("section", { id: "audit", tabindex: "-1", "aria-label": `Audit ${which}` },
      Data.element("h3", {}, `Audit ${which} of ${row.audits.length}: token ${audit.at}${end > audit.at ? ` to ${end}` : ""} `, close),
      Audit.facts(audit),
      Data.element("ol", { class: "replies" }, ...audit.replies.map((_, n) => Audit.reply(audit, n))));
  },

  facts(audit) {
    const isTarget = audit.what === "target";
    return Data.line([
      ["failed", audit.failure], [isTarget ? "pi_hat (target)" : audit.what, Data.has(audit.value) && audit.value.toFixed(4)],
      ["k_sem", audit.failure ? undefined : `${Data.number(audit.k)} of N = ${audit.n}`],
      ["pi_bar", audit.failure ? undefined : Data.number(audit.belief)],
      ["disagreement", Data.has(Find.apart(audit)) && Find.apart(audit).toFixed(3)],
      ["boundary", audit.boundary ? (audit.replies.length ? "yes: no reply is read as tokens" : "yes: within a character, the teacher is not asked") : undefined],
      ["asked as", audit.mode], ["teacher", audit.teacher], ["tokens read", audit.read], ["tokens written", audit.wrote],
      ["cost", audit.cost && `$${Data.number(audit.cost)}`],
    ]);
  },

  reply(audit, n) {
    const likeness = audit.likeness[n];
    const votes = audit.votes?.[n]?.map((place) => Find.trajectories.tokens[place]);
    const [before, after, isMarked] = Audit.marked(audit.chunk, audit.replies[n]);
    const line = Data.line([
      ["similarity", Data.has(likeness) && (likeness / 1000).toFixed(3)], ["ended", audit.ends[n]],
      ["read as tokens", votes?.map((text) => (text === "" ? "end" : JSON.stringify(text))).join(" ")],
      ["difference", isMarked ? undefined : "not marked: the texts are long"],
    ]);
    const side = (name, nodes) => Data.element("div", {}, Data.element("h5", {}, name), Data.element("p", { class: "text" }, ...nodes));
    return Data.element("li", {}, Data.element("h4", {}, `Reply ${n + 1}`), line,
      Data.element("div", { class: "pair" }, side("the student's chunk", before), side("the reply", after)));
  },

  /** [the nodes of the one text, the nodes of the other, whether they are marked]. */
  marked(chunk, reply) {
    const parts = Diff.diffChars(chunk, reply, { timeout: Audit.TIMEOUT_MS });
    if (!parts) return [[chunk], [reply], false];
    const side = (leftOut, marked, name) => parts.filter((part) => !part[leftOut]).map((part) =>
      (part[marked] ? Data.element(name, {}, part.value) : part.value));
    return [side("added", "removed", "del"), side("removed", "added", "ins"), true];
  },
};

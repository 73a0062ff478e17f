// One trajectory: its prompt, its response token by token, the chunks that were audited.

const Reading = {
  LEVELS: [0.1, 0.5, 1, 2], // nats at which a shade begins

  begin() {
    document.getElementById("reading").addEventListener("keydown", Reading.onKey);
  },

  open(row) {
    const article = document.getElementById("reading");
    article.replaceChildren(
      Data.element("h3", {}, `${row.prompt_id}, round ${row.round}`),
      Data.line([
        ["id", row.id], ["tokens", row.len], ["ended", row.finish === "length" ? "cut at the limit" : row.finish],
        ["written by", row.writer ?? "the student"], ["rounds old", row.staleness], ["failed", row.failure],
        ["answer", row.reward && (row.reward.answer ?? "none found")], ["reward", row.reward && Data.number(row.reward.value)],
        ["teacher tokens", row.teacher_tokens], ["cost", row.cost && `$${Data.number(row.cost)}`],
      ]),
      Reading.rounds(row),
      Data.element("h3", {}, "Prompt"), Data.element("p", { class: "text" }, Find.prompt(row)),
      Data.element("h3", {}, "Response"), ...Reading.response(row),
      Data.element("div", { id: "audit-place" }));
  },

  /** The same prompt in the rounds before and after. */
  rounds(row) {
    const same = Find.trajectories.rows.filter((other) => other.prompt_id === row.prompt_id);
    const line = Data.element("p", { class: "same" }, same.length > 1 ? "The same prompt: " : "The prompt was answered once.");
    if (same.length < 2) return line;
    const at = same.indexOf(row);
    for (const [name, other] of [["earlier", same[at - 1]], ["later", same[at + 1]]]) {
      const where = other?.round === row.round ? "another response of this round" : `round ${other?.round}`;
      const says = other ? `${name}, ${where}` : `none ${name}`;
      const button = Data.element("button", { type: "button", "data-same": name }, says);
      button.disabled = !other;
      button.addEventListener("click", () => {
        List.show(other);
        document.querySelector(`[data-same=${name}]:enabled`)?.focus();
      });
      line.append(button, " ");
    }
    line.append(`${at + 1} of ${same.length}`);
    return line;
  },

  response(row) {
    if (row.tokens) return [Reading.legend(row), Reading.tokens(row)];
    const chunks = row.audits.map((audit) => Data.element("li", {}, Reading.chunk(row, audit, [audit.chunk])));
    const text = Data.element("p", { class: "text", id: "response" }, row.response);
    return chunks.length ? [text, Data.element("h3", {}, "Audited chunks"), Data.element("ol", {}, ...chunks)] : [text];
  },

  tokens(row) {
    const text = Data.element("p", { class: "text", id: "response" });
    const starts = new Map(row.audits.map((audit) => [audit.at, audit]));
    let t = 0;
    while (t < row.tokens.length) {
      const audit = starts.get(t);
      const end = audit ? Math.min(t + Math.max(1, audit.len), row.tokens.length) : t + 1;
      const spans = [];
      for (; t < end; t++) spans.push(Reading.token(row, t));
      text.append(audit ? Reading.chunk(row, audit, spans) : spans[0]);
    }
    return text;
  },

  token(row, t) {
    const own = Find.trajectories.tokens[row.tokens[t]];
    const entropy = Data.has(row.entropies[t]) ? row.entropies[t] / 1000 : null;
    const level = Reading.LEVELS.filter((limit) => entropy >= limit).length;
    const chance = Data.has(row.logps[t]) ? Math.exp(row.logps[t] / 1000) : null;
    const title = `token ${t}: entropy ${Data.number(entropy)} nats, probability ${Data.number(chance)}`;
    if (own !== "") return Data.element("span", { class: `entropy-${level}`, title }, own);
    const isEnd = t === row.tokens.length - 1 && row.finish === "stop";
    return Data.element("span", { class: `mark entropy-${level}`, title }, isEnd ? "end" : "∅");
  },

  chunk(row, audit, children) {
    const which = row.audits.indexOf(audit) + 1;
    const value = audit.failure ? "failed" : audit.value === undefined ? "" : audit.value.toFixed(2);
    const kind = audit.failure ? "failed" : audit.value === undefined ? "unknown" : `target-${Math.min(4, Math.floor(5 * audit.value))}`;
    const name = `chunk ${which}, ${audit.failure ? `failed: ${audit.failure}` : audit.value === undefined ? "no number" : `${audit.what} ${value}`}`;
    const made = Data.element("span", {
      class: `chunk ${kind}`, role: "button", tabindex: "0", "aria-expanded": "false", "data-audit": String(which - 1), title: name,
    }, ...children, Data.element("span", { class: "value" }, `${which}${value && `: ${value}`}`));
    made.addEventListener("click", () => Audit.toggle(row, audit, made));
    return made;
  },

  legend(row) {
    const line = Data.element("p", { class: "legend" }, "Entropy, nats:");
    ["below 0.1", "0.1", "0.5", "1", "2 and more"].forEach((name, level) =>
      line.append(" ", Data.element("span", { class: `entropy-${level}` }, name)));
    if (row.audits.length) line.append(". Framed: audited chunks, with their number and target; dashed: failed.");
    return line;
  },

  onKey(event) {
    const chunk = event.target.closest(".chunk");
    if (event.key === "Escape") {
      if (!Audit.close()) List.focus();
    } else if (chunk && (event.key === "Enter" || event.key === " ")) {
      chunk.click();
    } else if (chunk && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      const all = [...document.querySelectorAll("#reading .chunk")];
      all[all.indexOf(chunk) + (event.key === "ArrowRight" ? 1 : -1)]?.focus();
    } else return;
    event.preventDefault();
  },
};

// Which trajectories are listed: filters, search, order.

const Find = {
  trajectories: null, // {prompts, tokens, rows}

  begin(trajectories, onOpen) {
    Find.trajectories = trajectories;
    const form = document.getElementById("find");
    Find.offer(form.elements.round, new Set(trajectories.rows.map((row) => String(row.round))));
    Find.offer(form.elements.failure, new Set(trajectories.rows.flatMap(Find.failures)));
    List.begin({ num: trajectories.rows.length, button: Find.button, onOpen, refresh: Find.refresh });
  },

  offer(select, values) {
    for (const value of [...values].sort(new Intl.Collator("en", { numeric: true }).compare))
      select.append(Data.element("option", { value }, value));
  },

  /** The response's text: its tokens joined, unless it is kept whole. */
  response(row) {
    return row.response ?? row.tokens.map((place) => Find.trajectories.tokens[place]).join("");
  },

  prompt: (row) => Find.trajectories.prompts[row.prompt],
  failures: (row) => [row.failure, ...row.audits.map((audit) => audit.failure)].filter(Boolean),

  /** The share of a chunk's audit that its replies do not bear out: 1 − k_sem / N. */
  apart: (audit) => (audit.failure || !audit.n ? undefined : 1 - audit.k / audit.n),

  haystack(row) {
    row.haystack ??= [Find.prompt(row), Find.response(row), ...row.audits.flatMap((audit) => audit.replies)].join("\n").toLowerCase();
    return row.haystack;
  },

  wanted() {
    const own = Object.fromEntries(new FormData(document.getElementById("find")));
    const number = (text) => (text === "" ? undefined : Number(text));
    return { ...own, text: own.text.toLowerCase(), low: number(own.low), high: number(own.high), apart: number(own.apart) };
  },

  /** Whether a row is wanted; of an audit's limits one audit has to keep them all. */
  matches(row, wanted) {
    if (wanted.round !== "" && String(row.round) !== wanted.round) return false;
    if (wanted.prompt && !row.prompt_id.includes(wanted.prompt)) return false;
    if (wanted.failure && !Find.failures(row).includes(wanted.failure)) return false;
    const limits = [wanted.low, wanted.high, wanted.apart];
    if (limits.some((limit) => limit !== undefined) && !row.audits.some((audit) => Find.within(audit, wanted))) return false;
    return !wanted.text || Find.haystack(row).includes(wanted.text);
  },

  within(audit, { low, high, apart }) {
    if (low !== undefined && !(audit.value >= low)) return false;
    if (high !== undefined && !(audit.value <= high)) return false;
    return apart === undefined || Find.apart(audit) >= apart;
  },

  sorted(rows, order) {
    if (!order) return rows;
    const least = (row) => Math.min(...row.audits.map((audit) =>
      (order === "low" ? audit.value : -Find.apart(audit))).filter(Number.isFinite));
    const keys = new Map(rows.map((row) => [row, least(row)]));
    return [...rows].sort((one, other) => (keys.get(one) === keys.get(other) ? 0 : keys.get(one) - keys.get(other)));
  },

  refresh() {
    const wanted = Find.wanted();
    List.set(Find.sorted(Find.trajectories.rows.filter((row) => Find.matches(row, wanted)), wanted.order));
  },

  /** What a line of the list says. */
  button(row) {
    const said = Find.failures(row).length ? `, ${Find.failures(row).length} failed` : "";
    const reward = row.reward ? `, reward ${Data.number(row.reward.value)}` : "";
    return [`round ${row.round} · ${row.prompt_id}`, Find.prompt(row).slice(0, 80),
      `${row.len} tokens, ${row.audits.length} audits${said}${reward}`];
  },
};

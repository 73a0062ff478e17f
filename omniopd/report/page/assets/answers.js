// The held-out prompts: which are listed, and one of them with the answer of each subject.

const Answers = {
  labels: [],
  prompts: [],

  begin({ labels, prompts }) {
    Object.assign(Answers, { labels, prompts });
    List.begin({ num: prompts.length, button: Answers.button, onOpen: Answers.open, refresh: Answers.refresh });
    document.getElementById("reading").addEventListener("keydown", (event) => {
      if (event.key === "Escape") List.focus();
    });
  },

  refresh() {
    const form = new FormData(document.getElementById("find"));
    const text = form.get("text").toLowerCase();
    const wanted = Answers.labels.map((_, n) => form.get(`subject-${n}`));
    List.set(Answers.prompts.filter((own) => Answers.matches(own, wanted) && (!text || Answers.haystack(own).includes(text))));
  },

  matches: (own, wanted) => wanted.every((is, n) => !is || (own.answers[n] && own.answers[n].right === (is === "right"))),

  haystack(own) {
    own.haystack ??= [own.prompt, ...own.answers.map((answer) => answer?.response ?? "")].join("\n").toLowerCase();
    return own.haystack;
  },

  mark: (answer) => (answer === null ? "– not asked" : answer.right ? "✓ right" : `✗ wrong: ${answer.reason}`),

  button(own) {
    const said = own.answers.map((answer) => (answer === null ? "–" : answer.right ? "✓" : "✗")).join(" ");
    return [own.id, own.prompt.slice(0, 80), said];
  },

  open(own) {
    document.getElementById("reading").replaceChildren(
      Data.element("h3", {}, own.id), Data.line([["answer", own.reference]]),
      Data.element("h3", {}, "Prompt"), Data.element("p", { class: "text" }, own.prompt),
      Data.element("h3", {}, "Responses"),
      Data.element("div", { class: "answer" }, ...own.answers.map((answer, n) => Answers.card(Answers.labels[n], answer))));
  },

  card(label, answer) {
    const kind = answer === null ? "none" : answer.right ? "right" : "wrong";
    const card = Data.element("section", { class: `card ${kind}`, "aria-label": label },
      Data.element("h4", {}, label), Data.element("p", { class: "grade" }, Answers.mark(answer)));
    if (answer) card.append(
      Data.line([["answer", answer.answer ?? "none found"], ["tokens", answer.len], ["ended", answer.finish === "length" ? "cut at the limit" : answer.finish]]),
      Data.element("p", { class: "text" }, answer.response));
    return card;
  },
};

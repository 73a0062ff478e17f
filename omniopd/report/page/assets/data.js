"use strict";
// Reading the page's data, and making elements. Every text is set as text: nothing is parsed as markup.

const Data = {
  /** The value that a payload holds: base64 of gzip of JSON. */
  async payload(name) {
    const packed = atob(document.getElementById(`data-${name}`).textContent.trim());
    const bytes = new Uint8Array(packed.length);
    for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  },

  /** An element with attributes; children are elements or texts. */
  element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) if (value !== undefined) made.setAttribute(key, value);
    made.append(...children);
    return made;
  },

  has: (value) => value !== undefined && value !== null,

  /** A number for people: up to four digits. */
  number(value) {
    return !Data.has(value) ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 4 });
  },

  /** A line of names and values; those without a value are left out. */
  line(entries) {
    const list = Data.element("dl", { class: "line" });
    for (const [name, value] of entries) {
      if (!Data.has(value) || value === "" || value === false) continue;
      list.append(Data.element("div", {}, Data.element("dt", {}, name), Data.element("dd", {}, String(value))));
    }
    return list;
  },
};

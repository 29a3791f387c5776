"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };
  const draw = (tag, attributes = {}, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text) element.textContent = text;
    return element;
  };

  // Light, dark, or as the system; kept where the browser allows it.
  const themes = ["system", "light", "dark"], signs = {system: "◐", light: "☀", dark: "☾"};
  const recall = () => { try { return localStorage.getItem("softdet-theme") || "system"; } catch { return "system"; } };
  const wear = (theme) => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    byId("theme").textContent = signs[theme];
    byId("theme").setAttribute("aria-label", `Colours: ${theme === "system" ? "as the system" : theme}`);
    byId("theme").title = byId("theme").getAttribute("aria-label");
  };
  let theme = recall();
  wear(theme);
  byId("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    try { localStorage.setItem("softdet-theme", theme); } catch { /* private windows keep nothing */ }
    wear(theme);
  });

  // Tables are sorted by a click on a heading.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = make("button", {type: "button"}, head.textContent);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const isDown = head.getAttribute("aria-sort") === "ascending";
        const value = (row) => {
          const text = row.cells[column].textContent.trim(), number = Number.parseFloat(text);
          return column === 0 ? text : Number.isNaN(number) ? -Infinity : number;
        };
        const rows = [...body.rows].sort((one, other) => {
          const [a, b] = [value(one), value(other)];
          return (a < b ? -1 : a > b ? 1 : 0) * (isDown ? -1 : 1);
        });
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
        body.append(...rows);
      });
    });
  }

  const source = byId("gallery-data");
  if (!source) return;
  const gallery = JSON.parse(source.textContent);
  const fates = {
    both: "class and place are taught", class: "class is taught", place: "place is taught",
    ignored: "ignored: neither object nor background", dropped: "dropped",
  };
  const slider = byId("threshold"), strip = byId("strip"), closer = byId("closer");
  let who = "teacher", asTaught = true;
  const limit = () => Number(slider.value);
  const survives = (box) => box[5] >= limit();
  const shows = (box) => asTaught && who === "teacher" ? box[6] !== "dropped" && box[6] !== "ignored" : survives(box);
  const kindOf = (box) => asTaught && who === "teacher" ? box[6] : survives(box) ? "survives" : "dropped";
  const nameOf = (box) => gallery.classes[box[4]] ?? `class ${box[4]}`;
  // Below this score a box that doesn't count is only in the way.
  const faint = 0.1;
  const counted = (count, what) => `${count.toLocaleString("en")} ${count === 1 ? what : what + (what.endsWith("x") ? "es" : "s")}`;

  const picture = (image, boxes, title, part = 0.06) => {
    const svg = draw("svg", {viewBox: `0 0 ${image.width} ${image.height}`, role: "img", "aria-label": title});
    svg.append(draw("use", {href: `#g${image.place}`}));
    // Those that count lie above the others.
    const ordered = [...boxes].sort((one, other) => shows(one) - shows(other));
    for (const box of ordered.filter((each) => shows(each) || each[5] >= faint)) {
      const [x0, y0, x1, y1] = [box[0] * image.width, box[1] * image.height, box[2] * image.width, box[3] * image.height];
      svg.append(draw("rect", {x: x0, y: y0, width: Math.max(1, x1 - x0), height: Math.max(1, y1 - y0), class: `fate ${kindOf(box)}`}));
    }
    // The words above the boxes, each on the next free line below where it would cover another.
    const letters = part * image.width, taken = [];
    for (const box of ordered.filter(shows)) {
      const text = `${nameOf(box)} ${box[5].toFixed(2)}`, width = 0.58 * letters * text.length;
      const left = Math.max(2, Math.min(box[0] * image.width + 2, image.width - width - 2));
      let base = Math.max(letters, box[1] * image.height - 0.3 * letters);
      const covers = (other) => left < other.right && other.left < left + width && Math.abs(base - other.base) < 1.15 * letters;
      while (taken.some(covers) && base + 1.15 * letters < image.height) base += 1.15 * letters;
      taken.push({left, right: left + width, base});
      svg.append(draw("text", {x: left, y: base, class: "label", "font-size": letters, "stroke-width": letters / 4}, text));
    }
    return svg;
  };

  const cells = [];
  const buildStrip = () => {
    const head = make("tr");
    head.append(make("td"));
    for (const look of gallery.looks) {
      const cell = make("th", {scope: "col"}, `step ${look.step.toLocaleString("en")}`);
      cell.append(make("small"));
      head.append(cell);
    }
    strip.createTHead().append(head);
    const body = strip.createTBody();
    for (const image of gallery.images) {
      const row = make("tr");
      row.append(make("th", {scope: "row", title: image.name}, image.name.split("/").pop()));
      gallery.looks.forEach((look, column) => {
        const cell = make("td"), button = make("button", {type: "button"});
        button.addEventListener("click", () => open(image, column));
        cell.append(button);
        row.append(cell);
        cells.push({image, column, button});
      });
      body.append(row);
    }
  };

  const boxesOf = (image, column, of = who) => gallery.looks[column].images[image.place]?.[of] ?? [];

  const refresh = () => {
    byId("threshold-shown").textContent = limit().toFixed(2);
    const kept = gallery.looks.map(() => 0);
    let total = 0;
    for (const {image, column, button} of cells) {
      const boxes = boxesOf(image, column), number = boxes.filter(shows).length;
      kept[column] += number;
      total += boxes.length;
      const title = `${image.name}, step ${gallery.looks[column].step}: ${counted(number, "box")} of ${boxes.length}`;
      button.replaceChildren(picture(image, boxes, title));
    }
    [...strip.tHead.querySelectorAll("small")].forEach((small, column) => { small.textContent = counted(kept[column], "box"); });
    const all = kept.reduce((sum, number) => sum + number, 0), images = Math.max(1, gallery.images.length);
    const last = (kept.at(-1) / images).toFixed(1);
    const density = gallery.density === null ? "" : `; labeled images have ${gallery.density.toFixed(1)}`;
    const verb = asTaught && who === "teacher" ? "taught something" : `survive at ${limit().toFixed(2)}`;
    byId("count").textContent = `${all.toLocaleString("en")} of ${counted(total, "box")} ${verb}; at the last step ${last} an image${density}.`;
    byId("as-taught").disabled = asTaught || who === "student";
    const legend = asTaught && who === "teacher"
      ? Object.entries(fates).filter(([fate]) => gallery.looks.some((look) => look.images.some((image) => image.teacher.some((box) => box[6] === fate))))
      : [["survives", `score of ${limit().toFixed(2)} or more`], ["dropped", "less"]];
    byId("legend").replaceChildren(...legend.map(([kind, text]) => {
      const item = make("li"), svg = draw("svg", {viewBox: "0 0 26 16", "aria-hidden": "true"});
      svg.append(draw("rect", {x: 3, y: 3, width: 20, height: 10, class: `fate ${kind}`}));
      item.append(svg, text);
      return item;
    }));
  };

  const open = (image, column) => {
    const look = gallery.looks[column];
    byId("closer-title").textContent = `${image.name}, step ${look.step.toLocaleString("en")}`;
    const sides = make("div", {class: "closer-sides"}), before = who;
    for (const side of ["teacher", "student"]) {
      who = side;
      const block = make("div");
      block.append(make("p", {class: "side"}, `the ${side}`), picture(image, boxesOf(image, column, side), `${image.name}, the ${side}'s boxes`, 0.036));
      sides.append(block);
    }
    who = before;
    const wrap = make("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "The teacher's boxes"}), table = make("table");
    const head = make("tr");
    for (const [title, kind] of [["the teacher's box", ""], ["score", "number"], ["uncertainty", "number"], ["what became of it", ""]]) head.append(make("th", {scope: "col", class: kind}, title));
    table.createTHead().append(head);
    const body = table.createTBody();
    for (const box of boxesOf(image, column, "teacher")) {
      const row = make("tr");
      row.append(make("td", {}, nameOf(box)), make("td", {class: "number"}, box[5].toFixed(2)),
        make("td", {class: "number"}, box[7] === null ? "-" : box[7].toFixed(3)), make("td", {}, fates[box[6]] ?? box[6]));
      body.append(row);
    }
    if (!body.rows.length) body.insertRow().append(make("td", {colspan: 4}, "no box"));
    wrap.append(table);
    byId("closer-body").replaceChildren(sides, make("h3", {}, "Scores"), wrap);
    closer.showModal();
  };

  buildStrip();
  refresh();
  slider.addEventListener("input", () => { asTaught = false; refresh(); });
  byId("controls").addEventListener("change", (event) => {
    if (event.target.name === "who") { who = event.target.value; refresh(); }
  });
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("as-taught").addEventListener("click", () => { asTaught = true; slider.value = gallery.threshold; refresh(); });
  byId("closer-close").addEventListener("click", () => closer.close());
})();

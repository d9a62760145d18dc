"use strict";

const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// --- colours: as the system, or as chosen, which this browser remembers if it may ---------------

const themeChoice = find("#theme");

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  themeChoice.value = theme;
  document.dispatchEvent(new Event("themechange"));
}

function remembered() {
  try { return localStorage.getItem("vox2pix-theme") || ""; } catch { return ""; }
}

setTheme(remembered());
themeChoice.addEventListener("change", () => {
  setTheme(themeChoice.value);
  try { localStorage.setItem("vox2pix-theme", themeChoice.value); } catch { /* not allowed */ }
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
  document.dispatchEvent(new Event("themechange")));

// --- the gallery: sort, filter, open ------------------------------------------------------------

function startGallery(data) {
  const form = find("#controls"), list = find("#rows"), more = find("#more");
  const viewer = find("#viewer"), body = find("#viewer-body");
  const rows = all(".row", list);
  const page = 3 * data.group;
  let limit = page, visible = [];

  const metric = () => data.metrics[form.metric?.value ?? 0];
  const score = (image, column) =>
    data.scores[form.metric?.value ?? 0]?.[column]?.[image] ?? null;
  const written = (value, of = metric()) => value === null ? ""
    : of.percent ? (100 * value).toFixed(1) + "\u00a0%" : value.toFixed(3).replace("-", "\u2212");

  function sorted() {
    const images = data.images.map((_, i) => i);
    if (!form.order || form.order.value === "name") return images;
    const sign = (form.order.value === "best") === metric().lowIsGood ? 1 : -1;
    const key = (i) => {
      const value = score(i, form.judged.value);
      return value === null ? Infinity : sign * value; // those without a score come last
    };
    const keys = images.map(key);
    return images.sort((a, b) => keys[a] - keys[b] || a - b);
  }

  function passes(image) {
    const { id, captions, shows } = data.images[image];
    if (form.category?.value && !shows.includes(form.category.value)) return false;
    const text = form.text.value.trim().toLowerCase();
    if (text && ![id, ...captions].some((t) => t.toLowerCase().includes(text))) return false;
    if (!form.low) return true;
    const value = score(image, form.judged.value), unit = metric().percent ? 100 : 1;
    const { low, high } = form;
    if (low.value !== "" && !(value !== null && value * unit >= Number(low.value))) return false;
    return high.value === "" || (value !== null && value * unit <= Number(high.value));
  }

  // The best, the middle and the worst of what is shown, each under its name.
  function grouped(images) {
    const n = images.length, k = data.group;
    if (form.show?.value !== "groups" || form.order.value === "name" || n <= 3 * k) return null;
    const names = form.order.value === "best" ? ["best", "worst"] : ["worst", "best"];
    const middle = Math.floor((n - k) / 2);
    return [[names[0], images.slice(0, k)], ["median", images.slice(middle, middle + k)],
      [names[1], images.slice(n - k)]];
  }

  function update() {
    const passing = sorted().filter(passes);
    const groups = grouped(passing);
    visible = groups ? groups.flatMap(([, images]) => images) : passing.slice(0, limit);
    const label = new Map(groups?.map(([name, images]) => [images[0], name]));
    for (const row of rows) row.hidden = true;
    for (const image of visible) {
      const row = rows[image];
      row.hidden = false;
      find(".group", row).textContent = label.get(image) ?? "";
      for (const figure of all("figure", row))
        find(".score", figure).textContent = written(score(image, figure.dataset.column));
      list.append(row);
    }
    more.hidden = Boolean(groups) || visible.length === passing.length;
    more.textContent = `Show ${Math.min(page, passing.length - visible.length)} more`;
    find("#status").textContent = status(passing.length, groups);
  }

  function status(n, groups) {
    const total = rows.length === 1 ? "1 test image" : `${rows.length} test images`;
    const found = n === rows.length ? total : `${n} of ${total}`;
    if (!form.metric || form.order.value === "name") return `Showing ${visible.length} of ${found}.`;
    const by = `${form.judged.selectedOptions[0].text}: ${metric().label}`;
    return groups ? `Showing the ${data.group} best, median and worst of ${found}, by ${by}.`
      : `Showing ${visible.length} of ${found}, ${form.order.value} first, by ${by}.`;
  }

  function chooseColumns() {
    const boxes = all("[name=column]", form);
    for (const { value, checked } of boxes)
      for (const cell of all("[data-column]", find(".gallery")))
        if (cell.dataset.column === value) cell.hidden = !checked;
    find(".gallery").style.setProperty("--columns", boxes.filter((b) => b.checked).length || 1);
  }

  // --- one image, opened ---

  let opened = null;

  function imagesOf(image, column) {
    const beyond = data.images[image].more[column.key];
    const first = column.inRow && all("figure", rows[image])
      .find((f) => f.dataset.column === column.key)?.querySelector("img")?.src;
    return first ? [first, ...beyond] : beyond;
  }

  function show(image) {
    opened = image;
    const { id, captions, nearest } = data.images[image];
    find("#viewer-title").textContent = id;
    const thumbnail = (src, alt) => element("img", { src, alt, width: 136, height: 136, onload: asSquares });
    const sets = data.columns.map((column) => {
      const urls = imagesOf(image, column);
      const name = element("p", {}, element("b", {}, column.heading), " ", element("small", {}, column.note));
      const tiles = urls.map((src, i) => element("figure", {},
        thumbnail(src, `Image ${id}: ${column.heading} ${column.note}, sample ${i + 1} of ${urls.length}`)));
      return urls.length ? element("div", {}, name, element("div", { className: "set" }, ...tiles)) : "";
    });
    body.replaceChildren(
      element("ul", { className: "captions" }, ...captions.map((text) => element("li", {}, text))),
      element("div", { className: "samples" }, ...sets),
      ...nearestOf(nearest, thumbnail),
      ...scoresTable(image));
    viewer.scrollTop = 0;
  }

  function scoresTable(image) {
    const columns = data.columns.filter((c) => data.scores.some((s) => s[c.key]));
    if (!columns.length) return [];
    const head = element("tr", {}, element("th", { scope: "col" }, "Score"),
      ...columns.map((c) => element("th", { scope: "col" }, c.heading)));
    const lines = data.metrics.map((m, i) => element("tr", {}, element("th", { scope: "row" }, m.label),
      ...columns.map((c) => element("td", {}, written(data.scores[i][c.key]?.[image] ?? null, m) || "–"))));
    const table = element("table", { className: "numbers" },
      element("thead", {}, head), element("tbody", {}, ...lines));
    return [element("div", { className: "scroll" }, table)];
  }

  function nearestOf(nearest, thumbnail) {
    if (!nearest.length) return [];
    const tiles = nearest.map(({ id, distance, url }) => element("figure", {},
      thumbnail(url, `Training image ${id}`),
      element("figcaption", {}, `${id}, distance ${distance.toFixed(3)}`)));
    return [element("h4", {}, "Nearest training images"),
      element("p", { className: "quiet" }, `Distance: ${data.measure}.`),
      element("div", { className: "samples" }, ...tiles)];
  }

  function open(image) {
    viewer.showModal();
    body.focus({ preventScroll: true });
    show(image);
  }

  function step(by) {
    const next = visible[visible.indexOf(opened) + by];
    if (next !== undefined) show(next);
  }

  const isArrow = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };

  list.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row) open(Number(row.dataset.image));
  });
  list.addEventListener("keydown", (event) => {
    const by = isArrow[event.key];
    if (!by) return;
    event.preventDefault();
    const at = visible.indexOf(Number(event.target.closest(".row").dataset.image));
    const row = rows[visible[at + by]];
    if (row) find(".open", row).focus();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") step(isArrow[event.key]);
  });
  viewer.addEventListener("click", (event) => {
    const by = event.target.closest("[data-step]")?.dataset.step;
    if (event.target === viewer || by === "0") viewer.close();
    else if (by) step(Number(by));
  });
  viewer.addEventListener("close", () => { // back to the image that was looked at last
    find(".open", rows[opened]).focus();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target.name === "column") return chooseColumns();
    limit = page;
    update();
  });
  more.addEventListener("click", () => {
    limit += page;
    const first = visible.length;
    update();
    find(".open", rows[visible[first]]).focus();
  });
  for (const img of all("img", list)) {
    if (img.complete) asSquares({ target: img });
    img.addEventListener("load", asSquares);
  }
  form.reset();
  update();
  return open;
}

// Images of a few pixels are shown as their squares.
function asSquares({ target }) {
  if (target.naturalWidth && Math.max(target.naturalWidth, target.naturalHeight) <= 24)
    target.classList.add("squares");
}

const galleryData = find("#gallery-data");
const openImage = galleryData ? startGallery(JSON.parse(galleryData.textContent)) : null;

// --- figures to hover over: plotly is unpacked once one of them is near -------------------------

async function startPlotly(figures) {
  const packed = find("#plotly");
  const bytes = Uint8Array.from(atob(packed.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(element("script", { textContent: await new Response(stream).text() }));
  const ink = () => getComputedStyle(document.body).color;
  for (const figure of figures) {
    const { data, layout, config, choices } = JSON.parse(figure.dataset.hover);
    const plot = element("div");
    find(".still", figure).replaceWith(plot);
    await Plotly.newPlot(plot, data, { ...layout, font: { color: ink() } }, config);
    plot.on("plotly_click", ({ points }) => openImage?.(points[0].pointNumber));
    document.addEventListener("themechange", () => Plotly.relayout(plot, { "font.color": ink() }));
    find("select", figure).addEventListener("change", ({ target }) => {
      const { y, title } = choices[target.value];
      Plotly.update(plot, { y }, { "yaxis.title.text": title });
    });
    figure.classList.add("drawn");
  }
}

if ("DecompressionStream" in window) { // older browsers keep the still figures
  const figures = all("[data-hover]");
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    startPlotly(figures);
  }, { rootMargin: "400px" });
  for (const figure of figures) near.observe(figure);
}

// --- the sidebar tells where one is -------------------------------------------------------------

const links = new Map(all(".sidebar a").map((a) => [a.hash.slice(1), a]));
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "0px 0px -75% 0px" });
for (const section of all("main > section")) watcher.observe(section);


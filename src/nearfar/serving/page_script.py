"""The script of the search page. What is asked stands in the address, so that a link gives the same results."""

from __future__ import annotations

SCRIPT = r"""
(() => {
  "use strict";
  const at = (name) => document.getElementById(name);
  const [words, file, label, where, by, compact, k, asked, like, said, results, veil] =
    ["words", "file", "label", "where", "by", "compact", "k", "asked", "like", "said", "results", "veil"].map(at);
  const base = location.origin + location.pathname;
  const sleep = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
  let info = { takes: {} }, picture = null, running = null;

  const make = (name, css, text) => {
    const part = document.createElement(name);
    if (css) part.className = css;
    if (text !== undefined) part.textContent = text;
    return part;
  };
  const say = (text, bad) => { said.textContent = text; said.classList.toggle("bad", !!bad); };

  const call = async (path, options) => {
    for (let tries = 0; ; tries += 1) {
      const answer = await fetch(new URL(path, base), options);
      if (answer.ok) return answer.json();
      const wait = Number(answer.headers.get("retry-after"));
      if (wait && tries < 3) {
        say(`The server is busy; trying again in ${wait} s`);
        await sleep(wait);
        continue;
      }
      const wrong = await answer.json().catch(() => ({}));
      throw new Error(wrong.error || `The server answered ${answer.status}`);
    }
  };

  const state = () => new URLSearchParams(location.search);
  const change = (changes) => {
    const next = state();
    for (const [name, value] of Object.entries(changes)) {
      if (value) next.set(name, value); else next.delete(name);
    }
    const query = next.toString();
    if (query !== state().toString()) history.pushState(null, "", query ? `?${query}` : location.pathname);
    return show();
  };
  const filter = (now) => {
    const parts = [];
    if (now.get("label")) parts.push(`label = '${now.get("label").replaceAll("'", "''")}'`);
    if (now.get("where")) parts.push(parts.length ? `(${now.get("where")})` : now.get("where"));
    return parts.join(" AND ") || null;
  };

  // What a text is looked for by, "lexical:text" say: by meaning where nothing is said and words can be embedded.
  const way = (now) => now.get("by") || by.options[0]?.value || "";
  const ask = (now, signal) => {
    const how = { k: Number(now.get("k")) || 24, where: filter(now), thumbnails: info.thumbnails,
      compact: now.get("compact") };
    const query = new URLSearchParams(Object.entries(how).filter(([, value]) => value !== null));
    const headers = { "content-type": picture?.type || (picture ? "application/octet-stream" : "application/json") };
    if (picture) return call(`search/file?${query}`, { method: "POST", body: picture, signal, headers });
    if (!now.get("q") && !now.get("like")) return call(`rows?${query}`, { signal });
    const [ways, column] = now.get("like") ? [] : way(now).split(/:(.*)/s);
    const question = now.get("like") ? { id: now.get("like") }
      : { text: now.get("q"), ...(ways && { words: ways, column }) };
    return call("search", { method: "POST", body: JSON.stringify({ ...question, ...how }), signal, headers });
  };

  const about = async (id) => {
    const [image, text] = like.children;
    const row = id && !picture ? await call(`row?${new URLSearchParams({ id })}`) : null;
    image.hidden = !row?.thumbnail;
    if (row?.thumbnail) image.src = row.thumbnail;
    text.textContent = row ? `Like ${row.columns.text || row.columns.name || id}` : "Like your picture";
  };

  const tile = (hit, highest) => {
    const { text, name, label: own, ...rest } = hit.columns;
    const line = make("li", "hit"), more = make("button", "more"), facts = make("div", "about");
    const called = name || hit.id;
    more.type = "button";
    more.title = "More like this";
    more.setAttribute("aria-label", `More like ${text || called}`);
    more.addEventListener("click", () => { forget(); change({ like: hit.id, q: "" }); scrollTo(0, 0); });
    if (hit.thumbnail) {
      const image = make("img");
      image.alt = own || called;
      image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 64));
      image.src = hit.thumbnail;
      more.append(image);
    } else more.append(make("p", "words", text || called));
    if (hit.score !== null) {
      const score = make("span", "score", hit.score.toFixed(3)), bar = make("i");
      bar.style.setProperty("--s", Math.max(0, hit.score / highest));
      score.prepend(bar);
      facts.append(score);
    }
    if (own) {
      const narrow = make("button", "label", own);
      narrow.type = "button";
      narrow.title = `Only ${own}`;
      narrow.addEventListener("click", () => change({ label: own }));
      facts.append(narrow);
    }
    if (hit.thumbnail) facts.append(make("span", "name", text || called));
    else {
      const again = make("button", "again", "More like this");
      again.type = "button";
      again.addEventListener("click", () => more.click());
      facts.append(again);
    }
    const others = Object.entries(rest).filter(([, value]) => value !== null);
    if (others.length) facts.append(make("span", "", others.map(([key, value]) => `${key} ${value}`).join(" · ")));
    line.append(more, facts);
    return line;
  };

  const show = async () => {
    const now = state();
    words.value = now.get("q") || "";
    where.value = now.get("where") || "";
    label.value = now.get("label") || "";
    k.value = now.get("k") || "24";
    asked.hidden = !picture;
    like.hidden = !now.get("like") && !picture;
    by.value = way(now);
    compact.value = now.get("compact") || "";
    by.disabled = !like.hidden;
    compact.disabled = like.hidden && by.value.startsWith("lexical");
    running?.abort();
    const mine = running = new AbortController();
    results.classList.add("busy");
    results.setAttribute("aria-busy", "true");
    try {
      if (!like.hidden) await about(now.get("like"));
      const began = performance.now(), found = (await ask(now, mine.signal)).results;
      const pictures = found.some((hit) => hit.thumbnail);
      results.className = pictures ? "pictures" : "texts";
      const asks = picture || now.get("q") || now.get("like"), time = Math.round(performance.now() - began);
      const listed = asks && like.hidden && way(now);  // cosines are at most 1, scores of words have no end
      const highest = listed ? Math.max(...found.map((hit) => hit.score)) : 1;
      results.replaceChildren(...found.map((hit) => tile(hit, highest)));
      const count = `${found.length} ${found.length === 1 ? "row" : "rows"}`;
      const choose = words.disabled ? "Choose" : "Type what to look for, or choose";
      const none = listed ? "No row has any of these words, or none of them passes the filter."
        : "No row passes the filter.";
      say(!found.length ? none : asks ? `${count}, ${listed ? "best" : "nearest"} first, in ${time} ms`
        : `Some rows to begin with. ${choose} one to see more like it.`);
    } catch (error) {
      if (mine.signal.aborted) return;
      results.replaceChildren();
      say(error.message, true);
    }
    results.classList.remove("busy");
    results.removeAttribute("aria-busy");
    document.body.dataset.ready = "yes";
  };

  const forget = () => { if (picture) URL.revokeObjectURL(asked.src); picture = null; file.value = ""; };
  const smaller = async (chosen) => {
    if (chosen.size < 4e6) return chosen;
    try {
      const image = await createImageBitmap(chosen), scale = Math.min(1, 1600 / Math.max(image.width, image.height));
      const canvas = new OffscreenCanvas(Math.ceil(image.width * scale), Math.ceil(image.height * scale));
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.92 });
    } catch { return chosen; }
  };
  const take = async (chosen) => {
    if (!chosen || !info.takes.file) return;
    forget();
    picture = await smaller(chosen);
    asked.src = URL.createObjectURL(picture);
    change({ q: "", like: "" });
  };

  at("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = words.value.trim();
    if (text) forget();
    change({ q: text, like: text ? "" : state().get("like"), where: where.value.trim(), label: label.value });
  });
  label.addEventListener("change", () => change({ label: label.value }));
  by.addEventListener("change", () => change({ by: by.selectedIndex ? by.value : "" }));
  compact.addEventListener("change", () => change({ compact: compact.value }));
  k.addEventListener("change", () => change({ k: k.value === "24" ? "" : k.value }));
  where.addEventListener("change", () => change({ where: where.value.trim() }));
  at("drop").addEventListener("click", () => { forget(); change({ like: "" }); words.focus(); });
  file.addEventListener("change", () => take(file.files[0]));
  at("pick").addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); file.click(); }
  });
  addEventListener("paste", (event) =>
    take([...event.clipboardData.files].find((one) => one.type.startsWith("image/"))));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    veil.hidden = !info.takes.file || !event.dataTransfer.types.includes("Files");
  });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) veil.hidden = true; });
  addEventListener("drop", (event) => {
    event.preventDefault();
    veil.hidden = true;
    take(event.dataTransfer.files[0]);
  });
  addEventListener("popstate", () => { forget(); show(); });
  addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing) { event.preventDefault(); words.focus(); words.select(); }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const tiles = [...results.querySelectorAll(".more")], on = tiles.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step && (on >= 0 || (event.target === words && event.key === "ArrowDown"))) {
      event.preventDefault();
      tiles[Math.min(tiles.length - 1, Math.max(0, on + step))]?.focus();
    }
    if (event.key === "Escape" && on >= 0) words.focus();
  });

  (async () => {
    try {
      info = await call("info");
    } catch (error) {
      say(error.message, true);
      return;
    }
    const { takes, labels, columns } = info, names = Object.keys(columns);
    at("facts").textContent = `${info.rows.toLocaleString("en")} rows`;
    if (takes.words) by.append(new Option("meaning", ""));
    for (const column of info.words) {
      const more = info.words.length > 1 ? ` in ${column}` : "";
      by.append(new Option(`words${more}`, `lexical:${column}`));
      if (takes.words) by.append(new Option(`meaning and words${more}`, `hybrid:${column}`));
    }
    at("ways").hidden = by.length < 2;
    const unit = (name) => /^\d/.test(name) ? "numbers" : "vectors";
    compact.append(...info.compact.map((name) => new Option(`${name} ${unit(name)}`, name)));
    at("sizes").hidden = !info.compact.length;
    words.disabled = !by.length;
    words.placeholder = by.length ? "What are you looking for?"
      : takes.file ? "Drop or choose a picture" : "Choose a row below";
    at("go").hidden = !by.length;
    at("pick").hidden = !takes.file;
    at("labels").hidden = !Object.keys(labels).length;
    const choices = Object.entries(labels).map(([name, count]) => new Option(`${name} (${count})`, name));
    label.append(new Option("any", ""), ...choices);
    const [first] = Object.keys(labels), value = (first || "").replaceAll("'", "''");
    where.placeholder = first ? `label <> '${value}'` : names.includes("text") ? "text LIKE '%word%'" : "id <> 'a'";
    where.title = `As in SQL, with ${names.join(", ")}`;
    at("columns").append(...names.map((name) => new Option(`${name} = `)));
    show();
  })();
})();
"""

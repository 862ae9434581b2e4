"""The page's script: values under the pointer in curves, thumbnails on the map, classes lit from the legend."""

from __future__ import annotations

SCRIPT = r"""
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const place = (svg, event) => {
    const point = new DOMPoint(event.clientX, event.clientY);
    return point.matrixTransform(svg.getScreenCTM().inverse());
  };
  const show = (v) => {
    const size = Math.abs(v);
    if (size >= 1000) return Math.round(v).toLocaleString("en");
    return String(Number(v.toPrecision(3))).replace("-", "−");
  };

  // Curves: a vertical line at the nearest measured step, and the values there beside the name.
  for (const svg of all("svg[data-axes]")) {
    const [x0, x1, y0, y1, left, right, bottom, top] = svg.dataset.axes.split(" ").map(Number);
    const curves = new Map();
    for (const line of all("polyline[data-name]", svg)) {
      const points = line.getAttribute("points").split(" ").map((pair) => pair.split(",").map(Number));
      curves.set(line.dataset.name, [...(curves.get(line.dataset.name) || []), ...points]);
    }
    const now = svg.closest("figure").querySelector(".now");
    const last = now.textContent;
    const rule = document.createElementNS("http://www.w3.org/2000/svg", "line");
    rule.setAttribute("class", "rule");
    rule.setAttribute("y1", top);
    rule.setAttribute("y2", bottom);
    const leave = () => { rule.remove(); now.textContent = last; };
    svg.addEventListener("pointermove", (event) => {
      const x = place(svg, event).x;
      if (x < left - 8 || x > right + 8) return leave();
      const nearest = (points) => points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      const found = [...curves].map(([name, points]) => [name, nearest(points)]);
      const at = found[0][1][0];
      rule.setAttribute("x1", at);
      rule.setAttribute("x2", at);
      svg.append(rule);
      const value = ([name, [, y]]) => {
        const v = show(y0 + ((bottom - y) / (bottom - top)) * (y1 - y0));
        return found.length > 1 ? `${name} ${v}` : v;
      };
      const step = x0 + ((at - left) / (right - left)) * (x1 - x0);
      now.textContent = `step ${show(Math.round(step))}: ${found.map(value).join(", ")}`;
    });
    svg.addEventListener("pointerleave", leave);
  }

  // The map.
  const block = document.getElementById("map-data");
  if (block) {
    const facts = JSON.parse(block.textContent);
    const plane = document.querySelector(".plane");
    const svg = plane.querySelector("svg");
    const card = plane.querySelector(".card");
    const sheet = document.querySelector("img.sheet");
    const points = [];
    for (const path of all("path", svg)) {
      for (const [, x, y] of path.getAttribute("d").matchAll(/M(-?\d+) (-?\d+)h0/g)) {
        points.push({ x: +x, y: +y, label: path.dataset.k, row: facts.order[points.length] });
      }
    }
    const thumbnail = card.querySelector("i");
    if (sheet) {
      thumbnail.style.backgroundImage = `url(${sheet.src})`;
      thumbnail.style.backgroundSize = `${facts.across * 100}%`;
      if (facts.side <= 40) thumbnail.style.imageRendering = "pixelated";
    } else thumbnail.hidden = true;
    const ring = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    ring.setAttribute("class", "ring");
    ring.setAttribute("r", 11);
    const leave = () => { card.hidden = true; ring.remove(); };
    svg.addEventListener("pointermove", (event) => {
      const at = place(svg, event);
      let best = null, reach = 30 * 30;
      for (const point of points) {
        const far = (point.x - at.x) ** 2 + (point.y - at.y) ** 2;
        if (far < reach) [best, reach] = [point, far];
      }
      if (!best) return leave();
      ring.setAttribute("cx", best.x);
      ring.setAttribute("cy", best.y);
      svg.append(ring);
      if (sheet) {
        const rows = Math.ceil(points.length / facts.across);
        const along = (index, count) => `${count > 1 ? (100 * index) / (count - 1) : 0}%`;
        thumbnail.style.backgroundPosition =
          `${along(best.row % facts.across, facts.across)} ${along(Math.floor(best.row / facts.across), rows)}`;
      }
      const name = facts.names ? facts.names[best.row] : "";
      const group = document.querySelector(".legend") ? facts.classes[best.label] : "";
      card.querySelector("span").textContent = [group, name].filter(Boolean).join(" · ");
      card.hidden = !sheet && !name && !group;
      card.style.left = `${best.x / 10}%`;
      card.style.top = `${best.y / 7.2}%`;
      card.classList.toggle("left", best.x > 700);
      card.classList.toggle("up", best.y > 500);
    });
    svg.addEventListener("pointerleave", leave);
    const light = (k) => {
      plane.classList.toggle("dim", k !== null);
      for (const part of all("[data-k]", plane)) part.classList.toggle("lit", part.dataset.k === k);
    };
    for (const item of all(".legend li")) {
      for (const on of ["pointerenter", "focus"]) item.addEventListener(on, () => light(item.dataset.k));
      for (const off of ["pointerleave", "blur"]) item.addEventListener(off, () => light(null));
    }
  }

  // Print everything, folded parts included.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => { for (const part of folded) part.open = false; });
})();
"""

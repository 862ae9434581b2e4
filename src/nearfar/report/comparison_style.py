"""What the comparison page has beyond the report: looks of methods, wide charts, and a pointer that lights a method."""

from __future__ import annotations

from nearfar.report.script import SCRIPT as REPORT_SCRIPT
from nearfar.report.style import LIGHT
from nearfar.report.style import STYLE as REPORT_STYLE

STYLE = (
    REPORT_STYLE
    + "".join(f".k{index}{{--c:var(--k{index})}}" for index in range(len(LIGHT)))
    + """
.curve.dash1{stroke-dasharray:7 3.5}
.curve.dash2{stroke-dasharray:1.5 4}
.dot,.band{stroke:none}
.methods{display:flex;flex-wrap:wrap;gap:.25rem 1.4rem;list-style:none;padding:0;font-size:.875rem;margin-top:1rem}
.methods li{display:flex;align-items:center;gap:.5rem;padding:.1rem .3rem;border-radius:4px;cursor:default;
  overflow-wrap:anywhere}
.methods li:hover{background:var(--wash)}
.swatch{flex:none;width:26px;height:10px}
.swatch .curve{stroke-width:3}
.metrics{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(460px,100%),1fr));gap:2rem 2.6rem;
  margin-top:1.4rem}
.dots table{width:100%;table-layout:fixed}
.dots figcaption{margin-bottom:.3rem}
.dots figcaption b{font-weight:640}
.dots th{width:38%;font-size:.875rem;padding-right:.8rem;overflow-wrap:anywhere;line-height:1.2}
.dots .value{width:3.4em;text-align:right;font-size:.875rem}
.dots .strip div{height:1.75rem}
.dots .foot .strip div{height:1.2rem}
.dots .strip u{position:absolute;top:0;bottom:0;background:var(--soft);opacity:.13}
.dots .strip b,.dots .strip em{background:var(--c)}
.dots .strip b{opacity:.45}
.dots .strip em{border-color:var(--c)}
.dots .strip s{position:absolute;top:calc(50% - 6px);height:12px;width:1px;background:var(--c)}
.dots .base{--c:var(--soft);color:var(--soft)}
.dots .base em{background:var(--paper)}
.wide{margin-top:1.8rem}
.wide figcaption{display:flex;justify-content:space-between;gap:1rem;font-size:.95rem;min-height:1.5em}
.wide b{font-weight:640}
.wide .now{color:var(--soft);font-size:.875rem;text-align:right}
.wide .scroll{margin-top:.3rem}
.wide svg{display:block;width:100%;min-width:680px;height:auto}
.wide .tick{font-size:12px}
.wide .curve{stroke-width:2.2}
.name{font-size:12px;fill:var(--ink)}
.leader{fill:none;stroke:var(--none);stroke-width:.8}
.level{stroke:var(--soft);stroke-dasharray:2 4}
.whisker{stroke:var(--c);stroke-width:2;opacity:.5}
.lit-one [data-m]{opacity:.16;transition:opacity .1s}
.lit-one [data-m].lit{opacity:1}
.lit-one .methods [data-m]{opacity:.45}
.lit-one .methods [data-m].lit{opacity:1}
.figures-table{font-size:.8125rem;white-space:nowrap}
.figures-table th,.figures-table td{padding:.3rem 1.1rem .3rem 0;border-bottom:1px solid var(--rule);
  vertical-align:baseline}
.figures-table thead th{color:var(--soft);vertical-align:bottom;white-space:normal;min-width:4.5em}
.figures-table tbody th{position:sticky;left:0;background:var(--paper);max-width:17em;white-space:normal;
  overflow-wrap:anywhere;z-index:1}
.figures-table td{text-align:right}
.figures-table thead th:not(:first-child){text-align:right}
.figures-table td small{display:block}
.figures-table .base{color:var(--soft)}
.figures-table .apart{font-weight:640}
.contender h3{overflow-wrap:anywhere}
.contender .command{margin-top:.5rem}
.verdicts{padding-left:1.1rem;max-width:80ch;margin-top:1rem}
.verdicts li{padding:.15rem 0;overflow-wrap:anywhere}
@media(max-width:760px){.dots th{width:42%}}
@media print{.wide svg{min-width:0}.wide,.dots{break-inside:avoid}}
"""
)

SCRIPT = (
    REPORT_SCRIPT
    + r"""
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const main = document.querySelector("main");
  const light = (m) => {
    main.classList.toggle("lit-one", m !== null);
    for (const part of all("[data-m]", main)) part.classList.toggle("lit", part.dataset.m === m);
  };
  for (const part of all(".methods li, .dots tr[data-m]")) {
    for (const on of ["pointerenter", "focus"]) part.addEventListener(on, () => light(part.dataset.m));
    for (const off of ["pointerleave", "blur"]) part.addEventListener(off, () => light(null));
  }
  const show = (v) => {
    const size = Math.abs(v);
    if (size >= 1000) return Math.round(v).toLocaleString("en");
    return String(Number(v.toPrecision(3))).replace("-", "−");
  };
  // A chart of all methods: the point nearest to the pointer says its name and values, and lights its method.
  for (const svg of all("svg[data-plane]")) {
    const [x0, x1, y0, y1, left, right, bottom, top, powers] = svg.dataset.plane.split(" ").map(Number);
    const now = svg.closest("figure").querySelector(".now");
    const points = all("g[data-m]", svg).flatMap((group) => all("circle", group).map((dot) =>
      ({ x: +dot.getAttribute("cx"), y: +dot.getAttribute("cy"), m: group.dataset.m,
         name: group.dataset.name })));
    svg.addEventListener("pointermove", (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let best = null, reach = 60 * 60;
      for (const point of points) {
        const far = (point.x - at.x) ** 2 + (point.y - at.y) ** 2;
        if (far < reach) [best, reach] = [point, far];
      }
      if (!best) { light(null); now.textContent = ""; return; }
      light(best.m);
      const across = x0 + ((best.x - left) / (right - left)) * (x1 - x0);
      const x = show(powers ? 10 ** across : across);
      const y = show(y0 + ((bottom - best.y) / (bottom - top)) * (y1 - y0));
      now.textContent = `${best.name}: ${y} at ${x} ${svg.dataset.across}`;
    });
    svg.addEventListener("pointerleave", () => { light(null); now.textContent = ""; });
  }
})();
"""
)

"""What the page of a search has beyond the report: a box to ask in, and lists side by side."""

from __future__ import annotations

from nearfar.report.script import SCRIPT as REPORT_SCRIPT
from nearfar.report.style import STYLE as REPORT_STYLE

STYLE = (
    REPORT_STYLE
    + """
.asking{position:relative;margin-top:1.4rem;max-width:46rem}
.asking label{display:block;font-size:.875rem;color:var(--soft);margin-bottom:.35rem}
.box{display:flex;gap:.6rem}
#ask{flex:1;min-width:0;font:inherit;color:inherit;background:var(--paper);border:1px solid var(--none);
  border-radius:8px;padding:.6rem .8rem}
#other{font:inherit;font-size:.9rem;color:inherit;background:var(--wash);border:1px solid var(--rule);
  border-radius:8px;padding:.5rem .9rem;cursor:pointer;white-space:nowrap}
#other:hover{border-color:var(--none)}
#offered{position:absolute;z-index:4;left:0;right:0;margin:.3rem 0 0;padding:.3rem;list-style:none;
  background:var(--paper);border:1px solid var(--rule);border-radius:8px;box-shadow:0 8px 28px rgb(0 0 0/.16);
  max-height:21rem;overflow-y:auto}
#offered li{padding:.4rem .6rem;border-radius:5px;cursor:pointer;line-height:1.35}
#offered li:hover,#offered li.on{background:var(--wash)}
#offered li.none{color:var(--soft);cursor:default}
#query{font-size:clamp(1.15rem,2.4vw,1.4rem);line-height:1.4;margin-top:1.6rem;max-width:60ch}
#query::before{content:"“"}
#query::after{content:"”"}
#query:empty::before,#query:empty::after{content:none}
#found{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(260px,100%),1fr));gap:1.6rem 1.8rem;
  margin-top:1.1rem}
#found h3{display:flex;justify-content:space-between;align-items:baseline;gap:.8rem;margin:0;padding-bottom:.4rem;
  border-bottom:2px solid var(--rule)}
#found .ours h3{border-color:var(--near)}
#found h3 small{font-weight:400;text-align:right}
#found h3 small.right{color:var(--good);font-weight:640}
#found ol{list-style:none;padding:0;font-size:.875rem;line-height:1.4}
#found li{display:grid;grid-template-columns:1.5rem 1fr;padding:.42rem .4rem;border-bottom:1px solid var(--rule);
  overflow-wrap:anywhere}
#found li::before{content:attr(data-rank);color:var(--soft)}
#found li.right{background:color-mix(in srgb,var(--good) 13%,transparent);box-shadow:inset 3px 0 var(--good)}
#found li.right span::after{content:" ✓";color:var(--good);font-weight:640}
#found .nothing{color:var(--soft);font-size:.875rem;padding:.5rem 0}
.more{padding-top:0}
.paired{max-width:52rem}
#mining .facts{margin-top:1rem;max-width:36rem}
#mining .facts dt{flex-basis:24rem}
@media print{.asking{display:none}}
"""
)

SCRIPT = (
    REPORT_SCRIPT
    + r"""
(() => {
  "use strict";
  const block = document.getElementById("search-data");
  if (!block) return;
  const { systems, depth, documents, asked } = JSON.parse(block.textContent);
  const [ask, other, offered, query, found] =
    ["ask", "other", "offered", "query", "found"].map((name) => document.getElementById(name));
  const make = (name, text, css) => {
    const part = document.createElement(name);
    part.textContent = text;
    if (css) part.className = css;
    return part;
  };
  let shown = 0, on = 0, matching = [];

  const show = (number) => {
    shown = number;
    const [text, right, listed, ranks] = asked[number];
    query.textContent = text;
    found.replaceChildren(...systems.map((name, system) => {
      const rank = ranks[system];
      const column = make("div", "", system ? "" : "ours");
      const head = make("h3", name);
      const said = rank ? `right at ${rank}` : `none right in the first ${depth}`;
      head.append(make("small", said, rank === 1 ? "right" : ""));
      const list = make("ol", "");
      listed[system].forEach((entry, place) => {
        const line = make("li", "", right.includes(entry) ? "right" : "");
        line.dataset.rank = place + 1;
        line.append(make("span", documents[entry]));
        list.append(line);
      });
      const nothing = make("p", "No entry shares a word with the query.", "nothing");
      column.append(head, listed[system].length ? list : nothing);
      return column;
    }));
  };
  const close = () => { offered.hidden = true; };
  const choose = (number) => { ask.value = ""; close(); show(number); };
  const offer = () => {
    const typed = ask.value.toLowerCase().split(/\s+/).filter(Boolean);
    matching = asked.map((_, number) => number)
      .filter((number) => typed.every((word) => asked[number][0].toLowerCase().includes(word)));
    on = 0;
    const lines = matching.map((number, place) => {
      const line = make("li", asked[number][0], place ? "" : "on");
      line.addEventListener("pointerdown", (event) => { event.preventDefault(); choose(number); });
      return line;
    });
    offered.replaceChildren(...(lines.length ? lines : [make("li", "No query has these words.", "none")]));
    offered.hidden = false;
  };
  ask.addEventListener("input", offer);
  ask.addEventListener("focus", offer);
  ask.addEventListener("blur", close);
  ask.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    if (event.key === "Enter" && matching.length && !offered.hidden) choose(matching[on]);
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!matching.length) return;
      offered.children[on].classList.remove("on");
      on = (on + (event.key === "ArrowDown" ? 1 : matching.length - 1)) % matching.length;
      offered.children[on].classList.add("on");
      offered.children[on].scrollIntoView({ block: "nearest" });
    }
  });
  other.addEventListener("click", () => show((shown + 1) % asked.length));
  show(0);
})();
"""
)

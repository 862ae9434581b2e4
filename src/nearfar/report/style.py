"""The page's style: one column, two inks (near and far), light, dark, print and phone."""

from __future__ import annotations

# Ten class colours, grown from those of Petroff 2021 ("Accessible color sequences for data visualization") by a search
# for the largest smallest distance: any two differ by more than 20 CIELAB units, for normal sight and for simulated
# protanopia, deuteranopia and tritanopia, and each keeps a contrast of at least 2.2 (3.1 in the dark) with the page.
LIGHT = ("#3eb1ff", "#eb9700", "#720000", "#93aea7", "#73129c", "#9b6154", "#cd2900", "#bea866", "#5d5e7b", "#526bf6")
DARK = ("#64baff", "#f19b06", "#b2423b", "#a7d0d8", "#9445af", "#c28c85", "#d73204", "#d4c582", "#68657f", "#516cf8")


def _classes() -> str:
    rules = []
    for index in range(len(LIGHT)):
        rules.append(f".k{index}{{stroke:var(--k{index})}}.mark.k{index}{{background:var(--k{index})}}")
    return "".join(rules)


def _colours(values: tuple[str, ...]) -> str:
    return "".join(f"--k{index}:{value};" for index, value in enumerate(values))


STYLE = (
    ":root{color-scheme:light dark;--paper:#fdfdfb;--ink:#1b1f24;--soft:#5c6570;--rule:#e1e3df;--wash:#f3f4f0;"
    "--near:#1f69ad;--far:#c2560c;--good:#23804a;--bad:#c22f25;--none:#b5bab8;"
    + _colours(LIGHT)
    + "}@media screen and (prefers-color-scheme:dark){:root{"
    "--paper:#14171b;--ink:#e9e7e2;--soft:#9ba5af;--rule:#2c3238;"
    "--wash:#1c2025;"
    "--near:#6fb3f2;--far:#f39a5b;--good:#5cc585;--bad:#f2776b;--none:#565d64;"
    + _colours(DARK)
    + "}}"
    + _classes()
    + """
*{box-sizing:border-box}
html{scroll-padding-top:3.5rem;-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1120px;padding:0 clamp(1rem,4vw,2.5rem) 4rem;background:var(--paper);
  color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",sans-serif;
  font-variant-numeric:tabular-nums}
h1,h2,h3,p,figure,dl,dd,ul,ol{margin:0}
h1{font-size:clamp(1.9rem,5vw,2.9rem);line-height:1.12;letter-spacing:-.022em;font-weight:680;
  overflow-wrap:anywhere;text-wrap:balance}
h2{font-size:1.5rem;line-height:1.25;letter-spacing:-.012em;font-weight:660}
h3{font-size:.95rem;font-weight:640;margin:1.6rem 0 .5rem}
small{font-size:.8125rem;color:var(--soft)}
a{color:var(--near);text-underline-offset:.18em;text-decoration-thickness:1px}
:focus-visible{outline:2px solid var(--near);outline-offset:2px}
[hidden]{display:none!important}
header{padding:2.6rem 0 1.4rem}
.brand{display:flex;align-items:center;gap:.6rem;color:var(--soft);font-size:.875rem;margin-bottom:1rem}
.logo{width:40px;height:16px}
.logo .n{fill:var(--near)}
.logo .f{fill:var(--far)}
nav{position:sticky;top:0;z-index:5;display:flex;gap:1.5rem;overflow-x:auto;background:var(--paper);
  border-bottom:1px solid var(--rule);padding:.7rem 0;font-size:.9rem;scrollbar-width:none}
nav a{color:var(--soft);text-decoration:none;white-space:nowrap}
nav a:hover{color:var(--ink)}
section{padding-top:3.2rem}
#summary{padding-top:2rem}
#summary>h2{position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden}
.lead{color:var(--soft);max-width:68ch;margin-top:.35rem}
.note{font-size:.8125rem;color:var(--soft);line-height:1.4}
.warn{border:1px solid var(--far);border-radius:6px;padding:.6rem .9rem;margin:1rem 0 0;font-size:.9rem;
  max-width:75ch}
.verdict{font-size:clamp(1.15rem,2.6vw,1.4rem);line-height:1.45;max-width:56ch;letter-spacing:-.006em}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:1.6rem 2rem;
  margin-top:1.9rem}
.figure span{display:block;font-size:.9rem;color:var(--soft)}
.figure strong{display:block;font-size:2.7rem;line-height:1.15;font-weight:660;letter-spacing:-.03em}
.figure small{display:block;line-height:1.45}
.guide ul{padding-left:1.1rem;max-width:75ch}
.guide li{padding:.12rem 0}
.guide li::marker{color:var(--soft)}
.guide a{font-size:.875rem;margin-left:.2rem}
.scroll{overflow-x:auto;margin-top:1.2rem}
table{border-collapse:collapse}
th{font-weight:400;text-align:left}
.results{width:100%;min-width:620px}
.results thead th{font-size:.8125rem;color:var(--soft);padding-bottom:.3rem}
.results td,.results th{padding:0 1rem 0 0}
.results .value,.results .range,.results .n{text-align:right;white-space:nowrap}
.results td.range,.results td.n{color:var(--soft);font-size:.875rem}
.results .metric th,.results .metric td.scale{border-top:1px solid var(--rule);padding-top:.8rem}
.results .metric th{font-weight:640}
.results .metric small{font-weight:400;margin-left:.3rem}
.results .ours th,.results .ours .value{font-weight:640}
.results tbody .strip,.results thead .strip{width:38%;padding:0 1rem}
.strip div{position:relative;height:2.15rem}
.scale div{height:1.1rem}
.scale span{position:absolute;transform:translateX(-50%);font-size:.75rem;color:var(--soft)}
.strip i{position:absolute;top:0;bottom:0;width:1px;background:var(--rule)}
.strip b{position:absolute;top:calc(50% - 2px);height:4px;min-width:1px;border-radius:2px;
  background:var(--soft);opacity:.55}
.strip em{position:absolute;top:calc(50% - 5px);width:10px;height:10px;margin-left:-5px;border-radius:50%;
  background:var(--paper);border:2px solid var(--soft)}
.ours .strip b{background:var(--near)}
.ours .strip em{background:var(--near);border-color:var(--near)}
.map{display:grid;grid-template-columns:minmax(0,1fr) minmax(150px,200px);gap:1.8rem;margin-top:1rem;
  align-items:start}
.map:not(:has(.legend)){grid-template-columns:1fr}
.plane{position:relative}
.plane svg{display:block;width:100%;height:auto;touch-action:pan-y}
.plane path{fill:none;stroke-linecap:round;vector-effect:non-scaling-stroke;stroke-opacity:.72;stroke-width:4px;
  transition:stroke-opacity .12s}
.plane .few path{stroke-width:7px}
.plane path.square{stroke-linecap:square}
.plane path.none{stroke:var(--none)}
.map:not(:has(.legend)) path.none{stroke:var(--near)}
.plane.dim path{stroke-opacity:.07}
.plane.dim path.lit{stroke-opacity:1}
.plane.dim .place:not(.lit){opacity:.15}
.ring{fill:none;stroke:var(--ink);stroke-width:2;pointer-events:none;vector-effect:non-scaling-stroke}
.place{position:absolute;transform:translate(-50%,-50%);font-size:.8125rem;font-weight:640;line-height:1.1;
  white-space:nowrap;pointer-events:none;max-width:12em;overflow:hidden;text-overflow:ellipsis;padding:1px 5px;
  border-radius:4px;background:color-mix(in srgb,var(--paper) 82%,transparent)}
.card{position:absolute;margin:12px;padding:6px;background:var(--paper);border:1px solid var(--rule);
  border-radius:8px;pointer-events:none;z-index:2;box-shadow:0 4px 18px rgb(0 0 0/.16);font-size:.8125rem;
  line-height:1.3;max-width:200px;overflow-wrap:anywhere}
.card.left{transform:translateX(calc(-100% - 24px))}
.card.up{transform:translateY(calc(-100% - 24px))}
.card.left.up{transform:translate(calc(-100% - 24px),calc(-100% - 24px))}
.card i{display:block;width:104px;height:104px;border-radius:4px;margin-bottom:4px}
.legend ul{list-style:none;padding:0;font-size:.875rem;max-height:30rem;overflow-y:auto}
.legend li{display:flex;align-items:center;gap:.55rem;padding:.16rem .2rem;border-radius:4px;cursor:default;
  overflow-wrap:anywhere}
.legend li:hover{background:var(--wash)}
.legend .note{margin-top:.6rem}
.legend small{margin-left:auto}
.mark{flex:none;width:11px;height:11px;border-radius:50%;print-color-adjust:exact}
.mark.square{border-radius:1px}
.mark.none{background:var(--none)}
.keys{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;list-style:none;padding:0;font-size:.875rem;margin-top:1rem}
.keys li{display:flex;align-items:center;gap:.5rem}
.keys span{flex:none}
.key{width:22px;height:14px;border-top:2.5px solid}
.key.near{border-color:var(--near);background:color-mix(in srgb,var(--near) 22%,transparent)}
.key.far{border-top-style:dashed;border-color:var(--far);
  background:color-mix(in srgb,var(--far) 18%,transparent)}
.neighbours{margin-top:1.2rem;overflow-x:auto;padding:3px}
.row{display:flex;gap:8px;margin-bottom:12px;align-items:start;width:max-content}
.tile{width:76px}
.tile img{display:block;width:76px;height:76px;object-fit:contain;border-radius:5px;background:var(--wash)}
.tile img.sharp{image-rendering:pixelated}
.tile figcaption{font-size:.75rem;line-height:1.25;color:var(--soft);margin-top:4px;overflow-wrap:anywhere}
.tile figcaption small{display:block;font-size:.7rem}
.tile.words{width:11rem;font-size:.8rem;line-height:1.35}
.tile.words p{margin:.2rem .3rem;overflow-wrap:anywhere}
.tile.query{margin-right:14px}
.tile.query figcaption{color:var(--ink);font-weight:640}
.agree img{outline:3px solid var(--good);outline-offset:-3px}
.differ img{outline:3px dashed var(--bad);outline-offset:-3px}
.edge{width:16px;height:16px;border-radius:4px;border:3px solid var(--good)}
.edge.differ{border:3px dashed var(--bad)}
.confused{display:grid;grid-template-columns:minmax(0,auto) minmax(200px,1fr);gap:2.4rem;align-items:start}
.confused:has(.heatmap){grid-template-columns:minmax(0,1.7fr) minmax(200px,1fr)}
.heat{font-size:.8125rem;border-collapse:separate;border-spacing:2px}
.heat td,.heat thead th{text-align:center;width:2.7rem;height:2.15rem;padding:0}
.heat tbody th{text-align:right;padding-right:.6rem;white-space:nowrap;max-width:14em;overflow:hidden;
  text-overflow:ellipsis}
.heat thead th{height:auto;vertical-align:bottom;padding-bottom:.4rem}
.heat thead span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:11em;overflow:hidden;
  text-overflow:ellipsis;white-space:nowrap}
.heat tbody td{border-radius:3px;--tone:var(--far);
  background:color-mix(in srgb,var(--tone) calc(var(--v)*100%),var(--wash));print-color-adjust:exact}
.heat td.hit{--tone:var(--near)}
.heat td.zero{color:var(--none)}
.heat td.strong{color:var(--paper);font-weight:640}
.heatmap{width:100%;max-width:700px;min-width:min(560px,100%);background:var(--wash);border-radius:4px;
  margin-top:1.2rem}
.heatmap .hit{fill:var(--near)}
.heatmap .miss{fill:var(--far)}
.mistakes ol{padding-left:1.3rem;font-size:.9rem}
.mistakes li{padding:.1rem 0;overflow-wrap:anywhere}
.mistakes b{font-weight:640}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(280px,100%),1fr));gap:1.8rem 1.5rem;
  margin-top:1.3rem}
.panel figcaption{display:flex;justify-content:space-between;align-items:baseline;gap:.8rem;font-size:.9rem;
  margin-bottom:.2rem}
.panel b{font-weight:640}
.panel .now{color:var(--soft);text-align:right;font-size:.875rem}
.panel svg{display:block;width:100%;height:auto}
.panel .note{padding-left:.1rem}
.grid{stroke:var(--rule)}
.axis{stroke:var(--none)}
.rule{stroke:var(--ink);stroke-dasharray:2 3}
.tick,.end{font-size:10.5px;fill:var(--soft)}
.end{font-weight:640}
.curve{fill:none;stroke-width:1.9;stroke-linejoin:round;stroke-linecap:round}
.main{--c:var(--near)}
.near{--c:var(--near)}
.far{--c:var(--far)}
.chance{--c:var(--soft)}
.curve{stroke:var(--c)}
.dot,.band{fill:var(--c)}
.band{opacity:.16}
text.near,text.main{fill:var(--near)}
text.far{fill:var(--far)}
.curve.chance{stroke-dasharray:4 4;stroke-width:1.4}
.curve.far{stroke-dasharray:7 3}
.area{fill:var(--c);fill-opacity:.2;stroke:var(--c);stroke-width:1.6}
.area.far{stroke-dasharray:5 3}
.command{background:var(--wash);border-radius:6px;padding:.8rem 1rem;margin:1rem 0 0;overflow-x:auto;
  white-space:pre-wrap;overflow-wrap:anywhere;
  font:.875rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace}
.command code{font:inherit}
.columns{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:0 3rem}
.facts{font-size:.9rem}
.facts div{display:flex;gap:1rem;padding:.28rem 0;border-bottom:1px solid var(--rule)}
.facts dt{flex:0 0 9.5rem;color:var(--soft);overflow-wrap:anywhere}
.facts dd{overflow-wrap:anywhere;min-width:0}
details{border-bottom:1px solid var(--rule);padding:.7rem 0;margin-top:.4rem}
details .facts{columns:2 340px;column-gap:3rem;margin-top:.6rem}
details .facts div{break-inside:avoid}
summary{cursor:pointer;font-weight:640;font-size:.95rem}
.plain{font-size:.875rem;width:100%}
.plain th{color:var(--soft)}
.plain td,.plain th{padding:.25rem 1.5rem .25rem 0;border-bottom:1px solid var(--rule);overflow-wrap:anywhere;
  vertical-align:top}
@media(max-width:760px){
  .map,.confused,.confused:has(.heatmap){grid-template-columns:minmax(0,1fr);gap:1rem}
    .place{font-size:.625rem;padding:0 3px}
  .plane path{stroke-width:2.4px}
  .plane .few path{stroke-width:4.5px}
  .legend ul{columns:2;max-height:none}
  .heat td,.heat thead th{width:1.9rem;height:1.75rem}
  .heat{font-size:.6875rem;border-spacing:1px}
  .heat tbody th{max-width:6.5em}
  .tile,.tile img{width:60px}
  .tile img{height:60px}
  section{padding-top:2.6rem}
  .figures{grid-template-columns:1fr 1fr;gap:1.3rem}
  .figure strong{font-size:2.1rem}
  .results,.results tbody{display:block;min-width:0}
  .results thead{display:none}
  .results tbody tr{display:grid;grid-template-columns:1fr auto 7.5em;align-items:baseline;column-gap:.8rem}
  .results tbody td.n{display:none}
  .results tbody td,.results tbody th{padding-right:0}
  .results tbody .strip{grid-column:1/-1;width:auto;padding:0 .6rem}
  .results .strip:not(.scale) div{height:1.5rem}
  .results tbody .metric th{grid-column:1/-1}
  .results tbody .metric td.scale{border:0;padding-top:.3rem}
}
@media print{
  nav{display:none}
  body{max-width:none;padding:0;font-size:10.5pt}
  section{padding-top:1.6rem}
  .panel,.row,.figure,tr,.plane{break-inside:avoid}
  h2,h3,.lead{break-after:avoid}
  .scroll,.neighbours{overflow:visible}
  .guide a,.card{display:none}
  .legend ul{max-height:none}
  .panels{grid-template-columns:repeat(3,1fr)}
  :root{--paper:#fff}
}
"""
)

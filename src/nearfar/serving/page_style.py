"""The style of the search page: light and dark, desk and phone."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--paper:#fdfdfb;--ink:#1b1f24;--soft:#5c6570;--rule:#e1e3df;--wash:#f3f4f0;
  --near:#1f69ad;--far:#c2560c;--bad:#c22f25;--on:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#14171b;--ink:#e9e7e2;--soft:#9ba5af;--rule:#2c3238;--wash:#1c2025;
  --near:#6fb3f2;--far:#f39a5b;--bad:#f2776b;--on:#10151b}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1180px;min-height:100vh;display:flex;flex-direction:column;
  padding:0 clamp(.9rem,3.5vw,2.2rem);background:var(--paper);color:var(--ink);font-variant-numeric:tabular-nums;
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans",sans-serif}
h1,p,ol{margin:0;padding:0}
[hidden]{display:none!important}
:focus-visible{outline:2px solid var(--near);outline-offset:2px}
small,footer{font-size:.8125rem;color:var(--soft)}
header{display:flex;align-items:baseline;justify-content:space-between;gap:1rem;padding:1.3rem 0 1rem;flex-wrap:wrap}
.brand{display:flex;align-items:center;gap:.6rem;color:inherit;text-decoration:none;min-width:0}
h1{font-size:1.15rem;font-weight:660;letter-spacing:-.01em;overflow-wrap:anywhere}
.logo{width:40px;height:16px;flex:none}
.logo .n{fill:var(--near)}
.logo .f{fill:var(--far)}
main{flex:1}
input,select,button,.pick{font:inherit;color:inherit}
.box{display:flex;align-items:center;gap:.4rem;border:1px solid var(--rule);border-radius:14px;padding:.35rem;
  background:var(--wash)}
.box:focus-within{border-color:var(--near)}
#words{flex:1;min-width:0;border:0;background:none;outline:0;padding:.55rem .7rem;font-size:1.1rem;
  text-overflow:ellipsis}
#asked{width:44px;height:44px;border-radius:9px;object-fit:cover;margin-left:.2rem;background:var(--paper)}
button,.pick{border:1px solid var(--rule);border-radius:10px;background:var(--paper);padding:.5rem .9rem;cursor:pointer;
  white-space:nowrap;min-height:44px;display:inline-flex;align-items:center}
button:hover,.pick:hover{border-color:var(--soft)}
#go{background:var(--near);border-color:var(--near);color:var(--on);font-weight:600}
#file{position:absolute;width:1px;height:1px;opacity:0;pointer-events:none}
.narrow{display:flex;gap:.7rem;flex-wrap:wrap;margin-top:.7rem}
.narrow label{display:flex;align-items:center;gap:.5rem;font-size:.875rem;color:var(--soft)}
.narrow .wide{flex:1 1 15rem}
.narrow input,.narrow select{border:1px solid var(--rule);border-radius:9px;background:var(--paper);color:var(--ink);
  padding:.35rem .6rem;min-height:38px;min-width:0}
.narrow .wide input{flex:1;font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.85rem}
.narrow select{max-width:14rem}
#like{display:flex;align-items:center;gap:.8rem;margin-top:1rem}
#like span{min-width:0;overflow:hidden;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;
  overflow-wrap:anywhere}
#like img{width:44px;height:44px;object-fit:contain;border-radius:9px;background:var(--wash)}
#like button{min-height:34px;padding:.2rem .7rem;font-size:.875rem}
#said{min-height:1.5rem;margin:1rem 0 .6rem;font-size:.875rem;color:var(--soft)}
#said.bad{color:var(--bad)}
#results{list-style:none;display:grid;gap:.8rem;padding-bottom:2rem}
#results.pictures{grid-template-columns:repeat(auto-fill,minmax(min(140px,42%),1fr))}
#results.busy{opacity:.5}
.hit{display:flex;flex-direction:column;gap:.35rem;min-width:0}
.texts .hit{border-top:1px solid var(--rule);padding:.8rem 0 0;gap:.25rem;max-width:78ch}
.hit .more{display:block;width:100%;min-height:0;padding:0;border:0;background:none;text-align:left;border-radius:12px;
  white-space:normal}
.hit img{display:block;width:100%;aspect-ratio:1;object-fit:contain;background:var(--wash);border-radius:12px;
  image-rendering:auto}
.hit img.small{image-rendering:pixelated}
.pictures .more:hover img{outline:2px solid var(--near);outline-offset:2px}
.words{margin:0;overflow-wrap:anywhere;white-space:pre-line}
.about{display:flex;align-items:center;gap:.3rem .6rem;flex-wrap:wrap;font-size:.8125rem;color:var(--soft);
  overflow-wrap:anywhere}
.about .label,.about .again{min-height:0;padding:.12rem .6rem;border-radius:99px;font-size:.8125rem}
.about .again{color:var(--near);border-color:transparent;background:none;padding-left:0}
.score{display:inline-flex;align-items:center;gap:.4rem}
.score i{width:34px;height:4px;border-radius:2px;background:var(--rule);overflow:hidden}
.score i::before{content:"";display:block;height:100%;width:calc(var(--s)*100%);background:var(--near)}
footer{display:flex;gap:.45rem;align-items:center;border-top:1px solid var(--rule);padding:.8rem 0 1.2rem}
footer a{color:var(--near)}
.grow{flex:1}
kbd{font:inherit;border:1px solid var(--rule);border-radius:5px;padding:0 .35rem}
#veil{position:fixed;inset:0;display:grid;place-items:center;background:color-mix(in srgb,var(--paper) 88%,transparent);
  border:3px dashed var(--near);font-size:1.3rem;z-index:9;pointer-events:none}
@media(max-width:560px){footer kbd,footer{font-size:.75rem}.narrow label span{display:none}
  .narrow{justify-content:space-between}.narrow .wide{flex-basis:100%;order:1}#go{padding:.5rem .7rem}}
@media(pointer:coarse){.about .label,.about .again{padding-top:.4rem;padding-bottom:.4rem}footer kbd{display:none}}
"""

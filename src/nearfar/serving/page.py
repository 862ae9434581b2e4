"""The search page: one file of HTML that asks the API of its own server and loads nothing from anywhere else."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from .page_script import SCRIPT
from .page_style import STYLE

_LOGO = (
    '<svg class="logo" viewBox="0 0 40 16" aria-hidden="true"><circle class="n" cx="6" cy="8" r="5"/>'
    '<circle class="n" cx="14" cy="8" r="5"/><circle class="f" cx="34" cy="8" r="5"/></svg>'
)
_BODY = """
<header><a class="brand" href="?">LOGO<h1>TITLE</h1></a><small id="facts"></small></header>
<main>
<form id="ask" role="search">
  <div class="box" id="box">
    <img id="asked" alt="" hidden>
    <input id="words" type="search" name="q" autocomplete="off" autofocus enterkeyhint="search" maxlength="10000"
      aria-label="Search" placeholder="Search">
    <label class="pick" id="pick" tabindex="0" role="button" hidden>Picture<input id="file" type="file" accept="image/*"
      tabindex="-1"></label>
    <button type="submit" id="go">Search</button>
  </div>
  <div class="narrow">
    <label id="labels" hidden><span>Label</span><select id="label"></select></label>
    <label class="wide"><span>Filter</span><input id="where" autocomplete="off" spellcheck="false" maxlength="1000"
      list="columns"></label>
    <datalist id="columns"></datalist>
    <label id="ways" hidden><span>By</span><select id="by"></select></label>
    <label id="sizes" hidden><span>With</span><select id="compact"><option value="">full vectors</select></label>
    <label><span>Rows</span><select id="k"><option>12<option selected>24<option>48<option>96</select></label>
  </div>
</form>
<p id="like" hidden><img alt="" hidden><span></span> <button type="button" id="drop">Clear</button></p>
<p id="said" role="status" aria-live="polite"></p>
<ol id="results" aria-label="Results"></ol>
<noscript><p>Searching from this page needs JavaScript; the API needs none.</p></noscript>
</main>
<footer><kbd>/</kbd> search <kbd>&larr;</kbd> <kbd>&rarr;</kbd> move <kbd>Enter</kbd> more like this
<span class="grow"></span><a href="openapi.json">API</a></footer>
<div id="veil" hidden><p>Drop a picture to search by it</p></div>
"""


def page(title: str) -> str:
    """The page of a store.

    >>> "<title>a &lt;b&gt; - nearfar</title>" in page("a <b>")
    True
    """
    body = _BODY.replace("LOGO", _LOGO).replace("TITLE", escape(title))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>{escape(title)} - nearfar</title><style>{STYLE}</style></head><body>{body}"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def policy() -> str:
    """What the page may do: run its own script, ask its own server, show pictures that came with answers."""
    return (
        f"default-src 'none'; script-src '{_hash(SCRIPT)}'; style-src '{_hash(STYLE)}'; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

"""Formulas of the catalogue, plain text to be read in a terminal, as LaTeX for pages that show mathematics."""

from __future__ import annotations

import re

FUNCTIONS = set("mean sum log exp max min softplus softmax sigmoid cos var cov mse sqrt rank sort sg".split())  # noqa: SIM905
FUNCTIONS |= {"median", "relu", "tr", "det", "KL", "acos"}
GREEK = set("alpha beta gamma delta epsilon lambda tau pi mu sigma rho eta theta omega phi psi kappa".split())  # noqa: SIM905
SIGNS = {"!=": r"\ne", ">=": r"\ge", "<=": r"\le", "->": r"\to", "*": r"\cdot", "%": r"\%", "{": r"\{", "}": r"\}"}
SIGNS |= {"&": r"\&", "#": r"\#", "~": r"\sim"}
TOKEN = re.compile(r"(\s+)|([A-Za-z]+)|(\d+(?:\.\d+)?)|(!=|>=|<=|->)|([_^])|('[A-Za-z][\w -]*'|\"[^\"]*\")|(.)")
SCRIPT = re.compile(r"[A-Za-z0-9]+[+']?|[+'-]?\d+|[+*]")


def latex(formula: str) -> str:
    r"""The formula as LaTeX.

    >>> latex("mean_i [ log sum_(j far) exp(s_ij / t) - s_ip / t ]")
    '\\operatorname{mean}_{i} [ \\log \\sum_{j \\text{ far}} \\exp(s_{ij} / t) - s_{ip} / t ]'
    """
    out: list[str] = []
    at = 0
    while at < len(formula):
        match = TOKEN.match(formula, at)
        assert match is not None
        at = match.end()
        space, word, number, sign, script, quoted, other = match.groups()
        if space:
            out.append(r" \quad " if len(space) > 1 else " ")
        elif word:
            out.append(_word(word, formula[at : at + 1]))
        elif script:
            inner, at = _script(formula, at)
            out.append(f"{script}{{{inner}}}")
        elif quoted:
            out.append(rf"\text{{{quoted[1:-1]}}}")
        elif number:
            out.append(number)
        else:
            out.append(SIGNS.get(sign or other, sign or other))
    return _joined("".join(out))


def _word(word: str, following: str) -> str:
    if word in ("log", "exp", "max", "min", "cos", "sum", "det"):
        return "\\" + word
    if word in FUNCTIONS:
        return rf"\operatorname{{{word}}}" + ("^" if following == "+" and word == "mean" else "")
    if word in GREEK:
        return "\\" + word
    # One or two letters are a number or a product of them, as in `tau M p`; the rest is text.
    if len(word) == 1 or (len(word) == 2 and word not in ("of", "or", "is", "in", "to", "no", "by", "at")):
        return word
    return rf"\text{{{word}}}"


def _script(formula: str, at: int) -> tuple[str, int]:
    """What stands below or above, and where it ends."""
    if formula[at : at + 1] == "(":
        depth, end = 1, at + 1
        while end < len(formula) and depth:
            depth += {"(": 1, ")": -1}.get(formula[end], 0)
            end += 1
        return latex(formula[at + 1 : end - 1]), end
    match = SCRIPT.match(formula, at)
    if match is None:
        return "", at
    inner = match[0]
    words = len(inner) > 3 or inner in ("far", "own", "all", "any", "min", "max", "pos", "neg")
    return (latex(inner) if words else inner), match.end()


def _joined(text: str) -> str:
    """Words side by side as one text, with the spaces that LaTeX would swallow."""
    text = re.sub(r"\}(\s+)\\text\{", lambda m: "} " + r"\text{", text)
    while True:
        merged = re.sub(r"\\text\{([^{}]*)\} \\text\{([^{}]*)\}", r"\\text{\1 \2}", text)
        if merged == text:
            break
        text = merged
    text = re.sub(r" \\text\{(?! )", r" \\text{ ", text)
    text = re.sub(r"(\\text\{[^{}]*[^ ])\} ", r"\1 } ", text)
    return text.replace(r"\operatorname{mean}^+", r"\operatorname{mean}^{+}")

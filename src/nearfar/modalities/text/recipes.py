"""View recipes of text: how strongly each random edit acts, and the named settings of published methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal, get_args

from nearfar.errors import ConfigError

Level = Literal["words", "tokens"]
Phrase = Literal["left", "right"]
_SHARES = ("variant", "delete", "repeat", "insert", "typos", "shuffle", "mask", "cut", "rest")


@dataclass(frozen=True)
class TextRecipe:
    """How one random view of a text is made. The edits act in the order of the fields; none leaves a text empty.

    Args:
        name: a label for logs and `config()`.
        level: whether crops, shuffles, deletions and repetitions act on "words", before the tokeniser cuts a long text
            off, or on "tokens". Special tokens are never touched.
        variant: probability that a text is replaced by one of its variants, such as paraphrases, from a file.
        phrase: "left" or "right" takes one of the two phrases of a text, see `words.phrases`; None the text.
        window: of a longer text, all views take their parts from one window of so many words or tokens.
        crop: the view is one part of the text (or of its window), of this least and greatest share of its length.
        span: the same as numbers of words or tokens; a shorter text stays whole.
        shape: the Beta distribution of the length between the two; (1, 1) is uniform.
        beside: the part overlaps or touches that of the first view, rather than beginning anywhere.
        cut: what of the rest is in fact left out; `strength` acts on this.
        rest: probability that the part which the first view takes is left out, and the view is what remains.
        shuffle: share of words or tokens that are dealt over their places anew; 1 is a random order.
        delete: probability of leaving out each word or token.
        repeat: ESimCSE: U{0, ..., K} of n words or tokens are said twice, ``K = max(2, floor(repeat·n))``, at most
            `repeat_most` and n.
        repeat_most: see `repeat`.
        insert: probability of a mark of punctuation behind each word.
        typos: probability of exchanging two letters in each word of four or more.
        mask: probability of putting the tokeniser's mask in the place of each token.

    Raises:
        ConfigError: a probability outside [0, 1], or another impossible value.

    >>> RECIPES["delete"][0].delete
    0.1
    """

    name: str = "custom"
    level: Level = "tokens"
    variant: float = 0.0
    phrase: Phrase | None = None
    window: int | None = None
    crop: tuple[float, float] = (1.0, 1.0)
    span: tuple[int, int] | None = None
    shape: tuple[int, int] = (1, 1)
    beside: bool = False
    cut: float = 1.0
    rest: float = 0.0
    shuffle: float = 0.0
    delete: float = 0.0
    repeat: float = 0.0
    repeat_most: int = 10
    insert: float = 0.0
    typos: float = 0.0
    mask: float = 0.0

    def __post_init__(self) -> None:
        for field in ("crop", "span", "shape"):  # lists come back from JSON
            value = getattr(self, field)
            object.__setattr__(self, field, value if value is None else tuple(value))
        self._require(self.level in get_args(Level), "level", "'words' or 'tokens'")
        self._require(self.phrase in (None, *get_args(Phrase)), "phrase", "'left', 'right' or None")
        for field in _SHARES:
            self._require(0 <= getattr(self, field) <= 1, field, "between 0 and 1")
        self._require(self.window is None or self.window >= 1, "window", "at least 1, or None")
        self._require(len(self.crop) == 2 and 0 < self.crop[0] <= self.crop[1] <= 1, "crop", _PAIR + ", up to 1")
        self._require(self.span is None or (len(self.span) == 2 and 1 <= self.span[0] <= self.span[1]), "span", _PAIR)
        whole = all(isinstance(one, int) and 1 <= one <= 100 for one in self.shape)
        self._require(len(self.shape) == 2 and whole, "shape", "two whole numbers of 1 to 100")
        self._require(self.repeat_most >= 1, "repeat_most", "at least 1")
        once = self.span is None or self.crop == (1.0, 1.0)
        self._require(once, "span", "left out where crop is given: a part has one length")
        self._require(not (self.beside and self.variant), "beside", "false with variants, which are other texts")
        self._require(not (self.rest and self.parts), "rest", "0 with a crop, span or window of the view's own")
        self._require(not (self.rest and self.variant), "rest", "0 with variants, which are other texts")

    def _require(self, holds: bool, field: str, allowed: str) -> None:
        if not holds:
            raise ConfigError(f"view recipe {self.name!r}: {field} must be {allowed}, not {getattr(self, field)!r}")

    @property
    def parts(self) -> bool:
        """Whether views are parts of texts."""
        return self.cut > 0 and (self.crop != (1.0, 1.0) or self.span is not None or self.window is not None)

    @property
    def moves(self) -> bool:
        """Whether words or tokens are taken, moved or doubled."""
        return self.parts or self.rest > 0 or self.shuffle > 0 or self.delete > 0 or self.repeat > 0

    @property
    def still(self) -> bool:
        """Whether nothing is edited at all."""
        return not (self.moves or self.variant or self.phrase or self.insert or self.typos or self.mask)

    def to_json(self) -> dict[str, Any]:
        """All fields, with lists for tuples; ``TextRecipe(**recipe.to_json()) == recipe``."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def at(self, strength: float) -> TextRecipe:
        """The same recipe at another strength: 1 is this one, 0 leaves the text alone; probabilities end at 1."""
        if strength < 0:
            raise ConfigError(f"strength must be at least 0, not {strength!r}")
        shares = {field: min(getattr(self, field) * strength, 1.0) for field in _SHARES}
        return replace(self, phrase=self.phrase if strength > 0 else None, **shares)


_PAIR = "two numbers above 0, the smaller first"
_SPAN = TextRecipe("span", "words", span=(32, 512), shape=(4, 2))

# The recipes of successive views; the last one serves all further views.
RECIPES: dict[str, tuple[TextRecipe, ...]] = {
    # Gao et al. 2021, SimCSE: the text itself, twice; the encoder's dropout makes the difference
    "dropout": (TextRecipe("dropout"),),
    # Wu et al. 2022: the text itself, and one with repeated sub-words
    "esimcse": (TextRecipe("esimcse"), TextRecipe("esimcse", repeat=0.32)),
    "repeat": (TextRecipe("repeat", "words", repeat=0.32),),
    "delete": (TextRecipe("delete", "words", delete=0.1),),
    # Wang et al. 2021, TSDAE: the text, and what the encoder of a denoising auto-encoder sees of it
    "tsdae": (TextRecipe("tsdae"), TextRecipe("tsdae", "words", delete=0.6)),
    # Izacard et al. 2022, Contriever: two parts of one piece of a document, then deletion
    "crop": (TextRecipe("crop", "words", window=256, crop=(0.05, 0.5), delete=0.1),),
    # Giorgi et al. 2021, DeCLUTR: a long anchor, and shorter spans that touch or overlap it
    "span": (_SPAN, replace(_SPAN, shape=(2, 4), beside=True)),
    # Lee et al. 2019, the inverse cloze task, with a span for a sentence: it, and what stands around it
    "ict": (TextRecipe("ict", "words", span=(8, 32)), TextRecipe("ict", "words", rest=0.9)),
    # Chanchani and Huang 2023, CompCSE: the text, and two phrases that together are it
    "phrases": (TextRecipe("phrases"), TextRecipe("phrases", phrase="left"), TextRecipe("phrases", phrase="right")),
    "shuffle": (TextRecipe("shuffle", shuffle=1.0),),
    "order": (TextRecipe("order", "words", shuffle=0.2),),
    "mask": (TextRecipe("mask", mask=0.15),),
    # Yan et al. 2021, ConSERT, on tokens: cut-off of tokens (masks for zeros), and another order
    "consert": (TextRecipe("consert", mask=0.2), TextRecipe("consert", shuffle=1.0)),
    # Wei and Zou 2019, EDA, without its thesaurus: swaps and deletions; the insertions of Karimi et al. 2021, AEDA
    "eda": (TextRecipe("eda", "words", shuffle=0.1, delete=0.1, insert=0.1),),
    "typos": (TextRecipe("typos", typos=0.2),),
    # Paraphrases or translations there and back that another program wrote
    "variants": (TextRecipe("variants"), TextRecipe("variants", variant=1.0)),
}
ALIASES = {"auto": "dropout", "none": "dropout"}


def resolve(recipe: str | TextRecipe | Sequence[TextRecipe]) -> tuple[TextRecipe, ...]:
    """Recipes of successive views from a name, names joined by + (one for each view), a recipe or a list of recipes.

    >>> [recipe.delete for recipe in resolve("dropout+delete")]
    [0.0, 0.1]

    Raises:
        ConfigError: an unknown name; the message lists the known ones.
    """
    if isinstance(recipe, TextRecipe):
        return (recipe,)
    if isinstance(recipe, str):
        named = [_called(name.strip()) for name in recipe.split("+")]
        if len(named) == 1:
            return named[0]
        return tuple(recipes[min(place, len(recipes) - 1)] for place, recipes in enumerate(named))
    listed: list[Any] = list(recipe)
    if not listed or not all(isinstance(one, TextRecipe) for one in listed):
        raise ConfigError("a list of view recipes must hold one TextRecipe for each view")
    return tuple(listed)


def _called(name: str) -> tuple[TextRecipe, ...]:
    known = ALIASES.get(name, name)
    if known not in RECIPES:
        near = get_close_matches(name, RECIPES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no view recipe is called {name!r}.{hint} Known: {', '.join([*ALIASES, *RECIPES])}.")
    return RECIPES[known]

"""Random views of texts: words or tokens are edited, parts are taken, or others have written them anew."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nearfar.data.batch import Role
from nearfar.errors import ConfigError

from . import edits
from .encoders.tasks import WordTasks
from .recipes import TextRecipe, resolve
from .texts import Texts
from .variants import Variants
from .words import Words, phrases

if TYPE_CHECKING:
    from .joint import JointViews


class TextViews:
    """Make views of a batch of texts: a pure function of (batch, generator).

    Items of several texts have a view for each of them; of a text alone there are `count` views, which an encoder with
    dropout sees with different eyes (SimCSE). A view of a text depends on the text and on its own random seed, not on
    the other texts of the batch.

    Args:
        names: of the columns.
        count: how many views.
        encoder: has `tokens(list of texts) -> (B, L)` and `special`, ids of its special tokens by name.
        prompts: column -> what is put before its texts; no edit touches it.
        recipe: names of recipes joined by +, a `TextRecipe`, or one for every view.
        strength: scales the recipe; 0 leaves the texts alone.
        variants: a file with variants of texts, see `Variants.read`, or `Variants`; read when it is first needed.

    Raises:
        ConfigError: an unknown recipe, or one that this encoder or these data have no use for.

    >>> from nearfar.modalities.text.encoders import encoder
    >>> views = TextViews(("text",), 2, encoder("ngrams-8")[1], recipe="delete", strength=0)
    >>> one, two = views(Texts((["a cat"],)), torch.Generator())
    >>> one.equal(two)
    True
    """

    def __init__(
        self,
        names: Sequence[str],
        count: int,
        encoder: Any,
        prompts: dict[str, str] | None = None,
        recipe: str | TextRecipe | Sequence[TextRecipe] = "auto",
        strength: float = 1.0,
        variants: str | Path | Variants | None = None,
    ) -> None:
        self.names, self.count, self.encoder = tuple(names), count, encoder
        self.prompts = dict(prompts or {})
        self.strength, self._given = strength, variants
        listed = resolve("variants" if recipe == "auto" and variants is not None else recipe)
        places = count if len(self.names) == 1 else len(self.names)
        if places < 1 or (not isinstance(recipe, str) and places < len(listed)):
            raise ConfigError(f"there are {places} views but {len(listed)} view recipes are listed")
        self.recipes = [listed[min(place, len(listed) - 1)] for place in range(places)]
        self._active = [one.at(strength) for one in self.recipes]
        self._special = {id for id in encoder.special.values() if id is not None}
        self._check()

    @property
    def roles(self) -> list[Role]:
        """Columns called negative are far, all others whole."""
        if len(self.names) == 1:
            return ["whole"] * self.count
        return ["far" if name.startswith("negative") else "whole" for name in self.names]

    @property
    def of_words(self) -> bool:
        """Whether the encoder can be asked of words, as some methods do."""
        return isinstance(self.encoder, WordTasks)

    def __call__(self, texts: Texts, generator: torch.Generator, part: slice = slice(None)) -> list[Tensor]:
        """Views of a batch.

        Args:
            texts: B items.
            generator: where all randomness comes from: one seed for each view of each item.
            part: of which items views are wanted; each gets what it would get among all.

        Returns:
            One (B, L) tensor of token ids per view, -1 behind the end of each text, and for texts that there are not.
        """
        columns = {name: column[part] for name, column in zip(texts.names, texts.columns, strict=True)}
        names = self.names if len(self.names) > 1 else self.names * self.count
        seeds = edits.seeds_of(len(names), len(texts), generator).cpu()[:, part]
        whole: dict[str, Tensor] = {}  # tokens of columns as they are, which several views may share
        made = []
        for place, name in enumerate(names):
            if self._active[place].still:
                whole[name] = whole[name] if name in whole else self._tokens(columns[name], name)
                made.append(whole[name])
            else:
                made.append(self._view(columns[name], name, place, seeds))
        return made

    def plain(self, texts: Texts) -> Tensor:
        """Token ids of the first column."""
        return self._tokens(texts.columns[0], texts.names[0])

    def joint(self) -> JointViews:
        """Views of an anchor and a candidate as one text, for encoders that read both at once.

        Raises:
            ConfigError: the items are no pairs, or the encoder reads one text alone.
        """
        from .joint import JointViews

        return JointViews(self.names, self.encoder, self.prompts)

    def config(self) -> dict[str, Any]:
        """All settings as JSON; `TextViews.from_config` makes the same views again."""
        path = self._given.path if isinstance(self._given, Variants) else self._given
        return {
            "names": list(self.names),
            "count": self.count,
            "prompts": self.prompts,
            "recipe": [recipe.to_json() for recipe in self.recipes],
            "strength": self.strength,
            "variants": None if path is None else str(path),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], encoder: Any) -> TextViews:
        """Views from the result of `config`."""
        recipes = [TextRecipe(**values) for values in config["recipe"]]
        return cls(**{**config, "recipe": recipes}, encoder=encoder)

    @cached_property
    def variants(self) -> Variants:
        """What others have written for our texts."""
        assert self._given is not None
        return self._given if isinstance(self._given, Variants) else Variants.read(self._given)

    def _check(self) -> None:
        for recipe in self._active:
            if recipe.mask and self.encoder.special["mask"] is None:
                raise ConfigError(f"recipe {recipe.name!r} masks, and this encoder has no mask token; take delete")
            if (recipe.beside and recipe.parts) or recipe.rest:
                self._check_first(recipe)
        needed = [recipe.name for recipe in self.recipes if recipe.variant]
        if needed and self._given is None:
            raise ConfigError(f"recipe {needed[0]!r} needs a file of variants: set variants=FILE")
        if self._given is not None and not needed:
            raise ConfigError(f"variants are given but recipe {self.recipes[-1].name!r} takes none; take variants")

    def _check_first(self, recipe: TextRecipe) -> None:
        first = self._active[0]
        if len(self.names) > 1:
            raise ConfigError(f"recipe {recipe.name!r} takes parts of one text; these items have several")
        if first.parts and recipe.level != first.level:
            raise ConfigError(f"recipe {recipe.name!r} must be of the level of the first view, {first.level!r}")
        if recipe.rest and (recipe is first or not first.parts):
            raise ConfigError(f"recipe {recipe.name!r} leaves out what the first view takes, which must be a part")

    def _view(self, texts: list[str], name: str, place: int, seeds: Tensor) -> Tensor:
        recipe = self._active[place]
        edited = texts
        if recipe.variant:
            edited = self.variants.chosen(edited, seeds[place], recipe.variant)
        if recipe.phrase:
            edited = [phrases(text)[recipe.phrase == "right"] for text in edited]
        by_words = recipe.level == "words"
        if (by_words and recipe.moves) or recipe.insert or recipe.typos:
            words = Words(edited)
            ids = words.part(*self._part(words.lengths, place, seeds)) if by_words and recipe.parts else words.ids
            if by_words:
                ids = self._moved(ids, place, seeds)
            if recipe.insert:
                ids = words.punctuated(ids, seeds[place], recipe.insert)
            if recipe.typos:
                ids = words.mistyped(ids, seeds[place], recipe.typos)
            edited = words.texts(ids)
        tokens = self._tokens(edited, name)
        if (recipe.moves and not by_words) or recipe.mask:
            start = self._prompted(name)
            head, tail = tokens[:, :start], tokens[:, start:]
            if not by_words:
                if recipe.parts:
                    whole = edits.free(tail, self._special).sum(1)
                    tail = edits.crop(tail, *self._part(whole, place, seeds), self._special)
                tail = self._moved(tail, place, seeds, self._special, self._room(start))
            if recipe.mask:
                tail = edits.mask(tail, seeds[place], recipe.mask, self.encoder.special["mask"], self._special)
            tokens = torch.cat([head, tail], 1)
        return tokens

    def _moved(
        self, ids: Tensor, place: int, seeds: Tensor, special: Collection[int] = (), room: int | None = None
    ) -> Tensor:
        """Words or tokens of a part, left out, shuffled and repeated as the recipe says."""
        recipe, own = self._active[place], seeds[place]
        if recipe.rest:
            first = self._part(edits.free(ids, special).sum(1), 0, seeds)
            ids = edits.rest(ids, *first, own, recipe.rest, special)
        if recipe.shuffle:
            ids = edits.shuffle(ids, own, recipe.shuffle, special)
        if recipe.delete:
            ids = edits.delete(ids, own, recipe.delete, special)
        if recipe.repeat:
            ids = edits.repeat(ids, own, recipe.repeat, recipe.repeat_most, special, room)
        return ids

    def _part(self, whole: Tensor, place: int, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Start and length of the part of each text that a view takes; all views share the window of the first."""
        recipe = self._active[place]
        start, size = torch.zeros_like(whole), whole
        if recipe.window is not None:
            start, size = edits.window(whole, seeds[0], recipe.window, recipe.cut)
        beside = None
        if recipe.beside and place > 0:
            first, length = self._part(whole, 0, seeds)
            beside = (first - start, length)
        if recipe.span is not None:
            shortest, longest = (torch.full_like(whole, one).double() for one in recipe.span)
        else:
            shortest, longest = (size * share for share in recipe.crop)
        within, length = edits.span(size, seeds[place], shortest, longest, recipe.shape, recipe.cut, beside)
        return start + within, length

    def _room(self, start: int) -> int | None:
        """How long a text may grow: no longer than the encoder would have cut it."""
        most = getattr(getattr(self.encoder, "settings", None), "most_tokens", None)
        return None if most is None else most - start

    def _prompted(self, name: str) -> int:
        """How many tokens at the beginning of every text are those of its prompt."""
        if not self.prompts.get(name, "").strip():
            return 0
        alone: list[int] = self.encoder.tokens([self.prompts[name].rstrip()])[0].tolist()
        while alone and alone[-1] in self._special:
            alone.pop()
        return len(alone)

    def _tokens(self, texts: list[str], name: str) -> Tensor:
        prompt = self.prompts.get(name, "")
        tokens: Tensor = self.encoder.tokens([prompt + text for text in texts])
        if name.startswith("negative"):
            none = torch.tensor([not text for text in texts])
            tokens = tokens.masked_fill(none[:, None], -1)
        return tokens

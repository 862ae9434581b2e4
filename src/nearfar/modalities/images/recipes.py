"""View recipes: how strongly each random change acts, and the named settings of published methods."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args

from nearfar.data.batch import Role
from nearfar.errors import ConfigError

SMALL_SCALE = (0.05, 0.4)  # crop area of small views unless said otherwise: the local crops of DINO
SIDES, VIEWS = (4, 1024), (2, 32)  # pixels of a view, and views of an item, that can be asked for


@dataclass(frozen=True)
class ViewRecipe:
    """How one random view of an image is made. Every field is drawn anew for each item.

    Args:
        name: a label for logs and `config()`.
        size: side of this view in pixels; None takes the size of `ImageViews` (multi-crop mixes sizes).
        crop_scale: smallest and largest crop as a fraction of the area, uniform.
        crop_ratio: smallest and largest width / height of the crop, log-uniform.
        flip: probability of mirroring left and right.
        jitter: brightness, contrast, saturation, hue. The first three multiply by U(max(0, 1 - v), 1 + v); hue turns by
            U(-v, v) of the full circle, v <= 0.5.
        jitter_p: probability that the four jitters act.
        grey_p: probability of turning grey.
        blur_p: probability of a Gaussian blur.
        blur_sigma: smallest and largest standard deviation of the blur in pixels, uniform.
        blur_kernel: width of the blur kernel as a fraction of the side.
        solarise_p: probability of inverting all values at or above `solarise_threshold`.
        solarise_threshold: between 0 and 1.
        role: "whole", or "small" for a view of a part, which methods with targets never take for one.

    Raises:
        ConfigError: a probability outside [0, 1], an empty range, or another impossible value.

    >>> RECIPES["simclr"][0].crop_scale
    (0.08, 1.0)
    """

    name: str = "custom"
    size: int | None = None
    crop_scale: tuple[float, float] = (0.08, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_p: float = 0.8
    grey_p: float = 0.0
    blur_p: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_kernel: float = 0.1
    solarise_p: float = 0.0
    solarise_threshold: float = 0.5
    role: Role = "whole"

    def __post_init__(self) -> None:
        for field in ("crop_scale", "crop_ratio", "blur_sigma", "jitter"):  # lists come back from JSON
            object.__setattr__(self, field, tuple(float(v) for v in getattr(self, field)))
        for field in ("flip", "jitter_p", "grey_p", "blur_p", "solarise_p", "blur_kernel", "solarise_threshold"):
            self._require(0 <= getattr(self, field) <= 1, field, "between 0 and 1")
        for field in ("crop_scale", "crop_ratio", "blur_sigma"):
            pair = getattr(self, field)
            self._require(len(pair) == 2 and 0 < pair[0] <= pair[1], field, "two numbers above 0, the smaller first")
        self._require(self.crop_scale[1] <= 1, "crop_scale", "at most 1, the whole image")
        self._require(len(self.jitter) == 4 and min(self.jitter) >= 0, "jitter", "four numbers of at least 0")
        self._require(self.jitter[3] <= 0.5, "jitter", "at most 0.5 for hue, half a turn")
        self._require(self.size is None or self.size >= 1, "size", "at least 1 pixel, or None")
        self._require(self.role in get_args(Role), "role", "'whole' or 'small'")

    def _require(self, holds: bool, field: str, allowed: str) -> None:
        if not holds:
            raise ConfigError(f"view recipe {self.name!r}: {field} must be {allowed}, not {getattr(self, field)!r}")

    def to_json(self) -> dict[str, Any]:
        """All fields, with lists for tuples; ``ViewRecipe(**recipe.to_json()) == recipe``."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def at(self, strength: float) -> ViewRecipe:
        """The same recipe at another strength: 1 is this one, 0 leaves the image alone (up to the resize).

        Probabilities and jitters are multiplied by `strength` (above 1 they saturate); the lowest crop area and the
        crop ratios move towards 1. The smallest crop becomes ``1 - s·(1 - scale)``, and at least 1% of the area.
        """
        if strength < 0:
            raise ConfigError(f"strength must be at least 0, not {strength!r}")
        b, c, s, h = (v * strength for v in self.jitter)
        low, high = (max(1 - strength * (1 - v), 0.01) for v in self.crop_scale)
        return replace(
            self,
            crop_scale=(low, high),
            crop_ratio=(self.crop_ratio[0] ** strength, self.crop_ratio[1] ** strength),
            jitter=(b, c, s, min(h, 0.5)),
            flip=min(self.flip * strength, 1),
            grey_p=min(self.grey_p * strength, 1),
            blur_p=min(self.blur_p * strength, 1),
            solarise_p=min(self.solarise_p * strength, 1),
        )


_SIMCLR = ViewRecipe("simclr", jitter=(0.8, 0.8, 0.8, 0.2), grey_p=0.2, blur_p=0.5)
_BYOL = ViewRecipe("byol", jitter=(0.4, 0.4, 0.2, 0.1), grey_p=0.2)

# The recipes of successive views; the last one serves all further views.
RECIPES: dict[str, tuple[ViewRecipe, ...]] = {
    # Chen et al. 2020, colour strength 1 (ImageNet) and 0.5 without blur (CIFAR-10); google-research/simclr.
    "simclr": (_SIMCLR,),
    "simclr-small": (replace(_SIMCLR, name="simclr-small", jitter=(0.4, 0.4, 0.4, 0.1), blur_p=0.0),),
    # facebookresearch/moco, main_moco.py --aug-plus
    "mocov2": (replace(_SIMCLR, name="mocov2", crop_scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1)),),
    # Grill et al. 2020: two different views
    "byol": (replace(_BYOL, blur_p=1.0), replace(_BYOL, blur_p=0.1, solarise_p=0.2)),
    # Wang et al. 2024, for pictures that generated ones have joined; PKU-ML/adainf, symmetric_adainf.yaml
    "adainf": (replace(_SIMCLR, name="adainf", crop_scale=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1), jitter_p=0.4),),
    # Small grey pictures of which way round matters: no mirror, and milder light.
    "digits": (ViewRecipe("digits", crop_scale=(0.2, 1.0), flip=0.0, jitter=(0.3, 0.3, 0.0, 0.0), jitter_p=1.0),),
}


def choose(size: int, channels: int) -> str:
    """The recipe that "auto" stands for.

    Above 64 pixels "simclr"; up to 64 pixels "simclr-small" for colour, "digits" for grey. Blur at such sizes erases
    the object, and small grey pictures are mostly glyphs and silhouettes, where a mirror image can be another class.

    >>> choose(32, 3), choose(28, 1), choose(224, 3)
    ('simclr-small', 'digits', 'simclr')
    """
    if size > 64:
        return "simclr"
    return "digits" if channels == 1 else "simclr-small"


def resolve(recipe: str | ViewRecipe | Sequence[ViewRecipe], size: int, channels: int) -> tuple[ViewRecipe, ...]:
    """Recipes of successive views from a name, a recipe or a list of recipes.

    Raises:
        ConfigError: an unknown name; the message lists the known ones.
    """
    if isinstance(recipe, ViewRecipe):
        return (recipe,)
    if isinstance(recipe, str):
        name = choose(size, channels) if recipe == "auto" else recipe
        if name not in RECIPES:
            near = get_close_matches(name, RECIPES, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"no view recipe is called {name!r}.{hint} Known: auto, {', '.join(RECIPES)}.")
        return RECIPES[name]
    listed: list[Any] = list(recipe)
    if not listed or not all(isinstance(r, ViewRecipe) for r in listed):
        raise ConfigError("a list of view recipes must hold one ViewRecipe for each view")
    return tuple(listed)


def multi_crop(crops: str, recipes: Sequence[ViewRecipe] = (ViewRecipe(),)) -> list[ViewRecipe]:
    """One recipe per view from groups such as "2x224+6x96": count x side in pixels, the first whole, the others small.

    A group may say its crop area, as in "2x224@0.14-1+6x96@0.05-0.14" (SwAV); otherwise whole views keep that of
    their recipe and small ones take 0.05-0.4 (DINO). All else comes from `recipes`, the last of which serves all
    further views.

    Raises:
        ConfigError: not of this form, or a number that is out of range; the message shows the form.

    >>> [(r.role, r.size, r.crop_scale) for r in multi_crop("1x28+2x16@0.1-0.3")]
    [('whole', 28, (0.08, 1.0)), ('small', 16, (0.1, 0.3)), ('small', 16, (0.1, 0.3))]
    """
    made: list[ViewRecipe] = []
    for number, group in enumerate(crops.replace(" ", "").split("+")):
        found = re.fullmatch(r"(\d+)x(\d+)(?:@([\d.]+)-([\d.]+))?", group)
        if found is None:
            raise ConfigError(f"crops are written like 2x224+6x96 or 2x224@0.14-1+6x96@0.05-0.14, not {crops!r}")
        count, side = int(found[1]), int(found[2])
        if count < 1 or not SIDES[0] <= side <= SIDES[1]:
            raise ConfigError(f"crops {crops!r}: {group} must be at least one view of {SIDES[0]} to {SIDES[1]} pixels")
        for _ in range(min(count, VIEWS[1] + 1)):
            recipe = recipes[min(len(made), len(recipes) - 1)]
            scale = recipe.crop_scale if number == 0 else SMALL_SCALE
            if found[3] is not None:
                scale = _scale(crops, group, found[3], found[4])
            made.append(replace(recipe, size=side, crop_scale=scale, role="small" if number else "whole"))
    if not VIEWS[0] <= len(made) <= VIEWS[1]:
        raise ConfigError(f"crops {crops!r} must make {VIEWS[0]} to {VIEWS[1]} views")
    return made


def _scale(crops: str, group: str, low: str, high: str) -> tuple[float, float]:
    try:
        scale = float(low), float(high)
    except ValueError:
        scale = 0.0, 0.0
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ConfigError(
            f"crops {crops!r}: the area of {group} must be two numbers above 0 and up to 1, smaller first"
        )
    return scale

"""LM-SupCon: labels as words in the blank of a template, and classes near under several templates."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..data.batch import Batch
from ..errors import ConfigError, DataError
from ..models import Draws, Wrapped
from ..models.heads import projector
from ..objectives import SupCon
from .average import weighed
from .labelled import Labelled, LabelledOptions
from .method import Contrast, MethodOptions
from .words import WordHead, needs_words

UNSETTLED = {"no": "no", "yes": "yes"}  # of a method that was made without data, which name their classes
_ONE = torch.zeros(1, 1, dtype=torch.long)  # a text, to see how wide its states are


class LMSupConOptions(LabelledOptions):
    """Options of LM-SupCon."""

    views: int = Field(1, ge=1, le=32, description="views of every item in a batch; the words are asked of the first")
    words: dict[str, str] = Field(
        {}, description="the word that stands for each class; the names of the classes when unset"
    )
    templates: tuple[str, ...] = Field(
        ("{text} It was {mask}.", "{text} All in all, it was {mask}.", "{text} A {mask} one.", "{mask}: {text}"),
        description="a text and a blank; the first one asks for the word, the others are second looks in turn",
    )
    contrast_weight: float = Field(1.0, ge=0, description="of the contrast; 0 leaves the words alone (prompt tuning)")
    turns: bool = Field(True, description="contrast and words in updates of their own, one after the other; else both")
    temperature: float = Field(0.07, gt=0, description="divides every score")
    embedding: Literal["state", "answers"] = Field(
        "state", description="what a text is afterwards: the state at the blank, or the log probability of each class"
    )

    @field_validator("templates")
    @classmethod
    def _whole(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{text}") != 1 or template.count("{mask}") != 1:
                raise ConfigError(f"a template has {{text}} and {{mask}}, each once, and {template!r} has not")
        if not templates:
            raise ConfigError("templates: one at least is needed, such as '{text} It was {mask}.'")
        return templates

    def settled(self, facts: dict[str, Any], views: int | None = None) -> MethodOptions:
        """See `MethodOptions.settled`; there is a word for each class, in their order."""
        classes = list(facts.get("classes", []))
        if len(classes) < 2:
            raise ConfigError("lmsupcon learns to name classes, and these data do not name two; set label_column")
        if unknown := [name for name in self.words if name not in classes]:
            raise ConfigError(f"words: there is no class {unknown[0]!r}; there are {', '.join(classes)}")
        words = {name: self.words.get(name, name.lower()) for name in classes}
        settled = super().settled(facts, views)
        return settled.with_(words=words)


class Prompted(Wrapped):
    """An encoder whose embedding is its state at the blank of a template, or what it would put there.

    Args:
        encoder: offers `prompted`, `token_of` and `record`. templates: the first one makes embeddings.
        words: of the classes. embedding: "state", or "answers".

    Raises:
        ConfigError: a word is not a token of the encoder, or stands for two classes.
    """

    words: Tensor

    def __init__(self, encoder: Any, templates: tuple[str, ...], words: list[str], embedding: str) -> None:
        ids = [encoder.token_of(word) for word in words]
        if len(set(ids)) < len(ids):
            raise ConfigError(f"two classes have the same word for this encoder, among {', '.join(words)}; set words")
        with torch.no_grad():
            states = int(encoder.record(_ONE).tokens.shape[2])
        super().__init__(encoder, len(ids) if embedding == "answers" else states)
        self.templates, self.embedding, self.state_width = templates, embedding, states
        self.word_head = WordHead(states, encoder.vocabulary)
        if (published := encoder.published_head) is not None:
            self.word_head.load_state_dict(published)
        self.register_buffer("words", torch.tensor(ids), persistent=False)

    def at_blank(self, rows: Tensor, number: int = 0) -> Tensor:
        """(B, d) states at the blank of a template by its number."""
        if not len(rows):  # the net runs all the same: processes that share its weights wait for each other
            return self.at_blank(_ONE.to(rows.device), number)[:0]
        encoder: Any = self.inner
        tokens, blanks = encoder.prompted(rows, self.templates[number])
        states: Tensor = encoder.record(tokens).tokens
        return states[torch.arange(len(states), device=states.device), blanks]

    def answers(self, states: Tensor) -> Tensor:
        """(B, C) scores of the words of the classes for states (B, d)."""
        return self.word_head.scores(states, self.inner.vocabulary, self.words)  # type: ignore[arg-type]

    def forward(self, rows: Tensor) -> Tensor:
        """(B, width)."""
        states = self.at_blank(rows)
        return states if self.embedding == "state" else self.answers(states).log_softmax(1)


class LMSupCon(Labelled):
    """A few labelled texts: a net for masked words puts the word of its class into the blank behind a text.

    encoder -> state at the blank -> scores of the words of the classes, by a head over the encoder's own word vectors.
    Beside it, the same texts in one template and in another are two views, and supervised contrast of their states,
    behind a two-layer head, makes those of one class near; by default in updates of its own, one before each of the
    words. Examples with their answers are part of a template where they are written into it. A masked model of Hugging
    Face that is the `generator` of the texts gives the head that it was published with; else the head starts anew.
    In the official code both losses have optimisers of their own, and see the same batch.
    """

    name = "lmsupcon"
    near = "texts of the same class, inside any template"
    far = "texts of other classes"
    source = "Jian et al. 2022, Contrastive Learning for Prompt-Based Few-Shot Language Learners; yiren-jian/LM-SupCon"
    asks = ("of_words",)
    Options = LMSupConOptions

    options: LMSupConOptions
    encoder: Prompted
    contrasting: Tensor

    def __init__(self, encoder: nn.Module, options: LMSupConOptions) -> None:
        needs_words(encoder, self.name)
        words = options.words or UNSETTLED
        prompted = Prompted(encoder, options.templates, list(words.values()), options.embedding)
        super().__init__(prompted, options)
        self.objective, self.salt = SupCon(temperature=options.temperature), Draws()
        self.register_buffer("contrasting", torch.tensor(options.contrast_weight > 0))

    @property
    def contrasts(self) -> bool:  # type: ignore[override]
        """Whether a weight asks for the contrast."""
        return self.options.contrast_weight > 0

    def made_head(self) -> nn.Module:
        """See `Labelled.made_head`; of states, whatever the embedding is."""
        options, width = self.options, self.encoder.state_width
        return projector(width, options.hidden or width, options.projection, activation=options.activation)

    @property
    def answering(self) -> bool:
        """Whether the words learn in this update."""
        return not (self.options.turns and bool(self.contrasting))

    def project(self, rows: Tensor) -> dict[str, Tensor]:
        """What the turn asks for: projections of two templates, scores of the words of the classes, or both."""
        state = self.encoder.at_blank(rows)
        made = {"answers": self.encoder.answers(state)} if self.answering else {}
        if not self.contrasting:
            return {"projection": state.detach(), **made}
        templates = len(self.options.templates)
        other = 1 + self.salt.number % (templates - 1) if templates > 1 else 0
        again = self.head(self.encoder.at_blank(rows, other))
        return {"projection": self.head(state), "again": again, **made}

    def contrast(self, projections: list[Any], batch: Batch) -> Contrast:
        """Supervised contrast of both templates, and the cross-entropy of the words of the first view."""
        labels, parts = self.labels(batch), []
        if self.contrasting:
            rows = [view[name] for view in projections for name in ("projection", "again")]
            parts.append(("", self.judged(*rows, labels=labels), self.options.contrast_weight))
        if self.answering:
            scores, truth = self.together(projections[batch.whole[0]]["answers"]), self.together(labels)
            if int(truth.max()) >= scores.shape[1]:
                raise DataError(f"label {int(truth.max())} has no word, there are {scores.shape[1]}; set more words")
            known = truth >= 0
            loss = cross_entropy(scores[known], truth[known], reduction="sum") / known.sum().clamp(min=1)
            parts.append(("", Contrast(loss, {"words": loss}, lambda: math.log(scores.shape[1])), 1.0))
        return weighed(parts)

    def after_step(self, step: int, total_steps: int) -> None:
        """The turn of the other, and another template."""
        self.salt.after_step(step)
        if self.options.turns and self.contrasts:
            self.contrasting.logical_not_()

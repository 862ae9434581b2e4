"""What encoders of words offer to methods that ask them of words: edits whose answer is known, states, vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nearfar.errors import ConfigError
from nearfar.models.course import Course

from .. import edits

if TYPE_CHECKING:
    from ..fill import MaskedModel


class WordTasks:
    """Edits of tokens (B, L), -1 behind the end, by numbers that come from a text and `salt` alone.

    The same text is thus edited alike in any batch, micro-batch and process, and otherwise under another salt. Encoders
    that have it also have `vocabulary`, `vectors_of`, `states_of` and `upto`.

    Attributes:
        special: token ids of "cls", "sep", "mask" and "pad", None where there is none.
        unknown: the id of all words that the tokeniser does not know; None where there is none.
        most: longer texts are cut to so many tokens by the net; None for a tokeniser that sees to that.
        filler: a masked language model that replaces tokens; None draws them.
    """

    special: dict[str, int | None]
    unknown: int | None = None
    most: int | None = None
    filler: MaskedModel | None = None

    @property
    def vocabulary(self) -> nn.Embedding:
        """The vectors (V, e) of all tokens."""
        raise NotImplementedError

    def vectors_of(self, tokens: Tensor) -> Tensor:
        """(B, L, e) vectors of tokens as the net takes them."""
        raise NotImplementedError

    def states_of(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """(B, L, d) states that the net makes of vectors (B, L, e); `mask` is False for padding."""
        raise NotImplementedError

    def upto(self, tokens: Tensor) -> Tensor:
        """(B, L, d') states of which the t-th one knows tokens up to t alone."""
        raise NotImplementedError

    @property
    def published_head(self) -> dict[str, Tensor] | None:
        """The head of the masked language model that is the `filler`, as `MaskedModel.head`; None without one."""
        return None if self.filler is None else self.filler.head

    def course(self, tokens: Tensor) -> Course:
        """The vectors of words one after the other, and what the net knows by then."""
        tokens = self.trimmed(tokens)
        return Course(self.vectors_of(tokens), self.upto(tokens), tokens >= 0)

    def words_of(self, text: str) -> list[int]:
        """Ids of the tokens of a text, without those that stand around every text."""
        raise NotImplementedError

    @property
    def reads(self) -> int:
        """How many tokens of a text are read at most."""
        raise NotImplementedError

    def prompted(self, tokens: Tensor, template: str) -> tuple[Tensor, Tensor]:
        """Texts (B, L) inside a template, (B, L'), and the place of its blank in each, (B,).

        Texts are cut to what is left of `reads`, the template is not.

        Args:
            template: with {text} and {mask}, such as "{text} It was {mask}."

        Raises:
            ConfigError: the encoder has no mask, or the template leaves no room for a text.
        """
        if self.special["mask"] is None:
            raise ConfigError("a template has a blank, and the tokeniser of this encoder has no mask for it")
        first, last = ([] if (id := self.special[name]) is None else [id] for name in ("cls", "sep"))
        before, after = (self._with_blank(part) for part in template.split("{text}"))
        room = self.reads - len(first) - len(before) - len(after) - len(last)
        if room < 1:
            raise ConfigError(f"template {template!r} leaves no room for a text in {self.reads} tokens; shorten it")
        mask, rows, blanks = self.special["mask"], [], []
        for row, own in zip(tokens, self.free(tokens), strict=True):
            text = row[own].tolist()[:room]
            rows.append(torch.tensor([*first, *before, *text, *after, *last]))
            inside = before.index(mask) if mask in before else len(before) + len(text) + after.index(mask)
            blanks.append(len(first) + inside)
        made = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        return made.to(tokens.device), torch.tensor(blanks, device=tokens.device)

    def token_of(self, word: str) -> int:
        """The id of a word behind another one.

        Raises:
            ConfigError: it is no single token, or an unknown one.
        """
        ids = self.words_of(" " + word)
        if len(ids) != 1 or ids[0] == self.unknown:
            what = "unknown" if len(ids) == 1 else f"{len(ids)} tokens"
            raise ConfigError(f"{word!r} is {what} to this encoder, and one token is needed; take another word")
        return ids[0]

    def _with_blank(self, part: str) -> list[int]:
        left, *right = part.split("{mask}")
        mask = self.special["mask"]
        assert mask is not None
        return [*self.words_of(left), *(id for text in right for id in (mask, *self.words_of(text)))]

    def trimmed(self, tokens: Tensor) -> Tensor:
        """Tokens without the columns that are padding for all of them, cut to what the net reads."""
        longest = max(1, int((tokens >= 0).sum(1).max())) if len(tokens) else 1
        return tokens[:, : longest if self.most is None else min(longest, self.most)]

    def free(self, tokens: Tensor) -> Tensor:
        """(B, L) bool: which tokens are of the text, neither padding nor special."""
        return edits.free(tokens, self._fixed)

    def masked(self, tokens: Tensor, share: float, salt: int) -> tuple[Tensor, Tensor]:
        """Tokens of which a share is to be guessed, and which ones, (B, L) bool.

        Of those, eight of ten become the mask, one any token, and one stays. Source: Devlin et al. 2019, section 3.1.

        Raises:
            ConfigError: the encoder has no mask.
        """
        mask = self.special["mask"]
        if mask is None:
            raise ConfigError("words cannot be masked: the tokeniser of this encoder has no mask")
        seeds, width = edits.seeds_of_tokens(tokens, salt), tokens.shape[1]
        chosen = self.free(tokens) & (edits.uniform(seeds, edits.MASK, width).to(tokens.device) < share)
        drawn = edits.uniform(seeds, edits.WORD, width).to(tokens.device)
        other = ((drawn - 0.8) * 10 * self.vocabulary.num_embeddings).long()
        given = torch.where(drawn < 0.8, mask, torch.where(drawn < 0.9, other, tokens))
        return torch.where(chosen, given, tokens), chosen

    def shortened(self, tokens: Tensor, share: float, salt: int) -> Tensor:
        """Tokens of which each is left out with probability `share`; one of every text stays."""
        left = edits.delete(tokens, edits.seeds_of_tokens(tokens, salt), share, self._fixed)
        return left if left.shape[1] else tokens[:, :1]  # of texts that are not there, padding

    def replaced(self, tokens: Tensor, share: float, salt: int, pool: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of which a share was given to others to replace, and which ones are others now, (B, L) bool.

        The `filler` masks them and takes what it finds most probable at all places; without one they become tokens
        drawn from `pool` (M,), none while that is empty. Source: Chuang et al. 2022, DiffCSE.
        """
        seeds = edits.seeds_of_tokens(tokens, salt)
        if self.filler is not None:
            self.filler.model.to(tokens.device)
            edited = self.filler.edit(tokens, seeds, share)
            return edited.tokens, edited.changed
        if not len(pool):
            return tokens, torch.zeros_like(tokens, dtype=torch.bool)
        drawn, which = (edits.uniform(seeds, stream, tokens.shape[1]) for stream in (edits.MASK, edits.WORD))
        chosen = self.free(tokens) & (drawn.to(tokens.device) < share)
        made = torch.where(chosen, pool[(which.to(pool.device) * len(pool)).long()], tokens)
        return made, made != tokens

    @property
    def _fixed(self) -> set[int]:
        return {id for name, id in self.special.items() if id is not None and name != "mask"}

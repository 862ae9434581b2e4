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
        most: longer texts are cut to so many tokens by the net; None for a tokeniser that sees to that.
        filler: a masked language model that replaces tokens; None draws them.
    """

    special: dict[str, int | None]
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

    def course(self, tokens: Tensor) -> Course:
        """The vectors of words one after the other, and what the net knows by then."""
        tokens = self.trimmed(tokens)
        return Course(self.vectors_of(tokens), self.upto(tokens), tokens >= 0)

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

"""Which peer has which objective, and how each side is called with the same batch.

`kind` says what the batch is: "views" (two views of rows / 2 items), "labels" (rows with labels), "cross" (two towers
of so many rows each), "pairs" (two views of rows items each), "rows" (two views whose rows meet one to one), "proxies"
(rows with labels, and a vector for each class), "moments" (two views, no pairs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Call = Callable[..., Any]


@dataclass(frozen=True)
class Peer:
    """One objective on both sides; each is made when it is asked for, so that a library is only imported then."""

    library: str
    kind: str
    ours: Callable[[], Call]
    theirs: Callable[[], Call]


def nearfar(name: str, **arguments: Any) -> Callable[[], Call]:
    """An objective of the catalogue as it comes, by tiles where it compares pairs."""

    def made() -> Call:
        from nearfar.objectives import catalogue

        return catalogue()[name](**arguments)  # type: ignore[no-any-return]

    return made


def to_proxies(name: str, turned: bool = False, **arguments: Any) -> Callable[[], Call]:
    """An objective of rows and proxies; `turned` where the proxies are the anchors."""

    def made() -> Call:
        from nearfar.objectives import catalogue, to_proxies

        objective = catalogue()[name](**arguments)

        def call(items: Any, proxies: Any, labels: Any) -> Any:
            relation = to_proxies(labels, len(proxies))
            return (
                objective(proxies, items, relation=relation.t)
                if turned
                else objective(items, proxies, relation=relation)
            )

        return call

    return made


def pml(name: str, **arguments: Any) -> Callable[[], Call]:
    """A loss of pytorch-metric-learning over rows with labels; two views become rows with the labels of their items."""

    def made() -> Call:
        import torch
        from pytorch_metric_learning import losses

        loss = getattr(losses, name)(**arguments)

        def call(*views: Any, labels: Any = None) -> Any:
            rows = torch.cat(views)
            return loss(rows, torch.arange(len(views[0])).repeat(len(views)) if labels is None else labels)

        return call

    return made


def pml_proxies(name: str, **arguments: Any) -> Callable[[], Call]:
    """A loss of pytorch-metric-learning that holds its own class vectors, which are set to the given ones."""

    def made() -> Call:
        import torch
        from pytorch_metric_learning import losses

        from benchmarks.objectives import CLASSES, WIDTH

        loss = getattr(losses, name)(num_classes=CLASSES, embedding_size=WIDTH, **arguments)

        def call(items: Any, proxies: Any, labels: Any) -> Any:
            held = next(loss.parameters())
            with torch.no_grad():
                held.copy_(proxies if held.shape == proxies.shape else proxies.T[:, : held.shape[1]])
            return loss(items, labels)

        return call

    return made


def lightly(name: str, **arguments: Any) -> Callable[[], Call]:
    """A loss of lightly over two views."""

    def made() -> Call:
        import lightly.loss

        loss = getattr(lightly.loss, name)(**arguments)
        return lambda a, b: loss(a, b)

    return made


def open_clip(name: str) -> Callable[[], Call]:
    """A loss of open_clip over two towers."""

    def made() -> Call:
        import open_clip.loss
        import torch
        from torch.nn.functional import normalize

        loss, scale, bias = getattr(open_clip.loss, name)(), torch.tensor(10.0), torch.tensor(-10.0)
        more = (bias,) if name == "SigLipLoss" else ()
        return lambda a, b: loss(normalize(a, dim=1), normalize(b, dim=1), scale, *more)

    return made


def pml_mined(miner: str, **arguments: Any) -> Callable[[], Call]:
    """Triplets of pytorch-metric-learning that a miner chose."""

    def made() -> Call:
        from pytorch_metric_learning import losses, miners

        loss, mine = losses.TripletMarginLoss(margin=0.2), getattr(miners, miner)(**arguments)
        return lambda rows, labels: loss(rows, labels, mine(rows, labels))

    return made


def lightly_prototypes(name: str, **arguments: Any) -> Callable[[], Call]:
    """A loss of lightly over scores with prototypes: one whole view predicts the other."""

    def made() -> Call:
        import lightly.loss

        loss = getattr(lightly.loss, name)(**arguments)
        if name == "SwaVLoss":
            return lambda a, b: loss([a, b], [])
        return lambda a, b: loss([b.detach()], [b, a], epoch=0)

    return made


PML, LIGHTLY = "pytorch-metric-learning", "lightly"
LABELLED = {
    "SupCon": "SupConLoss",
    "ContrastiveMargin": "ContrastiveLoss",
    "TripletAll": "TripletMarginLoss",
    "LiftedStructure": "LiftedStructureLoss",
    "GeneralizedLifted": "GeneralizedLiftedStructureLoss",
    "Circle": "CircleLoss",
    "MultiSimilarity": "MultiSimilarityLoss",
    "BoundaryMargin": "MarginLoss",
    "TupletMargin": "TupletMarginLoss",
    "Angular": "AngularLoss",
    "FastAP": "FastAPLoss",
    "SmoothAP": "SmoothAPLoss",
}
PEERS: dict[str, Peer] = {
    "NTXent": Peer(LIGHTLY, "views", nearfar("NTXent"), lightly("NTXentLoss", temperature=0.1)),
    "DCL": Peer(LIGHTLY, "views", nearfar("DCL"), lightly("DCLLoss", temperature=0.1)),
    "DCLW": Peer(LIGHTLY, "views", nearfar("DCLW"), lightly("DCLWLoss", temperature=0.1)),
    "MACL": Peer(LIGHTLY, "views", nearfar("MACL"), lightly("MACLLoss")),
    "SymmetricInfoNCE": Peer("open_clip", "cross", nearfar("SymmetricInfoNCE"), open_clip("ClipLoss")),
    "SigLIP": Peer("open_clip", "cross", nearfar("SigLIP"), open_clip("SigLipLoss")),
    "NPair": Peer(PML, "pairs", nearfar("NPair"), pml("NPairsLoss")),
    **{ours: Peer(PML, "labels", nearfar(ours), pml(theirs)) for ours, theirs in LABELLED.items()},
    "SupCon inside": Peer(PML, "labels", nearfar("SupCon", average="inside"), pml("NCALoss")),
    "RankedList": Peer(PML, "labels", nearfar("RankedList"), pml("RankedListLoss", margin=0.4, Tn=10)),
    "TripletHard": Peer(PML, "labels", nearfar("TripletHard"), pml_mined("BatchHardMiner")),
    "TripletSemiHard": Peer(
        PML, "labels", nearfar("TripletSemiHard"), pml_mined("TripletMarginMiner", type_of_triplets="semihard")
    ),
    "ProxyNCA": Peer(PML, "proxies", to_proxies("ProxyNCA"), pml_proxies("ProxyNCALoss")),
    "ProxyAnchor": Peer(PML, "proxies", to_proxies("ProxyAnchor", turned=True), pml_proxies("ProxyAnchorLoss")),
    "BarlowTwins": Peer(LIGHTLY, "moments", nearfar("BarlowTwins"), lightly("BarlowTwinsLoss")),
    "VICReg": Peer(LIGHTLY, "moments", nearfar("VICReg"), lightly("VICRegLoss")),
    "CosineRegression": Peer(LIGHTLY, "rows", nearfar("CosineRegression"), lightly("NegativeCosineSimilarity")),
    "SwappedPrediction": Peer(LIGHTLY, "rows", nearfar("SwappedPrediction"), lightly_prototypes("SwaVLoss")),
    "SelfDistillation": Peer(
        LIGHTLY, "rows", nearfar("SelfDistillation"), lightly_prototypes("DINOLoss", output_dim=128)
    ),
}

"""What a version is made of: its branch's end, and what must be trained for that."""

from dataclasses import dataclass

from megatron_lrps.plan import Tree
from megatron_lrps.plan.version_source import TrainedTo, iterations_for, sources_of
from tests.plan.plans import tree_of


def test_every_paradigm_makes_the_version_by_a_path_of_its_own() -> None:
    tree = tree_of(paradigm=["lrps", "ptfs", "cpt"], cuts=[{"name": "cut", "fork": 700, "iters": 400}])
    found = [(each.version, each.paradigm, each.path, each.made_of) for each in sources_of(tree)]
    assert found == [
        ("v1", "lrps", "v1", (TrainedTo("v1", 1000),)),
        ("v1", "ptfs", "ptfs-v1", (TrainedTo("ptfs-v1", 1000),)),
        ("v1", "cpt", "cpt-v1", (TrainedTo("cpt-v1", 1000),)),
        ("cut", "lrps", "cut", (TrainedTo("cut", 1100),)),
        ("v2", "lrps", "v2", (TrainedTo("v2", 2000),)),
        ("v2", "ptfs", "ptfs-v2", (TrainedTo("ptfs-v2", 2000),)),
        ("v2", "cpt", "cpt-v2", (TrainedTo("cpt-v2", 2000),)),
    ]


def test_what_versions_share_is_trained_once() -> None:
    tree = tree_of()  # main (0, 1400], v1 (400, 1000], v2 (1400, 2000]
    v1, v2 = sources_of(tree)
    assert iterations_for(tree, [v1]) == 400 + 600
    assert iterations_for(tree, [v2]) == 1400 + 600
    assert iterations_for(tree, [v1, v2]) == 1400 + 600 + 600


@dataclass(frozen=True)
class Mean:
    """Another kind of version: the mean of several checkpoints."""

    version: str
    made_of: tuple[TrainedTo, ...]
    paradigm: str = "lrps"

    @property
    def path(self) -> str:
        return self.version


def test_another_kind_of_version_costs_what_it_is_made_of() -> None:
    tree: Tree = tree_of()
    of_main = Mean("v1", tuple(TrainedTo("main", iteration) for iteration in (600, 800, 1000)))
    assert iterations_for(tree, [of_main]) == 1000
    assert iterations_for(tree, [of_main, sources_of(tree)[1]]) == 1400 + 600

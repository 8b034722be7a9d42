"""The formal proofs hold, and each fails when a bug is planted; the quick ones in every run."""

import os

import pytest

from harp_sim.proofs.catalogue import PLANTS, PROOFS, Plant
from harp_sim.proofs.runner import Proof, prove
from harp_sim.proofs.sources import Edit, EditError, edited

VERIFY = os.environ.get("HARP_VERIFY") == "1"
pytestmark = pytest.mark.xdist_group("proofs")  # one solver at a time


@pytest.mark.parametrize("proof", [p for p in PROOFS if VERIFY or p.quick], ids=lambda p: p.name)
def test_the_claims_hold_and_the_covers_are_reached(proof: Proof) -> None:
    result = prove(proof)
    assert result.holds, result.where


@pytest.mark.parametrize(
    "plant", [p for p in PLANTS if VERIFY or p.quick], ids=lambda p: f"{p.proof}: {p.edit.new}"
)
def test_a_planted_bug_is_found(plant: Plant) -> None:
    proof = next(proof for proof in PROOFS if proof.name == plant.proof)
    result = prove(proof, plant.edit, plant.depth)
    assert not result.holds
    assert result.where.startswith("claims: "), result.where


def test_every_proof_has_a_planted_bug() -> None:
    assert {plant.proof for plant in PLANTS} == {proof.name for proof in PROOFS}


def test_a_plant_that_is_not_there_is_refused() -> None:
    with pytest.raises(EditError, match="0 times"):
        edited("arbiter", [Edit("arbiter", "no such line", "")])

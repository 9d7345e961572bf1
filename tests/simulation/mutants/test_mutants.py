"""Each safeguard of the product, switched off, is caught by a few seeds; so none of them is idle or unobserved."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import pytest

from consumer.leasing.timing import LeaseTiming
from tests.simulation.mutants.catalogue import MUTANTS
from tests.simulation.mutants.hunt import control, hunt
from tests.simulation.mutants.invariants import SHORT_FORMS
from tests.simulation.mutants.mutant import MOST_SEEDS, Mutant, NoSuchFunction, switched_off

pytestmark = pytest.mark.usefixtures("nothing_logged")

CONTROL_SEEDS = range(3)
ONE = MUTANTS[0]
MARGIN = replace(
    ONE,
    target="consumer.leasing.timing:LeaseTiming.margin_seconds",
    without=lambda original: lambda self: 0.0,
)


@pytest.fixture(autouse=True)
def _unstarted_coroutines() -> Iterator[None]:
    """A run ends at its first violation, and with it coroutines that a killed worker was about to start."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        yield
        gc.collect()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_safeguard_that_is_switched_off_is_caught_within_30_seeds(
    mutant: Mutant, record_property: Callable[[str, object], None]
) -> None:
    finding = hunt(mutant)
    record_property("mutant", asdict(finding))  # travels with the report to whichever process prints the table
    assert finding.calls > 0, f"{mutant.target} was never called: the mutant says nothing"
    assert finding.seeds is not None, f"without this rule nothing broke in {MOST_SEEDS} seeds: {mutant.rule}"
    assert finding.invariant in mutant.caught_by, f"it broke, but not by what it does: {finding.violation}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_its_mix_of_faults_breaks_nothing_while_the_safeguard_is_in_place(mutant: Mutant) -> None:
    assert control(mutant, seeds=CONTROL_SEEDS) == []


def test_mutants_are_many_each_has_its_own_name_and_knows_its_invariants() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    known = {short for _, short in SHORT_FORMS}
    assert [mutant.name for mutant in MUTANTS if not mutant.caught_by or set(mutant.caught_by) - known] == []


@pytest.mark.parametrize(
    "target",
    [
        "consumer.leasing.held_leases:HeldLease.renew",
        "consumer.leasing.held_lease:HeldLeases.renew",
        "consumer.leasing.held_lease:HeldLease.renew_now",
        "consumer.leasing.held_lease:HeldLease.__repr__",
        "consumer.leasing.held_lease:_MOST_ATTEMPTS",
    ],
)
def test_a_target_that_the_product_does_not_have_is_refused(target: str) -> None:
    """A function that was renamed must not leave a mutant that changes nothing and is blamed on the seeds."""
    with pytest.raises(NoSuchFunction, match=r"gone from the product|no function of the product"):
        hunt(replace(ONE, target=target))


def test_a_replacement_with_other_parameters_is_refused() -> None:
    """It would break by its own TypeError, and prove nothing."""
    other = replace(MARGIN, without=lambda original: lambda self, extra: 0.0)
    with pytest.raises(NoSuchFunction, match="takes"):
        hunt(other)


def test_the_replacement_is_counted_and_the_original_comes_back_even_after_an_error() -> None:
    timing = LeaseTiming(10.0)

    def run() -> None:
        with switched_off(MARGIN) as calls:
            assert timing.margin_seconds == 0.0
            assert calls.count == 1
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert timing.margin_seconds == 1.0


def test_a_mutant_that_breaks_nothing_is_reported_as_never_caught() -> None:
    harmless = replace(ONE, without=lambda original: original)
    finding = hunt(harmless, seeds=range(2))
    assert (finding.seeds, finding.verdict, finding.tried, finding.caught) == (None, "never", 2, 0)
    assert finding.calls > 0

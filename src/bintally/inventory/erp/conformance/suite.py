"""The tests themselves: their names are what a connector must do."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from bintally.errors import ErpRefusedError, ErpUnavailableError
from bintally.inventory.erp.conformance.bench import Bench
from bintally.inventory.erp.conformance.steps import (
    carry_out,
    drafts_of,
    held,
    needs_drafts,
    new_key,
    posted,
    prepared,
    read,
    reading,
    some,
    stocked,
    with_lines,
)
from bintally.inventory.erp.protocol import KEY, Connector, Line

BATCH = 50
"""Postings in one batch: what the relay sends at once."""


class ConnectorConformance:
    """Subclass it as `Test...`, with a fixture `erp`; for one stock system for all, let that hand on a wider one."""

    @pytest.fixture
    def erp(self) -> Bench:
        """The stock system; yours."""
        raise NotImplementedError("give the class a fixture `erp` that returns your Bench")

    @pytest.fixture
    def connector(self, erp: Bench) -> Iterator[Connector]:
        """A connector of each test's own."""
        made = erp.connect()
        yield made
        made.close()

    # Who is there

    def test_it_says_who_it_is(self, connector: Connector) -> None:
        assert connector.about().product
        assert connector.about() == connector.about()

    def test_it_can_be_closed_twice(self, erp: Bench) -> None:
        made = erp.connect()
        made.about()
        made.close()
        made.close()

    def test_one_that_is_not_there_may_be_later(self, erp: Bench) -> None:
        nobody = erp.unreachable() or pytest.skip("it is always there")
        with pytest.raises(ErpUnavailableError):
            nobody.about()
        nobody.close()

    def test_a_wrong_secret_is_refused(self, erp: Bench) -> None:
        stranger = erp.locked_out() or pytest.skip("it needs no secret")
        with pytest.raises(ErpRefusedError):
            stranger.about()
        stranger.close()

    # What is there

    def test_it_reads_what_is_in_bins(self, erp: Bench, connector: Connector) -> None:
        first, second = reading(erp, connector), erp.new_bin()
        bolt, nut = erp.products
        erp.put(first, bolt, 4)
        erp.put(first, nut, 2)
        erp.put(second, nut, 7)
        stocks = read(connector, [first, second])
        assert some(stocks[first].lines) == {bolt: 4, nut: 2}
        assert some(stocks[second].lines) == {nut: 7}
        assert all(stock.as_of.tzinfo is not None for stock in stocks.values())
        everything = read(connector, None)
        assert {code: some(everything[code].lines) for code in stocks} == {
            code: some(stock.lines) for code, stock in stocks.items()
        }

    def test_a_bin_that_it_does_not_know_is_left_out_and_an_empty_one_is_empty(
        self, erp: Bench, connector: Connector
    ) -> None:
        empty, full = reading(erp, connector), erp.new_bin()
        erp.put(full, erp.products[0], 4)
        stocks = read(connector, ["NO-SUCH-BIN", empty, full])
        assert "NO-SUCH-BIN" not in stocks
        assert empty not in stocks or stocks[empty].quantity == 0
        assert stocks[full].quantity == 4
        assert read(connector, []) == {}

    def test_a_version_changes_whenever_stock_does(self, erp: Bench, connector: Connector) -> None:
        code = reading(erp, connector)
        seen = []
        for quantity in (4, 5, 4):
            erp.put(code, erp.products[0], quantity)
            seen.append(read(connector, [code])[code].version)
        if seen[0] is None:
            pytest.skip("it has no versions")
        assert seen[0] != seen[1] != seen[2]

    # Drafts

    def test_a_draft_changes_no_stock(self, erp: Bench, connector: Connector) -> None:
        posting = stocked(erp)
        draft = prepared(connector, posting)
        assert (draft.key, draft.fate, bool(draft.reference)) == (posting.key, "draft", True)
        assert held(erp, posting) == 4

    def test_postings_are_found_as_what_they_became(self, erp: Bench, connector: Connector) -> None:
        needs_drafts(erp)
        unknown, draft, done, cancelled = (stocked(erp) for _ in range(4))
        drafts = drafts_of(connector, [draft, done, cancelled])
        carry_out(connector, drafts[done.key])
        connector.cancel([drafts[cancelled.key]])
        other = erp.connect()  # it is over there that they are known, not in the connector
        found = other.find([each.key for each in (unknown, draft, done, cancelled)])
        other.close()
        assert {key: each.fate for key, each in found.items()} == {draft.key: "draft", done.key: "done"}
        assert {key: each.reference for key, each in found.items()} == {
            key: drafts[key].reference for key in (draft.key, done.key)
        }
        assert connector.find([]) == {}

    def test_what_was_thrown_away_can_not_be_carried_out(self, erp: Bench, connector: Connector) -> None:
        needs_drafts(erp)
        posting = stocked(erp)
        draft = prepared(connector, posting)
        connector.cancel([draft])
        connector.cancel([draft])
        assert carry_out(connector, draft).outcome == "refused"
        assert held(erp, posting) == 4

    def test_what_was_thrown_away_can_be_made_anew(self, erp: Bench, connector: Connector) -> None:
        needs_drafts(erp)
        posting = stocked(erp)
        connector.cancel([prepared(connector, posting)])
        assert carry_out(connector, prepared(connector, posting)).outcome == "done"
        assert held(erp, posting) == 3

    def test_what_was_carried_out_can_not_be_thrown_away(self, erp: Bench, connector: Connector) -> None:
        needs_drafts(erp)
        posting = stocked(erp)
        draft = prepared(connector, posting)
        carry_out(connector, draft)
        connector.cancel([draft])
        assert connector.find([posting.key])[posting.key].fate == "done"
        assert held(erp, posting) == 3

    # Carried out, once

    def test_a_draft_that_is_carried_out_changes_stock(self, erp: Bench, connector: Connector) -> None:
        posting = stocked(erp)
        draft = prepared(connector, posting)
        answer = carry_out(connector, draft)
        assert (answer.key, answer.outcome, answer.reference) == (posting.key, "done", draft.reference)
        assert held(erp, posting) == 3

    def test_a_draft_is_carried_out_once(self, erp: Bench, connector: Connector) -> None:
        posting = stocked(erp)
        draft = prepared(connector, posting)
        carry_out(connector, draft)
        erp.put(posting.bin, erp.products[0], 4)  # as if nothing had happened
        assert carry_out(connector, draft).outcome == "done"
        assert held(erp, posting) == 4

    def test_of_several_drafts_of_a_key_one_counts(self, erp: Bench, connector: Connector) -> None:
        posting = stocked(erp)
        first, second = prepared(connector, posting), prepared(connector, posting)
        outcomes = [carry_out(connector, each).outcome for each in (first, second)]
        assert "done" in outcomes
        assert held(erp, posting) == 3
        erp.put(posting.bin, erp.products[0], 9)
        assert "done" in [carry_out(connector, each).outcome for each in (first, second)]
        assert held(erp, posting) == 9
        if erp.keeps_drafts:
            assert connector.find([posting.key])[posting.key].fate == "done"

    def test_two_who_carry_out_the_same_draft_do_it_once(self, erp: Bench) -> None:
        posting = stocked(erp, before=9, after=7)
        connectors = [erp.connect(), erp.connect()]
        draft = prepared(connectors[0], posting)

        def outcome(connector: Connector) -> str:
            try:
                return carry_out(connector, draft).outcome
            except ErpUnavailableError:  # the other one was at it
                return carry_out(connector, draft).outcome

        with ThreadPoolExecutor(max_workers=2) as pool:
            outcomes = list(pool.map(outcome, connectors))
        for each in connectors:
            each.close()
        assert outcomes == ["done", "done"]
        assert held(erp, posting) == 7

    @pytest.mark.parametrize(("before", "after"), [(4, 0), (0, 3), (2, 5)])
    def test_bins_are_emptied_and_filled(self, erp: Bench, connector: Connector, before: int, after: int) -> None:
        posting = stocked(erp, before=before, after=after)
        assert posted(connector, posting).outcome == "done"
        assert held(erp, posting) == after

    def test_two_products_change_together(self, erp: Bench, connector: Connector) -> None:
        bolt, nut = erp.products
        posting = with_lines(stocked(erp), Line(bolt, 4, 3), Line(nut, 0, 2))
        assert posted(connector, posting).outcome == "done"
        assert some(erp.held(posting.bin)) == {bolt: 3, nut: 2}

    def test_other_products_are_left_alone(self, erp: Bench, connector: Connector) -> None:
        bolt, nut = erp.products
        posting = stocked(erp)
        erp.put(posting.bin, nut, 5)
        draft = prepared(connector, posting)
        erp.put(posting.bin, nut, 6)
        assert carry_out(connector, draft).outcome == "done"
        assert some(erp.held(posting.bin)) == {bolt: 3, nut: 6}

    def test_a_bin_is_corrected_again_and_that_is_taken_back(self, erp: Bench, connector: Connector) -> None:
        first = stocked(erp)
        second = with_lines(first, Line(erp.products[0], 3, 8), key=new_key())
        back = with_lines(first, Line(erp.products[0], 8, 3), key=new_key(), kind="reverse", reverses=second.key)
        quantities = []
        for posting in (first, second, back):
            assert posted(connector, posting).outcome == "done"
            quantities.append(held(erp, posting))
        assert quantities == [3, 8, 3]

    def test_keys_and_words_arrive_as_they_are(self, erp: Bench, connector: Connector) -> None:
        note = "Größe M, 3 statt 4; \"Müller & Söhne\" <b>'箱' 📦\nzweite Zeile"
        posting = msgspec.structs.replace(stocked(erp), key=new_key().ljust(KEY, "0"), note=note, by="Ünal, Ç.")
        assert posted(connector, posting).outcome == "done"
        assert held(erp, posting) == 3
        if erp.keeps_drafts:
            assert list(connector.find([posting.key])) == [posting.key]

    # Many at once, and what is refused

    def test_a_batch_is_posted_together(self, erp: Bench, connector: Connector) -> None:
        postings = [stocked(erp) for _ in range(BATCH)]
        drafts = drafts_of(connector, postings)
        answers = connector.commit(list(drafts.values()))
        assert {answer.outcome for answer in answers.values()} == {"done"}
        assert [held(erp, posting) for posting in postings] == [3] * BATCH

    def test_one_that_is_refused_leaves_the_others(self, erp: Bench, connector: Connector) -> None:
        if erp.refused_product is None:
            pytest.skip("it refuses nothing")
        good, also_good = stocked(erp), stocked(erp)
        bad = with_lines(stocked(erp), Line(erp.refused_product, 4, 3))
        drafts = drafts_of(connector, [good, bad, also_good])
        answers = connector.commit(list(drafts.values()))
        assert bad.key not in answers or answers[bad.key].outcome == "refused"
        assert (answers[good.key].outcome, answers[also_good.key].outcome) == ("done", "done")
        assert [held(erp, each) for each in (good, bad, also_good)] == [3, 4, 3]

    def test_a_total_without_products_is_posted_or_refused(self, erp: Bench, connector: Connector) -> None:
        posting, good = with_lines(stocked(erp), Line(None, 4, 3)), stocked(erp)
        answers = connector.commit(list(drafts_of(connector, [posting, good]).values()))
        is_done = posting.key in answers and answers[posting.key].outcome == "done"
        assert answers[good.key].outcome == "done"
        assert sum(erp.held(posting.bin).values()) == (3 if is_done else 4)

    # Stock that moves

    def test_a_draft_of_stock_that_has_moved_is_stale(self, erp: Bench, connector: Connector) -> None:
        reading(erp, connector)
        posting = stocked(erp)
        draft = prepared(connector, posting)
        erp.put(posting.bin, erp.products[0], 7)
        assert carry_out(connector, draft).outcome == "stale"
        assert held(erp, posting) == 7
        assert connector.find([posting.key]).get(posting.key, draft).fate == "draft"

    def test_a_draft_is_carried_out_whole_or_not_at_all(self, erp: Bench, connector: Connector) -> None:
        bolt, nut = erp.products
        posting = with_lines(stocked(erp, code=reading(erp, connector)), Line(bolt, 4, 3), Line(nut, 0, 2))
        draft = prepared(connector, posting)
        erp.put(posting.bin, nut, 5)
        assert carry_out(connector, draft).outcome == "stale"
        assert some(erp.held(posting.bin)) == {bolt: 4, nut: 5}

    def test_stock_that_has_moved_keeps_back_only_what_it_concerns(self, erp: Bench, connector: Connector) -> None:
        reading(erp, connector)
        moved, still = stocked(erp), stocked(erp)
        drafts = drafts_of(connector, [moved, still])
        erp.put(moved.bin, erp.products[0], 7)
        answers = connector.commit(list(drafts.values()))
        assert (answers[moved.key].outcome, answers[still.key].outcome) == ("stale", "done")

    def test_what_was_posted_is_read(self, erp: Bench, connector: Connector) -> None:
        posting = stocked(erp, code=reading(erp, connector))
        assert posted(connector, posting).outcome == "done"
        assert read(connector, [posting.bin])[posting.bin].lines[erp.products[0]] == 3

"""Why a record was corrected, in a bundle of files that can be checked later, elsewhere, without the ledger."""

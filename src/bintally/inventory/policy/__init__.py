"""Which records are accepted without a person, at a promised share of wrong ones among them."""

"""Photos by URL, from hosts that the operator named and from no address that was not meant."""

"""The hot path: photos in, estimates out, as many at once as pays, and none after its deadline."""

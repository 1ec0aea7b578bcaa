"""What every HTTP request passes first: who asks, how often, from which site; and the headers of every answer."""

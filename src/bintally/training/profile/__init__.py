"""Where a training's time goes: its steps, the machine under it, its operators, and rules over them."""

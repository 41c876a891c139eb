"""Pure decisions: everything is an argument, `now` included; nothing here does input or output or reads a clock."""

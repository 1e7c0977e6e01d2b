"""The whole stage under attack: real processes are killed, frozen, cut off and lied to by the clock."""

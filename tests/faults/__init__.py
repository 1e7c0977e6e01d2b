"""Every call to the outside worlds goes wrong, in every way; README.md says how."""

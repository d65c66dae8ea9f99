"""How fast, how small, how lean: this software beside its peers, in whole processes that take turns."""

"""What a backup is: one plain tar stream, cut into blocks, with its index inside."""

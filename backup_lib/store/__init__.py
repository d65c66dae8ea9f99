"""Where backups live: names, the manifest, the ledger, the lock, and a store in a local folder."""

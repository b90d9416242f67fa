//! The binary batchmind: composes ledger, wallet, scheduler and engine; libp2p, transfer, REST, OpenAI API, CLI.

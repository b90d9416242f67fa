//! The paged KV engine: models, backends, block pool, prefix cache, sampling, suspended sessions.

//! The five clusters, the rules of the 500 ms tick, the prefix router, the decision log.

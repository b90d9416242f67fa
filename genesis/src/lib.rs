//! The consortium document: operators, regions, validator keys, parameters; signing it, verifying it, its hash.

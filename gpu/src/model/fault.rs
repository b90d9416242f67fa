//! Why a checkpoint could not be loaded.

use std::path::PathBuf;

/// A file of the checkpoint is missing, malformed, or asks for something that this engine does not compute.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFault {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not have the format that its name promises.
    #[error("{} is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser met.
        reason: String,
    },
    /// A field has a value that the engine cannot use.
    #[error("{file}: field {field}: {reason}")]
    Field {
        /// The file's name.
        file: &'static str,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is missing or does not fit the configuration.
    #[error("tensor {tensor}: {reason}")]
    Tensor {
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
}

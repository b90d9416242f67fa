//! The node's certificate and its key, from files.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{FILE_BYTES_MAX, HTTP_1_1, provider};
use crate::keys::{self, KeyFileFault};

/// Where a node's certificate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the node's certificate, then those that lead from it to a root that its clients trust.
    pub certificate: PathBuf,
    /// PEM: the certificate's private key, in a file for its owner alone.
    pub key: PathBuf,
}

/// What is read from the files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// What answers handshakes.
    pub config: Arc<ServerConfig>,
    /// The certificates in the order of the file. Tells one from another that replaced it.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Why a certificate cannot be used. No message holds what a key file holds.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The certificate's file cannot be read.
    #[error("{}: {source}", file.display())]
    Io {
        /// Which.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key's file cannot be read, or others may read it.
    #[error(transparent)]
    KeyFile(#[from] KeyFileFault),
    /// Not certificates in PEM.
    #[error("{}: {reason}", file.display())]
    NoCertificate {
        /// Which.
        file: PathBuf,
        /// What the parser met.
        reason: String,
    },
    /// Not a private key in PEM.
    #[error("{}: holds no private key in PEM: PKCS #8, PKCS #1 or SEC 1", file.display())]
    NoKey {
        /// Which.
        file: PathBuf,
    },
    /// The key is not the certificate's, or of a kind that is not known.
    #[error("{}: does not go with the key in {}: {reason}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        key: PathBuf,
        /// What the library says.
        reason: String,
    },
}

impl TlsFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "N-100",
            Self::KeyFile(fault) => fault.code(),
            Self::NoCertificate { .. } => "N-116",
            Self::NoKey { .. } => "N-117",
            Self::Unusable { .. } => "N-118",
        }
    }
}

impl TlsFiles {
    /// Reads both files, and checks that they belong together. Whether clients trust the certificate is theirs to find
    /// out.
    ///
    /// # Errors
    /// [`TlsFault`].
    ///
    /// # Panics
    /// Never: ring knows both versions of TLS.
    pub fn read(&self) -> Result<Identity, TlsFault> {
        let (chain, key) = (certificates(&self.certificate)?, private_key(&self.key)?);
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().expect("ring knows both versions");
        let config = builder.with_no_client_auth().with_single_cert(chain.clone(), key);
        let mut config = config.map_err(|error| TlsFault::Unusable {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            reason: error.to_string(),
        })?;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Identity { config: Arc::new(config), chain })
    }
}

/// The certificates of a file; at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let io = |source| TlsFault::Io { file: file.to_owned(), source };
    let mut text = Vec::new();
    File::open(file).map_err(io)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut text).map_err(io)?;
    let no_certificate = |reason: String| TlsFault::NoCertificate { file: file.to_owned(), reason };
    // Cut off, it could lack certificates without anybody noticing.
    if text.len() > FILE_BYTES_MAX {
        return Err(no_certificate(format!("is larger than {FILE_BYTES_MAX} bytes")));
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| no_certificate(format!("not a certificate in PEM: {error}")))?;
    if found.is_empty() {
        return Err(no_certificate("holds no certificate in PEM".to_owned()));
    }
    Ok(found)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    let text = keys::read_secret(file, FILE_BYTES_MAX)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsFault::NoKey { file: file.to_owned() })
}

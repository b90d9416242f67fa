//! HTTP clients, and whom they believe that it is the node that they asked for.

use std::{error::Error, io, net::IpAddr, path::PathBuf};

use reqwest::ClientBuilder;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier, client::WantsClientCert,
};

use super::{
    HTTP_1_1, provider,
    server::{self, TlsFault},
};

/// Whose word a client takes for who a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Roots {
    /// The authorities that this machine trusts.
    #[default]
    System,
    /// Those in a file of PEM certificates, and nobody else. A certificate that nobody else signed stands for itself,
    /// if it does not say that it is an authority.
    File(PathBuf),
}

/// Why there is nobody to believe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsFault {
    /// The file cannot be read, or holds no certificates.
    #[error(transparent)]
    File(#[from] TlsFault),
    /// The file holds something that is no authority, or this machine trusts none.
    #[error("{place}: {reason}")]
    None {
        /// The file, or the machine.
        place: String,
        /// What the library says.
        reason: String,
    },
}

impl RootsFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File(TlsFault::Io { .. }) => "N-150",
            Self::File(_) | Self::None { .. } => "N-173",
        }
    }
}

/// A client of HTTPS, which takes a node for what it says by the word of `roots`. What it follows and how long it waits
/// is the caller's.
///
/// # Errors
/// [`RootsFault`].
pub fn trusting(roots: &Roots) -> Result<ClientBuilder, RootsFault> {
    let config = match roots {
        Roots::System => offered()
            .with_platform_verifier()
            .map_err(|error| RootsFault::None { place: "this machine".to_owned(), reason: error.to_string() })?,
        Roots::File(file) => {
            let mut store = RootCertStore::empty();
            for certificate in server::certificates(file)? {
                store.add(certificate).map_err(|error| RootsFault::None {
                    place: file.display().to_string(),
                    reason: error.to_string(),
                })?;
            }
            offered().with_root_certificates(store)
        }
    };
    Ok(with(config))
}

/// A client of HTTP without TLS, for loopback and Unix sockets. It takes no certificate. It asks no proxy either, which
/// the environment may name: what is for this machine alone would cross a network in the clear.
pub fn plain() -> ClientBuilder {
    with(offered().with_root_certificates(RootCertStore::empty())).no_proxy()
}

/// Whether a request failed because nobody vouches for the node's certificate; and why, in the library's words.
pub fn distrust(error: &reqwest::Error) -> Option<String> {
    let mut causes = std::iter::successors(Some(error as &(dyn Error + 'static)), |error| cause(*error));
    causes.find_map(|cause| match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(reason))) => Some(reason.to_string()),
        Some(rustls::Error::InvalidCertificate(reason)) => Some(reason.to_string()),
        _ => None,
    })
}

/// Who may read along on the way to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nobody, if the node is who it says.
    Tls,
    /// Whoever may read this machine's own traffic, who may read the key's file as well.
    Loopback,
    /// Whoever stands in between.
    Clear,
}

impl Way {
    /// The way to `url`. What is no URL is not known to be safe.
    pub fn of(url: &str) -> Self {
        let Ok(url) = reqwest::Url::parse(url) else { return Self::Clear };
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        match url.scheme() {
            "https" => Self::Tls,
            _ if host == "localhost" || address.is_ok_and(|address| address.is_loopback()) => Self::Loopback,
            _ => Self::Clear,
        }
    }
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // An I/O error leaves out what it was made of when it is asked for its source.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn offered() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(provider());
    builder.with_safe_default_protocol_versions().expect("ring knows both versions")
}

fn with(config: ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientBuilder {
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    reqwest::Client::builder().tls_backend_preconfigured(config)
}

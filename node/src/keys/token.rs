//! A key in a token (PKCS #11): a smart card, an HSM, or SoftHSM. The secret never comes out; what is signed goes in.

use std::path::PathBuf;

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{
        Mechanism,
        eddsa::{EddsaParams, EddsaSignatureScheme},
    },
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use wallet::{
    digest::Digest,
    identity::{PublicKey, Signature, context},
    keystore::{KeyStore, passphrase::Passphrase},
    refusal::Refusal,
};

use super::token_uri::TokenUri;

/// CKA_EC_PARAMS of Ed25519: the curve's name as a PrintableString, the form that all tokens knew first.
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";

/// Why a token does not do what it was asked. No message holds the PIN.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// The shared library cannot be loaded, or does not begin.
    #[error("{}: {reason}", module.display())]
    Module {
        /// Which.
        module: PathBuf,
        /// What the system or the library says.
        reason: String,
    },
    /// No token of that label, or several.
    #[error("{uri}: {count} tokens have that label")]
    Token {
        /// What was asked for.
        uri: TokenUri,
        /// How many there are.
        count: usize,
    },
    /// The token does not take the PIN.
    #[error("{uri}: the token does not take the PIN: {reason}")]
    Pin {
        /// What was asked for.
        uri: TokenUri,
        /// Wrong, locked, or never set.
        reason: String,
    },
    /// No Ed25519 key of that label, or several, or only one of its two halves.
    #[error("{uri}: {count} {half} of an Ed25519 key have that label")]
    Key {
        /// What was asked for.
        uri: TokenUri,
        /// Which half.
        half: &'static str,
        /// How many there are.
        count: usize,
    },
    /// There is a key of that label already.
    #[error("{uri}: exists already, and a key is never overwritten")]
    Exists {
        /// What was to be made.
        uri: TokenUri,
    },
    /// Anything else.
    #[error("{uri}: {reason}")]
    Failed {
        /// What was asked for.
        uri: TokenUri,
        /// What the token says.
        reason: String,
    },
}

impl TokenFault {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Module { .. } => "N-560",
            Self::Token { .. } => "N-561",
            Self::Pin { .. } => "N-562",
            Self::Key { .. } => "N-563",
            Self::Exists { .. } => "N-123",
            Self::Failed { .. } => "N-564",
        }
    }
}

/// A key in a token whose PIN was taken.
pub struct TokenKey {
    uri: TokenUri,
    session: Session,
    private: ObjectHandle,
    public: PublicKey,
}

impl TokenKey {
    /// Finds the key.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn open(uri: &TokenUri, pin: &Passphrase) -> Result<Self, TokenFault> {
        let session = log_in(uri, pin, Pkcs11::open_ro_session)?;
        let private = only(uri, &session, ObjectClass::PRIVATE_KEY, "private halves")?;
        let public = only(uri, &session, ObjectClass::PUBLIC_KEY, "public halves")?;
        let public = point(uri, &session, public)?;
        let key = Self { uri: uri.clone(), session, private, public };
        key.check()?;
        Ok(key)
    }

    /// Sees it sign: halves that do not belong together would be found out only when its owner has to vote.
    fn check(&self) -> Result<(), TokenFault> {
        let failed = |refusal: Refusal| TokenFault::Failed { uri: self.uri.clone(), reason: refusal.to_string() };
        self.sign(context::KEY_CHECK, &[]).map(drop).map_err(failed)
    }

    /// Has the token draw a new key that can never be taken out of it.
    ///
    /// # Errors
    /// [`TokenFault`], [`TokenFault::Exists`] if anything has that label already.
    pub fn create(uri: &TokenUri, pin: &Passphrase) -> Result<Self, TokenFault> {
        let session = log_in(uri, pin, Pkcs11::open_rw_session)?;
        let failed = |error| failed(uri, &error);
        let label = || Attribute::Label(uri.object.clone().into_bytes());
        if !session.find_objects(&[label()]).map_err(failed)?.is_empty() {
            return Err(TokenFault::Exists { uri: uri.clone() });
        }
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(EDWARDS25519.to_vec()),
            label(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label(),
        ];
        let (half, private) =
            session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private).map_err(failed)?;
        // No key is left under a label that nobody was told of.
        let discard = |session: &Session| {
            let _ = session.destroy_object(private).and(session.destroy_object(half));
        };
        let public = point(uri, &session, half).inspect_err(|_| discard(&session))?;
        let key = Self { uri: uri.clone(), session, private, public };
        key.check().inspect_err(|_| discard(&key.session))?;
        Ok(key)
    }
}

impl KeyStore for TokenKey {
    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign_digest(&self, digest: &Digest) -> Result<Signature, Refusal> {
        let failed = |reason: String| Refusal::KeyStoreFailed { reason: format!("{}: {reason}", self.uri) };
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signed = self.session.sign(&mechanism, self.private, digest.as_bytes());
        let signed = signed.map_err(|error| failed(error.to_string()))?;
        let signed = signed.try_into().map_err(|_| failed("its signature does not have 64 bytes".to_owned()))?;
        Ok(Signature(signed))
    }
}

fn log_in(
    uri: &TokenUri,
    pin: &Passphrase,
    open: fn(&Pkcs11, cryptoki::slot::Slot) -> cryptoki::error::Result<Session>,
) -> Result<Session, TokenFault> {
    let no_module = |error: Error| TokenFault::Module { module: uri.module.clone(), reason: error.to_string() };
    let module = Pkcs11::new(&uri.module).map_err(no_module)?;
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // By another key of this process.
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) | Ok(()) => {}
        Err(error) => return Err(no_module(error)),
    }
    let failed = |error| failed(uri, &error);
    let mut found = Vec::new();
    for slot in module.get_slots_with_token().map_err(failed)? {
        // One that cannot be read now is another one, or it will be missed.
        if module.get_token_info(slot).is_ok_and(|info| info.label().trim_end() == uri.token) {
            found.push(slot);
        }
    }
    let [slot] = found[..] else { return Err(TokenFault::Token { uri: uri.clone(), count: found.len() }) };
    let session = open(&module, slot).map_err(failed)?;
    match session.login(UserType::User, Some(&AuthPin::from(pin.expose().to_owned()))) {
        Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) | Ok(()) => Ok(session),
        Err(error) => Err(TokenFault::Pin { uri: uri.clone(), reason: error.to_string() }),
    }
}

/// The one object of that class with the key's label.
fn only(uri: &TokenUri, session: &Session, class: ObjectClass, half: &'static str) -> Result<ObjectHandle, TokenFault> {
    let wanted = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC_EDWARDS),
        Attribute::Label(uri.object.clone().into_bytes()),
    ];
    let found = session.find_objects(&wanted).map_err(|error| failed(uri, &error))?;
    match found[..] {
        [only] => Ok(only),
        _ => Err(TokenFault::Key { uri: uri.clone(), half, count: found.len() }),
    }
}

fn failed(uri: &TokenUri, error: &Error) -> TokenFault {
    TokenFault::Failed { uri: uri.clone(), reason: error.to_string() }
}

/// The public key in its public half.
fn point(uri: &TokenUri, session: &Session, public: ObjectHandle) -> Result<PublicKey, TokenFault> {
    let read = session.get_attributes(public, &[AttributeType::EcPoint]).map_err(|error| failed(uri, &error))?;
    let key = match read.as_slice() {
        [Attribute::EcPoint(point)] => public_key(point),
        _ => None,
    };
    let reason = || "the public half is not an Ed25519 point".to_owned();
    key.ok_or_else(|| TokenFault::Failed { uri: uri.clone(), reason: reason() })
}

/// CKA_EC_POINT: the 32 bytes, as a DER OCTET STRING (version 2.40, and SoftHSM) or bare (from 3.0 on).
fn public_key(point: &[u8]) -> Option<PublicKey> {
    let bytes = point.strip_prefix(b"\x04\x20").filter(|rest| rest.len() == 32).unwrap_or(point);
    let key = PublicKey(bytes.try_into().ok()?);
    key.decompress().is_ok().then_some(key)
}

#[cfg(test)]
mod tests {
    use wallet::identity::SecretKey;

    use super::*;

    #[test]
    fn a_point_is_read_bare_or_as_an_octet_string_and_nothing_else_is() {
        let key = SecretKey::from_seed(&[7; 32]).public_key();
        assert_eq!(public_key(&key.0), Some(key));
        assert_eq!(public_key(&[b"\x04\x20".as_slice(), &key.0].concat()), Some(key));
        for other in [&key.0[1..], &[b"\x04\x21".as_slice(), &key.0].concat(), &[], &[2; 32]] {
            assert_eq!(public_key(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let uri: TokenUri = "pkcs11:token=a;object=b?module-path=/no/such.so".parse().expect("a name");
        let pin = Passphrase::new(zeroize::Zeroizing::new("1234".to_owned())).expect("one line");
        let fault = TokenKey::open(&uri, &pin).err().expect("no module");
        assert!(fault.code() == "N-560" && fault.to_string().contains("/no/such.so"), "{fault}");
    }
}

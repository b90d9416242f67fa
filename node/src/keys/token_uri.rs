//! The name of a key in a token: a PKCS #11 URI (RFC 7512), of which three parts are taken and none can be left out.
//!
//! ```text
//! pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/softhsm/libsofthsm2.so
//! ```
//!
//! Other parts are refused and not passed over, since each of them would narrow what is meant; `pin-value` above all, which
//! would stand in the list of processes.

use std::{
    fmt::{self, Write as _},
    path::PathBuf,
    str::FromStr,
};

/// What such a name begins with.
pub const SCHEME: &str = "pkcs11:";
/// The longest that is read.
const BYTES_MAX: usize = 4096;
/// A token's label has 32 bytes (PKCS #11, CK_TOKEN_INFO); an object's is not longer here.
const LABEL_BYTES_MAX: usize = 32;

/// Which key in which token, and by which module it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUri {
    /// The token's label.
    pub token: String,
    /// The label of the key's two objects, private and public.
    pub object: String,
    /// The shared library that speaks with the token. An absolute path: nothing is searched for what is run.
    pub module: PathBuf,
}

/// A text that names no key in a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a key in a token, pkcs11:token=LABEL;object=LABEL?module-path=FILE: {reason}")]
pub struct TokenUriInvalid {
    reason: &'static str,
}

impl FromStr for TokenUri {
    type Err = TokenUriInvalid;

    fn from_str(text: &str) -> Result<Self, TokenUriInvalid> {
        let rest = text.strip_prefix(SCHEME).ok_or(TokenUriInvalid { reason: "it does not begin with pkcs11:" })?;
        if text.len() > BYTES_MAX {
            return Err(TokenUriInvalid { reason: "it is too long" });
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let [token, object] = parts(path, ';', ["token", "object"])?;
        let [module] = parts(query, '&', ["module-path"])?;
        if [&token, &object].iter().any(|label| label.len() > LABEL_BYTES_MAX) {
            return Err(TokenUriInvalid { reason: "a label has more than 32 bytes" });
        }
        let module = PathBuf::from(module);
        if !module.is_absolute() {
            return Err(TokenUriInvalid { reason: "module-path is not absolute" });
        }
        Ok(Self { token, object, module })
    }
}

/// The values of exactly these names, each once, in any order.
fn parts<const N: usize>(text: &str, separator: char, names: [&str; N]) -> Result<[String; N], TokenUriInvalid> {
    let mut values = [const { None }; N];
    for part in text.split(separator).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').ok_or(TokenUriInvalid { reason: "a part has no =" })?;
        let unknown = TokenUriInvalid { reason: "it has a part other than token, object and module-path" };
        let at = names.iter().position(|known| *known == name).ok_or(unknown)?;
        if values[at].replace(decoded(value)?).is_some() {
            return Err(TokenUriInvalid { reason: "a part is given twice" });
        }
    }
    let whole = values.map(|value| value.filter(|value| !value.is_empty()));
    if whole.iter().any(Option::is_none) {
        return Err(TokenUriInvalid { reason: "token, object and module-path are all needed" });
    }
    Ok(whole.map(Option::unwrap_or_default))
}

/// Undoes percent-encoding.
fn decoded(value: &str) -> Result<String, TokenUriInvalid> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let byte = match byte {
            b'%' => digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok()),
            _ => Some(byte),
        };
        bytes.push(byte.ok_or(TokenUriInvalid { reason: "a % is not followed by two hexadecimal digits" })?);
    }
    let text = String::from_utf8(bytes).map_err(|_| TokenUriInvalid { reason: "a value is not UTF-8" })?;
    if text.chars().any(char::is_control) {
        return Err(TokenUriInvalid { reason: "a value has control characters" });
    }
    Ok(text)
}

/// Everything is percent-encoded but what stands for itself anywhere in a URI, and the slashes of the path.
struct Encoded<'a>(&'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.bytes().try_for_each(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => f.write_char(byte.into()),
            _ => write!(f, "%{byte:02X}"),
        })
    }
}

impl fmt::Display for TokenUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { token, object, module } = self;
        let module = module.to_string_lossy();
        write!(f, "{SCHEME}token={};object={}?module-path={}", Encoded(token), Encoded(object), Encoded(&module))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_and_written_in_one_form() {
        let uri = TokenUri { token: "Batch mind".into(), object: "eu-1;ö".into(), module: "/usr/lib/a b.so".into() };
        let text = "pkcs11:token=Batch%20mind;object=eu-1%3B%C3%B6?module-path=/usr/lib/a%20b.so";
        assert_eq!(uri.to_string(), text);
        assert_eq!(text.parse(), Ok(uri.clone()));
        assert_eq!("pkcs11:object=eu-1%3b%c3%b6;token=Batch mind?module-path=%2Fusr/lib/a b.so".parse(), Ok(uri));
    }

    #[test]
    fn a_name_that_says_less_or_more_is_refused_with_the_reason() {
        let module = "?module-path=/m.so";
        for (text, reason) in [
            ("token=a;object=b".to_owned(), "begin with"),
            (format!("pkcs11:token=a;object=b{module}{}", "x".repeat(4096)), "too long"),
            ("pkcs11:token=a;object=b".to_owned(), "all needed"),
            (format!("pkcs11:token=a{module}"), "all needed"),
            (format!("pkcs11:token=;object=b{module}"), "all needed"),
            (format!("pkcs11:token=a;object=b;id=%01{module}"), "other than"),
            (format!("pkcs11:token=a;object=b{module}&pin-value=1234"), "other than"),
            (format!("pkcs11:token=a;token=a;object=b{module}"), "twice"),
            (format!("pkcs11:token;object=b{module}"), "no ="),
            (format!("pkcs11:token=%4;object=b{module}"), "two hexadecimal"),
            (format!("pkcs11:token=%+4;object=b{module}"), "two hexadecimal"),
            (format!("pkcs11:token=%FF;object=b{module}"), "UTF-8"),
            (format!("pkcs11:token=%00;object=b{module}"), "control"),
            (format!("pkcs11:token={};object=b{module}", "a".repeat(33)), "32 bytes"),
            ("pkcs11:token=a;object=b?module-path=m.so".to_owned(), "absolute"),
        ] {
            let refused = text.parse::<TokenUri>().expect_err("it names no key");
            assert!(refused.reason.contains(reason), "{text}: {refused}");
            assert!(!refused.to_string().contains("1234"), "what may be a PIN is not repeated");
        }
    }
}

//! Short names that stand in addresses, commands and entries.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest operator id or node name.
pub const NAME_BYTES_MAX: usize = 32;

/// A name that breaks the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name: 1 to {NAME_BYTES_MAX} lower-case letters, digits and hyphens")]
pub struct NameInvalid(String);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameInvalid;
            fn try_from(name: String) -> Result<Self, NameInvalid> {
                let valid = (1..=NAME_BYTES_MAX).contains(&name.len())
                    && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
                if valid { Ok(Self(name)) } else { Err(NameInvalid(name.chars().take(2 * NAME_BYTES_MAX).collect())) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameInvalid;
            fn from_str(name: &str) -> Result<Self, NameInvalid> {
                Self::try_from(name.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// Short name of an operator, such as `eu-1`.
    OperatorId
}
name! {
    /// Short name of a node, such as `eu-1-a`. People use it; entries use the node's `NodeId`.
    NodeName
}

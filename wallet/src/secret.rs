//! What all 32-byte secrets have in common: wiped when dropped, never printed, never written as text.

/// Defines a newtype over 32 secret bytes.
///
/// Its `Debug` shows the name alone. Its serde form is 32 bare bytes, for sealed envelopes, and an error in any
/// human-readable format.
macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, ::zeroize::Zeroize, ::zeroize::ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The secret with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes, for sealing or derivation. They are neither printed nor logged.
            pub const fn expose(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    return Err(::serde::ser::Error::custom("a secret is not written as text"));
                }
                $crate::digest::hex_or_bytes::serialize(&self.0, to)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    return Err(::serde::de::Error::custom("a secret is not read from text"));
                }
                $crate::digest::hex_or_bytes::deserialize(from).map(Self)
            }
        }
    };
}
pub(crate) use secret;

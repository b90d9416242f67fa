//! A document that keeps all rules: it can be hashed, signed, verified and encoded.

use wallet::{
    codec::{self, DecodeError},
    digest::{Digest, sha256},
    identity::context,
    keystore::KeyStore,
};

use crate::{Consortium, Draft, GenesisError, OperatorId, check};

/// A consistent document, not necessarily signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document(Draft);

impl Document {
    /// Checks a draft, and puts its tables in canonical order: all but the nodes, whose order is their identity.
    ///
    /// # Errors
    /// [`GenesisError`] for the first rule that the draft breaks. Signatures are not checked: see [`Self::verify`].
    pub fn new(mut draft: Draft) -> Result<Self, GenesisError> {
        check::draft(&draft)?;
        draft.regions.sort_by(|a, b| a.id.cmp(&b.id));
        draft.operators.sort_by(|a, b| a.id.cmp(&b.id));
        draft.auditors.sort_by(|a, b| a.name.cmp(&b.name));
        draft.models.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self(draft))
    }

    /// What the document says.
    pub fn draft(&self) -> &Draft {
        &self.0
    }

    /// The consortium's id: SHA-256 over the canonical encoding without signatures. Comments, white space, the order
    /// of keys and of tables other than nodes do not matter to it.
    pub fn hash(&self) -> Digest {
        let unsigned = Draft { signatures: Default::default(), ..self.0.clone() };
        sha256("batchmind/v1/genesis/document", &[&codec::encode(&unsigned)])
    }

    /// Adds an operator's signature, or replaces it.
    ///
    /// # Errors
    /// [`GenesisError::OperatorUnknown`], [`GenesisError::KeyForeign`] if `key` is not that operator's, and
    /// [`GenesisError::KeyStore`] if it does not sign.
    pub fn sign(&mut self, operator: &OperatorId, key: &dyn KeyStore) -> Result<(), GenesisError> {
        let Some(listed) = self.0.operators.iter().find(|listed| listed.id == *operator) else {
            let place = "the command to sign".to_owned();
            return Err(GenesisError::OperatorUnknown { place, operator: operator.to_string() });
        };
        if listed.key != key.public_key() {
            let (expected, found) = (listed.key, key.public_key());
            return Err(GenesisError::KeyForeign { operator: operator.clone(), expected, found });
        }
        let signature = key.sign(context::GENESIS, self.hash().as_bytes())?;
        self.0.signatures.insert(operator.clone(), signature);
        Ok(())
    }

    /// Checks that every operator has signed this very document.
    ///
    /// # Errors
    /// [`GenesisError::SignatureInvalid`] for the first bad signature, else [`GenesisError::Unsigned`] with all
    /// operators that are missing.
    pub fn verify(self) -> Result<Consortium, GenesisError> {
        let hash = self.hash();
        let mut unsigned = Vec::new();
        for operator in &self.0.operators {
            match self.0.signatures.get(&operator.id) {
                None => unsigned.push(operator.id.clone()),
                Some(signature) => operator
                    .key
                    .verify(context::GENESIS, hash.as_bytes(), signature)
                    .map_err(|_| GenesisError::SignatureInvalid { operator: operator.id.clone() })?,
            }
        }
        if !unsigned.is_empty() {
            return Err(GenesisError::Unsigned { operators: unsigned });
        }
        Ok(Consortium::assume_verified(self, hash))
    }

    /// The canonical encoding, signatures included.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(&self.0)
    }

    /// Reads the canonical encoding and checks all rules again.
    ///
    /// # Errors
    /// [`GenesisError`] for the first rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GenesisError> {
        let document = Self::new(codec::decode(bytes)?)?;
        if document.to_bytes() != bytes {
            return Err(DecodeError::NotCanonical { what: "Document" }.into());
        }
        Ok(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Owner, Parameters, sample};
    use proptest::prelude::*;
    use wallet::units::Timestamp;

    #[test]
    fn the_encoding_is_pinned() {
        let document = sample::signed();
        assert_eq!(document.hash().to_string(), "a3c9cebc5ba71d37e29ab3e6e8ecf31f4bc35ec395122e30aa46ec3cf81378bb");
        assert_eq!(
            sha256("golden", &[&document.to_bytes()]).to_string(),
            "3db2ed5ed8ea37ae33ef4e7d1139324cc032ffcddf1c997af1f4133873f2c0df"
        );
    }

    #[test]
    fn every_field_but_the_signatures_is_in_the_hash() {
        type Change = (&'static str, fn(&mut Draft));
        fn owner(draft: &mut Draft) -> &mut Owner {
            draft.models[0].owner.as_mut().expect("the sample names one")
        }
        let changes: Vec<Change> = vec![
            ("consortium.name", |d| d.consortium.name.push('x')),
            ("consortium.created_ms", |d| d.consortium.created_ms = Timestamp::new(1)),
            ("regions.id", |d| d.regions.push(sample::region("zz"))),
            ("regions.name", |d| d.regions[0].name.push('x')),
            ("operators.id", |d| d.operators.push(sample::operator("zz-1", 90))),
            ("operators.name", |d| d.operators[0].name.push('x')),
            ("operators.key", |d| d.operators[0].key = sample::key(91).public_key()),
            ("nodes.name", |d| d.nodes[0].name = "zz".parse().expect("a name")),
            ("nodes.operator", |d| d.nodes[0].operator = d.nodes[3].operator.clone()),
            ("nodes.region", |d| d.nodes[0].region = d.nodes[3].region.clone()),
            ("nodes.key", |d| d.nodes[0].key = sample::key(92).public_key()),
            ("nodes.peer", |d| d.nodes[0].peer.set_port(1)),
            ("nodes.api", |d| d.nodes[0].api.push('1')),
            ("nodes, order", |d| d.nodes.swap(0, 1)),
            ("auditors.name", |d| d.auditors[0].name.push('x')),
            ("auditors.key_hash", |d| d.auditors[0].key_hash = Digest::ZERO),
            ("models.hash", |d| d.models[0].hash = Digest::ZERO),
            ("models.name", |d| d.models[0].name.push('x')),
            ("models.operator", |d| d.models[0].operator = d.nodes[3].operator.clone()),
            ("models.owner", |d| d.models[0].owner = None),
            ("models.owner.name", |d| owner(d).name.push('x')),
            ("models.owner.key_hash", |d| owner(d).key_hash = Digest::ZERO),
        ];
        let hash = sample::signed().hash();
        for (field, change) in changes {
            let mut draft = sample::draft();
            change(&mut draft);
            assert_ne!(Document::new(draft).expect("still valid").hash(), hash, "{field}");
        }
        let parameters = Parameters::default().list();
        for (i, parameter) in parameters.iter().enumerate() {
            let mut values: Vec<u64> = parameters.iter().map(|parameter| parameter.value).collect();
            values[i] = if parameter.name == "gate_phase_ms" { 60_000 } else { parameter.value + 1 };
            let fields: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            let draft = Draft { parameters: codec::decode(&fields).expect("numbers in a row"), ..sample::draft() };
            assert_ne!(Document::new(draft).expect("still valid").hash(), hash, "parameters.{}", parameter.name);
        }
    }

    #[test]
    fn the_order_of_tables_other_than_nodes_does_not_change_the_hash() {
        let mut draft = sample::draft();
        draft.regions.reverse();
        draft.operators.reverse();
        assert_eq!(Document::new(draft).expect("still valid").hash(), sample::signed().hash());
    }

    #[test]
    fn an_unsigned_operator_is_named() {
        let mut draft = sample::signed().draft().clone();
        draft.signatures.remove(&sample::id("eu-2"));
        draft.signatures.remove(&sample::id("us-1"));
        let refusal = Document::new(draft).expect("consistent").verify().expect_err("two are missing");
        assert_eq!((refusal.code(), refusal.to_string().as_str()), ("G-112", "not signed by eu-2, us-1"));
    }

    #[test]
    fn a_signature_over_another_document_is_refused() {
        let mut draft = sample::signed().draft().clone();
        draft.parameters.credit_per_ms += 1;
        let refusal = Document::new(draft).expect("consistent").verify().expect_err("signed before the change");
        assert_eq!(refusal.code(), "G-113");
        assert_eq!(refusal.to_string(), "signatures.eu-1: not a signature over this document by eu-1's key");
    }

    #[test]
    fn a_signature_by_another_operator_is_refused() {
        let mut draft = sample::signed().draft().clone();
        let other = draft.signatures[&sample::id("eu-1")];
        draft.signatures.insert(sample::id("eu-2"), other);
        let refusal = Document::new(draft).expect("consistent").verify().expect_err("signed by another");
        assert_eq!(refusal, GenesisError::SignatureInvalid { operator: sample::id("eu-2") });
    }

    #[test]
    fn a_foreign_key_cannot_sign() {
        let refusal = sample::signed().sign(&sample::id("eu-1"), &sample::key(77)).expect_err("not eu-1's key");
        assert_eq!(refusal.code(), "G-114");
        let (found, expected) = (sample::key(77).public_key(), sample::key(1).public_key());
        assert_eq!(refusal.to_string(), format!("the key for signing is {found}, but operator eu-1 has {expected}"));
    }

    #[test]
    fn an_operator_that_is_not_listed_cannot_sign() {
        let refusal = sample::signed().sign(&sample::id("zz-9"), &sample::key(77)).expect_err("not listed");
        assert_eq!(refusal.code(), "G-106");
        assert_eq!(
            refusal.to_string(),
            "the command to sign names operator \"zz-9\", which [[operators]] does not list"
        );
    }

    #[test]
    fn bytes_in_another_order_are_refused() {
        let mut draft = sample::signed().draft().clone();
        draft.regions.reverse();
        let refusal = Document::from_bytes(&codec::encode(&draft)).expect_err("not canonical");
        assert_eq!(refusal.code(), "G-115");
        assert_eq!(refusal.to_string(), "genesis bytes: Document is not canonically encoded");
    }

    proptest! {
        #[test]
        fn no_bit_of_the_encoding_can_be_flipped(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let mut bytes = sample::signed().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(Consortium::from_bytes(&bytes).is_err());
        }

        #[test]
        fn stray_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            prop_assert!(Document::from_bytes(&bytes).is_err());
        }
    }
}

//! A document that every operator has signed: what everything else builds on.

use sha2::{Digest as _, Sha256};
use wallet::{
    digest::Digest,
    identity::{PublicKey, RegionId},
    units::{NodeId, Timestamp},
};

use crate::{Auditor, Document, GenesisError, Model, Node, NodeName, Operator, OperatorId, Parameters, ValidatorSet};

/// A consortium as its operators agreed to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consortium {
    document: Document,
    id: Digest,
    regions: Vec<RegionId>,
    validators: ValidatorSet,
}

impl Consortium {
    /// For [`Document::verify`], which has checked every signature over `id`.
    pub(crate) fn assume_verified(document: Document, id: Digest) -> Self {
        let regions = document.draft().regions.iter().map(|region| region.id.clone()).collect();
        let members = document.draft().nodes.iter().zip(0..).map(|(node, i)| (NodeId::new(i), node.key)).collect();
        Self { document, id, regions, validators: ValidatorSet { epoch: 0, members } }
    }

    /// Hash of the document: two nodes that differ in it never talk to each other.
    pub fn id(&self) -> Digest {
        self.id
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.document.draft().consortium.name
    }

    /// When the document was made. The first block is later.
    pub fn created(&self) -> Timestamp {
        self.document.draft().consortium.created_ms
    }

    /// The numbers on which all nodes agree.
    pub fn parameters(&self) -> &Parameters {
        &self.document.draft().parameters
    }

    /// The regions, by name. A policy has one leaf for each, in this order.
    pub fn regions(&self) -> &[RegionId] {
        &self.regions
    }

    /// The operators, by id.
    pub fn operators(&self) -> &[Operator] {
        &self.document.draft().operators
    }

    /// An operator, if the document lists it.
    pub fn operator(&self, id: &OperatorId) -> Option<&Operator> {
        self.operators().iter().find(|operator| operator.id == *id)
    }

    /// The nodes. A node's position is its `NodeId`.
    pub fn nodes(&self) -> &[Node] {
        &self.document.draft().nodes
    }

    /// A node, if the document lists it.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes().get(usize::try_from(id.get()).ok()?)
    }

    /// The node of that name.
    pub fn node_by_name(&self, name: &NodeName) -> Option<(NodeId, &Node)> {
        self.find(|node| node.name == *name)
    }

    /// The node whose key it is.
    pub fn node_by_key(&self, key: &PublicKey) -> Option<(NodeId, &Node)> {
        self.find(|node| node.key == *key)
    }

    /// Who runs a node.
    pub fn operator_of(&self, id: NodeId) -> Option<&Operator> {
        self.operator(&self.node(id)?.operator)
    }

    /// The validators at genesis: all nodes.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Who may read with this API key.
    pub fn auditor(&self, api_key: &[u8]) -> Option<&Auditor> {
        let key_hash = Digest(Sha256::digest(api_key).into());
        self.document.draft().auditors.iter().find(|auditor| auditor.key_hash == key_hash)
    }

    /// The models that the document names.
    pub fn models(&self) -> &[Model] {
        &self.document.draft().models
    }

    /// The document behind it.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// The canonical encoding with all signatures, for proof bundles.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.document.to_bytes()
    }

    /// Reads the canonical encoding. Every rule and every signature is checked again; whether it is the *right*
    /// consortium is for the caller to check by [`Self::id`].
    ///
    /// # Errors
    /// [`GenesisError`] for the first rule that the bytes break.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, GenesisError> {
        Document::from_bytes(bytes)?.verify()
    }

    fn find(&self, is: impl Fn(&Node) -> bool) -> Option<(NodeId, &Node)> {
        self.nodes().iter().zip(0..).find(|(node, _)| is(node)).map(|(node, i)| (NodeId::new(i), node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_encoding_carries_the_whole_consortium() {
        let consortium = sample::signed().verify().expect("signed by all");
        assert_eq!(Consortium::from_bytes(&consortium.to_bytes()), Ok(consortium));
    }

    #[test]
    fn a_node_is_found_by_id_name_and_key() {
        let consortium = sample::signed().verify().expect("signed by all");
        let (id, node) = consortium.node_by_name(&"us-1-a".parse().expect("a name")).expect("listed");
        assert_eq!(id, NodeId::new(3));
        assert_eq!(consortium.node(id), Some(node));
        assert_eq!(consortium.node_by_key(&node.key), Some((id, node)));
        assert_eq!(consortium.operator_of(id).map(|operator| operator.id.as_str()), Some("us-1"));
        assert_eq!(consortium.validators().key(id), Some(node.key));
        assert_eq!(consortium.node(NodeId::new(4)), None);
        assert_eq!(consortium.validators().key(NodeId::new(4)), None);
    }

    #[test]
    fn regions_are_sorted_whatever_the_file_says() {
        let consortium = sample::signed().verify().expect("signed by all");
        assert_eq!(consortium.regions().iter().map(RegionId::as_str).collect::<Vec<_>>(), ["eu", "us"]);
    }

    #[test]
    fn an_auditor_is_known_by_the_key_and_not_by_its_hash() {
        let consortium = sample::signed().verify().expect("signed by all");
        let auditor = consortium.auditor(sample::API_KEY).expect("granted");
        assert_eq!(auditor.name, "Example Audit");
        assert_eq!(consortium.auditor(auditor.key_hash.as_bytes()), None);
        assert_eq!(consortium.auditor(b"guess"), None);
    }
}

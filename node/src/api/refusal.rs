//! Why the HTTP interface refuses a request before any other part of the node sees it, or cannot answer it.

use axum::http::StatusCode;

/// Declares each refusal once, so that code, status and text cannot drift apart.
macro_rules! refusals {
    ($(
        $(#[doc = $doc:literal])+
        #[code($code:literal, $status:ident, retry = $retry:literal)] #[error($message:literal)]
        $name:ident $({ $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)+ })?
    )+) => {
        /// The HTTP interface says no. Append only: codes are never reused.
        #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Refusal {
            $($(#[doc = $doc])+ #[error($message)] $name $({ $($(#[doc = $field_doc])+ $field: $type,)+ })?,)+
        }

        impl Refusal {
            /// The stable code.
            pub const fn code(&self) -> &'static str {
                match self { $(Self::$name { .. } => $code,)+ }
            }

            /// The HTTP status.
            pub const fn status(&self) -> StatusCode {
                match self { $(Self::$name { .. } => StatusCode::$status,)+ }
            }

            /// Whether the same request may succeed later.
            pub const fn retry(&self) -> bool {
                match self { $(Self::$name { .. } => $retry,)+ }
            }
        }
    };
}

refusals! {
    /// No API key, or one that nobody has.
    #[code("N-501", UNAUTHORIZED, retry = false)] #[error("an API key is needed: Authorization: Bearer KEY")]
    KeyMissing
    /// A valid key of another kind.
    #[code("N-502", FORBIDDEN, retry = false)] #[error("this API key is not that of {needed}")]
    KeyOfAnotherKind {
        /// Whose key is needed.
        needed: &'static str,
    }
    /// The body is no JSON object.
    #[code("N-503", BAD_REQUEST, retry = false)] #[error("the body is not a JSON object: {reason}")]
    BodyInvalid {
        /// What the parser met.
        reason: String,
    }
    /// A parameter that this endpoint does not have.
    #[code("N-504", BAD_REQUEST, retry = false)] #[error("there is no parameter {name:?} here")]
    ParameterUnknown {
        /// Its name.
        name: String,
    }
    /// A parameter with a value that it cannot have, or one that is missing.
    #[code("N-505", BAD_REQUEST, retry = false)] #[error("parameter {name:?}: {reason}")]
    ParameterInvalid {
        /// Its name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    }
    /// Another model than the one that is served here.
    #[code("N-506", NOT_FOUND, retry = false)] #[error("model {model:?} is not served here; {served:?} is")]
    ModelUnknown {
        /// The one that was asked for.
        model: String,
        /// The one that there is.
        served: String,
    }
    /// The body is larger than the endpoint takes.
    #[code("N-507", PAYLOAD_TOO_LARGE, retry = false)] #[error("the body has more than {bytes_max} bytes")]
    BodyTooLarge {
        /// The most.
        bytes_max: usize,
    }
    /// The headers are larger than any request needs.
    #[code("N-508", REQUEST_HEADER_FIELDS_TOO_LARGE, retry = false)]
    #[error("the headers have more than {bytes_max} bytes")]
    HeadersTooLarge {
        /// The most.
        bytes_max: usize,
    }
    /// A header, or a part of the path or query, that does not parse.
    #[code("N-509", BAD_REQUEST, retry = false)] #[error("{name}: {reason}")]
    PlaceInvalid {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    }
    /// A header may narrow the tenant's regions, never widen them.
    #[code("N-510", FORBIDDEN, retry = false)] #[error("the tenant's policy does not allow region {region:?}")]
    RegionNotAllowed {
        /// The region.
        region: String,
    }
    /// Neither this node nor the final ledger knows the wallet.
    #[code("N-511", NOT_FOUND, retry = true)] #[error("there is no such wallet here or on the ledger yet")]
    WalletUnknown
    /// No such path.
    #[code("N-512", NOT_FOUND, retry = false)] #[error("there is nothing at this path")]
    PathUnknown
    /// The path does not take this method.
    #[code("N-513", METHOD_NOT_ALLOWED, retry = false)] #[error("this path does not take that method")]
    MethodNotAllowed
    /// The proof needs an anchor that comes within seconds.
    #[code("N-514", CONFLICT, retry = true)] #[error("the proof is not complete yet: {reason}")]
    NotAnchored {
        /// What is missing.
        reason: String,
    }
    /// There is no such move to prove.
    #[code("N-515", NOT_FOUND, retry = true)] #[error("there is nothing to prove: {reason}")]
    NotProvable {
        /// Why.
        reason: String,
    }
    /// The ledger's replica stopped.
    #[code("N-516", SERVICE_UNAVAILABLE, retry = false)] #[error("the ledger of this node stopped: {reason}")]
    LedgerStopped {
        /// Why.
        reason: String,
    }
    /// The bytes are no canonical entry.
    #[code("N-517", BAD_REQUEST, retry = false)] #[error("the body is not a ledger entry: {reason}")]
    EntryInvalid {
        /// What the decoder met.
        reason: String,
    }
    /// The node does not follow the ledger or does not compute.
    #[code("N-518", SERVICE_UNAVAILABLE, retry = true)] #[error("this node is not ready: {reason}")]
    NotReady {
        /// What is missing.
        reason: String,
    }
    /// Something failed in here; the log says what.
    #[code("N-519", INTERNAL_SERVER_ERROR, retry = false)] #[error("the node failed; its log says why")]
    Failed
    /// A stream cannot go on here. It may be resumed elsewhere.
    #[code("N-520", BAD_GATEWAY, retry = true)] #[error("the stream broke off: {reason}")]
    StreamBroken {
        /// Why.
        reason: String,
    }
    /// The entry is not final within the time that a request may wait. It may become so later.
    #[code("N-521", GATEWAY_TIMEOUT, retry = true)] #[error("entry {id} is not final yet")]
    NotFinalYet {
        /// The entry.
        id: wallet::digest::Digest,
    }
    /// What is asked for lies beyond the final log.
    #[code("N-522", NOT_FOUND, retry = true)] #[error("the final log has {size} entries, and what is asked for lies beyond")]
    BeyondLog {
        /// How many there are.
        size: u64,
    }
    /// No checkpoint covers it yet.
    #[code("N-523", SERVICE_UNAVAILABLE, retry = true)] #[error("no checkpoint with a quorum of cosignatures covers this yet")]
    NoCheckpoint
    /// A client asked for more than its share.
    #[code("N-527", TOO_MANY_REQUESTS, retry = true)] #[error("too many requests of this {whom}: wait {wait_s} s")]
    TooManyRequests {
        /// Of whom.
        whom: &'static str,
        /// Until one is answered again, in seconds.
        wait_s: u64,
    }
    /// A model that genesis does not name, or one of another owner: which of both is nobody's business.
    #[code("N-528", NOT_FOUND, retry = false)] #[error("this key is not that of the owner of a model with this hash")]
    ModelForeign
    /// The session is at a node to which the client would send its secrets in the clear.
    #[code("N-529", BAD_GATEWAY, retry = true)] #[error("the session is at {node}, which serves HTTP in the clear: nobody is sent there")]
    HolderInTheClear {
        /// The node.
        node: String,
    }
    /// The bytes are no event of governance.
    #[code("N-524", BAD_REQUEST, retry = false)] #[error("the body is no event of governance: {reason}")]
    NotGovernance {
        /// What they are instead.
        reason: String,
    }
    /// A chunk of the ledger that this node does not have, or does not keep any more.
    #[code("N-525", NOT_FOUND, retry = true)] #[error("this node does not have that part of the ledger, or not any more")]
    ChunkNotHere
    /// No leader promised anything for the entry to this node, or that is long ago.
    #[code("N-553", NOT_FOUND, retry = true)] #[error("this node has no promise for entry {id}, or not any more")]
    NotPromised {
        /// The entry.
        id: wallet::digest::Digest,
    }
    /// No signature of a node, or one that is not good for this path of this node now.
    #[code("N-533", UNAUTHORIZED, retry = false)]
    #[error("a node that joins signs its requests, here for {api} and this path: {reason}")]
    RequestUnsigned {
        /// The address under which the ledger has this node.
        api: String,
        /// What is wrong with it.
        reason: crate::joining::request::RequestInvalid,
    }
    /// The key is that of no node, or of one that does not take part.
    #[code("N-534", FORBIDDEN, retry = true)] #[error("here no node that takes part has the key {key}")]
    NodeUnknown {
        /// The key.
        key: wallet::identity::PublicKey,
    }
    /// An archive is sent to this auditor, or as many as may be at a time.
    #[code("N-554", SERVICE_UNAVAILABLE, retry = true)]
    #[error("this node is sending you an archive, or as many to others as it may")]
    ArchivesBusy
    /// A key has as many requests for what costs much under way as it may.
    #[code("N-671", TOO_MANY_REQUESTS, retry = true)]
    #[error("{count_max} requests of this key are under way, and no more may be: they are answered one at a time")]
    LineFull {
        /// How many there may be.
        count_max: usize,
    }
    /// This node has as many statements of operators on their way as it may.
    #[code("N-661", SERVICE_UNAVAILABLE, retry = true)]
    #[error("as many statements of operators as may be are on their way from this node")]
    GovernanceFull
    /// A body that needs no key takes too long.
    #[code("N-621", REQUEST_TIMEOUT, retry = true)] #[error("the body was not whole within {seconds} s")]
    BodyLate {
        /// How long it may take.
        seconds: u64,
    }
}

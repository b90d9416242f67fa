//! Problems: every refusal of every part of the node as RFC 9457 `application/problem+json`.
//!
//! The status of each code is decided here and nowhere else. Refusals that another node sent have only their code, so
//! the code decides.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use ledger::shell::replica::SubmitError;
use serde::Serialize;

use super::refusal::Refusal;
use crate::{
    engine::EngineRefusal,
    governance::NotSubmitted,
    routing,
    schedule::{self, log::LogFault},
    session,
};

/// The body of an answer that is no success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// Stable; `docs/errors/` has a page for each.
    pub code: String,
    /// What is refused, in words.
    pub title: String,
    /// Where to read more.
    pub detail: String,
    /// Whether the same request may succeed later.
    pub retry: bool,
}

impl Problem {
    fn new(status: StatusCode, code: &str, title: impl std::fmt::Display, retry: bool) -> Self {
        let detail = format!("docs/errors/{code}.md");
        Self { status, code: code.to_owned(), title: title.to_string(), detail, retry }
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    fn of_code(code: &str, title: impl std::fmt::Display, retry: bool) -> Self {
        Self::new(status(code, retry), code, title, retry)
    }
}

/// The status of a code. What is refused for good is 403 where a policy or a signature says no, 400 where the request
/// itself is wrong, and 409 where the state does not allow it.
fn status(code: &str, retry: bool) -> StatusCode {
    match code {
        // The request is wrong: prompt, sampling, chat, grant.
        "E-101" | "E-102" | "E-103" | "E-109" | "E-116" | "E-117" | "E-119" | "N-206" | "N-207" | "N-301" | "W-101" => {
            StatusCode::BAD_REQUEST
        }
        // The tenant's policy or the resume secret says no.
        "S-201" | "W-102" | "W-103" | "N-208" => StatusCode::FORBIDDEN,
        "S-002" | "N-201" => StatusCode::NOT_FOUND,
        // Nobody can take it now: room, nodes, links.
        "S-004" | "E-104" | "N-142" | "N-143" | "N-144" | "N-145" | "N-147" | "N-211" | "N-222" | "N-303" | "N-410"
        | "N-663" => StatusCode::SERVICE_UNAVAILABLE,
        "N-401" | "N-309" | "N-411" => StatusCode::BAD_GATEWAY,
        "N-209" | "E-118" => StatusCode::INTERNAL_SERVER_ERROR,
        _ if code.starts_with("N-42") => StatusCode::INTERNAL_SERVER_ERROR,
        _ if code.starts_with("L-") && !retry => StatusCode::FORBIDDEN,
        _ => StatusCode::CONFLICT,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, Json(self)).into_response()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.status(), refusal.code(), &refusal, refusal.retry())
    }
}

impl From<ledger::refusal::Refusal> for Problem {
    fn from(refusal: ledger::refusal::Refusal) -> Self {
        use ledger::refusal::Retry;
        // With fresh state another entry may succeed; this one will not.
        let status = if refusal.retry() == Retry::Never { StatusCode::FORBIDDEN } else { StatusCode::CONFLICT };
        Self::new(status, refusal.code(), &refusal, refusal.retry() == Retry::Later)
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::Stopped(fault) => Refusal::LedgerStopped { reason: fault.to_string() }.into(),
        }
    }
}

impl From<NotSubmitted> for Problem {
    fn from(error: NotSubmitted) -> Self {
        match error {
            NotSubmitted::Full => Refusal::GovernanceFull.into(),
            NotSubmitted::Ledger(error) => error.into(),
        }
    }
}

impl From<ledger::shell::fault::Fault> for Problem {
    fn from(fault: ledger::shell::fault::Fault) -> Self {
        tracing::error!(%fault, "the ledger cannot be read");
        Refusal::Failed.into()
    }
}

impl From<EngineRefusal> for Problem {
    fn from(refusal: EngineRefusal) -> Self {
        session::refusal::Refusal::from(refusal).into()
    }
}

impl From<session::refusal::Refusal> for Problem {
    fn from(refusal: session::refusal::Refusal) -> Self {
        Self::of_code(refusal.code(), &refusal, refusal.retry())
    }
}

impl From<routing::refusal::Refusal> for Problem {
    fn from(refusal: routing::refusal::Refusal) -> Self {
        Self::of_code(refusal.code(), &refusal, refusal.retry())
    }
}

impl From<schedule::refusal::Refusal> for Problem {
    fn from(refusal: schedule::refusal::Refusal) -> Self {
        Self::of_code(refusal.code(), &refusal, refusal.retry())
    }
}

impl From<LogFault> for Problem {
    fn from(fault: LogFault) -> Self {
        Self::of_code(fault.code(), &fault, false)
    }
}

impl From<gpu::Refusal> for Problem {
    fn from(refusal: gpu::Refusal) -> Self {
        let retry = matches!(refusal.retry(), gpu::Retry::Later | gpu::Retry::Elsewhere);
        Self::of_code(refusal.code(), &refusal, retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_says_no_is_forbidden_and_a_full_pool_is_unavailable() {
        let problem = |refusal: scheduler::refusal::Refusal| Problem::from(schedule::refusal::Refusal::from(refusal));
        let forbidden = problem(scheduler::refusal::Refusal::NotAllowed);
        assert_eq!(
            (forbidden.status(), forbidden.code.as_str(), forbidden.retry),
            (StatusCode::FORBIDDEN, "S-201", false)
        );
        let busy = problem(scheduler::refusal::Refusal::HopInFlight);
        assert_eq!((busy.status(), busy.retry), (StatusCode::CONFLICT, true));
        let nobody = Problem::from(routing::refusal::Refusal::from(scheduler::refusal::Refusal::NobodyEligible));
        assert_eq!((nobody.status(), nobody.retry), (StatusCode::SERVICE_UNAVAILABLE, true));
    }

    #[test]
    fn a_stale_entry_is_a_conflict_and_a_forged_one_is_forbidden() {
        use ledger::refusal::Refusal as Ledger;
        let problem = |refusal: Ledger| Problem::from(refusal).status();
        assert_eq!(problem(Ledger::WrongPhase { event: "KeyConfirmed" }), StatusCode::CONFLICT);
        assert_eq!(problem(Ledger::GrantInvalid), StatusCode::FORBIDDEN);
    }

    #[test]
    fn the_body_has_the_four_fields_of_the_interface() {
        let problem = Problem::from(Refusal::KeyMissing);
        let body = serde_json::to_value(&problem).expect("it has a JSON form");
        assert_eq!(
            body,
            serde_json::json!({
                "code": "N-501",
                "title": "an API key is needed: Authorization: Bearer KEY",
                "detail": "docs/errors/N-501.md",
                "retry": false,
            })
        );
    }
}

//! What a command leaves behind: an object with a text for people, or a failure with a code.

use std::{fmt, process::ExitCode};

use serde::Serialize;
use serde_json::Value;

use wallet::refusal::Refusal;

use crate::{
    config::ConfigFault,
    keys::{KeyFault, KeyFileFault},
    network::NetworkFault,
};

/// The result of a command, in both forms.
#[derive(Clone, Debug)]
pub struct Output {
    text: String,
    json: Value,
    but: Option<Failure>,
}

impl Output {
    /// The result `value`: its `Display` for people, its fields for `--json`.
    ///
    /// # Panics
    /// If `value` has no JSON form, such as a map with keys that are no strings.
    pub fn new<T: Serialize + fmt::Display>(value: &T) -> Self {
        let json = serde_json::to_value(value).expect("a command's result has a JSON form");
        Self { text: value.to_string(), json, but: None }
    }

    /// The same result, with which the command has failed.
    #[must_use]
    pub fn but(self, failure: Failure) -> Self {
        Self { but: Some(failure), ..self }
    }

    /// The form for people.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The form for machines.
    pub const fn json(&self) -> &Value {
        &self.json
    }
}

/// Why a command did not do what it was asked. Printed as `error[CODE]: title (detail)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Stable; `docs/errors/` has a page for each.
    pub code: String,
    /// What is wrong.
    pub title: String,
    /// Where, or which; may be empty.
    pub detail: String,
    /// The first check of a proof that does not hold, by its code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<&'static str>,
}

impl Failure {
    /// A failure with all its parts.
    pub fn new(code: impl Into<String>, title: impl fmt::Display, detail: impl fmt::Display) -> Self {
        Self { code: code.into(), title: title.to_string(), detail: detail.to_string(), check: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.title)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

impl From<ConfigFault> for Failure {
    fn from(fault: ConfigFault) -> Self {
        Self::new(fault.code(), fault, "")
    }
}

impl From<KeyFileFault> for Failure {
    fn from(fault: KeyFileFault) -> Self {
        Self::new(fault.code(), fault, "")
    }
}

impl From<KeyFault> for Failure {
    fn from(fault: KeyFault) -> Self {
        Self::new(fault.code(), fault, "")
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal, "")
    }
}

impl From<NetworkFault> for Failure {
    fn from(fault: NetworkFault) -> Self {
        Self::new(fault.code(), fault, "")
    }
}

/// Prints the outcome and says how the process ends.
pub(super) fn print(outcome: Result<Output, Failure>, as_json: bool) -> ExitCode {
    use std::io::Write as _;
    // Whoever closed the pipe wants no more; that is no failure of ours.
    let failure = match outcome {
        Ok(Output { text, json, but }) => {
            let _ = if as_json { writeln!(std::io::stdout(), "{json}") } else { writeln!(std::io::stdout(), "{text}") };
            but
        }
        Err(failure) => Some(failure),
    };
    let Some(failure) = failure else { return ExitCode::SUCCESS };
    let text = if as_json { serde_json::json!(failure).to_string() } else { failure.to_string() };
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_its_code_and_place() {
        let failure = Failure::new("G-104", "nodes[1].key repeats nodes[0].key", "genesis.toml");
        assert_eq!(failure.to_string(), "error[G-104]: nodes[1].key repeats nodes[0].key (genesis.toml)");
        assert_eq!(
            serde_json::json!(failure).to_string(),
            r#"{"code":"G-104","detail":"genesis.toml","title":"nodes[1].key repeats nodes[0].key"}"#
        );
        assert_eq!(Failure::new("N-100", "no such file", "").to_string(), "error[N-100]: no such file");
    }
}

//! `batchmind wallet`: sessions, as their operator and their tenant see them.

use std::fmt;

use clap::{Args, Subcommand, ValueEnum};
use reqwest::{Method, Response};
use serde::Serialize;
use serde_json::{Value, json};
use wallet::digest::Digest;

use super::{
    Failure, Output,
    admin::AdminArguments,
    client::{Client, ClientArguments},
};

/// Start, show, move, park and end sessions.
///
/// A wallet belongs to a session. To create one, a tenant starts a session from a prompt; it goes on at the node, and
/// its tokens are read with the resume secret. Everything else is for the node's operator, over its admin socket.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start a session from a prompt, as a tenant. Prints its wallet and the secret by which its stream is read.
    Create(Create),
    /// Show how a session stands at a node.
    Show(OneSession),
    /// Move a session to another node, and wait until the move is final.
    Migrate {
        #[command(flatten)]
        session: OneSession,
        /// The destination, by its name in genesis.
        #[arg(long, value_name = "NODE")]
        to: String,
    },
    /// Park a session on disk.
    Suspend(OneSession),
    /// Go on with a parked session.
    Resume(OneSession),
    /// Decide about an effect in doubt: one of those that `wallet show` lists. Then resume the session.
    Resolve {
        #[command(flatten)]
        session: OneSession,
        /// The effect's id: 64 hexadecimal digits.
        effect: Digest,
        /// What you found out.
        how: Decided,
    },
    /// End a session, for good.
    Close(OneSession),
}

/// What is to be done about an effect of which it was not known whether it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decided {
    /// It happened.
    Done,
    /// It did not happen, and is to be performed again.
    Retry,
    /// It did not happen, and will not: its program is told that it failed.
    Abort,
}

/// Which session, and at which node.
#[derive(Debug, Args)]
pub(super) struct OneSession {
    /// The wallet's address: 64 hexadecimal digits.
    wallet: Digest,
    #[command(flatten)]
    admin: AdminArguments,
}

/// What a new session begins with.
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    client: ClientArguments,
    /// What the user says.
    #[arg(long)]
    prompt: String,
    /// The model's name; the one that the node serves if absent.
    #[arg(long)]
    model: Option<String>,
    /// Most tokens to generate.
    #[arg(long, default_value_t = 256)]
    max_tokens: u32,
    /// Where the session may be held: some of the tenant's regions, separated by commas. All of them if absent.
    #[arg(long)]
    regions: Option<String>,
}

impl Command {
    pub(super) async fn run(self) -> Result<Output, Failure> {
        match self {
            Self::Create(create) => create.run().await,
            Self::Show(session) => {
                let path = session.path("");
                Ok(Output::new(&Shown(session.admin.open()?.get(&path).await?)))
            }
            Self::Migrate { session, to } => session.ask("/migrate", &json!({"to": to})).await,
            Self::Suspend(session) => session.ask("/suspend", &Value::Null).await,
            Self::Resume(session) => session.ask("/resume", &Value::Null).await,
            Self::Resolve { session, effect, how } => {
                session.ask("/resolve", &json!({"effect": effect, "how": how})).await
            }
            Self::Close(session) => session.ask("/close", &Value::Null).await,
        }
    }
}

impl OneSession {
    fn path(&self, action: &str) -> String {
        format!("/admin/v1/sessions/{}{action}", self.wallet)
    }

    async fn ask(&self, action: &str, body: &Value) -> Result<Output, Failure> {
        Ok(Output::new(&Shown(self.admin.open()?.post(&self.path(action), body).await?)))
    }
}

impl Create {
    async fn run(self) -> Result<Output, Failure> {
        let client = Client::open(&self.client)?;
        let model = match self.model {
            Some(model) => model,
            None => served_model(&client).await?,
        };
        let body = json!({
            "model": model,
            "messages": [{"role": "user", "content": self.prompt}],
            "max_tokens": self.max_tokens,
            "stream": true,
        });
        let mut request = client.request(Method::POST, "/v1/chat/completions").json(&body);
        if let Some(regions) = self.regions {
            request = request.header("x-batchmind-regions", regions);
        }
        // The headers come once the session runs. It goes on without a reader.
        let response = client.send(request).await?;
        Ok(Output::new(&Created {
            wallet: header(&response, "x-batchmind-wallet")?,
            resume_secret: header(&response, "x-batchmind-resume")?,
            served_by: header(&response, "x-batchmind-served-by")?,
        }))
    }
}

async fn served_model(client: &Client) -> Result<String, Failure> {
    let models: Value = client.get("/v1/models").await?;
    let model = models["data"][0]["id"].as_str().map(str::to_owned);
    model.ok_or_else(|| Failure::new("N-161", "the node's answer is not what was asked for", "/v1/models"))
}

fn header(response: &Response, name: &str) -> Result<String, Failure> {
    let text = response.headers().get(name).and_then(|value| value.to_str().ok());
    text.map(str::to_owned)
        .ok_or_else(|| Failure::new("N-161", "the node's answer is not what was asked for", format!("no {name}")))
}

#[derive(Serialize)]
struct Created {
    wallet: String,
    resume_secret: String,
    served_by: String,
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "wallet         {}", self.wallet)?;
        writeln!(f, "served by      {}", self.served_by)?;
        write!(f, "resume secret  {}", self.resume_secret)
    }
}

/// An object of the node, one field in a line.
#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Value);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(fields) = self.0.as_object() else { return self.0.fmt(f) };
        let width = fields.keys().map(String::len).max().unwrap_or(0);
        let known = fields.iter().filter(|(_, value)| !value.is_null());
        for (i, (name, value)) in known.enumerate() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let line = if i == 0 { "" } else { "\n" };
            write!(f, "{line}{name:width$}  {text}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_shown_one_field_in_a_line_and_without_what_is_absent() {
        let shown = Shown(json!({"mode": "serving", "moved_to": null, "emitted": 7}));
        assert_eq!(shown.to_string(), "emitted   7\nmode      serving");
    }

    #[tokio::test]
    async fn a_socket_that_is_not_there_is_a_failure_with_a_code() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let admin = AdminArguments { data_dir: folder.path().to_owned() };
        let show = Command::Show(OneSession { wallet: Digest::ZERO, admin });
        assert_eq!(show.run().await.expect_err("nobody listens").code, "N-160");
    }
}
